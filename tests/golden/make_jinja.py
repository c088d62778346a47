#!/usr/bin/env python3
"""Records tests/data/jinja: probes of the language, and chat templates over conversations.

Needs jinja2 (3.1.6). Every text of a template here is written for this file, in the manner of the
model families that its name says. Usage: make_jinja.py OUT_FOLDER
"""
import json
import os
import sys

from jinja_env import environment, render
from jinja_probes import PROBES, VARIABLES
from jinja_templates import CONVERSATIONS, TEMPLATES


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    env = environment()
    folder = sys.argv[1]
    rows = [{"conversations": {"v": VARIABLES}}]
    for text in PROBES:
        rows.append({"t": text, "c": "v", **render(env, text, VARIABLES)})
    write(os.path.join(folder, "probes.jsonl"), rows)
    rows = [{"conversations": CONVERSATIONS}]
    for text, names in TEMPLATES:
        for name in names:
            rows.append({"t": text, "c": name, **render(env, text, CONVERSATIONS[name])})
    write(os.path.join(folder, "templates.jsonl"), rows)


if __name__ == "__main__":
    main()
