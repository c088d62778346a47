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


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    env = environment()
    folder = sys.argv[1]
    rows = [{"conversations": {"v": VARIABLES}}]
    for text in PROBES:
        result = render(env, text, VARIABLES)
        result.pop("e", None)
        rows.append({"t": text, **result})
    write(os.path.join(folder, "probes.jsonl"), rows)
    rows = [{"conversations": CONVERSATIONS}]
    for text, names in TEMPLATES:
        results = {}
        for name in names:
            out = render(env, text, CONVERSATIONS[name]).get("o")
            results[name] = None if out is None else f"{fnv1a(out):016x}"
        rows.append({"t": text, "r": results})
    write(os.path.join(folder, "templates.jsonl"), rows)


if __name__ == "__main__":
    main()
