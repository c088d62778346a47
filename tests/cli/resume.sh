#!/bin/sh
# resume.sh - the folder of a run under hardship: two programs at once, leftovers, damaged and foreign checkpoints,
# other data, a folder that moves. Every time: one sentence, and what was there before is there.
here=$(dirname "$0")
. "$here/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
"$here/rows.py" 40 24 >"$tmp/rows.jsonl"

# train RUN FLAG... - 12 steps on the tiny model, a checkpoint every 4.
command="$qlora train -m $model --dataset $tmp/rows.jsonl --dataset_format tokens --lora_r 4 --learning_rate 1e-2
    --per_device_train_batch_size 2 --gradient_accumulation_steps 2 --logging_steps 1"
train() {
    dir=$1
    shift
    # shellcheck disable=SC2086
    $command --output_dir "$dir" --max_steps 12 --save_steps 4 "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="train $dir $*"
}
checkpoints() { # RUN NAMES - exactly these are there
    have=$(cd "$1" && echo checkpoint-*)
    [ "$have" = "$2" ] || fail "checkpoints should be '$2', they are '$have'"
}
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
same_end() { # RUN - it ended as the unbroken one did
    same "$tmp/whole/adapter/adapter_model.safetensors" "$1/adapter/adapter_model.safetensors"
    same "$tmp/whole/checkpoint-12/optimizer.safetensors" "$1/checkpoint-12/optimizer.safetensors"
    same "$tmp/whole/checkpoint-12/state.json" "$1/checkpoint-12/state.json"
}
ends_with() { # STATUS PATTERN - after the plan, one sentence
    expect_rc "$1"
    expect_err "^error: .*$2"
}
damage() { printf x | dd of="$1/optimizer.safetensors" bs=1 seek=300 conv=notrunc 2>/dev/null; }
stops_after() { # RUN STEP - the run's folder as if it had been killed behind that checkpoint
    rm -rf "$1"
    cp -r "$tmp/whole" "$1"
    rm -rf "$1/completed" "$1/adapter"
    for c in "$1"/checkpoint-*; do
        [ "${c##*-}" -le "$2" ] || rm -rf "$c"
    done
}

train "$tmp/whole" --save_total_limit 0
expect_rc 0
checkpoints "$tmp/whole" 'checkpoint-12 checkpoint-4 checkpoint-8'
expect_err '^saved .*/checkpoint-12 \(hash [0-9a-f]{8}, verified\)$'
[ -e "$tmp/whole/.lock" ] && fail 'the lock should have gone with the run'

# One run at a time in a folder: the second is refused and names the first, which is not disturbed.
# shellcheck disable=SC2086
$command --output_dir "$tmp/two" --max_steps 1000000 --save_steps 100 >/dev/null 2>"$tmp/first" &
pid=$!
for _ in $(seq 600); do
    [ -s "$tmp/two/train.jsonl" ] && break
    sleep 0.05
done
train "$tmp/two" --max_steps 1000000 --save_steps 100
ends_with 1 "process $pid is at work in this folder"
train "$tmp/two" --resume never
ends_with 1 "process $pid is at work in this folder"
kill -TERM $pid
wait $pid
rc=$?
last='the first of two'
expect_rc 143
train "$tmp/two" --max_steps 1000000 --save_steps 100 --dry_run # a lock that nobody holds is no obstacle
expect_rc 0

# A killed run leaves its lock and half-built things; they go, and nothing else does.
stops_after "$tmp/left" 8
: >"$tmp/left/.lock"
mkdir -p "$tmp/left/checkpoint-12.tmp/adapter.tmp" "$tmp/left/adapter.tmp" "$tmp/left/notes.tmp" \
    "$tmp/left/.checkpoint-4.12-3.tmp"
: >"$tmp/left/checkpoint-12.tmp/adapter.tmp/x"
: >"$tmp/left/.config.yaml.4711-0.tmp"
: >"$tmp/left/.mine.tmp"
: >"$tmp/left/checkpoint-x.tmp"
printf '{"step":9,"los' >>"$tmp/left/train.jsonl"
train "$tmp/left"
expect_rc 0
expect_err '^continuing after step 8 from '
same_end "$tmp/left"
have=$(cd "$tmp/left" && find . -name '*.tmp' | sort | tr '\n' ' ')
[ "$have" = './.mine.tmp ./checkpoint-x.tmp ./notes.tmp ' ] || fail "foreign files only should be left, not '$have'"
python3 -c 'import json, sys
assert [json.loads(x)["step"] for x in open(sys.argv[1])] == list(range(1, 13))' "$tmp/left/train.jsonl" ||
    fail 'each step should be in train.jsonl once'

# Pruning counts what this run has saved: a damaged checkpoint of a later step pushes out nothing.
stops_after "$tmp/prune" 12
damage "$tmp/prune/checkpoint-12"
damage "$tmp/prune/checkpoint-8"
train "$tmp/prune" --save_steps 3 --save_total_limit 1 --max_steps 12
expect_rc 0
expect_err '^warning: skipping a damaged checkpoint: .*checkpoint-12/optimizer.safetensors'
expect_err '^warning: skipping a damaged checkpoint: .*checkpoint-8/optimizer.safetensors'
expect_err '^continuing after step 4 from '
checkpoints "$tmp/prune" checkpoint-12
same_end "$tmp/prune"

# The checkpoint that `best` names stays.
stops_after "$tmp/best" 8
ln -s checkpoint-4 "$tmp/best/best"
train "$tmp/best" --save_total_limit 1
expect_rc 0
checkpoints "$tmp/best" 'checkpoint-12 checkpoint-4'

# What another version wrote is refused by its version; an older checkpoint is not taken instead.
stops_after "$tmp/later" 8
sed -i 's/"version": 1/"version": 2/' "$tmp/later/checkpoint-8/MANIFEST.json"
train "$tmp/later"
ends_with 2 'checkpoint-8/MANIFEST.json: version 2, this program reads 1'
checkpoints "$tmp/later" 'checkpoint-4 checkpoint-8'

# Other rows under the same name; settings that would make it another run. The folder stays as it was.
stops_after "$tmp/other" 8
cp -r "$tmp/other" "$tmp/before"
cp "$tmp/rows.jsonl" "$tmp/kept"
sed -i '$ s/\[\([0-9]*\), [0-9]*/[\1, 7/' "$tmp/rows.jsonl"
train "$tmp/other"
ends_with 2 'checkpoint-8/state.json: the training rows have changed since it was saved'
cp "$tmp/kept" "$tmp/rows.jsonl"
train "$tmp/other" --seed 9
ends_with 2 'was saved with seed 0, this run has 9'
diff -r "$tmp/before" "$tmp/other" >"$tmp/out" || fail 'a refused run should change nothing'

# A run's folder may be moved, also while it is at work: what follows goes to a new one.
stops_after "$tmp/a" 8
mkdir "$tmp/elsewhere"
mv "$tmp/a" "$tmp/elsewhere/b"
train "$tmp/elsewhere/b"
expect_rc 0
expect_err "^continuing after step 8 from $tmp/elsewhere/b/checkpoint-8"
same_end "$tmp/elsewhere/b"
# shellcheck disable=SC2086
$command --output_dir "$tmp/gone" --max_steps 1000000 --save_steps 0 >"$tmp/out" 2>"$tmp/err" &
pid=$!
for _ in $(seq 600); do
    [ -s "$tmp/gone/train.jsonl" ] && break
    sleep 0.05
done
mv "$tmp/gone" "$tmp/moved"
kill -INT $pid
wait $pid
rc=$?
last='a run whose folder is moved'
expect_rc 130
expect_err '^warning: .*/gone was moved or removed while this run was at work'
expect_err '^saved .*/gone/checkpoint-'

# An adapter that does nothing is said to do nothing.
train "$tmp/idle" --learning_rate 0
expect_rc 0
expect_err '^warning: .*/idle/adapter does nothing: the loss is the same without it'
train "$tmp/whole"
expect_rc 0
grep -q 'does nothing' "$tmp/err" && fail 'this one does something'

# Where nothing can be written, one sentence says so before the model is read.
: >"$tmp/file"
train "$tmp/file/run"
ends_with 1 "$tmp/file: cannot create the folder: File exists"
if [ "$(id -u)" != 0 ]; then
    mkdir -m 500 "$tmp/closed"
    train "$tmp/closed"
    ends_with 1 "$tmp/closed/.lock: cannot create: Permission denied"
    train "$tmp/closed/run"
    ends_with 1 "$tmp/closed/run: cannot create the folder: Permission denied"
fi
finish
