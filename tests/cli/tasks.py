#!/usr/bin/env python3
"""tasks.py - what the tests of classification and of encoder-decoders learn from and with.

    tasks.py tokenizer roberta|t5 SOURCE DIR     a byte tokenizer with that family's special tokens
    tasks.py scale IN OUT FACTOR [PREFIX]        a random model with larger matrices, without the tensors
                                                 whose names begin with PREFIX (a base without classifier)
    tasks.py pairs|numbers|upper|shout N SEED    rows
"""
import json
import os
import random
import shutil
import struct
import sys


def special(name):
    return {"SpecialToken": {"id": name, "type_id": 0}}


def text(name):
    return {"Sequence": {"id": name, "type_id": 0}}


POST = {
    "roberta": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True,
                "add_prefix_space": False},
    "t5": {"type": "TemplateProcessing", "single": [text("A"), special("</s>")],
           "pair": [text("A"), special("</s>"), text("B"), special("</s>")],
           "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
}


def tokenizer(kind, source, folder):
    os.makedirs(folder, exist_ok=True)
    doc = json.load(open(source + "/tokenizer.json"))
    doc["post_processor"] = POST[kind]
    json.dump(doc, open(folder + "/tokenizer.json", "w"))
    json.dump({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"},
              open(folder + "/tokenizer_config.json", "w"))


def scale(source, folder, factor, prefix=None):
    """Weights of deviation 0.02 tell a small model's inputs hardly apart: the matrices (bf16) grow."""
    os.makedirs(folder)
    shutil.copy(source + "/config.json", folder)
    data = open(source + "/model.safetensors", "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    head, body, out = json.loads(data[8:8 + size]), bytearray(), {}
    for name, t in head.items():
        if name == "__metadata__" or (prefix and name.startswith(prefix)):
            continue
        a, b = (8 + size + x for x in t["data_offsets"])
        values = struct.unpack("<%dH" % ((b - a) // 2), data[a:b])
        if len(t["shape"]) > 1:
            floats = struct.unpack("<%df" % len(values), b"".join(struct.pack("<HH", 0, v) for v in values))
            values = [struct.unpack("<HH", struct.pack("<f", x * float(factor)))[1] for x in floats]
        out[name] = dict(t, data_offsets=[len(body), len(body) + b - a])
        body += struct.pack("<%dH" % len(values), *values)
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + bytes(body))


def rows(kind, count, seed):
    draw = random.Random(seed)
    pick = lambda letters: letters[int(draw.random() * len(letters))]
    word = lambda letters, n: "".join(pick(letters) for _ in range(n))
    for _ in range(count):
        if kind == "pairs":
            a, b = (pick("ab") + word("cde", 4) for _ in range(2))
            yield {"premise": a, "hypothesis": b, "label": "same" if a[0] == b[0] else "other"}
        elif kind == "numbers":
            t = word("abcdex", 12)
            yield {"text": t, "label": t.count("x") / 2 - 1}
        else:
            t = word("abcdefgh", 3 + int(draw.random() * 4))
            yield {"input": t, "output": t.upper() + ("!" if kind == "shout" else "")}


if __name__ == "__main__":
    what, *args = sys.argv[1:]
    if what == "tokenizer":
        tokenizer(*args)
    elif what == "scale":
        scale(*args)
    else:
        for row in rows(what, int(args[0]), int(args[1])):
            print(json.dumps(row))
