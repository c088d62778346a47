"""generate_oracles.py - records the tokens that transformers generates: greedy, and by beam search.

    python3 generate_oracles.py MODELS OUT NAME...       MODELS/NAME -> OUT/NAME.json

`rows`: greedy ids without an end token, `score` the sum of their log probabilities. `beams`: beam search,
length_penalty 1, early_stopping false; `eos` null or the token that ends a sequence (as its last id); `score` is the
sum of the log probabilities over the number of new tokens, the end token counted, the prompt and the start not. No
forced tokens. Rows of encoder-decoders have `encoder` and `start` in place of `prompt`.
Every row is one that small differences do not change: the same ids come out in fp64, and with noise of 2e-4 on the
logits. fp32, eager attention, one thread.
"""
import json
import os
import sys

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

import oracle

NEW = {"causal": 24, "seq2seq": 12}
BEAMS = {"causal": 3, "seq2seq": 4}


class Noise(LogitsProcessor):
    def __init__(self, seed, size):
        self.g, self.size = oracle.generator(seed), size

    def __call__(self, ids, scores):
        return scores + (torch.rand(scores.shape, generator=self.g, dtype=torch.float64) * self.size).to(scores.dtype)


def generate(model, ids, new, beams, eos, noise=None):
    """New ids, and the score: of a beam search its own, of a greedy one the sum of the log probabilities."""
    start = start_of(model) if model.config.is_encoder_decoder else None
    model.generation_config = GenerationConfig(
        max_new_tokens=new, do_sample=False, num_beams=beams, length_penalty=1.0, early_stopping=False,
        eos_token_id=eos, pad_token_id=0, decoder_start_token_id=start, use_cache=True)
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                         return_dict_in_generate=True, output_scores=True, renormalize_logits=False,
                         logits_processor=LogitsProcessorList([Noise(noise, 2e-4)] if noise is not None else []))
    tokens = out.sequences[0, 1 if start is not None else len(ids):].tolist()
    if eos in tokens: tokens = tokens[:tokens.index(eos) + 1]
    if beams > 1: return tokens, out.sequences_scores[0].item()
    return tokens, sum(s[0].log_softmax(-1)[t].item() for s, t in zip(out.scores, tokens))


def start_of(model):
    """mBART has no start token of its own: the recordings begin with token 3, as with a language's id."""
    start = model.config.decoder_start_token_id
    return 3 if start is None else start


def steady(model, double, ids, new, beams, eos):
    """The recording, or None where rounding could change it."""
    tokens, score = generate(model, ids, new, beams, eos)
    if generate(double, ids, new, beams, eos)[0] != tokens: return None
    if any(generate(model, ids, new, beams, eos, noise=n)[0] != tokens for n in range(4)): return None
    return tokens, score


def row(model, ids, tokens, score):
    what = {"encoder": ids, "start": start_of(model)} if model.config.is_encoder_decoder else {"prompt": ids}
    return {**what, "new": tokens, "score": score}


def liveliest(model, double, length, first_seed, new, beams=1, ended=False):
    """Of some prompts the steady one whose search ended, if it is to, then with the most different new tokens:
    random models like to repeat one, and a tied T5 finds nothing better than to go on."""
    found = []
    for seed in range(first_seed, first_seed + (40 if ended else 12)):
        ids = torch.randint(3, model.config.vocab_size, (length,), generator=oracle.generator(seed)).tolist()
        free, _ = generate(model, ids, new, beams, None)
        for eos in dict.fromkeys(free) if ended else [None]:
            tokens = generate(model, ids, new, beams, eos)[0] if ended else free
            found.append((tokens[-1] == eos and len(tokens) < new, len(set(tokens)), len(tokens), ids, eos))
    for *_, ids, eos in sorted(found, key=lambda x: x[:3], reverse=True):
        kept = steady(model, double, ids, new, beams, eos)
        if kept: return ids, eos, kept
    raise SystemExit("no prompt gives tokens that are safe from rounding")


def record(folder, task):
    model, double = oracle.load(folder, task), oracle.load(folder, task, torch.float64)
    rows, beams, new = [], [], NEW[task]
    for p in range(5):
        ids, _, kept = liveliest(model, double, 3 + 4 * p, 100 * p, new)
        rows.append(row(model, ids, *kept))
    for length, ended in ((7, False), (12, True)):
        ids, eos, kept = liveliest(model, double, length, 1000, new, BEAMS[task], ended)
        beams.append({**row(model, ids, *kept), "num_beams": BEAMS[task], "length_penalty": 1.0,
                      "early_stopping": False, "max_new": new, "eos": eos})
    return rows, beams


def main():
    models, out = sys.argv[1], sys.argv[2]
    for name in sys.argv[3:]:
        folder = os.path.join(models, name)
        with open(os.path.join(folder, "oracle.json")) as f: note = json.load(f)
        rows, beams = record(folder, note["task"])
        versions = {k: oracle.versions()[k] for k in ("torch", "transformers")}
        with open(os.path.join(out, name + ".json"), "w") as f:
            json.dump({"versions": versions, "rows": rows, "beams": beams}, f)
        print(name, [len(r["new"]) for r in rows], [(b["new"], b["eos"], round(b["score"], 4)) for b in beams],
              flush=True)


if __name__ == "__main__":
    main()
