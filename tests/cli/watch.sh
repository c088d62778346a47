#!/bin/sh
# watch.sh - watching a run: where its numbers go.
here=$(dirname "$0")
. "$here/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
"$here/rows.py" 40 24 >"$tmp/rows.jsonl"
"$here/rows.py" 6 24 9 >"$tmp/held.jsonl"

# train RUN FLAG... - rows of ids on the tiny model.
train() {
    dir=$1
    shift
    run train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$dir" --lora_r 4 \
        --learning_rate 1e-2 --per_device_train_batch_size 2 --gradient_accumulation_steps 2 --logging_steps 1 "$@"
}
# check EXPRESSION - a Python expression over the run folder $dir: lines(), table(), names(), text(NAME).
check() {
    python3 - "$dir" "$1" >"$tmp/py" 2>&1 <<'PY' || fail "should hold: $1 ($(tail -n 1 "$tmp/py"))"
import csv, glob, json, os, re, sys
run, expression = sys.argv[1:]
def lines(name="train.jsonl"): return [json.loads(x) for x in open(run + "/" + name)]
def table(): return list(csv.DictReader(open(run + "/train.csv")))
def names(): return sorted(os.listdir(run))
def text(name): return open(run + "/" + name).read()
sys.exit(0 if eval(expression) else 1)
PY
}
events='[x for x in names() if x.startswith("events.out.tfevents.")]'

# train.csv has the numbers of train.jsonl; after a resume each step stands there once.
train "$tmp/csv" --max_steps 8 --save_steps 4 --report_to csv --eval_dataset "$tmp/held.jsonl" --eval_steps 4
expect_rc 0
same_numbers='[(int(r["step"]), float(r["loss"]), float(r["lr"]), float(r["eval_loss"] or -1)) for r in table()] == [(x["step"], x["loss"], x["lr"], x.get("eval_loss", -1)) for x in lines()] and len(table()) == 8'
check "$same_numbers"
check "not $events"
rm -r "$tmp/csv/checkpoint-8" "$tmp/csv/completed"
printf '{"step": 9, "lo' >>"$tmp/csv/train.jsonl" # torn by a power failure
train "$tmp/csv" --max_steps 8 --save_steps 4 --report_to csv,tensorboard --eval_dataset "$tmp/held.jsonl" --eval_steps 4
expect_rc 0
expect_err '^continuing after step 4 '
check "$same_numbers"
check "len($events) == 1"
# A new run in the folder forgets what the old one reported.
train "$tmp/csv" --max_steps 2 --resume never --save_steps 0
expect_rc 0
check "not $events and 'train.csv' not in names() and len(lines()) == 2"
train "$tmp/all" --max_steps 1 --save_steps 0 --report_to all
expect_rc 0
check "len($events) == 1 and len(table()) == 1"
train "$tmp/x" --report_to jsonl,wandb
refused 2 "--report_to takes a list of jsonl, csv and tensorboard, or all or none, not 'wandb'"
[ -e "$tmp/x" ] && fail 'nothing should have been started'
finish
