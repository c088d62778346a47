"""adapters.py - LoRA adapters go both ways over the same NF4 base: PEFT loads ours, we load PEFT's and train on."""
import json
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from common import (check, check_at_least, distance, finish, load, our_logits, path, qlora, quantize, small_model,
                    some_ids, their_logits, token_rows)

# name -> flags of `qlora train`
OURS = {"all-linear": ["--lora_r", 8],
        "rslora": ["--lora_r", 6, "--lora_alpha", 3, "--use_rslora", "true"],
        "q,v, r 3, alpha 7, dropout": ["--lora_r", 3, "--lora_alpha", 7, "--lora_dropout", 0.1,
                                       "--lora_target_modules", "q_proj,v_proj"],
        "pattern": ["--lora_r", 4, "--lora_target_modules", r".*\.1\..*(down|o)_proj"],
        "dora": ["--lora_r", 4, "--use_dora", "true"],
        "dora, rslora, ranks and alphas": ["--lora_r", 4, "--use_dora", "true", "--use_rslora", "true",
                                           "--rank_pattern", "q_proj=7,1.mlp.up_proj=2",
                                           "--alpha_pattern", '{".*v_proj": 3.5}'],
        "one layer, exclusion": ["--lora_r", 4, "--lora_target_modules", "q_proj,v_proj,down_proj",
                                 "--layers_to_transform", "1", "--layers_pattern", "layers",
                                 "--exclude_modules", "v_proj"],
        "saved modules, token rows": ["--lora_r", 4, "--modules_to_save", "norm,lm_head", "--trainable_token_indices",
                                      "40,3,7-30"],
        "saved embedding": ["--lora_r", 4, "--modules_to_save", "embed_tokens"]}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# name -> LoraConfig
THEIRS = {"all suffixes": dict(r=8, lora_alpha=16, target_modules=ALL),
          "rslora": dict(r=8, lora_alpha=4, use_rslora=True, target_modules="all-linear"),
          "suffixes q, v": dict(r=5, lora_alpha=7, target_modules=["q_proj", "v_proj"]),
          "dropout": dict(r=4, lora_alpha=8, lora_dropout=0.2, target_modules=["up_proj", "self_attn.o_proj"]),
          "regular expression": dict(r=2, lora_alpha=2, target_modules=r".*\.0\.(mlp|self_attn)\..*_proj"),
          "gaussian, one module": dict(r=4, lora_alpha=4, init_lora_weights="gaussian",
                                       target_modules=["model.layers.1.mlp.down_proj"]),
          "with the head": dict(r=4, lora_alpha=8, target_modules=["q_proj", "lm_head"]),
          "dora": dict(r=4, lora_alpha=8, use_dora=True, target_modules="all-linear"),
          "dora, ranks and alphas": dict(r=4, lora_alpha=8, use_dora=True, use_rslora=True,
                                         target_modules=["q_proj", "up_proj"],
                                         rank_pattern={"layers.0.*q_proj": 9}, alpha_pattern={"up_proj": 3}),
          "one layer, exclusion": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], layers_to_transform=[0],
                                       exclude_modules=["v_proj"]),
          "saved modules": dict(r=4, lora_alpha=8, target_modules=["q_proj"],
                                modules_to_save=["lm_head", "input_layernorm"]),
          "saved embedding": dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
          "token rows": dict(r=4, lora_alpha=8, target_modules=["q_proj"],
                             trainable_token_indices=[40, 3] + list(range(7, 31)))}


def loss_of(model, ids):
    return model(input_ids=ids, labels=ids).loss


def train_with_peft(model, ids, steps=4):
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(steps):
        opt.zero_grad()
        loss_of(model, ids).backward()
        opt.step()
    model.eval()


def first_record(run):
    with open(os.path.join(run, "train.jsonl")) as f: return json.loads(f.readline())


def main():
    torch.manual_seed(0)
    base, ids, rows = quantize(small_model(), "base"), some_ids(), some_ids(rows=4, seed=2)
    data = token_rows("rows.jsonl", rows)
    plain = their_logits(load(base), ids)

    for i, (name, flags) in enumerate(OURS.items()):
        run = path("run-%d" % i)
        qlora("train", "-m", base, "--dataset", data, "--dataset_format", "tokens", "--max_steps", 4, "-b", 4,
              "--gradient_accumulation_steps", 1, "--learning_rate", 1e-2, "--output_dir", run, *flags)
        adapter = os.path.join(run, "adapter")
        theirs = their_logits(PeftModel.from_pretrained(load(base), adapter).eval(), ids)
        check("ours (%s) in PEFT: logits" % name, distance(our_logits(base, ids, adapter), theirs), 1e-4)
        check_at_least("ours (%s): what the adapter changes" % name, distance(theirs, plain), 0.05)

    for i, (name, config) in enumerate(THEIRS.items()):
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **config))
        train_with_peft(model, rows)
        adapter = path("peft-%d" % i)
        model.save_pretrained(adapter)  # with a copy of an adapted head's own weight, as PEFT does by default
        theirs = their_logits(model, ids)
        check("PEFT's (%s) in qlora: logits" % name, distance(our_logits(base, ids, adapter), theirs), 1e-4)
        check_at_least("PEFT's (%s): what the adapter changes" % name, distance(theirs, plain), 0.05)
        run = path("continued-%d" % i)
        qlora("train", "-m", base, "--dataset", data, "--dataset_format", "tokens", "--max_steps", 1, "-b", 4,
              "--gradient_accumulation_steps", 1, "--adapter_name_or_path", adapter, "--output_dir", run,
              "--logging_steps", 1)
        if not config.get("lora_dropout"):
            check("PEFT's (%s) trained on: first loss" % name,
                  abs(first_record(run)["loss"] - loss_of(model, rows).item()), 1e-4)
        PeftModel.from_pretrained(load(base), os.path.join(run, "adapter"))  # and back again
    finish()


main()
