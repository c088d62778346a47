"""checkpoints.py - quantized checkpoints go both ways: transformers + bitsandbytes load ours, we load theirs."""
import bitsandbytes as bnb
import torch
from transformers import BitsAndBytesConfig

from common import (TINY, check, check_at_least, decoded, distance, finish, load, our_logits, path, quantize,
                    small_model, some_ids, their_logits)

FOUR_BIT = {"nf4-dq": ("nf4", True), "nf4": ("nf4", False), "fp4": ("fp4", False), "fp4-dq": ("fp4", True)}


def count(model, kind):
    return sum(isinstance(m, kind) for m in model.modules())


def ours_in_transformers(base, full, ids):
    for name, (kind, double) in FOUR_BIT.items():
        folder = quantize(base, "ours-" + name, "--quant_type", kind, "--double_quant", str(double).lower())
        model = load(folder)
        check("ours %s in transformers: layers that are not 4-bit" % name, 14 - count(model, bnb.nn.Linear4bit), 0)
        theirs = their_logits(model, ids)
        check("ours %s in transformers: logits" % name, distance(our_logits(folder, ids), theirs), 1e-4)
        check_at_least("ours %s: distance from the unquantized model" % name, distance(theirs, full), 0.1)
    folder = quantize(base, "ours-int8", "--quant_type", "llm_int8")
    model = load(folder)
    check("ours llm_int8 in transformers: layers that are not 8-bit", 14 - count(model, bnb.nn.Linear8bitLt), 0)
    ours, theirs = our_logits(folder, ids), their_logits(model, ids)
    check("ours llm_int8 in transformers, which rounds activations to 8 bits: relative",
          ((ours - theirs).norm() / theirs.norm()).item(), 0.05)
    check("ours llm_int8 in transformers, decoded: logits", distance(ours, their_logits(decoded(model), ids)), 1e-4)
    check_at_least("ours llm_int8: distance from the unquantized model", distance(ours, full), 1e-3)


def theirs_in_qlora(base, ids):
    for name, (kind, double) in FOUR_BIT.items():
        q = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double,
                               bnb_4bit_compute_dtype=torch.float32)
        model = load(base, quantization_config=q)
        model.save_pretrained(path("theirs-" + name))
        check("theirs %s in qlora: logits" % name,
              distance(our_logits(path("theirs-" + name), ids), their_logits(model, ids)), 1e-4)
    model = load(base, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    model.save_pretrained(path("theirs-int8"))
    check("theirs llm_int8 in qlora, decoded: logits",
          distance(our_logits(path("theirs-int8"), ids), their_logits(decoded(model), ids)), 1e-4)


def main():
    ids, base = some_ids(), small_model()
    full = their_logits(load(base), ids)
    check("unquantized: logits", distance(our_logits(base, ids), full), 1e-4)
    ours_in_transformers(base, full, ids)
    theirs_in_qlora(base, ids)
    for name, (kind, double) in FOUR_BIT.items():  # rows of 96: blocks cross rows
        folder = quantize(TINY, "tiny-" + name, "--quant_type", kind, "--double_quant", str(double).lower())
        check("ours %s of tiny-llama in transformers, decoded: logits" % name,
              distance(our_logits(folder, ids), their_logits(decoded(load(folder)), ids)), 1e-4)
    finish()


if __name__ == "__main__":
    main()
