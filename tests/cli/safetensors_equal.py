#!/usr/bin/env python3
"""safetensors_equal.py GOT WANT [NAME=NAME]... - are the bytes of the named tensors equal? Without names:
the same names, and all of them equal. Standard library only."""
import json
import struct
import sys


def read(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items()}


got, want = read(sys.argv[1]), read(sys.argv[2])
pairs = [p.split("=") for p in sys.argv[3:]] or [(k, k) for k in sorted(got)]
bad = [] if sys.argv[3:] or set(got) == set(want) else ["names: %s" % sorted(set(got) ^ set(want))[:6]]
for a, b in pairs:
    if a not in got or b not in want:
        bad.append("%s or %s is absent" % (a, b))
    elif got[a][2] != want[b][2]:
        bad.append("%s differs from %s" % (a, b))
    elif not sys.argv[3:] and got[a][:2] != want[b][:2]:
        bad.append("%s: %s instead of %s" % (a, got[a][:2], want[b][:2]))
if bad:
    sys.exit("\n".join(bad[:10]))
