#!/usr/bin/env python3
"""Records what transformers finds under rules and by beam search: tests/data/generate/search.json.

    python3 make_search.py MODELS OUT

MODELS holds the tiny models named below. Every row has the model, the prompt (of an encoder-decoder the source, and
`start`), the settings as generate() calls them, the new ids and, of beams, the score. Only rows are kept that fp64
confirms. fp32, eager attention, one thread.
"""
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

MODELS = ["tiny-llama", "tiny-gemma2", "tiny-gpt2", "tiny-t5", "tiny-t5-v11", "tiny-bart", "tiny-mbart"]
SEARCHES = [
    {"num_beams": 2, "length_penalty": 1.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 0.0, "early_stopping": False},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": False},
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
    {"num_beams": 5, "length_penalty": -1.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True, "no_repeat_ngram_size": 2},
    {"num_beams": 3, "length_penalty": 0.5, "early_stopping": False, "min_length": 9, "forced_eos_token_id": 5},
    {"num_beams": 3, "length_penalty": 1.0, "early_stopping": False, "no_repeat_ngram_size": 3,
     "forced_bos_token_id": 7},
    {"num_beams": 1, "no_repeat_ngram_size": 1},
    {"num_beams": 1, "no_repeat_ngram_size": 2, "min_length": 7, "forced_eos_token_id": 5},
    {"num_beams": 1, "forced_bos_token_id": 9, "forced_eos_token_id": 8},
]
NEW = 14


def run(model, ids, start, eos, search):
    model.generation_config = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, eos_token_id=eos, pad_token_id=0, decoder_start_token_id=start, **search)
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                         return_dict_in_generate=True, output_scores=True)
    new = out.sequences[0, 1 if start is not None else len(ids):].tolist()
    ends = [i for i, t in enumerate(new) if t in (eos or [])]
    if ends: new = new[:ends[0] + 1]
    return new, out.sequences_scores[0].item() if search["num_beams"] > 1 else None


def prompts(model, seq2seq, count):
    for seed in range(count):
        g = torch.Generator().manual_seed(77 + seed)
        yield torch.randint(10, model.config.vocab_size, (1 if seed == 0 else 2 + 3 * seed,), generator=g).tolist()


def rows_of(folder, name):
    with open(os.path.join(folder, "config.json")) as f: config = json.load(f)
    seq2seq = bool(config.get("is_encoder_decoder"))
    kind = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model, double = (kind.from_pretrained(folder, dtype=t, attn_implementation="eager").eval()
                     for t in (torch.float32, torch.float64))
    start = None
    if seq2seq: start = 3 if config.get("decoder_start_token_id") is None else config["decoder_start_token_id"]
    for ids in prompts(model, seq2seq, 3):
        free, _ = run(model, ids, start, None, {"num_beams": 4})
        likely = list(dict.fromkeys(reversed(free)))[:2]
        for search in SEARCHES:
            for eos in (None, likely[:1], likely):
                if eos is None and ("min_length" in search or search["num_beams"] > 3): continue
                new, score = run(model, ids, start, eos, search)
                again, other = run(double, ids, start, eos, search)
                if again != new: continue
                row = {"model": name, "prompt": ids, "eos": eos or [], "new": new, **search}
                if start is not None: row["start"] = start
                if score is not None: row["score"] = round(other, 6)
                yield row


def main():
    torch.set_num_threads(1)
    models, out = sys.argv[1], sys.argv[2]
    rows = [r for name in MODELS for r in rows_of(os.path.join(models, name), name)]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    with open(os.path.join(out, "search.json"), "w") as f:
        f.write(json.dumps({"versions": versions, "max_new_tokens": NEW})[:-1] + ', "rows": [\n')
        f.write(",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


if __name__ == "__main__":
    main()
