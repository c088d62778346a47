#!/usr/bin/env python3
"""Records random GGML blocks and the floats that the `gguf` package decodes from them.

    pip install gguf numpy safetensors
    python make_gguf_blocks.py ../data/gguf_blocks.safetensors

One pair per type: "TYPE.blocks" U8 [blocks, bytes] and "TYPE.values" F32 [blocks, elements]. All bytes of a
block are random; only float16 fields are kept finite (an exponent of 31 becomes 30), since NaN has many bit patterns.
Two special blocks per type: all bytes 0, and all bytes 255 with finite scales.
"""
import sys
import numpy as np
import gguf
from safetensors.numpy import save_file

BLOCKS = 6
# type -> (element bytes are plain, offsets of float16 fields)
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def finite_half(blocks, at):
    blocks[:, at + 1] = np.where((blocks[:, at + 1] & 0x7C) == 0x7C, blocks[:, at + 1] & 0xFB, blocks[:, at + 1])


def main():
    rng = np.random.default_rng(20240607)
    out = {}
    for name, halves in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        elems, size = gguf.GGML_QUANT_SIZES[kind]
        b = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        b[-2], b[-1] = 0, 255
        for at in halves: finite_half(b, at)
        out[name + ".blocks"] = b
        out[name + ".values"] = gguf.quants.dequantize(b, kind).astype(np.float32).reshape(BLOCKS, elems)
    for name, bits in (("F16", 0x7C00), ("BF16", 0x7F80)):
        h = rng.integers(0, 1 << 16, 64, dtype=np.uint16)
        h[(h & bits) == bits] ^= 0x0080 if name == "BF16" else 0x0400
        b = h.reshape(1, -1).view(np.uint8)
        out[name + ".blocks"] = b
        out[name + ".values"] = gguf.quants.dequantize(b, gguf.GGMLQuantizationType[name]).astype(np.float32).reshape(1, -1)
    f = rng.standard_normal(16).astype(np.float32)
    out["F32.blocks"], out["F32.values"] = f.reshape(1, -1).view(np.uint8), f.reshape(1, -1)
    save_file(out, sys.argv[1], metadata={"origin": "tests/golden/make_gguf_blocks.py, gguf package"})
    print(len(out) // 2, "types")


if __name__ == "__main__":
    main()
