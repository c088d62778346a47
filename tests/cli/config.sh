#!/bin/bash
# config.sh - files of settings: what wins, what is printed reads back, a run's config.yaml is the same
# run again byte for byte, names of other programs, refusals with their place.
. "$(dirname "$0")/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
here=$(cd "$(dirname "$0")" && pwd)
export OMP_WAIT_POLICY=passive

# settings TEXT - into $tmp/run.yaml
settings() { printf '%s\n' "$@" >"$tmp/run.yaml"; }

# --- flags win over the file, a later file over an earlier one, both over the default
settings 'lora_r: 8' 'learning_rate: 3e-4' 'seed: 5'
printf 'lora_r: 16\n' >"$tmp/more.yaml"
run train -c "$tmp/run.yaml" --learning_rate 1e-4 --print_config
expect_rc 0
expect_no_err
expect_out '^command: train$'
expect_out '^lora_r: 8$'
expect_out '^learning_rate: 0\.0001$'
expect_out '^seed: 5$'
expect_out '^model_name_or_path: null$'
expect_out '^given: \[lora_r, learning_rate, seed\]$'
run train --learning_rate=1e-4 --config "$tmp/run.yaml" --config="$tmp/more.yaml" --print_config
expect_rc 0
expect_out '^lora_r: 16$'
expect_out '^learning_rate: 0\.0001$'

# --- what is printed reads back to the same, as YAML and as JSON, for every command
rows="$tmp/rows.jsonl"
for command in train plan data eval generate quantize loftq merge tokenize template info report selftest bench verify; do
    what=
    [ $command != bench ] || what=ops
    [ $command != data ] || what=check
    run $command $what --threads 2 --print_config
    expect_rc 0
    cp "$tmp/out" "$tmp/first.yaml"
    run $command -c "$tmp/first.yaml" --print_config
    expect_rc 0
    expect_no_err
    cmp "$tmp/first.yaml" "$tmp/out" || fail "$command: the printed settings read back otherwise"
    run $command $what --threads 2 --print_config --json
    expect_rc 0
    expect_json "d['command'] == '$command' and d['threads'] == 2 and 'threads' in d['given']"
    cp "$tmp/out" "$tmp/first.json"
    run $command -c "$tmp/first.json" --print_config --json
    cmp "$tmp/first.json" "$tmp/out" || fail "$command: the printed JSON reads back otherwise"
done
run train -m 'a "b" \ é	: #' --learning_rate 0.1234567890123456789 --mem 1.5GiB --rank_pattern '{"q_proj": 16}' \
    --lora_target_modules q_proj,v_proj --print_config
cp "$tmp/out" "$tmp/first.yaml"
run train -c "$tmp/first.yaml" --print_config
expect_rc 0
cmp "$tmp/first.yaml" "$tmp/out" || fail 'odd texts read back otherwise'
python3 - "$tmp/first.yaml" <<'PY' || fail 'another YAML reader agrees'
import sys
try:
    import yaml
except ImportError:
    sys.exit(0)
d = yaml.safe_load(open(sys.argv[1], encoding="utf-8"))
assert d["model_name_or_path"] == 'a "b" \\ é\t: #' and d["learning_rate"] == 0.1234567890123456789, d
assert d["mem"] == 3 << 29 and d["adam_epsilon"] == 1e-8 and d["dataset"] is None, d
PY
run train -m "$(printf 'a\377b')" --print_config
refused 2 'model_name_or_path is not UTF-8'

# --- config.yaml of a run is the same run again
python3 - >"$rows" <<'PY'
import json
for i in range(24):
    ids = [(7 * i + 3 * k) % 90 + 3 for k in range(5 + i % 4)]
    print(json.dumps({"input_ids": ids, "labels": [-100] * 2 + ids[2:]}))
PY
settings "model: $model" "dataset: $rows" 'dataset_format: tokens' 'r: 4' 'quant_type: int8' \
    'lora_dropout: 0.1' 'learning_rate: 0.0033333333333333335' 'max_steps: 6' 'logging_steps: 1' \
    'save_strategy: no' 'gradient_accumulation_steps: 2' 'rank_pattern: {q_proj: 2}' \
    'target_modules: [q_proj, v_proj]' 'eval_dataset_size: 4' 'seed: 7'
run train -c "$tmp/run.yaml" --threads 2 --output_dir "$tmp/a"
expect_rc 0
cp -r "$tmp/a" "$tmp/before"
run train --config "$tmp/a/config.yaml" --output_dir "$tmp/b"
expect_rc 0
for file in adapter/adapter_model.safetensors adapter/adapter_config.json data.json; do
    cmp "$tmp/a/$file" "$tmp/b/$file" || fail "$file of the repeated run differs"
done
sed "s|$tmp/b|$tmp/a|" "$tmp/b/config.yaml" | cmp - "$tmp/a/config.yaml" || fail 'config.yaml differs'
python3 - "$tmp/a" "$tmp/b" <<'PY' || fail 'the losses of the repeated run differ'
import json, sys
logs = [[(x["step"], x["loss"], x["lr"], x["grad_norm"]) for x in map(json.loads, open(p + "/train.jsonl"))]
        for p in sys.argv[1:]]
assert logs[0] == logs[1] and len(logs[0]) == 6
PY
run train -c "$tmp/a/config.yaml" --output_dir "$tmp/b" --resume never --seed 8
expect_rc 0
cmp -s "$tmp/a/adapter/adapter_model.safetensors" "$tmp/b/adapter/adapter_model.safetensors" &&
    fail 'another seed is another run'

# --- the same file for other commands: model and storage, but neither its folder nor its rows
run eval -c "$tmp/a/config.yaml" --dataset "$rows" --adapter "$tmp/a/adapter" --json
expect_rc 0
run quantize -c "$tmp/a/config.yaml"
expect_rc 2
expect_err "output_dir is for 'train', not for 'quantize'"
diff -r "$tmp/before" "$tmp/a" || fail 'the run was touched'
run plan -c "$tmp/a/config.yaml" --json
expect_rc 0
expect_json "d['trainable_parameters'] > 0 and d['weight_type'] == 'int8'"

# --- transformers' and qlora.py's command line
run train -m "$model" --dataset "$rows" --dataset_format tokens --output_dir "$tmp/c" --do_train --do_eval False \
    --bf16 False --full_finetune False --double_quant --max_memory_MB 8000 --evaluation_strategy no --report_to none \
    --dataloader_num_workers 3 --remove_unused_columns False --warmup_steps 0.1 --optim adamw_torch --use_cpu \
    --overwrite_output_dir --gradient_checkpointing_kwargs '{"use_reentrant": false}' --mmlu_split eval \
    --ddp_find_unused_parameters False --push_to_hub False --per_gpu_train_batch_size 2 --use_auth_token \
    --max_steps 2 --print_config
expect_rc 0
for setting in 'optim: "adamw"' 'mem: 8000000000' 'warmup_ratio: 0\.1' 'per_device_train_batch_size: 2' \
    'device: "cpu"' 'resume: "never"' 'full: false' 'double_quant: true' 'compute_dtype: "auto"'; do
    expect_out "^$setting\$"
done
expect_err '^--dataloader_num_workers means nothing here: '
expect_err '^--push_to_hub means nothing here: '
expect_err '^--mmlu_split means nothing here: '
[ "$(wc -l <"$tmp/err")" = 10 ] || fail 'one line for each name that means nothing'
run train -m "$model" --fp16
refused 2 '--fp16 true: activations are fp32 or bf16 here'
run train --push_to_hub True
refused 2 'copy output_dir/adapter yourself'
run train --report_to wandb
refused 2 'opens no network connection'
run train --deepspeed ds.json
refused 2 'one process'
run train --micro_batch_size 4
refused 2 'what other programs call so is here per_device_train_batch_size'
run train --lora_modules some
refused 2 'write lora_target_modules'
run train --adam8bit --report_to none --print_config
expect_rc 0
expect_out '^optim: "adamw_8bit"$'
expect_out '^report_to: "none"$'
run tokenize -m "$model" --file x --bf16
refused 2 "unknown flag '--bf16'"

# --- PEFT's adapter_config.json is JSON, so YAML, and its names are understood
run train -c "$model/adapter/adapter_config.json" -m "$model" --print_config
expect_rc 0
expect_out '^lora_r: 8$'
expect_out '^lora_target_modules: "model.layers.0.mlp.down_proj,'

printf 'dataset: [a.jsonl:2, b.jsonl]\n' >"$tmp/run.yaml"
run train -c "$tmp/run.yaml" --print_config
expect_rc 0
expect_out '^dataset: "a.jsonl:2,b.jsonl"$'
printf 'init_lora_weights: loftq\nloftq_config: {loftq_bits: 2, loftq_iter: 3}\n' >"$tmp/run.yaml"
run train -c "$tmp/run.yaml" --print_config
expect_rc 0
expect_out '^bits: 2$'
expect_out '^loftq_iter: "?3'

# --- the table maps to flags that exist, and names ones that exist
python3 - "$here/../../tools/spelling_table.c" "$qlora" "$here/other_names.txt" <<'PY' || fail 'a row names no flag'
import re, subprocess, sys
flags = set()
for command in "train plan data eval generate quantize loftq merge tokenize template info selftest bench verify".split():
    text = subprocess.run([sys.argv[2], command, "--help", "all"], capture_output=True, text=True).stdout
    flags |= set(re.findall(r"^ +(?:-\w, )?--(\w+)", text, re.M))
assert {"lora_r", "seed", "window"} <= flags, flags
rows = re.findall(r'^    \{"([^"]+)", (NULL|"[^"]*"), (\w+), (?:"([^"]*))?', open(sys.argv[1]).read(), re.M)
assert len(rows) > 150, len(rows)
understood = flags | {n for row in rows for n in row[0].split()} | {"neftune_noise_alpha"}  # known for later
others = [n for line in open(sys.argv[3]) if not line.startswith("#") for n in line.split()]
missing = [n for n in others if n not in understood]
assert len(others) > 300 and not missing, missing
for names, values, fate, to in rows:
    for word in to.split() if fate == "MAPS" else []:
        assert word.split("=")[0] in flags, word
    if fate == "FOREIGN" and "not needed" not in to:
        known = [w for w in re.findall(r"\w+", to) if w in flags]
        assert known, "names no flag of ours: " + to
PY

# --- refusals: one sentence with the place, exit 2, nothing on stdout, nothing written
refusal() { # LINE... PATTERN
    local n=$#
    printf '%s\n' "${@:1:n-1}" >"$tmp/run.yaml"
    run train -c "$tmp/run.yaml" -m "$model" --dataset "$rows" --output_dir "$tmp/never"
    refused 2 "${!n}"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail 'one sentence expected'
    [ ! -e "$tmp/never" ] || fail 'a refused file starts nothing'
}
refusal 'seed: 1' 'lora_rr: 4' "run.yaml:2:1: unknown key 'lora_rr'; did you mean 'lora_r'\?"
refusal 'lora_r: many' "run.yaml:1:1: lora_r takes a whole number, not 'many'"
refusal 'lora_r: 0' 'run.yaml:1:1: lora_r is 0; it must be from 1'
refusal 'lora_r: 4' 'lora_r: 8' 'run.yaml:2:1: the key stands on line 1 already: lora_r'
refusal 'optim: sgd9' "run.yaml:1:1: optim takes one of"
refusal 'fp16: yes' 'run.yaml:1:1: fp16 yes: activations'
refusal 'base_model: x' 'run.yaml:1:1: unknown key .base_model.: what other programs call so is here model_name_or_path'
refusal 'config: other.yaml' 'one file of settings does not name another'
refusal 'seed: !!python/name:os.system x' 'there is no tag'
refusal 'seed: &x 1' 'anchors are not read here'
refusal 'seed: [' 'run.yaml:'
refusal 'deepspeed: "a\nb\e[31mc"' 'run.yaml:1:1: deepspeed a\?b\?\[31mc: a run is one process'
refusal 'lora_r: "4\n5"' "not '4\?5'"
run train -c "$tmp/absent.yaml" -m "$model" --dataset "$rows"
refused 2 'absent.yaml'
run train -c "$tmp" -m "$model" --dataset "$rows"
expect_rc 2
run generate -m "$model" -c 4096 -p x
refused 2 '4096'
finish
