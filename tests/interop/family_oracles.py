"""family_oracles.py - records the small models of families that no other fixture has, and of their other halves.

    python3 family_oracles.py OUTDIR [NAME...]        writes OUTDIR/tiny-NAME for every name (default: all)
    python3 family_oracles.py --check FIXTURES        the same steps on recorded folders: how far they are apart

Settings and layout are those of the fixtures that were there before; oracle.py holds the steps.
"""
import json
import os
import shutil
import sys

import torch
from transformers import (BertConfig, DebertaV2Config, FalconConfig, GemmaConfig, Gemma3TextConfig, GPTNeoXConfig, LlamaConfig,
                          MBartConfig, OPTConfig, Qwen2Config, RobertaConfig, StableLmConfig)

import generate_oracles
import oracle

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
DECODER = dict(vocab_size=oracle.VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=64)
FFN = dict(intermediate_size=96)
ENCODER = dict(**DECODER, **FFN, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def default_rope(theta, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def gemma3():
    return Gemma3TextConfig(
        **DECODER, **FFN, head_dim=24, num_key_value_heads=2, sliding_window=8, query_pre_attn_scalar=20,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"full_attention": default_rope(1e6), "sliding_attention": default_rope(1e4)})


def mbart():
    return MBartConfig(vocab_size=oracle.VOCAB, d_model=64, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=96,
                       decoder_ffn_dim=96, encoder_attention_heads=4, decoder_attention_heads=4, dropout=0.0,
                       max_position_embeddings=64, scale_embedding=True, activation_function="gelu")


def falcon(**more):
    return FalconConfig(**DECODER, rope_parameters=default_rope(1e4), bos_token_id=2, eos_token_id=2, **more)


def stablelm(fraction=0.25, **more):
    return StableLmConfig(**DECODER, **FFN, rope_parameters=default_rope(1e4, partial_rotary_factor=fraction), **more)


def deberta():
    return DebertaV2Config(**ENCODER, pooler_hidden_size=64, pooler_dropout=0.0, pooler_hidden_act="gelu",
                           relative_attention=True, position_buckets=-1, max_relative_positions=12,
                           norm_rel_ebd="none", share_att_key=False, pos_att_type=["c2p"], position_biased_input=True,
                           type_vocab_size=2, num_labels=2)


# name -> task, seed, config, weights' type, options of write_model
FAMILIES = {
    "gemma3": ("causal", 201, gemma3, BF16, {}),
    "bert": ("cls", 202, lambda: BertConfig(**ENCODER, type_vocab_size=2, num_labels=3), F16, {}),
    "mbart": ("seq2seq", 203, mbart, BF16, {}),
    "falcon": ("causal", 204, falcon, BF16, dict(drop=("ffn_hidden_size", "num_ln_in_parallel_attn", "rope_theta"))),
    "falcon-new": ("causal", 205, lambda: falcon(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=96),
                   BF16, dict(drop=("num_ln_in_parallel_attn",))),
    "falcon-rw": ("causal", 206, lambda: falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True,
                                                ffn_hidden_size=96), F16, {}),
    "stablelm": ("causal", 207, lambda: stablelm(use_qkv_bias=True, num_key_value_heads=2), F16, {}),
    "stablelm-parallel": ("causal", 208, lambda: stablelm(0.5, use_parallel_residual=True, num_key_value_heads=4), BF16,
                          dict(old=False)),
    "stablelm-qknorm": ("causal", 209, lambda: stablelm(use_parallel_residual=True, qk_layernorm=True,
                                                        num_key_value_heads=2), BF16, {}),
    "gpt-neox-seq": ("causal", 210, lambda: GPTNeoXConfig(
        **DECODER, **FFN, use_parallel_residual=False, hidden_dropout=0.0, attention_dropout=0.0,
        rope_parameters=default_rope(1e4, partial_rotary_factor=0.5)), F16, dict(old=False)),
    "opt-post": ("causal", 211, lambda: OPTConfig(**DECODER, ffn_dim=96, do_layer_norm_before=False, dropout=0.0,
                                                  word_embed_proj_dim=32), F16, {}),
    "qwen2-window": ("causal", 212, lambda: Qwen2Config(
        **DECODER, **FFN, num_key_value_heads=2, use_sliding_window=True, max_window_layers=1, sliding_window=8,
        rope_parameters=default_rope(1e6), tie_word_embeddings=False), BF16, dict(drop=("layer_types",))),
    "deberta-noshare": ("cls", 213, deberta, F16, {}),
    "roberta-regression": ("cls", 214, lambda: RobertaConfig(
        **{**ENCODER, "max_position_embeddings": 66}, type_vocab_size=1, num_labels=1, problem_type="regression"),
        F16, {}),
    "llama-tied": ("causal", 215, lambda: LlamaConfig(
        **DECODER, **FFN, num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=default_rope(5e4)), F16,
        dict(old=False)),
    "gemma": ("causal", 216, lambda: GemmaConfig(
        **DECODER, **FFN, num_key_value_heads=1, head_dim=24, hidden_activation="gelu_pytorch_tanh",
        rope_parameters=default_rope(1e4)), BF16, {}),
}


FORWARD_ONLY = ("falcon-rw", "stablelm-qknorm", "qwen2-window", "llama-tied",
                "gemma")  # no QLoRA case: what is new is forward


def write(out, name):
    task, seed, config, dtype, options = FAMILIES[name]
    folder = os.path.join(out, "tiny-" + name)
    shutil.rmtree(folder, ignore_errors=True)
    oracle.write_model(folder, task, config(), seed, dtype, **options)
    note = oracle.write_oracle(folder, task, seed, with_adapter=name not in FORWARD_ONLY,
                               regression=name == "roberta-regression")
    if task != "cls": add_generation(folder, note)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)
    print("%-20s %4d KB  loss %.4f  packed %s  fp64 %s" % (
        name, size // 1024, oracle.recorded(folder)["plain.loss"], note.get("packed_vs_separate_max_abs"),
        note.get("qlora", {}).get("fp32_vs_fp64_max_abs")), flush=True)


def add_generation(folder, note):
    """One greedy recording and one beam search in oracle.json; more of them are made by generate_oracles.py."""
    rows, beams = generate_oracles.record(folder, note["task"])
    given = {"encoder_ids": rows[1]["encoder"], "start": rows[1]["start"]} if "encoder" in rows[1] else \
        {"prompt_ids": rows[1]["prompt"]}
    note["generate"] = {**given, "ids": rows[1]["new"], "beam": beams[0]}
    with open(os.path.join(folder, "oracle.json"), "w") as f: json.dump(note, f, indent=1)


def check(fixtures):
    """The older fixtures were written by another program: this one must find their numbers."""
    for name in sorted(os.listdir(fixtures)):
        folder = os.path.join(fixtures, name)
        if not os.path.exists(os.path.join(folder, "oracle.json")): continue
        with open(os.path.join(folder, "oracle.json")) as f: note = json.load(f)
        want = oracle.recorded(folder)
        inputs = {k: want[k] for k in ("input_ids", "attention_mask", "token_type_ids", "labels") if k in want}
        result = oracle.forward(oracle.load(folder, note["task"]), inputs)
        have, words = oracle.lora_case(folder, note["task"], os.path.join(folder, "adapter"), inputs)
        for key in ("quantized", "lora_targets"):
            if words[key] != note["qlora"][key]: sys.exit("%s: %s differ" % (name, key))
        have = {"plain.logits": result.logits, "plain.loss": result.loss.view(1),
                **{"qlora." + k: v for k, v in have.items()}}
        apart = {}
        for key in have.keys() & want.keys():
            d = (have[key].detach() - want[key]).abs()
            if key.endswith(".logits") and note["task"] == "causal": d = d[inputs["attention_mask"].bool()]
            group = ".".join(key.split(".")[:2])
            apart[group] = max(apart.get(group, 0.0), d.max().item())
        print("%-20s %s" % (name, "  ".join("%s %.2g" % x for x in sorted(apart.items()))), flush=True)


def main():
    if sys.argv[1] == "--check": return check(sys.argv[2])
    for name in sys.argv[2:] or FAMILIES: write(sys.argv[1], name)


if __name__ == "__main__":
    main()
