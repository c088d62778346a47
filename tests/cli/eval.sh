#!/bin/sh
# eval.sh - `qlora eval`: windows of perplexity by the rule, loss on rows, what is refused.
. "$(dirname "$0")/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
tokenizer=$QL_TEST_DATA/tokenizer-bytes
python3 -c 'print("".join(chr(97 + (i * i + i // 7) % 26) for i in range(150)), end="")' >"$tmp/text.txt"

# Perplexity of a text equals the loss of rows that hold its windows, made here by the rule.
windows() { # WINDOW STRIDE
    run eval -m "$model" --tokenizer "$tokenizer" --task perplexity --file "$tmp/text.txt" --window "$1" --stride "$2" --json
    expect_rc 0
    expect_json 'set(d) >= {"nll", "tokens", "ppl"} and abs(__import__("math").exp(d["nll"] / d["tokens"]) - d["ppl"]) < 1e-6 * d["ppl"]'
    cp "$tmp/out" "$tmp/ppl"
    python3 - "$tmp/text.txt" "$1" "$2" >"$tmp/rows.jsonl" <<'PY'
import json, sys
ids = [b + 4 for b in open(sys.argv[1], "rb").read()]
window, stride, n, end, k = int(sys.argv[2]), int(sys.argv[3]), 0, 0, 0
while end < len(ids):
    b, before = k * stride, end
    end, k = min(k * stride + window, len(ids)), k + 1
    scored = range(max(before, b + 1), end)
    row = ids[b:end]
    if len(scored): print(json.dumps({"input_ids": row, "labels": [ids[i] if i in scored else -100 for i in range(b, end)]}))
PY
    run eval -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --json
    expect_rc 0
    python3 - "$tmp/ppl" "$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
sys.exit(0 if a["tokens"] == b["tokens"] and abs(a["nll"] - b["nll"]) < 1e-4 else "%s %s" % (a, b))
PY
    rc=$?
    last="window $1 stride $2"
    expect_rc 0
}
windows 64 64
windows 64 16
windows 37 23
windows 10 1

# The recorded loss of the oracle, through the program.
python3 - "$model/oracle.safetensors" >"$tmp/rows.jsonl" 2>"$tmp/want" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
def get(name):
    t = head[name]
    a, b = t["data_offsets"]
    kind = {"F32": "f", "I64": "q"}[t["dtype"]]
    return struct.unpack("<%d%s" % ((b - a) // struct.calcsize("<" + kind), kind), data[8 + n + a:8 + n + b])
rows, cols = head["input_ids"]["shape"]
ids, mask, labels = get("input_ids"), get("attention_mask"), get("labels")
for r in range(rows):
    keep = [i for i in range(r * cols, (r + 1) * cols) if mask[i]]
    print(json.dumps({"input_ids": [ids[i] for i in keep], "labels": [labels[i] for i in keep]}))
print(get("plain.loss")[0], file=sys.stderr)
PY
run eval -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --batch_size 1 --json
expect_rc 0
expect_json "abs(d['loss'] - $(cat "$tmp/want")) < 5e-5"

# Quantized on loading, with an adapter, in bf16: other numbers, sound ones.
sound() { # FLAG...
    run eval -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --json "$@"
    expect_rc 0
    expect_json 'd["tokens"] > 0 and 1 < d["loss"] < 9'
}
sound --bits 4
sound --bits 8
sound --compute_dtype bf16
sound --adapter "$model/adapter"

run eval -m "$model" --tokenizer "$tokenizer" --file "$tmp/text.txt" --window 16 --stride 32
refused 2 'stride 32 exceeds'
run eval -m "$model" --tokenizer "$tokenizer"
refused 2 'give --file'
run eval -m "$model" --tokenizer "$tokenizer" --task mmlu --file "$tmp/text.txt"
refused 2 'known, not available'
printf a >"$tmp/one.txt"
run eval -m "$model" --tokenizer "$tokenizer" --file "$tmp/one.txt"
refused 3 'two or more'
run eval -m "$model" --tokenizer "$tokenizer" --file "$tmp/none.txt"
expect_rc 2
run eval -m "$model" --tokenizer "$tokenizer" --file "$tmp/text.txt" --mem 2k
expect_rc 5
finish
