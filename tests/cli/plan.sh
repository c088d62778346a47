#!/bin/sh
# plan.sh - `qlora plan`: the published sizes of the LLaMA models, LoRA counts, comparison, budgets.
. "$(dirname "$0")/lib.sh"

# NF4 with double quantization, embeddings and head in 16 bits (requirements 34 and 31).
weights() { # NAME BYTES
    run plan --model "$1" --lora_r 64 --max_seq_len 512 --json
    expect_rc 0
    expect_json "abs(d['device_bytes']['weights'] / $2 - 1) < 0.01"
    expect_json "sum(d['device_bytes'].values()) == d['peak_bytes'] and abs(d['weight_bits'] - 4.127) < 0.001"
}
weights llama-7b 3.866e9
weights llama-13b 7.201e9
weights LLaMA_33B 17.414e9
weights llama-65b 34.459e9

# 12 bytes per parameter are 780 GB at 65e9 (requirement 58); QLoRA fits in 48 GB.
run plan --model llama-65b --lora_r 64 --compute_dtype bf16 --max_seq_len 512 --json
expect_json 'd["compare"]["full"]["total_bytes"] == 12 * d["parameters"]'
expect_json 'abs(12 * 65e9 / d["compare"]["full"]["total_bytes"] - 1) < 0.01'
expect_json 'd["compare"]["qlora"]["total_bytes"] < 48 * 2**30 < d["compare"]["lora"]["total_bytes"]'
expect_json 'd["compare"]["qlora"]["total_bytes"] == d["peak_bytes"]'

# 96 layers x (q, v) x 2 x 12288 x r 4 (requirement 17).
run plan --model gpt3-175b --lora_r 4 --targets q,v --json
expect_rc 0
expect_json 'd["trainable_parameters"] == 18874368 and abs(d["parameters"] / 175e9 - 1) < 0.01'

# What the model's files say and what its shape says agree; every key scripts rely on is there.
model=$QL_TEST_DATA/models/tiny-llama
run plan -m "$model" --lora_r 4 --json
expect_rc 0
expect_json 'set(d) >= {"device_bytes", "host_bytes", "peak_bytes", "runtime_bytes", "paged_bytes_per_step",
    "smallest_budget_bytes", "parameters", "trainable_parameters", "weight_bits", "compare"}'
expect_json 'set(d["device_bytes"]) == {"weights", "adapters", "gradients", "optimizer", "activations", "logits",
    "scratch", "staging", "cache"} == set(d["host_bytes"])'
expect_json 'set(d["compare"]) == {"full", "lora", "qlora"} and d["runtime_bytes"] > 0'
expect_json 'd["smallest_budget_bytes"] <= d["peak_bytes"] and d["paged_bytes_per_step"] == 0'
cp "$tmp/out" "$tmp/files.json"
run plan -m "$model/config.json" --lora_r 4 --json
expect_rc 0
python3 - "$tmp/files.json" "$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
for d in (a, b):
    for key in ("model", "budget_bytes", "runtime_bytes", "mapped_bytes"):
        del d[key]
# mapped tensors take exactly their bytes, placed ones are aligned to 256
a_weights, b_weights = a["device_bytes"].pop("weights"), b["device_bytes"].pop("weights")
assert abs(a_weights - b_weights) < 256 * 64, (a_weights, b_weights)
for key in ("peak_bytes", "smallest_budget_bytes"):
    assert abs(a.pop(key) - b.pop(key)) < 256 * 64
assert a == b, (a, b)
PY
rc=$?
last='plan from files and from config.json'
expect_rc 0

# --mem: the status says whether it fits.
run plan --model llama-7b --max_seq_len 512 --mem 8G
expect_rc 0
expect_out ' of 8.00 GiB'
run plan --model llama-7b --max_seq_len 512 --mem 3G
expect_rc 5
expect_err '^error: .*budget is 3.00 GiB'
run plan --model llama-7b --bits 16 --max_seq_len 512 --mem 8G
expect_rc 5
expect_err 'fits: --bits 4'

run plan --model lama-7b
refused 2 'shapes are: llama-7b'
run plan --model llama-7b --lora_r 0
refused 2 'lora_r'
finish
