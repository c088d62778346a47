#!/bin/sh
# oclgrind.sh QLORA races|uninitialized|faults - operators at small shapes under the interpreter that checks every
# access: none may be out of bounds, racing or of memory that nobody wrote. Its exit status says nothing; its log does.
# faults: the same runs on kernels with a fault built in must fill the log.
qlora=$1 mode=$2
command -v oclgrind >/dev/null || {
    echo "skipped: no oclgrind (Debian package oclgrind)"
    exit 77
}
export QLORA_CACHE='' QLORA_OPENCL_SELFTEST=0
log=$(mktemp) || exit 1
out=$(mktemp) || exit 1
trap 'rm -f "$log" "$out"' EXIT
failed=0
# Optimized or inlined code has instructions that oclgrind 21.10 cannot follow in some modes.
plain='-cl-opt-disable -DQL_FN=static'

# check FAMILY CASE FLAG... - one case; the log must stay empty and the case must pass.
check() {
    family=$1 case=$2
    shift 2
    : >"$log"
    if ! oclgrind "$@" --log "$log" "$qlora" selftest --device opencl:0 --family "$family" --case "$case" >"$out" 2>&1 ||
        grep -q FATAL "$out" || ! grep -q ' 1 passed' "$out" || [ -s "$log" ]; then
        echo "$family case $case:"
        head -n 20 "$log" "$out"
        failed=1
    fi
}

# fault TEXT FAMILY CASE OPTION FLAG... - the log must hold TEXT.
fault() {
    text=$1 family=$2 case=$3 option=$4
    shift 4
    : >"$log"
    QLORA_OPENCL_OPTIONS=$option timeout 120 oclgrind "$@" --log "$log" \
        "$qlora" selftest --device opencl:0 --family "$family" --case "$case" >"$out" 2>&1
    if ! grep -qi "$text" "$log"; then
        echo "$family case $case with $option: nothing about \"$text\" in the log:"
        head -n 20 "$log" "$out"
        failed=1
    fi
}

# Both layouts (even: plain, odd: strided) of shapes that take seconds here.
cases='elem:1 elem:20 elem:45 rows:1 rows:21 rows:40 norm:1 norm:20 rope:1 attn:3 attn:33 gemm:3 gemm:11 quant:1 quant:3 quant:5
    quant:180 quant:200 loss:1 reduce:1 reduce:13 opt:1 opt:11 opt:25'
case $mode in
races) for c in $cases; do check "${c%:*}" "${c#*:}" --data-races; done ;;
uninitialized)
    QLORA_OPENCL_OPTIONS=$plain
    export QLORA_OPENCL_OPTIONS
    for c in $cases; do check "${c%:*}" "${c#*:}" --uninitialized; done
    ;;
faults)
    fault 'race' norm 21 "$plain -DLOCAL_SYNC=" --data-races
    fault 'invalid' norm 21 "$plain -DQL_WG=32"
    fault 'uninitialized' norm 21 "$plain -DQL_WG=128" --uninitialized
    ;;
*) echo "usage: oclgrind.sh QLORA races|uninitialized|faults"; exit 2 ;;
esac
exit $failed
