"""smollm2.py - a real model from its GGUF (QLORA_SMOLLM2_GGUF) against transformers on the folder that
shared/scripts/make_smollm2.py writes: bit-equal bf16 weights, logits, and the likeliest next tokens."""
import json
import os
import subprocess
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from common import SHARED, check, check_at_least, distance, finish, load, our_logits, path, qlora, their_logits

TEXTS = ["The capital of France is Paris, and the capital of Italy is Rome. The capital of Spain is",
         "Water boils at one hundred degrees. When it cools down far enough it turns into ice, which is lighter.",
         "def add(a, b):\n    return a + b\n\nprint(add(2, 3))\n", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13"]


def zero_adapter(folder):
    """An adapter that changes nothing: merging it is a conversion."""
    model = get_peft_model(load(folder), LoraConfig(task_type="CAUSAL_LM", r=1, target_modules=["q_proj"]))
    model.save_pretrained(path("zero"))
    return path("zero")


def agreement(gguf, ids, likeliest):
    """Share of prefixes after which the GGUF, as it is, says what transformers says."""
    prompts, wanted = path("prefixes.jsonl"), []
    with open(prompts, "w") as f:
        for row, best in zip(ids, likeliest):
            for n in range(2, len(row) + 1, 3):
                f.write(json.dumps({"ids": row[:n]}) + "\n")
                wanted.append(best[n - 1].item())
    lines = qlora("generate", "-m", gguf, "--file", prompts, "-n", 1, "--json").splitlines()
    have = [json.loads(line)["ids"][0] for line in lines]
    return sum(a == b for a, b in zip(have, wanted)) / len(wanted), len(wanted)


def main():
    gguf, script = os.environ.get("QLORA_SMOLLM2_GGUF"), os.path.join(SHARED, "scripts", "make_smollm2.py")
    for missing, why in ((not gguf, "QLORA_SMOLLM2_GGUF is not set"), (not os.path.exists(script), "no " + script)):
        if missing:
            print("skipped:", why)
            sys.exit(77)
    theirs = path("smollm2")
    subprocess.run([sys.executable, script, theirs, "--gguf", gguf], check=True, stdout=subprocess.DEVNULL)
    ours = path("converted")
    qlora("merge", "-m", gguf, "--adapter", zero_adapter(theirs), "--output_dir", ours, "--to", "bf16")
    a, b = (load_file(os.path.join(d, "model.safetensors")) for d in (ours, theirs))
    check("tensors with another name", len(set(a) ^ set(b)), 0)
    check("tensors that are not bit-equal", sum(not torch.equal(a[k], b[k]) for k in b), 0)
    del a, b

    texts = path("texts.jsonl")
    with open(texts, "w") as f:
        for t in TEXTS: f.write(json.dumps({"text": t}) + "\n")
    qlora("tokenize", "-m", gguf, "--file", texts, "--output", path("ids.jsonl"))
    with open(path("ids.jsonl")) as f: ids = [json.loads(line)["ids"] for line in f]
    model = load(theirs)
    logits = [their_logits(model, torch.tensor([row]))[0] for row in ids]
    worst = same = total = 0
    for row, want in zip(ids, logits):
        have = our_logits(ours, torch.tensor([row]), vocab=want.shape[1])[0]
        worst = max(worst, distance(have, want))
        same += (have.argmax(1) == want.argmax(1)).sum().item()
        total += len(row)
    check("bf16 folder: logits", worst, 1e-3)
    check_at_least("bf16 folder: share of equal likeliest tokens (of %d)" % total, same / total, 1)
    share, n = agreement(gguf, ids, [x.argmax(1) for x in logits])
    check_at_least("Q4_1 blocks as they are: share of equal likeliest tokens (of %d)" % n, share, 0.9)
    finish()


main()
