#!/bin/sh
# loftq.sh - requirements 26, 28, 32 and 33 on a trained model (stories260k of ../shared; skipped where it is absent):
# LoftQ starts nearer to the model than QLoRA does, the more so the fewer the bits; first layers at 4 bits are better
# than 2 everywhere; two tasks on one base; weight decay acts on adapters and narrows the gap of learning by heart.
here=$(dirname "$0")
. "$here/../cli/lib.sh"
model=$QL_TEST_SHARED/models/stories260k
[ -e "$model/model.safetensors" ] || { echo "skipped: no $model"; exit 77; }

# A text that the model itself tells: what it knows.
for seed in 1 2; do
    run generate -m "$model" --bits 16 --raw --prompt "Once upon a time" --max_new_tokens 200 --temperature 1 --seed $seed --json
    expect_rc 0
    python3 -c 'import json, sys; print("Once upon a time" + json.load(open(sys.argv[1]))["text"])' "$tmp/out" >>"$tmp/story.txt"
done
# loss FLAG... - mean loss on that text, in $loss.
loss() {
    run eval "$@" --task perplexity --file "$tmp/story.txt" --window 256 --stride 256 --json
    expect_rc 0
    loss=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["loss"])' "$tmp/out")
}
# holds WHAT EXPRESSION VALUE... - a Python expression over the list x of values.
holds() {
    what=$1 expression=$2
    shift 2
    python3 -c 'import sys; x = [float(v) for v in sys.argv[2:]]; sys.exit(0 if eval(sys.argv[1]) else 1)' \
        "$expression" "$@" || fail "$what: $*"
}
# start NAME FLAG... - losses before training: $plain and $split.
start() {
    name=$1
    shift
    run quantize -m "$model" --output_dir "$tmp/q-$name" "$@" --json
    expect_rc 0
    run loftq -m "$model" --output_dir "$tmp/l-$name" --lora_r 8 --lora_alpha 8 --loftq_iter 5 "$@" --json
    expect_rc 0
    loss -m "$tmp/q-$name" && plain=$loss
    loss -m "$tmp/l-$name" --adapter "$tmp/l-$name/adapter" && split=$loss
}
loss -m "$model" --bits 16 && whole=$loss
gaps=
for bits in 4 3 2; do
    start $bits --bits $bits
    holds "req_26: $bits bits, 16-bit < LoftQ < QLoRA" "x[0] < x[1] < x[2]" "$whole" "$split" "$plain"
    gaps="$gaps $(python3 -c 'import sys; print(float(sys.argv[1]) - float(sys.argv[2]))' "$plain" "$split")"
    two_plain=$plain two_split=$split
done
holds "req_26: what LoftQ gains grows as the bits fall" "x[0] < x[1] < x[2]" $gaps
start mixed --bits 2 --bits_by_layer "0-1:4,*:2"
holds "req_28: first layers at 4 bits are better than 2 everywhere" "x[0] < x[1] and x[2] < x[3]" \
    "$plain" "$two_plain" "$split" "$two_split"

# Two tasks on one base: each adapter is better at its own, and the base does not change.
python3 - "$tmp" <<'PY'
import json, sys
tasks = {"one": "the cat sat on the mat and the cat was happy . ", "two": "Zed ran up Zed ran down Zed fell over ! "}
for name, text in tasks.items():
    with open(sys.argv[1] + "/" + name + ".jsonl", "w") as f:
        f.write(json.dumps({"text": text * 6}) + "\n")
PY
before=$(cksum <"$tmp/l-2/model.safetensors")
train() {
    run train --dataset_format text --max_seq_len 128 --learning_rate 5e-3 --gradient_accumulation_steps 1 --save_steps 0 --json "$@"
    expect_rc 0
}
for task in one two; do
    train -m "$tmp/l-2" --adapter "$tmp/l-2/adapter" --dataset "$tmp/$task.jsonl" --output_dir "$tmp/$task" --max_steps 15
done
on() {
    run eval -m "$tmp/l-2" --adapter "$tmp/$1/adapter" --dataset "$tmp/$2.jsonl" --dataset_format text --json
    expect_rc 0
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["loss"])' "$tmp/out" >"$tmp/$1.$2"
}
for a in one two; do on $a one && on $a two; done
holds "req_32: each adapter is better at its own task" "x[0] < x[1] and x[2] < x[3]" \
    "$(cat "$tmp/one.one")" "$(cat "$tmp/two.one")" "$(cat "$tmp/two.two")" "$(cat "$tmp/one.two")"
[ "$(cksum <"$tmp/l-2/model.safetensors")" = "$before" ] || fail "req_32: the base is shared, not changed"

# Learning two lines by heart: strong decay of the adapters holds the training loss up; without a step it does nothing.
for decay in 0 20; do
    train -m "$model" --bits 16 --lora_r 8 --lora_alpha 8 --dataset "$tmp/one.jsonl" --eval_dataset "$tmp/two.jsonl" \
        --weight_decay $decay --output_dir "$tmp/decay-$decay" --max_steps 40
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(d["loss"], d["eval_loss"] - d["loss"])' \
        "$tmp/out" >"$tmp/decay.$decay"
done
holds "req_33: decay raises the training loss and narrows the gap to another text" "x[0] < x[2] and x[1] > x[3]" \
    $(cat "$tmp/decay.0") $(cat "$tmp/decay.20")
finish
