#!/usr/bin/env python3
"""kill.py PROGRAM KILLS [SEED] - runs are killed until each has ended; every one ends in the bytes of an unbroken run.

PROGRAM is `qlora` with tests/support/faults.c linked in. A process is killed at a random moment, or before or in the
middle of a random file operation; in half of the cases another file operation before that finds the disk full, fails
to sync, writes less than it was given or is interrupted. The next process gets the same command. No kill may leave a
checkpoint that is damaged under its name."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

program, wanted = sys.argv[1], int(sys.argv[2])
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32)
print(f"seed {seed}", flush=True)
rng = random.Random(seed)
here = os.path.dirname(os.path.abspath(__file__))
model = os.path.join(os.environ["QL_TEST_DATA"], "models", "tiny-llama")
STEPS, SAVE = 60, 4
INJECTED = ["enospc", "full", "eio", "short", "eintr"]


def fail(text):
    print(f"FAILED (seed {seed}): {text}")
    sys.exit(1)


class Runs:
    def __init__(self, folder):
        self.folder = folder
        self.rows = os.path.join(folder, "rows.jsonl")
        self.held = os.path.join(folder, "held.jsonl")
        for path, what in ((self.rows, ["40", "24"]), (self.held, ["6", "24", "9"])):
            with open(path, "w") as f:
                subprocess.run([os.path.join(here, "rows.py"), *what], stdout=f, check=True)

    def start(self, run, fault=""):
        """A process on this folder, its messages in `messages`."""
        command = [program, "train", "-m", model, "--dataset", self.rows, "--dataset_format", "tokens", "--output_dir", run,
                   "--lora_r", "4", "--lora_dropout", "0.1", "--learning_rate", "1e-2", "--per_device_train_batch_size", "2",
                   "--gradient_accumulation_steps", "2", "--logging_steps", "1", "--max_steps", str(STEPS), "--save_steps",
                   str(SAVE), "--save_total_limit", "2", "--eval_dataset", self.held, "--eval_steps", "20", "--lr_scheduler_type",
                   "cosine", "--load_best_model_at_end", "true", "--report_to", "jsonl,csv", "--threads", str(rng.choice([1, 1, 2]))]
        env = dict(os.environ, QL_FAULT=fault, OMP_WAIT_POLICY="passive")
        self.messages = open(os.path.join(self.folder, "messages"), "w+")
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.messages, env=env)

    def said(self):
        self.messages.seek(0)
        return self.messages.read()


def end_of(run):
    """What must be the same however a run came to its end."""
    files = {}
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", f"checkpoint-{STEPS}/state.json",
                 f"checkpoint-{STEPS}/optimizer.safetensors", f"checkpoint-{STEPS}/MANIFEST.json", "completed", "config.yaml"):
        with open(os.path.join(run, name), "rb") as f:
            files[name] = f.read()
    files["config.yaml"] = [x for x in files["config.yaml"].splitlines() if not x.startswith((b"threads", b"output_dir"))]
    changing = ("tok_s", "eta_s", "mem_bytes")  # the last: with the threads
    with open(os.path.join(run, "train.jsonl")) as f:
        files["train.jsonl"] = [{k: v for k, v in json.loads(line).items() if k not in changing} for line in f]
    with open(os.path.join(run, "train.csv")) as f:
        files["train.csv"] = [line.split(",")[:8] for line in f]
    files["best"] = os.readlink(os.path.join(run, "best"))
    files["names"] = sorted(set(os.listdir(run)) - {".lock"})  # it stays when its removal is what failed
    return files


def check_end(run, want):
    have = end_of(run)
    for name, value in want.items():
        if have[name] == value:
            continue
        why = have[name] if name == "names" else ""
        if name == "train.jsonl":
            why = next(((a, b) for a, b in zip(have[name], value) if a != b), (len(have[name]), len(value)))
        fail(f"{name} differs from the unbroken run's {why}")


def main(folder):
    runs = Runs(folder)
    whole = os.path.join(folder, "whole")
    counted = os.path.join(folder, "count")
    begin = time.time()
    if runs.start(whole, f"count:{counted}").wait() != 0:
        fail(f"the unbroken run: {runs.said()}")
    seconds = time.time() - begin
    with open(counted) as f:
        operations = int(f.read())
    want = end_of(whole)
    if [x["step"] for x in want["train.jsonl"]] != list(range(1, STEPS + 1)):
        fail("each step should be in train.jsonl once")
    print(f"an unbroken run takes {seconds:.2f} s and {operations} file operations", flush=True)

    kills = in_operation = stopped = ended = starts = 0
    run = os.path.join(folder, "run")
    while kills < wanted or os.path.exists(run):
        starts += 1
        if starts > 20 * wanted:
            fail("the runs do not come to an end")
        timed = rng.random() < 0.4
        faults = []
        last = kills >= wanted  # enough were killed: let the run that is left come to its end
        if not last and rng.random() < 0.5:
            faults.append(f"{rng.choice(INJECTED)}:{rng.randint(1, operations)}")
        if not last and not timed:
            faults.append(f"{rng.choice(['kill', 'torn'])}:{rng.randint(1, operations)}")
        process = runs.start(run, ",".join(faults))
        if timed and not last:
            try:
                process.wait(rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
        code = process.wait()
        said = runs.said()
        if "damaged" in said:
            fail(f"a kill should leave no damaged checkpoint: {said}")
        if code == -9:
            kills += 1
            in_operation += not timed
        elif code == 0:
            check_end(run, want)
            shutil.rmtree(run)
            ended += 1
        elif code == 1 and faults and "error: " in said:
            stopped += 1
        else:
            fail(f"exit status {code} with faults {faults}: {said}")
    print(f"{kills} kills, {in_operation} of them in a file operation, {stopped} stops by failing operations, {starts} starts; "
          f"{ended} runs ended, each in the same bytes; {time.time() - begin:.0f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as path:
        main(path)
