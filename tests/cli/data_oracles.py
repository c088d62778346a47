"""data_oracles.py QLORA EVAL_FIXTURES TMP - `qlora data show --json` gives the ids and labels of
sft_examples_*.jsonl and the prompts of alpaca_prompts.jsonl; TMP holds the folders of tokenizers."""
import itertools
import json
import subprocess
import sys

qlora, fixtures, tmp = sys.argv[1:]


def lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def show(rows, model, *flags):
    with open(f"{tmp}/rows.jsonl", "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    out = subprocess.run([qlora, "data", "show", f"{tmp}/rows.jsonl", "-m", f"{tmp}/{model}", "--json", *flags],
                         capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return [json.loads(line) for line in out.stdout.splitlines()]


count = 0
for model in "llama2", "llama3":
    limits = lambda r: (r["source_max_len"], r["target_max_len"], r["train_on_source"])
    for (source, target, learn), group in itertools.groupby(
            sorted(lines(f"{fixtures}/sft_examples_{model}.jsonl"), key=limits), limits):
        group = list(group)
        flags = ["--source_max_len", str(source), "--target_max_len", str(target), "--train_on_source", str(learn).lower()]
        # a row that teaches nothing, or whose answer is empty, is refused, so it stands in no file
        taught = [r for r in group if r["target"].strip()]
        got = show([{"input": r["source"], "output": r["target"]} for r in taught], model,
                   "--dataset_format", "input-output", *flags)
        assert len(got) == len(taught)
        for want, have in zip(taught, got):
            for key in "source", "target", "input_ids", "labels":
                assert want[key] == have[key], (model, flags, key, want["source"][:60])
        count += len(taught)
assert count >= 70, count
rows = lines(f"{fixtures}/alpaca_prompts.jsonl")
taught = [r for r in rows if r["output"].strip()]
got = show([{k: r[k] for k in ("instruction", "input", "output")} for r in taught], "llama2", "--chat_template", "none")
assert len(got) == len(taught) and len(taught) >= len(rows) - 2
for want, have in zip(taught, got):
    assert want["prompt_qlora"] == have["source"] and want["output"] == have["target"]
    text = len([l for l in have["labels"] if l == -100])
    assert have["labels"][text:] == have["input_ids"][text:]
