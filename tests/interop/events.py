"""events.py - the package tensorboard reads what `qlora train --report_to tensorboard` writes, across a resume."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

program, data = sys.argv[1], os.environ["QL_TEST_DATA"]
folder = tempfile.mkdtemp()
run = folder + "/run"


def train():
    subprocess.run([program, "train", "-m", data + "/models/tiny-llama", "--dataset", folder + "/rows.jsonl",
                    "--dataset_format", "tokens", "--output_dir", run, "--lora_r", "4", "--max_steps", "12",
                    "--save_steps", "4", "--logging_steps", "1", "--eval_dataset_size", "4", "--eval_steps", "6",
                    "--gradient_accumulation_steps", "1", "--report_to", "tensorboard,csv"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


try:
    with open(folder + "/rows.jsonl", "w") as f:
        for i in range(24):
            f.write(json.dumps({"input_ids": [1 + (i * 7 + k * k) % 90 for k in range(12)]}) + "\n")
    train()
    for name in ("checkpoint-8", "checkpoint-12"):
        shutil.rmtree(run + "/" + name)
    train()  # continues after step 4: the first file has steps that are void now
    files = [x for x in os.listdir(run) if x.startswith("events.out.tfevents.")]
    assert len(files) == 2, files
    lines = [json.loads(x) for x in open(run + "/train.jsonl")]
    assert [x["step"] for x in lines] == list(range(1, 13))
    events = EventAccumulator(run)
    events.Reload()
    keys = {"train/loss": "loss", "train/grad_norm": "grad_norm", "train/learning_rate": "lr", "eval/loss": "eval_loss",
            "train/tok_s": "tok_s", "train/mem_bytes": "mem_bytes"}
    for tag, key in keys.items():
        got = [(e.step, e.value) for e in events.Scalars(tag)]
        want = [(x["step"], x[key]) for x in lines if key in x]
        assert [s for s, _ in got] == [s for s, _ in want], (tag, got)
        worst = max(abs(a - b) / max(abs(b), 1e-30) for (_, a), (_, b) in zip(got, want))
        print("%-20s %2d values, relative difference %.1e" % (tag, len(got), worst))
        assert worst < 1e-7, tag  # single precision
finally:
    shutil.rmtree(folder)
