#!/bin/sh
# limits.sh - limits of the process and of its control group are read at the start: a plan above them is refused, one
# that just fits runs to its end.
here=$(dirname "$0")
. "$here/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
"$here/rows.py" 8 4000 >"$tmp/rows.jsonl" # activations of long rows are what takes memory here
flags="-m $model --dataset $tmp/rows.jsonl --dataset_format tokens --lora_r 4 --per_device_train_batch_size 8
    --gradient_accumulation_steps 1 --threads 1"

# AddressSanitizer reserves terabytes of address space before main.
if ! sh -c 'ulimit -v 4000000 && "$1" --help' sh "$qlora" >/dev/null 2>&1; then
    echo "skipped: a program with a sanitizer cannot run within a limit of its address space"
    exit 77
fi

# shellcheck disable=SC2086
run plan $flags --json
expect_rc 0
field() { python3 -c 'import json, sys; print(int(json.load(open(sys.argv[1]))[sys.argv[2]]))' "$tmp/out" "$1"; }
peak=$(field peak_bytes)
runtime=$(field runtime_bytes)
[ "$peak" -gt 100000000 ] || fail "the plan should be large, it is $peak"

# within SCRIPT RUN - trains after the shell command SCRIPT has set the limit
within() {
    last="train after '$1'"
    # shellcheck disable=SC2086
    sh -c "$1"' && exec "$@"' sh "$qlora" train $flags --max_steps 1 --output_dir "$tmp/$2" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
refused_at_start() {
    expect_rc 5
    expect_err '^error: this run needs .* of device memory .* the budget is'
    [ -e "$tmp/$1" ] && fail 'nothing should have been started'
}

within "ulimit -v $((peak / 1024))" never
refused_at_start never
within "ulimit -d $((peak / 1024))" never
refused_at_start never
within "ulimit -v $((peak / 1024 + 500000))" roomy
expect_rc 0

# A control group of our own, where the system lets us make one.
own=$(awk -F: '$2 == "memory" { print "/sys/fs/cgroup/memory" $3 } $1 == "0" && !v1 { v2 = "/sys/fs/cgroup" $3 }
    $2 == "memory" { v1 = 1 } END { if (!v1) print v2 }' /proc/self/cgroup)
group=$own/qlora-test-$$
if mkdir "$group" 2>/dev/null; then
    trap 'rmdir "$group" 2>/dev/null; rm -rf "$tmp"' EXIT
fi
for max in memory.max memory.limit_in_bytes none; do
    [ -w "$group/$max" ] && break
done
if [ $max = none ]; then
    echo "skipped: control groups cannot be made here"
    finish
fi
join="echo 0 >$group/cgroup.procs"
limit() { echo $(($1 / 4096 * 4096)) >"$group/$max"; }
limit $((peak * 8 / 10))
within "$join" grouped
refused_at_start grouped
limit $(((peak + runtime) * 102 / 100)) # plan and what the process itself is, and 2 %
within "$join" grouped
expect_rc 0
expect_out '^done  1 steps'
finish
