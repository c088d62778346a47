#!/bin/sh
# train.sh - `qlora train`: the run folder, resuming bit for bit, damaged checkpoints, budgets, exit codes.
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/tiny_run.sh"
# log RUN EXPRESSION - a Python expression over the list d of the rows of train.jsonl.
log() {
    python3 -c 'import json, sys
d = [json.loads(x) for x in open(sys.argv[1])]
sys.exit(0 if eval(sys.argv[2]) else 1)' "$1/train.jsonl" "$2" 2>/dev/null || fail "train.jsonl should hold: $2"
}
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
same_state() { # adapter and optimizer state of two runs at step $3
    same "$1/adapter/adapter_model.safetensors" "$2/adapter/adapter_model.safetensors"
    same "$1/checkpoint-$3/optimizer.safetensors" "$2/checkpoint-$3/optimizer.safetensors"
}

# The run folder. Threads do not change a byte.
train "$tmp/a" --max_steps 12 --threads 1 --eval_dataset "$tmp/held.jsonl" --eval_steps 4 --save_steps 4 --json
expect_rc 0
expect_json 'd["steps"] == 12 and d["mem_bytes"] == d["peak_bytes"] and 0 < d["loss"] < 6 and d["eval_loss"] > 0'
log "$tmp/a" '[x["step"] for x in d] == list(range(1, 13))'
log "$tmp/a" 'all(set(x) >= {"step", "epoch", "loss", "grad_norm", "lr", "tokens", "tok_s", "mem_bytes"} for x in d)'
log "$tmp/a" '[x["step"] for x in d if "eval_loss" in x] == [4, 8, 12]'
log "$tmp/a" 'd[11]["loss"] < d[0]["loss"] and d[11]["eval_loss"] < d[3]["eval_loss"]'
python3 - "$tmp/a" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, os, re, sys
run = sys.argv[1]
log = [json.loads(x) for x in open(run + "/train.jsonl")]
plan = json.load(open(run + "/plan.json"))
config = dict(line.rstrip("\n").split(": ", 1) for line in open(run + "/config.yaml"))
data = json.load(open(run + "/data.json"))
peft = json.load(open(run + "/adapter/adapter_config.json"))
assert all(x["mem_bytes"] == plan["peak_bytes"] for x in log)
assert sum(plan["device_bytes"].values()) == plan["peak_bytes"]
assert (config["lora_r"], config["seed"], config["max_steps"], config["optim"]) == ("4", "0", "12", '"paged_adamw_32bit"')
assert data["rows"] == 40 and data["eval"]["rows"] == 6 and data["longest"] < 24
assert peft["peft_type"] == "LORA" and peft["r"] == 4 and len(peft["target_modules"]) in (7, 14)
assert sorted(x for x in os.listdir(run) if x.startswith("checkpoint")) == ["checkpoint-12", "checkpoint-4", "checkpoint-8"]
assert os.path.exists(run + "/completed")
# 9 significant digits
assert any(len(re.sub(r"^0\.0*|\.", "", m)) == 9 for m in re.findall(r'"loss":([0-9.]+)', open(run + "/train.jsonl").read()))
PY
rc=$?
last='files of the run folder'
expect_rc 0
train "$tmp/b" --max_steps 12 --threads 2 --eval_dataset "$tmp/held.jsonl" --eval_steps 4 --save_steps 4
expect_rc 0
expect_out '^plan  weights .* peak '
expect_out '^data  40 rows '
expect_err '^step  12/12  100.0 %  loss '
same_state "$tmp/a" "$tmp/b" 12
train "$tmp/seed" --max_steps 12 --seed 1
expect_rc 0
cmp -s "$tmp/a/adapter/adapter_model.safetensors" "$tmp/seed/adapter/adapter_model.safetensors" && fail 'the seed has no effect'

# Stopped in the middle by SIGINT or SIGTERM, continued by the same command: the same bytes.
steps=400
train "$tmp/whole" --max_steps $steps --save_steps 200
expect_rc 0
stop_and_continue() { # SIGNAL STATUS
    "$qlora" train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$tmp/stopped" \
        --lora_r 4 --learning_rate 1e-2 --per_device_train_batch_size 2 --gradient_accumulation_steps 2 \
        --logging_steps 1 --max_steps $steps --save_steps 200 >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    last="SIG$1 to a running train"
    for _ in $(seq 600); do
        [ -s "$tmp/stopped/train.jsonl" ] && [ "$(wc -l <"$tmp/stopped/train.jsonl")" -ge 20 ] && break
        sleep 0.05
    done
    kill -"$1" $pid
    wait $pid
    rc=$?
    expect_rc "$2"
    expect_err '^saved '
    [ -e "$tmp/stopped/completed" ] && fail 'it should have been stopped'
    train "$tmp/stopped" --max_steps $steps --save_steps 200
    expect_rc 0
    expect_err '^continuing after step [0-9]+ from '
    log "$tmp/stopped" "[x['step'] for x in d] == list(range(1, $steps + 1))"
    same_state "$tmp/whole" "$tmp/stopped" $steps
    rm -rf "$tmp/stopped"
}
stop_and_continue INT 130
stop_and_continue TERM 143

# Continuing with other settings is refused by name; a finished run has nothing left to do.
train "$tmp/a" --max_steps 12 --learning_rate 2e-2
expect_rc 2
expect_err '^error: .*learning_rate 0.01, this run has 0.02'
train "$tmp/a" --max_steps 12 --threads 1 --eval_dataset "$tmp/held.jsonl"
expect_rc 0
same_state "$tmp/a" "$tmp/b" 12

# Damaged checkpoints: auto names and skips them, one that is asked for by name is status 7.
damage() { printf x | dd of="$1/optimizer.safetensors" bs=1 seek=300 conv=notrunc 2>/dev/null; }
train "$tmp/d" --max_steps 12 --save_steps 4
rm "$tmp/d/completed"
damage "$tmp/d/checkpoint-12"
train "$tmp/d" --max_steps 12 --save_steps 4
expect_rc 0
expect_err 'warning: skipping a damaged checkpoint: .*checkpoint-12/optimizer.safetensors'
expect_err '^continuing after step 8 from '
log "$tmp/d" '[x["step"] for x in d] == list(range(1, 13))'
damage "$tmp/d/checkpoint-8"
train "$tmp/d" --max_steps 12 --save_steps 4 --resume "$tmp/d/checkpoint-8"
expect_rc 7
expect_err '^error: .*checkpoint-8/optimizer.safetensors'
rm "$tmp/d/checkpoint-4/MANIFEST.json"
train "$tmp/d" --max_steps 12 --save_steps 4 --resume "$tmp/d/checkpoint-4"
expect_rc 7
damage "$tmp/d/checkpoint-12"
train "$tmp/d" --max_steps 12 --save_steps 4
expect_rc 7
expect_err '^error: .*none of its 3 checkpoints is whole'

# --resume never begins anew; the old adapter stays until the new one is whole.
cp "$tmp/d/adapter/adapter_model.safetensors" "$tmp/old"
train "$tmp/d" --max_steps 3 --resume never --save_steps 0 --seed 5
expect_rc 0
log "$tmp/d" '[x["step"] for x in d] == [1, 2, 3]'
ls "$tmp/d" | grep -q checkpoint && fail 'the old checkpoints should be gone'
cmp -s "$tmp/old" "$tmp/d/adapter/adapter_model.safetensors" && fail 'the adapter should be the new one'
train "$tmp/d" --max_steps 3 --save_steps 0 --seed 5
expect_rc 0
expect_out 'is complete'

# A disk that fills (here: files may not grow) leaves the previous adapter as it was.
cp "$tmp/d/adapter/adapter_model.safetensors" "$tmp/old"
last='train on a full disk'
(
    trap '' XFSZ
    ulimit -f 24
    exec "$qlora" train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$tmp/d" \
        --lora_r 16 --max_steps 2 --resume never --save_steps 0
) >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 1
expect_err '^error: '
same "$tmp/old" "$tmp/d/adapter/adapter_model.safetensors"
[ -e "$tmp/d/completed" ] && fail 'the run is not complete'

# Budget: the plan is refused before anything is started, and says what fits.
run plan -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --per_device_train_batch_size 8 \
    --gradient_accumulation_steps 1 --json
expect_rc 0
peak=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["peak_bytes"])' "$tmp/out")
least=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["smallest_budget_bytes"])' "$tmp/out")
[ "$least" -lt "$peak" ] || fail "smallest_budget_bytes $least should be below $peak"
budget() {
    out_dir=$1
    shift
    run train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --per_device_train_batch_size 8 \
        --gradient_accumulation_steps 1 --max_steps 3 --logging_steps 1 --output_dir "$tmp/$out_dir" "$@"
}
budget never --optim adamw --mem $((peak - 1))
expect_rc 5
expect_err '^error: .*This fits and gives the same results: .*--per_device_train_batch_size 4 --gradient_accumulation_steps 2'
[ -e "$tmp/never" ] && fail 'nothing should have been started'
# A paged optimizer gives up memory by itself, says so, keeps to the plan and to the bytes.
budget roomy --mem "$peak"
expect_rc 0
log "$tmp/roomy" '[r["paged_bytes"] for r in d] == [0, 0, 0]'
budget tight --mem $((peak - 100000))
expect_rc 0
expect_out '^memory  to fit .*pages of the optimizer.s state leave the device'
log "$tmp/tight" 'all(r["paged_bytes"] > 0 and r["mem_bytes"] <= '$((peak - 100000))' for r in d)'
same "$tmp/roomy/adapter/adapter_model.safetensors" "$tmp/tight/adapter/adapter_model.safetensors"
same_state "$tmp/roomy" "$tmp/tight" 3
budget never --mem $((least - 1))
expect_rc 5
expect_err '^error: .*smallest budget'

# Three steps without finite gradients end the run (here: a norm weight that is NaN).
cp -r "$model" "$tmp/sick"
chmod -R u+w "$tmp/sick"
python3 - "$tmp/sick/model.safetensors" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])["model.norm.weight"]["data_offsets"][0]
data[at:at + 4] = struct.pack("<f", float("nan"))
open(sys.argv[1], "wb").write(data)
PY
healthy=$model
model=$tmp/sick
train "$tmp/nan" --max_steps 40
expect_rc 8
expect_err '^error: the gradients of 3 steps in a row are not finite \(up to step 3, learning rate .*, rows [0-9]+, .*rows.jsonl\): lower --learning_rate'
expect_err '^warning: step 1: the loss is not finite, the step changed nothing '
log "$tmp/nan" 'len(d) == 3 and all(x["loss"] is None and x["skipped"] for x in d)'
model=$healthy

# A dry run writes nothing; the tape can be listed.
train "$tmp/dry" --dry_run --dump_tape "$tmp/tape.txt" --json
expect_rc 0
expect_json 'd["peak_bytes"] == sum(d["device_bytes"].values()) and d["trainable_parameters"] > 0 and d["fits"]'
[ -e "$tmp/dry" ] && fail 'a dry run should write nothing'
grep -q gemm "$tmp/tape.txt" || fail 'the listing should name operators'

# Other ways to train: all weights, 16-bit LoRA, 8-bit base, bf16, packing, a split, an adapter to go on from.
train "$tmp/full" --max_steps 4 --full --save_steps 0 --learning_rate 1e-3
expect_rc 0
run generate -m "$tmp/full/model" --prompt_ids 1,5,9 --max_new_tokens 4 --json
expect_rc 0
expect_json 'len(d["ids"]) > 0'
for flags in '--bits 16' '--bits 8' '--bits 2' '--quant_type int3a --blocksize 40' '--bits_by_layer 0:4,*:2' '--quant_type int4 --double_quant false' '--compute_dtype bf16' '--packing true' \
    '--eval_dataset_size 0.2' '--use_rslora --lora_target_modules q,v --lora_dropout 0.1' \
    '--init_lora_weights gaussian' '--gradient_checkpointing false'; do
    rm -rf "$tmp/w"
    # shellcheck disable=SC2086
    train "$tmp/w" --max_steps 2 $flags --json
    expect_rc 0
    expect_json 'd["mem_bytes"] == d["peak_bytes"] and 0 < d["loss"] < 7'
done
run train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$tmp/on" --max_steps 1 \
    --learning_rate 0 --adapter_name_or_path "$tmp/a/adapter"
expect_rc 0
same "$tmp/a/adapter/adapter_model.safetensors" "$tmp/on/adapter/adapter_model.safetensors"
train "$tmp/on2" --adapter_name_or_path "$tmp/a/adapter" --lora_r 8
refused 2 'lora_r contradicts'

# A folder in our own container is trained on as it is: the steps of the same weights quantized on loading.
for type in nf2 int3a; do
    rm -rf "$tmp/v" "$tmp/w" "$tmp/own"
    run quantize -m "$model" --output_dir "$tmp/own" --quant_type $type --json
    expect_rc 0
    expect_json 'd["bits_per_weight"] < {"nf2": 2.2, "int3a": 3.5}["'$type'"]'
    train "$tmp/v" --max_steps 3 --quant_type $type
    expect_rc 0
    was=$model model=$tmp/own
    train "$tmp/w" --max_steps 3
    expect_rc 0
    model=$was
    same "$tmp/v/adapter/adapter_model.safetensors" "$tmp/w/adapter/adapter_model.safetensors"
done

# Schedules count from 0: the first step of a warm-up has rate 0, linear ends above 0.
train "$tmp/lr" --max_steps 8 --lr_scheduler_type linear --warmup_steps 2 --learning_rate 0.01
expect_rc 0
log "$tmp/lr" 'all(abs(x["lr"] - w) < 1e-9 for x, w in zip(d, [0, .005] + [.01 * (8 - s) / 6 for s in range(2, 8)]))'

# What is refused, and with which status.
run train -m "$model" --dataset "$tmp/none.jsonl" --dataset_format tokens
expect_rc 2
run train -m "$tmp/none" --dataset "$tmp/rows.jsonl" --dataset_format tokens
expect_rc 2
echo '{"input_ids": [1, 999]}' >"$tmp/bad.jsonl"
run train -m "$model" --dataset "$tmp/bad.jsonl" --dataset_format tokens --output_dir "$tmp/x"
refused 3 'row 1'
printf '{"input_ids": [1, 2, 3]}\n{"input_ids": [4]}\n' >"$tmp/bad.jsonl"
run train -m "$model" --dataset "$tmp/bad.jsonl" --dataset_format tokens --output_dir "$tmp/x"
refused 3 'row 2'
run train -m "$model"
refused 2 '--dataset is required'
train "$tmp/x" --init_lora_weights eva
refused 2 'known, not available in this version'
train "$tmp/x" --layers_to_transform 0
refused 2 'layers_to_transform goes with target modules that are listed by name'
train "$tmp/x" --rank_pattern q_proj
refused 2 'rank_pattern takes q_proj=16'
train "$tmp/x" --exclude_modules '('
refused 2 'exclude_modules .*missing closing parenthesis'
train "$tmp/x" --trainable_token_indices 7-5
refused 2 'trainable_token_indices takes numbers'
train "$tmp/x" --optim lion_4bit
refused 2 "optim .*lion_8bit"
train "$tmp/x" --optim sgd_8bit --sgd_momentum 0
refused 2 'sgd_8bit keeps a momentum'
train "$tmp/x" --group_by_length true --shuffle false
refused 2 '--group_by_length shuffles'
train "$tmp/x" --neftune_noise_alpha 5
refused 2 'known, not available in this version'
train "$tmp/x" --bits 16 --quant_type nf4
refused 2 'contradicts'
train "$tmp/x" --lora_target_modules nosuch
expect_rc 2
train "$tmp/x" --device tpu
expect_rc 6
[ -e "$tmp/x" ] && fail 'refused runs should leave nothing behind'
cp -r "$model" "$tmp/cut"
chmod -R u+w "$tmp/cut"
head -c 3000 "$model/model.safetensors" >"$tmp/cut/model.safetensors"
run train -m "$tmp/cut" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$tmp/x"
refused 7 'model.safetensors'
finish
