#!/usr/bin/env python3
"""loftq_residual.py SOURCE OUT REPORT.json - ||W - Q - s B A|| of every reported layer, computed from the files
that `qlora loftq` wrote: it must equal the report within 1e-6, be the smallest of the iterations, and be at most
||W - Q(W)||. An adapted layer that the report lacks must have B = 0. Standard library only; float32 steps of
decoding are rounded as docs/file-formats.md says."""
import json
import math
import os
import struct
import sys


def read(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items()}


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def floats(entry):
    kind, _, raw = entry
    if kind == "F32":
        return struct.unpack("<%df" % (len(raw) // 4), raw)
    if kind == "F16":
        return struct.unpack("<%de" % (len(raw) // 2), raw)
    assert kind == "BF16", kind
    return [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]


def codes(raw, bits, n):
    value = int.from_bytes(raw, "big")
    total, mask = len(raw) * 8, (1 << bits) - 1
    return [value >> (total - bits * (i + 1)) & mask for i in range(n)]


def decode(base, name, n):
    """The frozen part: plain values, or codes with their scales."""
    if base[name][0] in ("F32", "F16", "BF16"):
        return floats(base[name])
    key = next(k for k in base if k.startswith(name + ".quant_state."))
    state = json.loads(base[key][2])
    table = floats(base[name + ".quant_map"])
    bits = int(math.log2(len(table)))
    if name + ".nested_absmax" in base:
        outer, level = floats(base[name + ".nested_absmax"]), floats(base[name + ".nested_quant_map"])
        step, offset = state["nested_blocksize"], f32(state["nested_offset"])
        scale = [f32(f32(level[q] * outer[i // step]) + offset) for i, q in enumerate(base[name + ".absmax"][2])]
    else:
        scale = floats(base[name + ".absmax"])
    block = state["blocksize"]
    return [f32(table[c] * scale[i // block]) for i, c in enumerate(codes(base[name][2], bits, n))]


source, out, report = sys.argv[1:]
plain, base = (read(os.path.join(d, "model.safetensors")) for d in (source, out))
adapter = read(os.path.join(out, "adapter", "adapter_model.safetensors"))
settings = json.load(open(os.path.join(out, "adapter", "adapter_config.json")))
doc, seen, bad = json.load(open(report)), set(), []
for t in doc["tensors"]:
    name, module = t["name"], t["module"]
    seen.add(module)
    rows, cols = plain[name][1]
    w, q = floats(plain[name]), decode(base, name, rows * cols)
    a, b = (adapter["base_model.model.%s.lora_%s.weight" % (module, x)] for x in "AB")
    r = a[1][0]
    s = settings["lora_alpha"] / (math.sqrt(r) if settings["use_rslora"] else r)
    a, b = floats(a), floats(b)
    total = 0.0
    for i in range(rows):
        for j in range(cols):
            v = w[i * cols + j] - q[i * cols + j]
            v -= s * sum(b[i * r + c] * a[c * cols + j] for c in range(r))
            total += v * v
    have, kept = math.sqrt(total), t["residual"][t["best"]]
    # What a dense base leaves is rounding of its sums, which nobody reports to six digits.
    slack = 1e-7 * t["norm"] if t["type"] == "dense" else 0.0
    if abs(have - kept) > max(1e-6 * kept, slack):
        bad.append("%s: the files give %.9g, the report %.9g" % (name, have, kept))
    if kept > min(t["residual"][1:]) or (doc["method"] == "loftq" and kept > t["residual"][0]):
        bad.append("%s: %r, kept %d" % (name, t["residual"], t["best"]))
for key, entry in adapter.items():
    if key.endswith("lora_B.weight") and key[len("base_model.model."):-len(".lora_B.weight")] not in seen:
        if any(floats(entry)):
            bad.append("%s is not zero" % key)
if bad:
    sys.exit("\n".join(bad[:10]))
