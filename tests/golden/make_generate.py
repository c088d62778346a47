#!/usr/bin/env python3
"""Records greedy generation of transformers: tests/data/generate/<model>.json.

    python3 make_generate.py FIXTURES OUT [SMOLLM2_FOLDER]

FIXTURES holds tiny-llama*, tiny-mistral, stories260k; SMOLLM2_FOLDER is what make_smollm2.py writes.
fp32, eager attention, one thread. For SmolLM2 the prompts go through the chat template.
"""
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

QUESTIONS = [
    "What is the capital of France?", "Name three colours.", "Write one sentence about the sea.",
    "How many days are in a week?", "What do bees make?", "Who wrote Hamlet?", "Explain rain to a child.",
    "Give me a word that rhymes with cat.", "What is 7 plus 5?", "List two kinds of trees.",
    "What language is spoken in Brazil?", "Why is the sky blue?", "Tell me a short joke.",
    "What is the opposite of hot?", "Name a planet.", "What is bread made of?", "Describe a dog in five words.",
    "What year has 366 days called?", "How do I boil an egg?", "Say hello in Spanish."]


def greedy(model, ids, count, eos):
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                         max_new_tokens=count, do_sample=False, num_beams=1, eos_token_id=eos, pad_token_id=0,
                         use_cache=True)
    return out[0, len(ids):].tolist()


def main():
    torch.set_num_threads(1)
    fixtures, out = sys.argv[1], sys.argv[2]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    names = ["tiny-llama", "tiny-llama-linear", "tiny-llama-rope3", "tiny-llama-yarn", "tiny-mistral", "stories260k"]
    for name in names:
        model = AutoModelForCausalLM.from_pretrained(os.path.join(fixtures, name), dtype=torch.float32,
                                                     attn_implementation="eager").eval()
        rows = []
        for p in range(5):
            g = torch.Generator().manual_seed(p)
            ids = torch.randint(3, model.config.vocab_size, (3 + 4 * p,), generator=g).tolist()
            rows.append({"prompt": ids, "new": greedy(model, ids, 24, None)})
        json.dump({"versions": versions, "rows": rows}, open(os.path.join(out, name + ".json"), "w"))
    if len(sys.argv) > 3:
        folder = sys.argv[3]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        tok = PreTrainedTokenizerFast.from_pretrained(folder)
        rows = []
        for q in QUESTIONS:
            text = tok.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True)
            ids = tok(text, add_special_tokens=False)["input_ids"]
            new = greedy(model, ids, 40, model.generation_config.eos_token_id)
            rows.append({"question": q, "prompt": ids, "new": new, "text": tok.decode(new, skip_special_tokens=True)})
        json.dump({"versions": versions, "rows": rows}, open(os.path.join(out, "smollm2.json"), "w"))


if __name__ == "__main__":
    main()
