#!/bin/bash
# guanaco.sh PROGRAM - req_34: the four scripts and YAML files in examples/ hold the paper's settings, and `plan` gives the
# weights that follow from them: 3.866, 7.201, 17.414, 34.459 GB +- 1 % (NF4 with double quantization;
# embeddings and head 16-bit).
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../cli/lib.sh"
examples=$here/../../examples

# A program that prints its arguments, one a line, instead of running.
printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >"$tmp/show"
chmod +x "$tmp/show"

# settings SIZE DROPOUT RATE COMMAND - every flag of the script against the paper's value.
settings() {
    last="examples/guanaco-$1b.sh $4"
    QLORA=$tmp/show "$examples/guanaco-$1b.sh" "$4" --output_dir given >"$tmp/out" 2>"$tmp/err"
    rc=$?
    expect_rc 0
    python3 - "$tmp/out" "$@" <<'PY' || fail "the paper's settings"
import sys
path, size, dropout, rate, command = sys.argv[1:]
args = open(path).read().split("\n")[:-1]
assert args[0] == command, args
flags = dict(zip(args[1::2], args[2::2]))
assert len(args) % 2 == 1 and len(flags) == len(args) // 2, "a flag twice or without a value"
number = lambda name, want: abs(float(flags.pop(name)) - float(want)) < 1e-12 or sys.exit(name)
text = lambda name, want: flags.pop(name) == want or sys.exit(name)
number("--bits", 4), text("--quant_type", "nf4"), text("--double_quant", "true")
number("--blocksize", 64), number("--blocksize2", 256), text("--compute_dtype", "bf16")
number("--lora_r", 64), number("--lora_alpha", 16), number("--lora_dropout", dropout)
text("--lora_target_modules", "all-linear")
assert int(flags["--per_device_train_batch_size"]) * int(flags.pop("--gradient_accumulation_steps")) == 16
number("--per_device_train_batch_size", 1), number("--max_steps", 1875)
number("--learning_rate", rate), text("--lr_scheduler_type", "constant"), number("--warmup_ratio", 0.03)
text("--optim", "paged_adamw_32bit"), number("--adam_beta1", 0.9), number("--adam_beta2", 0.999)
number("--adam_epsilon", 1e-8), number("--weight_decay", 0), number("--max_grad_norm", 0.3)
text("--gradient_checkpointing", "true"), text("--train_on_source", "false"), number("--seed", 0)
number("--source_max_len", 16), number("--target_max_len", 512), number("--max_seq_len", 16 + 512)
text("--dataset_format", "input-output"), text("--output_dir", "given")
if command == "plan": text("--model", "llama-%sb" % size)
assert not flags, flags
PY
}

# plan SIZE WEIGHTS_GB TRAINABLE - the plan itself; one layer of r 64 adapters on all seven matrices.
plan() {
    last="examples/guanaco-$1b.sh plan --json"
    QLORA=$qlora "$examples/guanaco-$1b.sh" plan --json >"$tmp/out" 2>"$tmp/err"
    rc=$?
    expect_rc 0
    expect_json "abs(d['device_bytes']['weights'] / 1e9 / $2 - 1) < 0.01"
    expect_json "d['trainable_parameters'] == $3"
    expect_json "abs(d['weight_bits'] - 4.127) < 0.001 and d['weight_type'] == 'nf4'"
    expect_json "d['max_seq_len'] == 528 and d['per_device_train_batch_size'] == 1 and d['compute_dtype'] == 'bf16'"
    expect_json "sum(d['device_bytes'].values()) == d['peak_bytes']"
}

# twin SIZE - the YAML file holds the settings of the script: one merged file, byte for byte.
twin() {
    last="examples/guanaco-$1b.yaml"
    QLORA=$qlora "$examples/guanaco-$1b.sh" plan --print_config >"$tmp/script.yaml" 2>"$tmp/err"
    run plan -c "$examples/guanaco-$1b.yaml" --print_config
    expect_rc 0
    expect_no_err
    grep -q '^lora_r: 64$' "$tmp/out" || fail 'settings expected'
    cmp "$tmp/script.yaml" "$tmp/out" || fail 'the script and the file differ'
    run plan -c "$examples/guanaco-$1b.yaml" --json
    expect_rc 0
    expect_json "abs(d['device_bytes']['weights'] / 1e9 / $2 - 1) < 0.01"
}

# lora HIDDEN FFN LAYERS - parameters of rank 64 on q, k, v, o, gate, up and down
lora() { echo $((64 * $3 * (4 * 2 * $1 + 3 * ($1 + $2)))); }

for command in plan train; do
    settings 7 0.1 2e-4 $command
    settings 13 0.05 2e-4 $command
    settings 33 0.05 1e-4 $command
    settings 65 0.05 1e-4 $command
done
plan 7 3.866 "$(lora 4096 11008 32)"
plan 13 7.201 "$(lora 5120 13824 40)"
plan 33 17.414 "$(lora 6656 17920 60)"
plan 65 34.459 "$(lora 8192 22016 80)"

twin 7 3.866
twin 13 7.201
twin 33 17.414
twin 65 34.459

# The paper's 48 GB are enough for 65B, and the refusal of less is a plan, not a start.
last="examples/guanaco-65b.sh plan --mem 48G"
QLORA=$qlora "$examples/guanaco-65b.sh" plan --mem 48G --json >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 0
QLORA=$qlora "$examples/guanaco-65b.sh" plan --mem 24G --json >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 5

# `train` takes the same flags: two steps of a tiny model, bf16, everything else the paper's.
printf '{"input_ids": [3, 9, 20, 7, 31], "labels": [-100, -100, 20, 7, 31]}\n' >"$tmp/rows.jsonl"
last="examples/guanaco-7b.sh train"
QLORA=$qlora "$examples/guanaco-7b.sh" train -m "$QL_TEST_DATA/models/tiny-llama" --dataset "$tmp/rows.jsonl" \
    --dataset_format tokens --max_steps 2 --logging_steps 1 --output_dir "$tmp/run" >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 0
python3 - "$tmp/run" <<'PY' || fail "the run that was asked for"
import json, sys
steps = [json.loads(line) for line in open(sys.argv[1] + "/train.jsonl")]
assert [s["step"] for s in steps] == [1, 2] and all(abs(s["lr"] - 2e-4) < 1e-12 for s in steps), steps
adapter = json.load(open(sys.argv[1] + "/adapter/adapter_config.json"))
assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (64, 16, 0.1), adapter
PY

# A user's flag wins; anything but plan and train is refused.
last="examples/guanaco-7b.sh plan --max_seq_len 100 --json"
QLORA=$qlora "$examples/guanaco-7b.sh" plan --max_seq_len 100 --json >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 0
expect_json "d['max_seq_len'] == 100"
last="examples/guanaco-7b.sh remove"
QLORA=$tmp/show "$examples/guanaco-7b.sh" remove >"$tmp/out" 2>"$tmp/err"
rc=$?
expect_rc 2
expect_err "usage: guanaco-7b.sh"
expect_no_out
finish
