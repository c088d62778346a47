"""random_models.py - models that no fixture has: three random configurations of every family against transformers.

    random_models.py PROGRAM [--seed N] [FAMILY...]

Each is written with save_pretrained (one file or shards; fp16, bf16 or fp32; one of three with the older spelling of
config.json), its logits and loss on right-padded rows are recorded, for one of three also a QLoRA case; `qlora verify`
recomputes them within its own limits. Every row of the table is printed; what fails is named at the end.
"""
import json
import os
import random
import shutil
import sys

import torch
from transformers import (BartConfig, BertConfig, DebertaV2Config, FalconConfig, Gemma2Config, Gemma3TextConfig,
                          GPT2Config, GPTNeoXConfig, LlamaConfig, MBartConfig, MistralConfig, OPTConfig, Phi3Config,
                          Qwen2Config, Qwen3Config, RobertaConfig, StableLmConfig, T5Config)

import oracle
from common import finish, note_failure, path, qlora_result

LENGTHS = [21, 18, 19]  # less padding than any window: in fp64 a row that sees nothing is not a number
FLOOR = 2e-5          # weights after three steps may not depend more on rounding: Adam's first steps are sign-like
TYPES = (torch.float16, torch.bfloat16, torch.float32)


class Draw(random.Random):
    """Sizes of one model."""

    def heads(self):
        """(query heads, key/value heads)"""
        kv = self.choice((1, 2, 3))
        return kv * self.choice((1, 2, 3) if kv > 1 else (2, 3, 5)), kv

    def even(self):
        return self.choice((6, 10, 12, 14, 20, 26))

    def any_width(self):
        return self.choice((7, 9, 11, 13, 18, 22))

    def bool(self):
        return self.random() < 0.5

    def sizes(self, hidden):
        return dict(vocab_size=self.choice((67, 83, 131, 150)), hidden_size=hidden,
                    num_hidden_layers=self.choice((1, 2, 3)), max_position_embeddings=self.choice((32, 50)))

    def middle(self):
        return self.choice((40, 54, 76, 90, 118))

    def theta(self):
        return self.choice((1e4, 5e4, 1e6))

    def rope(self):
        kind = self.choice(("default", "linear", "llama3", "yarn"))
        more = {"linear": {"factor": 3.0}, "yarn": {"factor": 4.0, "original_max_position_embeddings": 12},
                "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
                           "original_max_position_embeddings": 16}}.get(kind, {})
        return {"rope_type": kind, "rope_theta": self.theta(), **more}

    def plain_rope(self, **more):
        return {"rope_type": "default", "rope_theta": self.theta(), **more}

    def free_heads(self):
        """A head size that has nothing to do with the hidden size, which must still be a multiple of the heads."""
        heads, kv = self.heads()
        return dict(**self.sizes(heads * self.choice((9, 14, 20))), num_attention_heads=heads,
                    num_key_value_heads=kv, head_dim=self.even(), intermediate_size=self.middle())

    def bound_heads(self, width, grouped=True):
        """hidden = heads * head size"""
        heads, kv = self.heads()
        sizes = dict(**self.sizes(heads * width), num_attention_heads=heads)
        return dict(**sizes, num_key_value_heads=kv) if grouped else sizes


def llama(d, i):
    sizes = d.free_heads()
    return LlamaConfig(**sizes, rope_parameters=d.rope(), tie_word_embeddings=d.bool(), attention_bias=d.bool(),
                       mlp_bias=d.bool(), hidden_act=d.choice(("silu", "gelu")), rms_norm_eps=d.choice((1e-5, 1e-6)))


def mistral(d, i):
    return MistralConfig(**d.free_heads(), rope_parameters=d.plain_rope(), tie_word_embeddings=d.bool(),
                         sliding_window=(None, 5, 9)[i])


def qwen2(d, i):
    sizes = {**d.bound_heads(d.even()), "num_hidden_layers": 3}
    return Qwen2Config(**sizes, intermediate_size=d.middle(), rope_parameters=d.rope(), tie_word_embeddings=d.bool(),
                       use_sliding_window=i > 0, sliding_window=6, max_window_layers=i - 1)


def qwen3(d, i):
    sizes = {**d.free_heads(), "num_hidden_layers": 2}
    return Qwen3Config(**sizes, rope_parameters=d.rope(), tie_word_embeddings=d.bool(), attention_bias=d.bool(),
                       use_sliding_window=i == 2, sliding_window=7, max_window_layers=1)


def gemma_sizes(d):
    return {**d.free_heads(), "num_hidden_layers": 3}


def gemma2(d, i):
    return Gemma2Config(**gemma_sizes(d), rope_parameters=d.plain_rope(), sliding_window=d.choice((4, 7)),
                        query_pre_attn_scalar=d.choice((12, 25)), final_logit_softcapping=(None, 4.0, 9.0)[i],
                        attn_logit_softcapping=(3.0, None, 7.0)[i], tie_word_embeddings=i != 1)


def gemma3(d, i):
    scaled = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6} if i else d.plain_rope()
    return Gemma3TextConfig(**gemma_sizes(d), sliding_window=d.choice((4, 7)), query_pre_attn_scalar=d.choice((12, 25)),
                            sliding_window_pattern=d.choice((2, 3)), tie_word_embeddings=i != 2,
                            rope_parameters={"full_attention": scaled, "sliding_attention": d.plain_rope()})


def longrope(d, width, fraction):
    """Divisors of the frequencies within, and beyond, the original length."""
    n = int(width * fraction) // 2
    return {"rope_type": "longrope", "rope_theta": d.theta(), "partial_rotary_factor": fraction,
            "short_factor": [round(1 + d.random() / 9, 3) for _ in range(n)],
            "long_factor": [round(1 + 4 * d.random(), 3) for _ in range(n)]}


def phi3(d, i):
    fraction, original = (1.0, 0.5, 0.7)[i], (40, 40, 10)[i]  # the rows are longer than 10, shorter than 40
    rope = d.plain_rope(partial_rotary_factor=fraction) if i == 1 else longrope(d, 20, fraction)
    sizes = {**d.bound_heads(20), "max_position_embeddings": 80}
    return Phi3Config(**sizes, intermediate_size=d.middle(), tie_word_embeddings=d.bool(), rope_parameters=rope,
                      pad_token_id=0, eos_token_id=2, sliding_window=(None, 6, 11)[i],
                      original_max_position_embeddings=original)


def opt(d, i):
    sizes = d.bound_heads(d.any_width(), grouped=False)
    return OPTConfig(**sizes, ffn_dim=d.middle(), do_layer_norm_before=i != 1, dropout=0.0,
                     word_embed_proj_dim=sizes["hidden_size"] if i == 0 else 38, tie_word_embeddings=i != 2,
                     activation_function=d.choice(("relu", "gelu")))


def gpt_neox(d, i):
    return GPTNeoXConfig(**d.bound_heads(20, grouped=False), intermediate_size=d.middle(), attention_bias=i != 2,
                         use_parallel_residual=i != 1, hidden_dropout=0.0, attention_dropout=0.0,
                         tie_word_embeddings=d.bool(), hidden_act=d.choice(("gelu", "gelu_new")),
                         rope_parameters=d.plain_rope(partial_rotary_factor=(0.3, 1.0, 0.5)[i]))


def gpt2(d, i):
    s = d.bound_heads(d.any_width(), grouped=False)
    return GPT2Config(vocab_size=s["vocab_size"], n_embd=s["hidden_size"], n_layer=s["num_hidden_layers"],
                      n_head=s["num_attention_heads"], n_positions=s["max_position_embeddings"],
                      n_inner=(None, 52, 91)[i], tie_word_embeddings=i != 1, bos_token_id=1, eos_token_id=2,
                      activation_function=d.choice(("gelu_new", "gelu", "relu")), resid_pdrop=0.0, embd_pdrop=0.0,
                      attn_pdrop=0.0)


def falcon(d, i):
    kind = (dict(multi_query=False, parallel_attn=True, bias=True), dict(multi_query=True, parallel_attn=False),
            dict(new_decoder_architecture=True, num_ln_in_parallel_attn=1))[i]
    sizes = d.bound_heads(d.even())
    kv = sizes.pop("num_key_value_heads")
    if i == 2: kind["num_kv_heads"] = kv
    return FalconConfig(**sizes, **kind, rope_parameters=d.plain_rope(), ffn_hidden_size=d.middle(),
                        tie_word_embeddings=d.bool(), bos_token_id=2, eos_token_id=2)


def stablelm(d, i):
    return StableLmConfig(**d.bound_heads(20), intermediate_size=d.middle(), use_qkv_bias=d.bool(),
                          qk_layernorm=i == 1, use_parallel_residual=i == 2, tie_word_embeddings=d.bool(),
                          rope_parameters=d.plain_rope(partial_rotary_factor=(0.3, 0.5, 1.0)[i]))


def encoder(d, labels):
    return dict(**d.bound_heads(d.any_width(), grouped=False), intermediate_size=d.middle(), num_labels=labels,
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, hidden_act=d.choice(("gelu", "gelu_new")))


def roberta(d, i):
    return RobertaConfig(**encoder(d, (2, 5, 1)[i]), type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)


def bert(d, i):
    return BertConfig(**encoder(d, (2, 1, 4)[i]), type_vocab_size=(2, 3, 2)[i])


def deberta(d, i):
    sizes = encoder(d, (3, 2, 1)[i])
    return DebertaV2Config(
        **sizes, pooler_hidden_size=sizes["hidden_size"], pooler_dropout=0.0, relative_attention=True,
        pooler_hidden_act=d.choice(("gelu", "tanh")), position_buckets=(6, -1, 4)[i],
        max_relative_positions=(-1, 9, 30)[i], norm_rel_ebd=("layer_norm", "none", "layer_norm")[i],
        share_att_key=(True, False, False)[i], pos_att_type=(["c2p"], ["c2p", "p2c"], ["p2c"])[i],
        position_biased_input=i == 1, type_vocab_size=(0, 2, 0)[i])


def two_stacks(d, i):
    heads, others = d.choice(((1, 3), (2, 4), (3, 2)))
    return dict(vocab_size=d.choice((67, 83, 131)), d_model=heads * others * d.choice((5, 7, 10)),
                encoder_layers=d.choice((1, 2)), decoder_layers=d.choice((1, 2)), encoder_attention_heads=heads,
                decoder_attention_heads=others, encoder_ffn_dim=d.middle(), decoder_ffn_dim=d.middle(), dropout=0.0,
                max_position_embeddings=40, scale_embedding=d.bool(), tie_word_embeddings=True,
                activation_function=d.choice(("gelu", "relu")))


def bart(d, i):
    return BartConfig(**two_stacks(d, i))


def mbart(d, i):
    return MBartConfig(**two_stacks(d, i))


def t5(d, i):
    return T5Config(vocab_size=d.choice((67, 83, 131)), d_model=d.choice((40, 56, 66)), d_kv=d.any_width(),
                    d_ff=d.middle(), num_layers=d.choice((1, 2)), num_decoder_layers=d.choice((1, 2)),
                    num_heads=d.choice((1, 3, 5)), relative_attention_num_buckets=(8, 6, 32)[i], dropout_rate=0.0,
                    relative_attention_max_distance=(20, 11, 128)[i], tie_word_embeddings=i != 1,
                    feed_forward_proj=("relu", "gated-gelu", "gated-silu")[i], decoder_start_token_id=0)


FAMILIES = {"llama": llama, "mistral": mistral, "qwen2": qwen2, "qwen3": qwen3, "gemma2": gemma2,
            "gemma3_text": gemma3, "phi3": phi3, "opt": opt, "gpt_neox": gpt_neox, "gpt2": gpt2, "falcon": falcon,
            "stablelm": stablelm, "roberta": roberta, "bert": bert, "deberta-v2": deberta, "bart": bart,
            "mbart": mbart, "t5": t5}
TASKS = {"roberta": "cls", "bert": "cls", "deberta-v2": "cls", "bart": "seq2seq", "mbart": "seq2seq", "t5": "seq2seq"}


DULL = {"architectures", "transformers_version", "dtype", "use_cache", "id2label", "label2id", "model_type",
        "initializer_range", "init_std", "initializer_factor", "is_decoder", "is_encoder_decoder", "pretraining_tp",
        "add_cross_attention", "legacy", "problem_type", "_remove_final_layer_norm", "layer_norm_elementwise_affine"}


def differences(config):
    """The keys that are not the defaults of any model, shortly."""
    new = {k: v for k, v in config.to_diff_dict().items()
           if k not in DULL and not k.endswith("token_id") and "drop" not in k and v is not None}
    if TASKS.get(config.model_type) == "cls": new["num_labels"] = config.num_labels
    return " ".join("%s=%s" % (k, json.dumps(v).replace('"', "").replace(" ", "")) for k, v in sorted(new.items()))


def write(family, i, seed):
    """A model folder with its oracle; (folder, words of the table)."""
    d, order = Draw("%s %d %d" % (family, i, seed)), list(FAMILIES).index(family)
    task, config = TASKS.get(family, "causal"), FAMILIES[family](d, i)
    dtype, old, sharded = TYPES[(i + order) % 3], (i + order // 3) % 3 == 1, d.bool()
    folder, number = path("%s-%d" % (family, i)), seed * 1000 + order * 10 + i
    oracle.write_model(folder, task, config, number, dtype, old=old, shard=20_000 if sharded else None,
                       drop=("layer_types", "_sliding_window_pattern") if old else ())
    for attempt in range(20):
        note = oracle.write_oracle(folder, task, number + 10_000 * attempt, with_adapter=i == 2, lengths=LENGTHS,
                                   regression=config.num_labels == 1, with_packed=False)
        if i < 2 or note["qlora"]["fp32_vs_fp64_max_abs"]["after3"] <= FLOOR: break
    words = [str(dtype).replace("torch.", ""), "old spelling" if old else "new spelling"]
    if os.path.exists(os.path.join(folder, "model.safetensors.index.json")): words.append("sharded")
    if i == 2: words.append("qlora, fp32 is %.0e from fp64" % note["qlora"]["fp32_vs_fp64_max_abs"]["after3"])
    return folder, ", ".join(words) + "; " + differences(config)


def verified(folder):
    """(what failed or None, greatest difference of any logits), by our program."""
    status, out, err = qlora_result("verify", folder, "--json")
    try:
        report = json.loads(out)
    except ValueError:
        said = "exit %d: %s" % (status, err.strip().split("\n")[-1].replace(folder, "..."))
        return said, float("nan")
    groups = report.get("groups", [])
    bad = ["%s off by %.2g" % (g["group"], g["max_abs"]) for g in groups if not g["ok"]]
    if not any(g["group"] == "plain.logits" for g in groups): bad.append("plain.logits not computed")
    adapted = os.path.isdir(os.path.join(folder, "adapter"))
    if adapted and not any(g["group"] == "qlora.grad" for g in groups): bad.append("qlora not computed")
    if status and not bad: bad.append("exit %d" % status)
    logits = [g["max_abs"] for g in groups if g["group"].endswith(".logits")]
    return "; ".join(bad) or None, max(logits, default=float("nan"))


def main():
    arguments, seed = sys.argv[2:], 1
    if arguments[:1] == ["--seed"]: seed, arguments = int(arguments[1]), arguments[2:]
    unknown = set(arguments) - set(FAMILIES)
    if unknown: sys.exit("no such family: %s" % " ".join(sorted(unknown)))
    print("seed %d; greatest difference of any logits from transformers" % seed)
    for family in arguments or FAMILIES:
        for i in range(3):
            folder, words = write(family, i, seed)
            wrong, apart = verified(folder)
            print("%-12s %d  %-8.2g %s  %s%s" % (family, i, apart, "FAIL" if wrong else "pass", words,
                                               "\n    " + wrong if wrong else ""), flush=True)
            if wrong: note_failure("%s %d" % (family, i))
            shutil.rmtree(folder)
    finish()


if __name__ == "__main__":
    main()
