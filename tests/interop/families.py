"""families.py - one recorded model of every family, both ways: NF4 folders, adapters, merged weights.

Logits are compared on the rows of the fixture's oracle. The NF4 layers that transformers loads are decoded first:
rows of 96 are not whole blocks, which bitsandbytes' kernels for CPUs with AVX512 decode wrongly.
"""
import json
import os

import bitsandbytes as bnb
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig

import oracle
from common import DATA, check, check_at_least, decoded, distance, finish, load, note_failure, our_outputs, path, qlora

FIXTURES = ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2", "tiny-gemma3", "tiny-phi3",
            "tiny-opt", "tiny-opt-post", "tiny-gpt-neox", "tiny-gpt2", "tiny-falcon", "tiny-falcon-new",
            "tiny-stablelm", "tiny-roberta", "tiny-roberta-regression", "tiny-bert", "tiny-deberta-v2",
            "tiny-deberta-noshare", "tiny-bart", "tiny-mbart", "tiny-t5", "tiny-t5-v11"]
# transformers 5.23 replaces only layers whose class is exactly Linear, and Falcon has its own: it makes no 4-bit Falcon
# and loads none.
NOT_QUANTIZED_BY_TRANSFORMERS = ("tiny-falcon", "tiny-falcon-new")


class Case:
    """A fixture: its folder, task, recorded inputs and the layers that are quantized."""

    def __init__(self, name):
        self.name, self.folder = name, os.path.join(DATA, "models", name)
        with open(os.path.join(self.folder, "oracle.json")) as f: note = json.load(f)
        recorded = load_file(os.path.join(self.folder, "oracle.safetensors"))
        self.task, self.quantized = note["task"], note["qlora"]["quantized"]
        self.inputs = {k: recorded[k] for k in ("input_ids", "attention_mask", "token_type_ids", "labels")
                       if k in recorded}
        self.shape = recorded["plain.logits"].shape

    def ours(self, folder, adapter=None):
        return self.seen(our_outputs(folder, self.inputs, self.shape, adapter))

    def theirs(self, model):
        with torch.no_grad(): return self.seen(model(**self.inputs).logits.float())

    def seen(self, logits):
        """Padded positions of a decoder have no defined output."""
        return logits[self.inputs["attention_mask"].bool()] if self.task == "causal" else logits

    def loss(self, model):
        return model(**self.inputs).loss

    def rows(self):
        """The inputs as rows of a data set of tokens."""
        out, key = path(self.name + ".jsonl"), "label" if self.task == "cls" else "labels"
        with open(out, "w") as f:
            for i, mask in enumerate(self.inputs["attention_mask"].bool()):
                row = {"input_ids": self.inputs["input_ids"][i][mask].tolist()}
                types = self.inputs.get("token_type_ids")
                if types is not None: row["token_type_ids"] = types[i][mask].tolist()
                labels = self.inputs["labels"][i]
                row[key] = (labels[mask] if self.task == "causal" else labels).tolist()
                f.write(json.dumps(row) + "\n")
        return out

    def say(self, what):
        return "%s: %s" % (self.name, what)


def four_bit(model):
    return sorted(n for n, m in model.named_modules() if isinstance(m, bnb.nn.Linear4bit))


def same_layers(c, what, model):
    found = set(four_bit(model)) ^ set(c.quantized)
    check(c.say(what), len(found), 0)
    if found: print("    " + " ".join(sorted(found)[:6]))


def ours_in_transformers(c, full):
    """The folder that `qlora quantize` wrote."""
    folder = path(c.name + "-nf4")
    qlora("quantize", "-m", c.folder, "--output_dir", folder)
    model = load(folder, c.task)
    same_layers(c, "ours in transformers: layers that differ", model)
    model = decoded(model)
    theirs = c.theirs(model)
    check(c.say("ours in transformers: logits"), distance(c.ours(folder), theirs), 1e-4)
    check_at_least(c.say("ours: distance from the unquantized model"), distance(theirs, full), 1e-3)
    return folder


def theirs_in_qlora(c):
    more = {"llm_int8_skip_modules": ["classifier"]} if c.task == "cls" else {}
    q = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                           bnb_4bit_compute_dtype=torch.float32, **more)
    model, folder = load(c.folder, c.task, quantization_config=q), path(c.name + "-theirs")
    model.save_pretrained(folder)
    print("    by transformers quantized, by us not: %s; the other way: %s" % (
        sorted(set(four_bit(model)) - set(c.quantized)), sorted(set(c.quantized) - set(four_bit(model)))))
    check(c.say("theirs in qlora: logits"), distance(c.ours(folder), c.theirs(decoded(model))), 1e-4)


def base_model(c, folder):
    """The decoded base in transformers: from our folder, or encoded anew where transformers cannot load that."""
    if c.name not in NOT_QUANTIZED_BY_TRANSFORMERS: return decoded(load(folder, c.task))
    model = load(c.folder, c.task)
    oracle.quantize(model, c.quantized)
    return model


def train_with_peft(c, model, steps=3):
    trained = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(steps):
        opt.zero_grad()
        c.loss(model).backward()
        opt.step()


def peft_in_qlora(c, folder):
    """An adapter that PEFT trained on the decoded base; its folder."""
    model = get_peft_model(base_model(c, folder), LoraConfig(
        task_type=oracle.KIND[c.task][1], r=4, lora_alpha=8, target_modules="all-linear"))
    before = c.theirs(model)
    train_with_peft(c, model)
    adapter = path(c.name + "-peft")
    model.save_pretrained(adapter)
    theirs = c.theirs(model)
    check(c.say("PEFT's adapter in qlora: logits"), distance(c.ours(folder, adapter), theirs), 1e-4)
    check_at_least(c.say("PEFT's adapter: what it changes"), distance(theirs, before), 1e-3)
    return adapter


def qlora_in_peft(c, folder):
    run = path(c.name + "-run")
    qlora("train", "-m", folder, "--dataset", c.rows(), "--dataset_format", "tokens", "--max_steps", 3, "-b", 3,
          "--gradient_accumulation_steps", 1, "--learning_rate", 1e-2, "--lora_r", 4, "--output_dir", run,
          "--logging_steps", 1)
    adapter = os.path.join(run, "adapter")
    base = base_model(c, folder)
    before, loss = c.theirs(base), c.loss(base).item()
    theirs = c.theirs(PeftModel.from_pretrained(base, adapter).eval())
    with open(os.path.join(run, "train.jsonl")) as f: first = json.loads(f.readline())
    check(c.say("our first loss: the base's in transformers"), abs(first["loss"] - loss), 1e-4)
    check(c.say("our adapter in PEFT: logits"), distance(c.ours(folder, adapter), theirs), 1e-4)
    check_at_least(c.say("our adapter: what it changes"), distance(theirs, before), 1e-3)


def merged(c, adapter):
    """Into the unquantized weights, read as fp32; transformers finds every tensor and no other."""
    out = path(c.name + "-merged")
    qlora("merge", "-m", c.folder, "--adapter", adapter, "--output_dir", out, "--to", "f32")
    theirs = PeftModel.from_pretrained(load(c.folder, c.task), adapter).merge_and_unload().eval()
    back, info = load(out, c.task, output_loading_info=True)
    check(c.say("merged: tensors missing or not known"), len(info["missing_keys"]) + len(info["unexpected_keys"]), 0)
    want, have = theirs.state_dict(), back.state_dict()
    check(c.say("merged weights"), max(distance(have[k], want[k]) for k in want), 1e-5)
    check(c.say("merged logits, ours"), distance(c.ours(out), c.theirs(theirs)), 1e-4)


def main():
    for name in FIXTURES:
        torch.manual_seed(0)
        c = Case(name)
        try:
            full = c.theirs(load(c.folder, c.task))
            check(c.say("unquantized: logits"), distance(c.ours(c.folder), full), 1e-4)
            if name in NOT_QUANTIZED_BY_TRANSFORMERS:
                print(c.say("NF4 folders: skipped, transformers quantizes no layer of this family"))
                folder = c.folder
            else:
                folder = ours_in_transformers(c, full)
                theirs_in_qlora(c)
            merged(c, peft_in_qlora(c, folder))
            qlora_in_peft(c, folder)
        except (SystemExit, Exception) as e:  # refused here or there: say it and go on with the next family
            print("%s: %s: %s" % (name, type(e).__name__, e), flush=True)
            note_failure(name)
    finish()


if __name__ == "__main__":
    main()
