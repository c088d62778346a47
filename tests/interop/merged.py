"""merged.py - `qlora merge --to f32` is PEFT's merge_and_unload on the fp32 base, and transformers loads it."""
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from common import (check, check_at_least, distance, finish, load, our_logits, path, qlora, quantize, small_model,
                    some_ids, their_logits, token_rows)


def weights_distance(folder, model):
    ours, theirs = load_file(os.path.join(folder, "model.safetensors")), model.state_dict()
    missing = set(theirs) ^ set(ours)
    if missing: raise SystemExit("tensors differ in name: %s" % sorted(missing)[:6])
    return max(distance(ours[k], theirs[k]) for k in theirs)


def compare(name, base, adapter, ids):
    """base: fp32 folder that is merged into."""
    out = path("merged-" + name.replace(" ", "-"))
    qlora("merge", "-m", base, "--adapter", adapter, "--output_dir", out, "--to", "f32")
    theirs = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().eval()
    check("%s: merged weights" % name, weights_distance(out, theirs), 1e-5)
    logits = their_logits(load(out), ids)
    check("%s: merged logits, both in transformers" % name, distance(logits, their_logits(theirs, ids)), 1e-5)
    check("%s: merged logits, ours" % name, distance(our_logits(out, ids), logits), 1e-4)
    check_at_least("%s: what the adapter changes" % name, distance(logits, their_logits(load(base), ids)), 0.05)


def main():
    torch.manual_seed(0)
    ids = some_ids()
    data = token_rows("rows.jsonl", some_ids(rows=4, seed=2))
    run = path("run")
    qlora("train", "-m", small_model(), "--dataset", data, "--dataset_format", "tokens", "--max_steps", 4, "-b", 4,
          "--gradient_accumulation_steps", 1, "--learning_rate", 1e-2, "--lora_r", 8, "--output_dir", run)
    compare("our adapter", small_model(), os.path.join(run, "adapter"), ids)

    model = get_peft_model(load(small_model()), LoraConfig(task_type="CAUSAL_LM", r=6, lora_alpha=3, use_rslora=True,
                                                  init_lora_weights=False, target_modules=["q_proj", "down_proj"]))
    model.save_pretrained(path("peft"))
    compare("PEFT's adapter", small_model(), path("peft"), ids)

    nf4, out = quantize(small_model(), "base"), path("merged-nf4")  # a quantized base is decoded, then merged
    qlora("merge", "-m", nf4, "--adapter", path("peft"), "--output_dir", out, "--to", "f32")
    theirs = their_logits(PeftModel.from_pretrained(load(nf4), path("peft")).eval(), ids)
    check("decoded nf4 base: merged logits", distance(their_logits(load(out), ids), theirs), 1e-4)
    finish()


main()
