"""gguf_families.py - GGUF files of every family, written with the package gguf by the rules of llama.cpp's converter.

`qlora quantize` of the file and of the folder it came from must make the same weights, and transformers must open both
folders. Tokenizers of kinds t5, bert and byte-level must give the ids of the tokenizer.json they came from.
"""
import base64
import importlib.util
import json
import os
import re
import sys

if importlib.util.find_spec("gguf") is None:
    print("skipped: this Python has no package gguf")
    sys.exit(77)

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig

from common import DATA, check, check_at_least, decoded, distance, finish, load, note_failure, path, qlora

ARCHS = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2",
         "gemma3_text": "gemma3", "phi3": "phi3", "stablelm": "stablelm", "gpt_neox": "gptneox", "gpt2": "gpt2",
         "falcon": "falcon", "bert": "bert", "t5": "t5"}
# fixtures, and what their configs must say for a GGUF to be able to say it
MODELS = {"tiny-llama": {}, "tiny-mistral": {}, "tiny-qwen2": {}, "tiny-qwen3": {},
          "tiny-gemma2": {"query_pre_attn_scalar": 16}, "tiny-gemma3": {"query_pre_attn_scalar": 24},
          "tiny-phi3": {}, "tiny-stablelm": {}, "tiny-stablelm-qknorm": {}, "tiny-gpt-neox": {},
          "tiny-falcon": {"max_position_embeddings": 2048}, "tiny-falcon-new": {"max_position_embeddings": 2048},
          "tiny-t5": {"relative_attention_max_distance": 128},
          "tiny-t5-v11": {"relative_attention_max_distance": 128}, "tiny-gpt2": {}}
BY_NAME = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}


def folder_of(name):
    """The fixture with its changes."""
    out = path(name)
    os.makedirs(out, exist_ok=True)
    source = os.path.join(DATA, "models", name)
    config = {**json.load(open(os.path.join(source, "config.json"))), **MODELS[name]}
    json.dump(config, open(os.path.join(out, "config.json"), "w"))
    link = os.path.join(out, "model.safetensors")
    if not os.path.exists(link): os.symlink(os.path.join(source, "model.safetensors"), link)
    return out, config


def groups_apart(x, heads, kv, size):
    """Rows of a fused projection by key-value head, to all of q, all of k, all of v."""
    x = x.reshape(kv, heads // kv + 2, size, -1)
    return torch.cat([x[:, :-2].reshape(heads * size, -1), x[:, -2].reshape(kv * size, -1),
                      x[:, -1].reshape(kv * size, -1)])


def change(arch, c, name, x):
    heads = c.get("num_attention_heads", 1)
    size = c.get("head_dim") or c.get("hidden_size", 1) // heads
    if arch == "llama" and re.search(r"\.[qk]_proj\.weight$", name):
        return x.reshape(-1, 2, size // 2, x.shape[-1]).transpose(1, 2).reshape(x.shape)
    if "query_key_value" in name:
        kv = heads if arch == "gptneox" else c["num_kv_heads"] if c["new_decoder_architecture"] else 1
        return groups_apart(x, heads, kv, size).reshape(x.shape)
    if arch == "gpt2" and re.search(r"\.c_(attn|proj|fc)\.weight$", name): return x.T
    if arch.startswith("gemma") and name.endswith("norm.weight"): return x + 1
    return x


def put_keys(w, arch, c):
    get = lambda *names: next((c[n] for n in names if c.get(n) is not None), None)
    w.add_block_count(get("num_hidden_layers", "n_layer", "num_layers"))
    w.add_context_length(2048 if arch == "falcon" else get("max_position_embeddings", "n_positions") or 512)
    w.add_embedding_length(get("hidden_size", "n_embd", "d_model"))
    w.add_feed_forward_length(get("ffn_hidden_size", "intermediate_size", "n_inner", "d_ff") or 4 * c["hidden_size"])
    w.add_head_count(get("num_attention_heads", "n_head", "num_heads"))
    eps = get("layer_norm_eps", "layer_norm_epsilon")
    if get("rms_norm_eps"): w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if eps: w.add_layer_norm_eps(eps)
    if arch == "falcon":
        w.add_head_count_kv(c["num_kv_heads"] if c["new_decoder_architecture"] else 1)
        w.add_tensor_data_layout("jploski")
    elif get("num_key_value_heads"):
        w.add_head_count_kv(c["num_key_value_heads"])
    if get("head_dim", "d_kv"):
        w.add_key_length(get("head_dim", "d_kv"))
        w.add_value_length(get("head_dim", "d_kv"))
    if arch in ("llama", "qwen2", "qwen3", "gemma3", "phi3"): w.add_rope_freq_base(c["rope_theta"])
    part = get("rotary_pct", "partial_rotary_factor")
    if part: w.add_rope_dimension_count(int(part * (c["hidden_size"] // c["num_attention_heads"])))
    if arch in ("gptneox", "stablelm"): w.add_parallel_residual(c["use_parallel_residual"])
    if arch == "phi3": w.add_rope_scaling_orig_ctx_len(c["original_max_position_embeddings"])
    if arch in ("llama", "gemma2", "gemma3", "phi3") and get("sliding_window"):
        w.add_sliding_window(c["sliding_window"])
    if arch == "gemma3": w.add_sliding_window_pattern([t == "sliding_attention" for t in c["layer_types"]])
    if arch == "gemma2":
        w.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        w.add_final_logit_softcapping(c["final_logit_softcapping"])
    if arch == "t5":
        w.add_layer_norm_rms_eps(c["layer_norm_epsilon"])
        w.add_decoder_block_count(c["num_decoder_layers"])
        w.add_relative_attn_buckets_count(c["relative_attention_num_buckets"])
        w.add_decoder_start_token_id(c["decoder_start_token_id"])
    if get("bos_token_id") is not None: w.add_bos_token_id(c["bos_token_id"])
    if get("eos_token_id") is not None: w.add_eos_token_id(c["eos_token_id"])
    if get("pad_token_id") is not None: w.add_pad_token_id(c["pad_token_id"])


def stacked(tensors):
    """StableLM's norms of single heads as rows of one tensor."""
    out, stacks = {}, {}
    for name, x in tensors.items():
        m = re.match(r"(.*[qk]_layernorm)\.norms\.(\d+)\.weight", name)
        if m: stacks.setdefault(m[1], {})[int(m[2])] = x
        else: out[name] = x
    for stem, rows in stacks.items(): out[stem + ".weight"] = torch.stack([rows[i] for i in sorted(rows)])
    return out


def convert(name):
    """The fixture as F32 GGUF under the names of gguf's own table."""
    folder, c = folder_of(name)
    arch = ARCHS[c["model_type"]]
    w = gguf.GGUFWriter(path(name + ".gguf"), arch)
    put_keys(w, arch, c)
    names = gguf.get_tensor_name_map(BY_NAME[arch], 8)
    for hf, x in stacked(load_file(os.path.join(folder, "model.safetensors"))).items():
        new = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        if new is None: sys.exit("gguf has no name for %s" % hf)
        w.add_tensor(new, np.ascontiguousarray(change(arch, c, hf, x.float()).numpy()))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return folder, path(name + ".gguf"), c


def outputs(folder, c):
    task = "seq2seq" if c["model_type"] == "t5" else "causal"
    g = torch.Generator().manual_seed(3)
    ids = torch.randint(3, c["vocab_size"], (2, 24), generator=g)
    more = {"decoder_input_ids": ids[:, :9]} if task == "seq2seq" else {}
    with torch.no_grad(): return decoded(load(folder, task))(input_ids=ids, **more).logits.float()


def same_parts(a, b, what):
    """Quantized parts are the same bytes; what stays dense has the same values."""
    a, b = (load_file(os.path.join(f, "model.safetensors")) for f in (a, b))
    if a.keys() != b.keys():
        note_failure("%s: other tensors: %s" % (what, sorted(a.keys() ^ b.keys())[:4]))
        return
    parts = [k for k in a if ".quant_state." not in k]  # texts, which say the dtype of before
    worst = max(distance(a[k].float(), b[k].float()) for k in parts)
    check("%s: largest difference of stored values" % what, worst, 1.2e-7 if "gemma" in what else 0)


def families():
    for name in MODELS:
        folder, file, c = convert(name)
        qlora("quantize", "-m", folder, "--output_dir", path(name + "-hf"))
        qlora("quantize", "-m", file, "--output_dir", path(name + "-gguf"))
        same_parts(path(name + "-hf"), path(name + "-gguf"), name)
        made = AutoConfig.from_pretrained(path(name + "-gguf"))
        if made.model_type != c["model_type"]: note_failure("%s became %s" % (name, made.model_type))
        if c["model_type"] == "falcon": continue  # transformers does not replace FalconLinear by 4-bit layers
        theirs = outputs(path(name + "-hf"), c)
        check("%s: logits of both folders in transformers" % name,
              distance(theirs, outputs(path(name + "-gguf"), c)), 2e-5)
        check_at_least("%s: largest logit" % name, theirs.abs().max().item(), 1e-2)


def tokenizer_gguf(kind):
    """A GGUF without weights but for the embedding, holding a recorded tokenizer."""
    d = json.load(open(os.path.join(DATA, "tokenizers", kind, "tokenizer.json")))
    model, added = d["model"], {t["id"]: t for t in d["added_tokens"]}
    vocab = model["vocab"]
    pieces = [p for p, _ in vocab] if isinstance(vocab, list) else sorted(vocab, key=vocab.get)
    special = {i for i, t in added.items() if t["special"]}
    T = gguf.TokenType
    types = [T.CONTROL if i in special else T.USER_DEFINED if i in added else T.NORMAL for i in range(len(pieces))]
    w = gguf.GGUFWriter(path(kind + "-tokenizer.gguf"), "qwen2")
    put_keys(w, "qwen2", json.load(open(os.path.join(DATA, "models", "tiny-qwen2", "config.json"))))
    w.add_tokenizer_pre("default" if kind != "roberta" else "gpt-2")
    if kind == "t5":
        w.add_tokenizer_model("t5")
        w.add_token_scores([s for _, s in vocab])
        types[model["unk_id"]] = T.UNKNOWN
        w.add_unk_token_id(model["unk_id"])
        w.add_eos_token_id(1)
        w.add_remove_extra_whitespaces(True)
        w.add_precompiled_charsmap(base64.b64decode(d["normalizer"]["precompiled_charsmap"]))
    elif kind == "bert":
        w.add_tokenizer_model("bert")
        pieces = [p if t == T.CONTROL else p[2:] if p.startswith("##") else "\u2581" + p for p, t in zip(pieces, types)]
        w.add_unk_token_id(1)
        w.add_bos_token_id(2)
        w.add_sep_token_id(3)
        w.add_mask_token_id(4)
    else:
        w.add_tokenizer_model("gpt2")
        w.add_bos_token_id(0)
        w.add_eos_token_id(2)
        w.add_add_bos_token(True)
        w.add_add_eos_token(True)
        w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    w.add_token_list(pieces)
    w.add_token_types(types)
    w.add_tensor("token_embd.weight", np.zeros((len(pieces), 64), dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path(kind + "-tokenizer.gguf")


def tokenizers():
    lines = json.load(open(os.path.join(DATA, "tokenizers", "lines.json")))
    lines = [line for line in lines if "<mask>" not in line]  # no GGUF says that it takes the space in front
    with open(path("lines.jsonl"), "w") as f:
        for line in lines: f.write(json.dumps({"text": line}) + "\n")
    for kind in ("t5", "bert", "roberta"):
        where = os.path.join(DATA, "tokenizers", kind)
        if not os.path.isdir(where): continue
        want = [e.ids for e in Tokenizer.from_file(os.path.join(where, "tokenizer.json")).encode_batch(lines)]
        file = tokenizer_gguf(kind)
        qlora("tokenize", "-m", file, "--file", path("lines.jsonl"), "--output", path("ids.jsonl"),
              "--add_special_tokens", "true")
        ours = [json.loads(line)["ids"] for line in open(path("ids.jsonl"))]
        check("%s tokenizer from a GGUF: lines with other ids" % kind, sum(a != b for a, b in zip(want, ours)), 0)
        qlora("quantize", "-m", file, "--output_dir", path(kind + "-folder"))
        written = Tokenizer.from_file(path(kind + "-folder/tokenizer.json")).encode_batch(lines)
        check("%s tokenizer.json written from it: lines with other ids" % kind,
              sum(a != e.ids for a, e in zip(want, written)), 0)
        check_at_least("%s: lines" % kind, len(lines), 200)


families()
tokenizers()
finish()
