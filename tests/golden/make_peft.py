#!/usr/bin/env python3
"""Records what PEFT does with adapter settings: tests/data/peft/matching.json.

    python3 make_peft.py MODELS OUT

MODELS holds tiny-*/config.json (tests/data/models). Every case applies a LoraConfig to a model of that configuration
and writes the adapter; recorded are the settings that were given, the adapter_config.json that PEFT wrote, and what
became of each module that has parameters: adapters with rank, alpha and scaling, saved whole, rows of tokens.
"""
import json
import os
import random
import sys
import tempfile
import warnings

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper
from safetensors import safe_open
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification)
from transformers.pytorch_utils import Conv1D

CLASSES = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_CLS": AutoModelForSequenceClassification,
           "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM}
MODELS = {"tiny-llama": "CAUSAL_LM", "tiny-llama-tied": "CAUSAL_LM", "tiny-gpt2": "CAUSAL_LM", "tiny-phi3": "CAUSAL_LM",
          "tiny-gpt-neox": "CAUSAL_LM", "tiny-opt": "CAUSAL_LM", "tiny-gemma3": "CAUSAL_LM", "tiny-falcon": "CAUSAL_LM",
          "tiny-t5": "SEQ_2_SEQ_LM", "tiny-bart": "SEQ_2_SEQ_LM", "tiny-mbart": "SEQ_2_SEQ_LM",
          "tiny-roberta": "SEQ_CLS", "tiny-bert": "SEQ_CLS", "tiny-deberta-v2": "SEQ_CLS"}

# (model, settings of LoraConfig)
CASES = [(m, dict(r=8, lora_alpha=16, target_modules="all-linear")) for m in MODELS] + [
    ("tiny-llama", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "mlp.down_proj"])),
    ("tiny-llama", dict(r=4, lora_alpha=8, use_rslora=True, rank_pattern={"q_proj": 16, "mlp.down_proj": 2},
                        alpha_pattern={"down_proj": 3, "layers.0.self_attn.q_proj": 5.5},
                        target_modules="all-linear")),
    ("tiny-llama", dict(target_modules=["q_proj", "v_proj"], rank_pattern={"model.layers.1.self_attn.q_proj": 3,
                                                                          "q_proj": 5, r".*v_proj": 7})),
    ("tiny-llama", dict(target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 5,
                                                                          "model.layers.1.self_attn.q_proj": 3})),
    ("tiny-llama", dict(target_modules=["q_proj", "k_proj"], rank_pattern={"^model.*0.*q_proj": 5, "k.proj": 6,
                                                                          "proj": 9, "(k|q)_proj": 10})),
    ("tiny-llama", dict(target_modules=["q_proj", "model.layers.0.mlp.up_proj"], layers_to_transform=[1])),
    ("tiny-llama", dict(target_modules=["q_proj", "up_proj"], layers_to_transform=1)),
    ("tiny-llama", dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[0, 1], layers_pattern="layers")),
    ("tiny-llama", dict(target_modules=["q_proj", "up_proj", "lm_head"], layers_to_transform=[0],
                        layers_pattern=["blocks", "layers"])),
    ("tiny-llama", dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[0], layers_pattern=["lay.rs"])),
    ("tiny-llama", dict(target_modules="all-linear", exclude_modules=["down_proj", "model.layers.0.self_attn.q_proj"])),
    ("tiny-llama", dict(target_modules="all-linear", exclude_modules=r".*\.1\..*")),
    ("tiny-llama", dict(target_modules=r".*\.(q|v)_proj", exclude_modules=r"model\.layers\.0\..*")),
    ("tiny-llama", dict(target_modules=["q_proj", "lm_head"])),
    ("tiny-llama", dict(target_modules=["q_proj", "lm_head"], modules_to_save=["lm_head"])),
    ("tiny-llama", dict(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])),
    ("tiny-llama", dict(target_modules=["q_proj"], modules_to_save=["input_layernorm", "model.norm"])),
    ("tiny-llama", dict(target_modules=["q_proj", "up_proj"], modules_to_save=["mlp"])),
    ("tiny-llama", dict(target_modules=["q_proj", "k_proj"], modules_to_save=["layers.1"])),
    ("tiny-llama", dict(target_modules=["q_proj", "embed_tokens"])),
    ("tiny-llama", dict(target_modules=["q_proj"], trainable_token_indices=[5, 3, 250])),
    ("tiny-llama", dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [1, 2]})),
    ("tiny-llama", dict(target_modules=["q_proj"], trainable_token_indices={"lm_head": [7]})),
    ("tiny-llama-tied", dict(target_modules=["q_proj"], trainable_token_indices=[5, 6, 7])),
    ("tiny-gpt2", dict(target_modules=["c_attn"], trainable_token_indices=[9], fan_in_fan_out=True)),
    ("tiny-gpt2", dict(target_modules=["c_attn", "mlp.c_proj"], layers_to_transform=[1], layers_pattern="h",
                       use_dora=True)),
    ("tiny-gpt2", dict(target_modules=["c_proj"], rank_pattern={"attn.c_proj": 2}, alpha_pattern={"mlp.c_proj": 2})),
    ("tiny-gpt-neox", dict(target_modules=["query_key_value", "dense"], exclude_modules=["attention.dense"])),
    ("tiny-gpt-neox", dict(target_modules=["dense"], modules_to_save=["final_layer_norm"])),
    ("tiny-phi3", dict(target_modules=["qkv_proj", "gate_up_proj"], rank_pattern={"qkv_proj": 12})),
    ("tiny-t5", dict(target_modules=["q", "v"], layers_to_transform=[0])),
    ("tiny-t5", dict(target_modules=["q", "v"], layers_to_transform=[0], layers_pattern="layer")),
    ("tiny-t5", dict(target_modules=["q", "SelfAttention.v"], modules_to_save=["lm_head"],
                     exclude_modules=r"encoder.*")),
    ("tiny-t5", dict(target_modules=r"decoder\..*\.(EncDecAttention|DenseReluDense)\.w?[^d]")),
    ("tiny-bart", dict(target_modules=["q_proj", "v_proj"], exclude_modules=["encoder_attn.q_proj"])),
    ("tiny-bart", dict(target_modules=["fc1"], layers_to_transform=[0], layers_pattern=["decoder.layers"])),
    ("tiny-roberta", dict(target_modules=["query", "value"])),
    ("tiny-roberta", dict(target_modules=["dense"])),
    ("tiny-roberta", dict(target_modules=["query", "classifier.dense"], modules_to_save=["pooler"])),
    ("tiny-roberta", dict(target_modules=["query"], layers_to_transform=[1], layers_pattern="layer", use_rslora=True)),
    ("tiny-deberta-v2", dict(target_modules=["query_proj", "pooler.dense"], modules_to_save=["LayerNorm"])),
    ("tiny-bert", dict(target_modules="all-linear", modules_to_save=["bert.pooler"])),
    ("tiny-bert", dict(target_modules=["query", "output.dense"], exclude_modules=["attention.output.dense"])),
]


def random_case(rng, names):
    """Settings drawn from ends and pieces of module paths."""
    def end():
        path = rng.choice(names).split(".")
        return ".".join(path[-rng.randint(1, min(4, len(path))):])
    c = dict(r=rng.randint(1, 16), lora_alpha=rng.randint(1, 32), target_modules=[end() for _ in range(3)])
    if rng.random() < 0.4: c["exclude_modules"] = [end()]
    if rng.random() < 0.5: c["rank_pattern"] = {end(): rng.randint(1, 9) for _ in range(2)}
    if rng.random() < 0.5: c["alpha_pattern"] = {end().replace(".", rng.choice([".", r"\.", ".*"])): rng.randint(1, 9)}
    if rng.random() < 0.3: c["layers_to_transform"] = [rng.randint(0, 1)]
    if rng.random() < 0.3: c["use_rslora"] = True
    if rng.random() < 0.3: c["modules_to_save"] = [end()]
    return c


def fate(model):
    """{path: what became of it} of the base model's modules."""
    out = {"adapted": {}, "saved": [], "tokens": []}
    saved = [n for n, m in model.named_modules() if isinstance(m, ModulesToSaveWrapper)]
    for name, m in model.named_modules():
        if "original_module" in name: continue
        inside = any(name.startswith(s + ".modules_to_save.default") for s in saved)
        path = name
        for s in saved: path = path.replace(s + ".modules_to_save.default", s)
        if isinstance(m, LoraLayer):
            out["adapted"][path] = [m.r["default"], m.lora_alpha["default"], m.scaling["default"]]
            if inside: out["saved"].append(path)
        elif inside and list(m.parameters(recurse=False)) and not any(path.startswith(a + ".") for a in out["adapted"]):
            out["saved"].append(path)
        elif isinstance(m, TrainableTokensWrapper) and not m.token_adapter.tied_adapter:
            out["tokens"].append(path)
    return out


def record(models, name, settings):
    task = MODELS[name]
    config = AutoConfig.from_pretrained(os.path.join(models, name))
    model = CLASSES[task].from_config(config)
    head = next((n for n, m in model.named_modules() if m is model.get_output_embeddings()), None)
    if task == "SEQ_CLS": head = "score" if hasattr(model, "score") else "classifier"
    wrapped = get_peft_model(model, LoraConfig(task_type=task, **settings))
    case = {"model": name, "task": task, "head": head, "given": settings, **fate(wrapped.base_model.model)}
    with tempfile.TemporaryDirectory() as d:
        wrapped.save_pretrained(d)
        with open(os.path.join(d, "adapter_config.json")) as f: case["config"] = json.load(f)
        again = PeftModel.from_pretrained(CLASSES[task].from_config(config), d, ignore_mismatched_sizes=True)
        if fate(again.base_model.model)["adapted"] != case["adapted"]:
            case["adapted_when_loaded"] = fate(again.base_model.model)["adapted"]
        with safe_open(os.path.join(d, "adapter_model.safetensors"), "pt") as f:
            case["tensors"] = {k: f.get_slice(k).get_shape() for k in sorted(f.keys())}
    case["config"] = {k: sorted(v) if k in ("target_modules", "exclude_modules") and isinstance(v, list) else v
                      for k, v in sorted(case["config"].items()) if k != "base_model_name_or_path"}
    return case


def modules_of(models, name):
    """Paths of the modules that have parameters, by kind."""
    config = AutoConfig.from_pretrained(os.path.join(models, name))
    model = CLASSES[MODELS[name]].from_config(config)
    out = {"linear": [], "embedding": [], "other": []}
    for n, m in model.named_modules(remove_duplicate=False):
        kind = ("linear" if isinstance(m, (torch.nn.Linear, Conv1D)) else
                "embedding" if isinstance(m, torch.nn.Embedding) else "other")
        if list(m.parameters(recurse=False)): out[kind].append(n)
    return out


def main():
    models, out = sys.argv[1], sys.argv[2]
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    rng = random.Random(7)
    modules = {m: modules_of(models, m) for m in MODELS}
    cases = [record(models, *c) for c in CASES]
    while len(cases) < len(CASES) + 80:
        name = rng.choice(list(MODELS))
        linear = modules[name]["linear"]
        if name == "tiny-gpt-neox": linear = linear[:-1]  # transformers 5 calls the files' embed_out lm_head
        try: cases.append(record(models, name, random_case(rng, linear)))
        except (ValueError, TypeError, AttributeError): pass  # nothing matched, or a module that cannot be adapted
    recorded = {"versions": {"peft": peft.__version__, "torch": torch.__version__}, "modules": modules, "cases": cases}
    with open(os.path.join(out, "matching.json"), "w") as f:
        f.write('{"versions": %s,\n "modules": %s,\n "cases": [\n' % (json.dumps(recorded["versions"]),
                                                                    json.dumps(modules)))
        f.write(",\n".join(json.dumps(c) for c in cases) + "]}\n")


if __name__ == "__main__": main()
