"""tokenizer_oracle.py - what the packages `tokenizers` and `transformers` say about lines, as rows of JSON.

A row: a, b (indices of lines; no b = one text), limit (ids at most, 0 = none), special (with special tokens), ids,
types (left out where all are 0), text (decoded), clean (decoded without special tokens).
"""
import json
import os
import random

from tokenizers import Tokenizer
from transformers import BartTokenizer, BertTokenizer, GPT2Tokenizer

# folders without tokenizer.json: transformers builds these
CLASSES = {"bert-files": BertTokenizer, "gpt2-files": GPT2Tokenizer, "opt-files": GPT2Tokenizer,
           "bart-files": BartTokenizer}


def load(folder):
    name = os.path.basename(folder)
    if name in CLASSES: return CLASSES[name].from_pretrained(folder).backend_tokenizer
    return Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))


def encode(t, lines, a, b=None, limit=0, special=True, decoded=True):
    if limit: t.enable_truncation(limit)
    else: t.no_truncation()
    e = t.encode(lines[a], None if b is None else lines[b], add_special_tokens=special)
    row = {"a": a, "special": special, "ids": e.ids}
    if b is not None: row["b"] = b
    if limit: row["limit"] = limit
    if any(e.type_ids): row["types"] = e.type_ids
    if decoded: row.update(text=t.decode(e.ids, skip_special_tokens=False), clean=t.decode(e.ids))
    return row


def rows(t, lines, seed=5):
    """Every line alone; every fourth also as a pair, every fourth cut."""
    r = random.Random(seed)
    def other(): return r.randrange(len(lines))
    out = []
    for i in range(len(lines)):
        out.append(encode(t, lines, i, special=i % 3 != 0, decoded=len(lines) > 500 or i % 3 == 1))
        if i % 4 == 0: out.append(encode(t, lines, i, other(), special=i % 8 != 0, decoded=False))
        if i % 8 == 1: out.append(encode(t, lines, i, other(), r.choice([4, 5, 6, 7, 8, 11, 16, 33]), decoded=False))
        if i % 8 == 5: out.append(encode(t, lines, i, limit=r.choice([3, 4, 9]), decoded=False))
    return out


def write(folder, name, lines):
    """name/oracle.jsonl in the folder, which holds the lines as lines.json."""
    t = load(os.path.join(folder, name))
    with open(os.path.join(folder, name, "oracle.jsonl"), "w", encoding="utf-8") as f:
        for row in rows(t, lines): f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
