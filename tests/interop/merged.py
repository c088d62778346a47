"""merged.py - `qlora merge --to f32` is PEFT's merge_and_unload on the fp32 base, and transformers loads it."""
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from common import (DATA, check, check_at_least, distance, finish, load, our_logits, path, qlora, quantize,
                    small_model, some_ids, their_logits, token_rows)


def weights_distance(folder, model):
    ours, theirs = load_file(os.path.join(folder, "model.safetensors")), model.state_dict()
    if model.config.tie_word_embeddings: theirs.pop("lm_head.weight")  # the embedding once more
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


# name -> LoraConfig of adapters with random values
THEIRS = {"rslora": dict(r=6, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "down_proj"]),
          "dora and ranks": dict(r=4, lora_alpha=8, use_dora=True, target_modules="all-linear",
                                 rank_pattern={"q_proj": 2}),
          "saved modules": dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head", "norm"]),
          "token rows": dict(r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[40, 3, 7, 8, 9])}


def make_adapter(base, name, config):
    """A PEFT adapter on `base` whose trained values are all moved from where they begin."""
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **config))
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad: p.add_(torch.randn_like(p) * 0.05)
    model.save_pretrained(path(name))
    return path(name)


def main():
    torch.manual_seed(0)
    ids = some_ids()
    data = token_rows("rows.jsonl", some_ids(rows=4, seed=2))
    run = path("run")
    qlora("train", "-m", small_model(), "--dataset", data, "--dataset_format", "tokens", "--max_steps", 4, "-b", 4,
          "--gradient_accumulation_steps", 1, "--learning_rate", 1e-2, "--lora_r", 8, "--output_dir", run)
    compare("our adapter", small_model(), os.path.join(run, "adapter"), ids)

    for name, config in THEIRS.items():
        compare("PEFT's %s" % name, small_model(), make_adapter(small_model(), name, config), ids)
    gpt2 = os.path.join(DATA, "models", "tiny-gpt2")  # Conv1D
    compare("GPT-2, dora", gpt2, make_adapter(gpt2, "gpt2", dict(r=4, lora_alpha=8, use_dora=True,
            target_modules=["c_attn", "mlp.c_proj"], modules_to_save=["ln_f"], fan_in_fan_out=True)), ids)

    nf4, out = quantize(small_model(), "base"), path("merged-nf4")  # a quantized base is decoded, then merged
    qlora("merge", "-m", nf4, "--adapter", path("rslora"), "--output_dir", out, "--to", "f32")
    theirs = their_logits(PeftModel.from_pretrained(load(nf4), path("rslora")).eval(), ids)
    check("decoded nf4 base: merged logits", distance(their_logits(load(out), ids), theirs), 1e-4)
    finish()


main()
