#!/bin/sh
# data_sets.sh - rows of a run: several files with weights, rows set aside, packing and grouping, tables.
. "$(dirname "$0")/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
python3 - "$tmp" <<'P'
import json, random, sys
random.seed(5)
for name, n in ("a", 20), ("b", 10):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as f:
        for _ in range(n):
            f.write(json.dumps({"input_ids": [random.randrange(3, 250) for _ in range(random.randrange(4, 20))]}) + "\n")
P
# train FLAG... - four steps; fields of data.json are in d
train() {
    rm -rf "$tmp/run"
    run train -m "$model" --dataset_format tokens --output_dir "$tmp/run" --lora_r 4 --max_steps 4 --gradient_accumulation_steps 2 \
        --quiet "$@"
}
expect_data() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$tmp/run/data.json" "$1" || fail "data.json should hold: $1"
}
train --dataset "$tmp/a.jsonl:2,$tmp/b.jsonl:0.5"
expect_rc 0
expect_data 'd["rows"] == 45 and [(s["rows"], s["weight"]) for s in d["sets"]] == [(20, 2.0), (10, 0.5)]'
train --dataset "$tmp/a.jsonl,$tmp/b.jsonl" --eval_dataset_size 0.2 --max_eval_samples 4
expect_rc 0
expect_data 'd["rows"] == 24 and d["eval"]["rows"] == 4'
train --dataset "$tmp/a.jsonl" --max_train_samples 7
expect_data 'd["rows"] == 7 and "xxh3_64" in d'
cp "$tmp/a.jsonl" "$tmp/odd,name:2.jsonl"
train --dataset "$tmp/odd,name:2.jsonl"
expect_data 'd["rows"] == 20 and len(d["sets"]) == 1'
train --dataset "$tmp/a.jsonl:0"
refused 3 'must be above 0'
train --dataset "$tmp/a.jsonl,$tmp/none.jsonl"
refused 2 'none.jsonl'
train --dataset "$tmp/a.jsonl,"
refused 3 'empty file'

# packing: how full the micro-batches are is said, and room is what --max_seq_len says
run train -m "$model" --dataset_format tokens --dataset "$tmp/a.jsonl" --output_dir "$tmp/packed" --lora_r 4 --max_steps 2 \
    --packing true --max_seq_len 64
expect_rc 0
expect_out '^data .* packing [0-9.]+ %'
python3 -c 'import json, sys
assert 0.8 < json.load(open(sys.argv[1]))["packing"] <= 1' "$tmp/packed/data.json" || fail 'how full packing is'

# the same command twice: the same losses; another order for another grouping
losses() { grep -o '"loss":[^,]*' "$tmp/run/train.jsonl"; }
train --dataset "$tmp/a.jsonl:2,$tmp/b.jsonl" --group_by_length true --logging_steps 1
losses >"$tmp/first"
train --dataset "$tmp/a.jsonl:2,$tmp/b.jsonl" --group_by_length true --logging_steps 1
losses | cmp -s - "$tmp/first" || fail 'the same command gives other losses'
train --dataset "$tmp/a.jsonl:2,$tmp/b.jsonl" --logging_steps 1
losses | cmp -s - "$tmp/first" && fail 'grouping by length changes nothing'
finish
