#!/bin/sh
# watch.sh - watching a run: where its numbers go, the best checkpoint, stopping early.
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/tiny_run.sh"
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

# The best evaluation is linked and never pruned, however few checkpoints are kept. At this rate the last evaluation
# is not the best, and one of the first is better than the two behind it.
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
evals='[(x["eval_loss"], x["step"]) for x in lines() if "eval_loss" in x]'
judged() { # RUN FLAG...
    train "$@" --max_steps 24 --learning_rate 0.1 --eval_dataset "$tmp/held.jsonl" --eval_steps 3
}
judged "$tmp/best" --save_steps 100 --save_total_limit 1 --json
expect_rc 0
best=$(basename "$(readlink "$tmp/best/best")")
check "'$best' == 'checkpoint-%d' % min($evals)[1]"
check "[x for x in names() if x.startswith('checkpoint')] == sorted({'$best', 'checkpoint-24'})"
expect_json "d['best']['metric'] == 'loss' and 'checkpoint-%d' % d['best']['step'] == '$best' and d['steps'] == 24"
same "$dir/adapter/adapter_model.safetensors" "$dir/checkpoint-24/adapter/adapter_model.safetensors"
# Where patience 2 ends this run: after two evaluations in a row that are not better than the best so far.
stop=$(python3 - "$dir/train.jsonl" <<'PY'
import json, sys
best = waited = None
for x in map(json.loads, open(sys.argv[1])):
    if "eval_loss" not in x: continue
    if best is None or x["eval_loss"] < best[0]: best, waited = (x["eval_loss"], x["step"]), 0
    else: waited += 1
    if waited == 2: print(x["step"], best[1]); break
PY
)
first=${stop#* } stop=${stop% *}
if [ "$best" = checkpoint-24 ] || [ -z "$stop" ]; then fail 'the test wants a best evaluation in the middle'; fi

# --load_best_model_at_end makes it the result; the run still has all its steps. All weights, too.
judged "$tmp/load" --save_steps 100 --load_best_model_at_end --json
expect_rc 0
expect_err "^the result is .*/$best, the best by loss"
expect_json 'd["steps"] == 24'
check 'text("completed") == "step 24\n"'
same "$dir/adapter/adapter_model.safetensors" "$tmp/best/$best/adapter/adapter_model.safetensors"
judged "$tmp/full" --save_steps 100 --load_best_model_at_end --full
expect_rc 0
check "os.readlink(run + '/best') == 'checkpoint-%d' % min($evals)[1]"

# Patience: a normal end, and the same command again has nothing to add.
patient() { judged "$tmp/stop" --early_stopping_patience 2 --load_best_model_at_end --save_steps 100 "$@"; }
patient --json
expect_rc 0
expect_err "^stopped early after step $stop: .* the best is .* at step $first"
expect_json "d['stopped_early'] and d['steps'] == $stop and d['best']['step'] == $first"
check "[x['step'] for x in lines()] == list(range(1, $stop + 1)) and text('completed') == 'step $stop\n'"
same "$dir/adapter/adapter_model.safetensors" "$dir/checkpoint-$first/adapter/adapter_model.safetensors"
cp "$dir/adapter/adapter_model.safetensors" "$tmp/whole"
patient
expect_rc 0
check "lines()[-1]['step'] == $stop"
same "$dir/adapter/adapter_model.safetensors" "$tmp/whole"
# Stopped in between, it gives up at the same step; with more patience it goes on.
rm -r "$dir/checkpoint-$stop" "$dir/completed"
patient
expect_rc 0
expect_err "^continuing after step $first "
check "[x['step'] for x in lines()] == list(range(1, $stop + 1))"
same "$dir/adapter/adapter_model.safetensors" "$tmp/whole"
judged "$tmp/stop" --early_stopping_patience 50 --save_steps 100
expect_rc 0
check 'lines()[-1]["step"] == 24'
judged "$tmp/threshold" --early_stopping_patience 2 --early_stopping_threshold 5 --save_steps 0
expect_rc 0
expect_err "^stopped early after step 9: the evaluation's loss has not got better by 5 in 2 evaluations"

# Samples: before, every n steps, after; what `generate` writes with the adapter; in the plan; no change to the run.
printf '{"ids": [1, 5, 9]}\n{"ids": [1, 3, 40, 41]}\n' >"$tmp/prompts.jsonl"
sampled() { train "$@" --max_steps 8 --sample_prompts "$tmp/prompts.jsonl" --sample_max_new_tokens 6 --threads 1; }
sampled "$tmp/samples" --sample_steps 3 --save_steps 4 --report_to tensorboard --json
expect_rc 0
expect_json 'd["mem_bytes"] == d["peak_bytes"]'
check '[(x["step"], x["index"]) for x in lines("samples.jsonl")] == [(s, i) for s in (0, 3, 6, 8) for i in (1, 2)]'
check 'all(x["prompt"] == ("1 5 9", "1 3 40 41")[x["index"] - 1] and x["stop"] in ("eos", "length") for x in lines("samples.jsonl"))'
check "'What it writes' in text('report.html')"
run plan -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --lora_r 4 --per_device_train_batch_size 2 \
    --sample_prompts "$tmp/prompts.jsonl" --sample_max_new_tokens 6 --threads 1 --json
planned=$(python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(d["peak_bytes"], d["device_bytes"]["cache"])' "$tmp/out")
check "lines()[0]['mem_bytes'] == int('$planned'.split()[0]) and int('$planned'.split()[1]) > 0"
for i in 1 2; do
    run generate -m "$model" --bits 4 --adapter "$dir/adapter" --prompt_ids "$([ $i = 1 ] && echo 1,5,9 || echo 1,3,40,41)" \
        --max_new_tokens 6 --temperature 0 --threads 1 --json
    expect_rc 0
    cp "$tmp/out" "$dir/generated.json"
    check "lines('samples.jsonl')[-3 + $i]['text'] == ' '.join(map(str, json.loads(text('generated.json'))['ids']))"
done
cp "$dir/samples.jsonl" "$tmp/all-samples"
rm -r "$dir/checkpoint-8" "$dir/completed"
sampled "$tmp/samples" --sample_steps 3 --save_steps 4
expect_rc 0
same "$dir/samples.jsonl" "$tmp/all-samples"
train "$tmp/quiet" --max_steps 8 --threads 1
expect_rc 0
same "$dir/adapter/adapter_model.safetensors" "$tmp/samples/adapter/adapter_model.safetensors"
sampled "$tmp/whole-model" --full --save_steps 0
expect_rc 0
check '[x["step"] for x in lines("samples.jsonl")] == [0, 0, 8, 8]'
# Without prompts: the beginnings of rows that are not learned.
python3 -c 'import json
for i in range(9): print(json.dumps({"input_ids": [1, 5, 9 + i, 20, 21, 2], "labels": [-100, -100, -100, 20, 21, 2]}))' >"$tmp/pairs.jsonl"
run train -m "$model" --dataset "$tmp/pairs.jsonl" --dataset_format tokens --lora_r 4 --max_steps 1 --sample_steps 1 \
    --output_dir "$tmp/pairs" --shuffle false
expect_rc 0
dir=$tmp/pairs
check '[(x["prompt"], x["expected"]) for x in lines("samples.jsonl")][:4] == [("1 5 %d" % (9 + i), "20 21 2") for i in range(4)]'
train "$tmp/x" --sample_steps 3 --sample_prompts 'some words'
refused 2 'a prompt in words needs a tokenizer'
train "$tmp/x" --sample_steps 3
refused 2 'no row of the data has a beginning that is not learned; give --sample_prompts'
echo '{"ids": [1, 999]}' >"$tmp/outside.jsonl"
train "$tmp/x" --sample_prompts "$tmp/outside.jsonl"
refused 3 'sample prompt 1: id 999 is outside the vocabulary of 256'

# A row that is unlike all others makes the loss jump: it is named, at the same step with and without a stop.
python3 - >"$tmp/odd.jsonl" <<'PY'
import json
for i in range(60):
    odd = i == 44
    print(json.dumps({"input_ids": [1, 2] + ([7 * k % 250 + 3 for k in range(30, 44)] if odd else [5] * 14)}))
PY
odd() {
    dir=$1
    shift
    run train -m "$model" --dataset "$tmp/odd.jsonl" --dataset_format tokens --output_dir "$dir" --lora_r 4 --shuffle false \
        --learning_rate 1e-2 --gradient_accumulation_steps 1 --max_steps 60 --logging_steps 20 --save_steps 40 --threads 1 "$@"
}
odd "$tmp/odd"
expect_rc 0
expect_err '^warning: step 45: the loss jumped to [0-9.]+, [0-9.e-]+ is usual \(gradient norm .*; row 45 of .*odd.jsonl\)'
check '[x["step"] for x in lines() if "warning" in x] == [45] and [x["step"] for x in lines()] == [1, 20, 40, 45, 60]'
check '"the loss jumped to" in text("report.html")'
cp "$dir/train.jsonl" "$tmp/odd-whole.jsonl"
rm -r "$dir/checkpoint-60" "$dir/completed"
odd "$tmp/odd"
expect_rc 0
expect_err '^continuing after step 40 '
check '[x.get("warning") for x in lines()] == [json.loads(x).get("warning") for x in open("'"$tmp"'/odd-whole.jsonl")]'

judged "$tmp/x" --metric_for_best_model accuracy
refused 2 "--metric_for_best_model takes loss here, not 'accuracy'"
judged "$tmp/x" --load_best_model_at_end --save_steps 0
refused 2 'needs checkpoints: --save_steps above 0'
train "$tmp/x" --early_stopping_patience 2
refused 2 '--early_stopping_patience needs rows to evaluate on'
train "$tmp/x" --load_best_model_at_end --eval_dataset "$tmp/held.jsonl"
refused 2 '--load_best_model_at_end needs --eval_steps'
[ -e "$tmp/x" ] && fail 'nothing should have been started'
finish
