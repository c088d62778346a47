"""checkpoints.py - quantized checkpoints go both ways: transformers + bitsandbytes load ours, we load theirs."""
import bitsandbytes as bnb
import torch
from bitsandbytes.functional import int8_vectorwise_dequant
from transformers import BitsAndBytesConfig

from common import TINY, check, check_at_least, distance, finish, load, our_logits, path, quantize, some_ids, their_logits

FOUR_BIT = {"nf4-dq": ("nf4", True), "nf4": ("nf4", False), "fp4": ("fp4", False), "fp4-dq": ("fp4", True)}


def count(model, kind):
    return sum(isinstance(m, kind) for m in model.modules())


def dense_int8(model):
    """LLM.int8 layers multiply rounded activations; with the same weights decoded they are ours."""
    for name, m in list(model.named_modules()):
        if not isinstance(m, bnb.nn.Linear8bitLt): continue
        w = int8_vectorwise_dequant(m.weight.data if m.weight.CB is None else m.weight.CB, m.weight.SCB)
        dense = torch.nn.Linear(m.in_features, m.out_features, bias=m.bias is not None)
        dense.weight.data = w.float()
        if m.bias is not None: dense.bias.data = m.bias.data.float()
        model.set_submodule(name, dense)
    return model


def main():
    ids = some_ids()
    full = their_logits(load(TINY), ids)
    check("unquantized: logits", distance(our_logits(TINY, ids, 256), full), 1e-4)

    for name, (kind, double) in FOUR_BIT.items():
        folder = quantize("ours-" + name, "--quant_type", kind, "--double_quant", str(double).lower())
        model = load(folder)
        check("ours %s in transformers: layers that are not 4-bit" % name, 14 - count(model, bnb.nn.Linear4bit), 0)
        theirs = their_logits(model, ids)
        check("ours %s in transformers: logits" % name, distance(our_logits(folder, ids, 256), theirs), 1e-4)
        check_at_least("ours %s: distance from the unquantized model" % name, distance(theirs, full), 0.1)

    folder = quantize("ours-int8", "--quant_type", "llm_int8")
    model = load(folder)
    check("ours llm_int8 in transformers: layers that are not 8-bit", 14 - count(model, bnb.nn.Linear8bitLt), 0)
    ours, theirs = our_logits(folder, ids, 256), their_logits(model, ids)
    check("ours llm_int8 in transformers, rounded activations: logits", distance(ours, theirs), 0.5)
    check("ours llm_int8 in transformers, decoded: logits", distance(ours, their_logits(dense_int8(model), ids)), 1e-4)

    for name, (kind, double) in FOUR_BIT.items():
        q = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double,
                               bnb_4bit_compute_dtype=torch.float32)
        model = load(TINY, quantization_config=q)
        model.save_pretrained(path("theirs-" + name))
        check("theirs %s in qlora: logits" % name,
              distance(our_logits(path("theirs-" + name), ids, 256), their_logits(model, ids)), 1e-4)
    q = BitsAndBytesConfig(load_in_8bit=True)
    model = load(TINY, quantization_config=q)
    model.save_pretrained(path("theirs-int8"))
    check("theirs llm_int8 in qlora, decoded: logits",
          distance(our_logits(path("theirs-int8"), ids, 256), their_logits(dense_int8(model), ids)), 1e-4)
    finish()


main()
