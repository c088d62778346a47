#!/bin/sh
# loftq.sh - `qlora loftq`: what the report says is what the files hold, base and adapter are one model for
# training and evaluation, and what cannot be done gets a sentence.
here=$(dirname "$0")
. "$here/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama

# check FLAG... - a folder, and its residuals recomputed from the files.
check() {
    rm -rf "$tmp/out.d"
    run loftq -m "$model" --output_dir "$tmp/out.d" --json "$@"
    expect_rc 0
    expect_json 'len(d["tensors"]) > 0 and all(t["residual"][t["best"]] == min(t["residual"][1:]) for t in d["tensors"])'
    cp "$tmp/out" "$tmp/report.json"
    "$here/loftq_residual.py" "$model" "$tmp/out.d" "$tmp/report.json" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="loftq_residual.py after qlora loftq $*"
    expect_rc 0
}
check --bits 4 --lora_r 4 --lora_alpha 16 --loftq_iter 3
check --bits 2 --quant_type nf2 --lora_r 8 --lora_alpha 8 --loftq_iter auto --double_quant false
check --bits 3 --lora_r 4 --lora_alpha 2 --use_rslora true --svd randomized
check --quant_type fp4 --lora_r 2 --lora_alpha 1 --loftq_iter 2 --targets q,v
check --init_lora_weights pissa --bits 4 --lora_r 4
check --init_lora_weights pissa --bits 16 --lora_r 4 --lora_alpha 8
check --init_lora_weights olora --bits 16 --lora_r 4 --lora_alpha 4

# T iterations are T + 1 norms, the first without an adapter; the bits are the type's.
run loftq -m "$model" --output_dir "$tmp/a" --bits 3 --lora_r 4 --loftq_iter 4 --threads 1 --json
expect_rc 0
expect_json 'all(len(t["residual"]) == 5 and t["bits"] == 3 and t["name"].endswith(".weight") for t in d["tensors"])'
[ -s "$tmp/a/loftq.html" ] && [ -s "$tmp/a/loftq.json" ] || fail "a page and a report in the folder"

# Any number of threads writes the same bytes.
run loftq -m "$model" --output_dir "$tmp/b" --bits 3 --lora_r 4 --loftq_iter 4 --threads 3 --json
expect_rc 0
cmp -s "$tmp/a/model.safetensors" "$tmp/b/model.safetensors" || fail "the same base on 1 and 3 threads"
cmp -s "$tmp/a/adapter/adapter_model.safetensors" "$tmp/b/adapter/adapter_model.safetensors" ||
    fail "the same adapter on 1 and 3 threads"

# T = 1: the base is what `qlora quantize` writes, byte for byte (requirement 23).
run loftq -m "$model" --output_dir "$tmp/one" --bits 4 --lora_r 4 --json
expect_rc 0
run quantize -m "$model" --output_dir "$tmp/plain" --bits 4 --json
expect_rc 0
cmp -s "$tmp/one/model.safetensors" "$tmp/plain/model.safetensors" || fail "T = 1 quantizes as quantize does"

# Two tasks on one base: train, swap, delete; the base and the first adapter stay as they are.
printf '{"input_ids": [1, 5, 9, 7, 4, 8, 2]}\n{"input_ids": [3, 6, 1, 8, 8, 2]}\n' >"$tmp/one.jsonl"
printf '{"input_ids": [2, 2, 11, 12, 9]}\n{"input_ids": [4, 4, 10, 1, 7, 7]}\n' >"$tmp/two.jsonl"
before=$(cksum <"$tmp/a/model.safetensors")
for task in one two; do
    run train -m "$tmp/a" --adapter "$tmp/a/adapter" --dataset "$tmp/$task.jsonl" --dataset_format tokens \
        --output_dir "$tmp/run-$task" --max_steps 30 --learning_rate 5e-3 --json
    expect_rc 0
done
# loss ADAPTER TASK - the loss of a task's rows under an adapter, in $loss.
loss() {
    run eval -m "$tmp/a" --adapter "$1" --dataset "$tmp/$2.jsonl" --dataset_format tokens --json
    expect_rc 0
    loss=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["loss"])' "$tmp/out")
}
less() { python3 -c 'import sys; sys.exit(0 if float(sys.argv[1]) < 0.7 * float(sys.argv[2]) else 1)' "$1" "$2" || fail "$3"; }
loss "$tmp/run-one/adapter" one && own=$loss
loss "$tmp/run-two/adapter" one && less "$own" "$loss" "each adapter knows its own task"
loss "$tmp/a/adapter" one && less "$own" "$loss" "training lowers the loss of the first task"
loss "$tmp/run-two/adapter" two && own=$loss
loss "$tmp/run-one/adapter" two && less "$own" "$loss" "each adapter knows its own task"
rm -r "$tmp/run-two"
loss "$tmp/run-one/adapter" one
[ "$(cksum <"$tmp/a/model.safetensors")" = "$before" ] || fail "training leaves the base alone"

# `qlora train --init_lora_weights` makes the base in the run's folder, once; step 0 is that of `qlora loftq`.
for how in loftq pissa olora; do
    bits=4
    [ $how = olora ] && bits=16
    run train -m "$model" --bits $bits --init_lora_weights $how --lora_r 4 --loftq_iter 2 --dataset "$tmp/one.jsonl" \
        --dataset_format tokens --output_dir "$tmp/run-$how" --max_steps 4 --save_steps 2 --logging_steps 1 --json
    expect_rc 0
    last_loss=$(tail -n 1 "$tmp/run-$how/train.jsonl")
    run loftq -m "$model" --bits $bits --init_lora_weights $how --lora_r 4 --loftq_iter 2 --output_dir "$tmp/by-$how" --json
    expect_rc 0
    for file in model.safetensors adapter/adapter_model.safetensors; do
        cmp -s "$tmp/by-$how/$file" "$tmp/run-$how/base/$file" || fail "$how: the same $file from train and loftq"
    done
    grep -q "run-$how/base" "$tmp/run-$how/adapter/adapter_config.json" || fail "$how: the adapter names its base"
    run eval -m "$tmp/run-$how/base" --bits $bits --adapter "$tmp/run-$how/adapter" --dataset "$tmp/one.jsonl" \
        --dataset_format tokens --json
    expect_rc 0
done
# Going on from a checkpoint needs that base; other settings are another run.
rm -r "$tmp/run-olora/checkpoint-4" "$tmp/run-olora/completed"
run train -m "$model" --bits 16 --init_lora_weights olora --lora_r 4 --loftq_iter 2 --dataset "$tmp/one.jsonl" \
    --dataset_format tokens --output_dir "$tmp/run-olora" --max_steps 4 --save_steps 2 --logging_steps 1 --json
expect_rc 0
expect_json '"resumed_from" in d'
python3 - "$last_loss" "$(tail -n 1 "$tmp/run-olora/train.jsonl")" <<'PY' || fail "resuming on the base gives the same loss"
import json, sys
a, b = map(json.loads, sys.argv[1:])
sys.exit(0 if a["step"] == b["step"] == 4 and a["loss"] == b["loss"] else 1)
PY
run train -m "$model" --bits 4 --init_lora_weights pissa --lora_r 4 --dataset "$tmp/one.jsonl" --dataset_format tokens \
    --output_dir "$tmp/run-loftq" --max_steps 6 --save_steps 2
expect_rc 2
expect_err "^error: .*is not the base that the checkpoint was trained on"

# Refusals; nothing is written.
run loftq -m "$model" --output_dir "$tmp/no" --bits 4 --lora_r 5000
refused 2 "lora_r 5000 exceeds the rank"
run loftq -m "$model" --output_dir "$tmp/no" --bits 16
refused 2 "LoftQ makes up for quantization"
run loftq -m "$model" --output_dir "$tmp/no" --loftq_iter 0
refused 2 "loftq_iter takes a number from 1"
run loftq -m "$model" --output_dir "$tmp/no" --lora_alpha 0
refused 2 "alpha"
run loftq -m "$model" --output_dir "$tmp/no" --use_dora true
refused 2 "use_dora"
run loftq -m "$model" --output_dir "$tmp/no" --modules_to_save lm_head
refused 2 "trained whole"
run loftq -m "$model" --output_dir "$tmp/no" --init_lora_weights eva
refused 2 "known, not available in this version"
run loftq -m "$tmp/one" --output_dir "$tmp/no" --bits 16 --init_lora_weights pissa --lora_r 4
refused 2 "stored quantized"
run loftq -m "$model" --output_dir "$model" --bits 4 --lora_r 4
refused 2 "the output folder is the model"
[ ! -e "$tmp/no" ] && [ ! -e "$tmp/no.partial" ] || fail "a refusal leaves nothing behind"

# A full disk leaves no half folder, and what was there stays.
run loftq -m "$model" --output_dir "$tmp/one" --bits 2 --lora_r 4 --json
expect_rc 0
run loftq -m "$model" --output_dir "$tmp/one/adapter" --bits 2 --lora_r 4
refused 2 "holds no model"
finish
