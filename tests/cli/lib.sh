# lib.sh - sourced by the tests of the program; $1 is the program. Sets $qlora and an empty $tmp.
set -u
qlora=$1
[ -x "$qlora" ] || { echo "no program at $qlora"; exit 1; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0
unset QLORA_ISA
command -v python3 >/dev/null || { echo "skipped: needs python3"; exit 77; }

# run ARG... - runs the program; leaves $rc and the files $tmp/out and $tmp/err.
run() {
    "$qlora" "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="qlora $*"
}

fail() {
    failures=$((failures + 1))
    [ "$failures" -le 5 ] || exit 1
    echo "FAILED: $last: $1"
    echo "-- exit $rc; stdout:"
    head -n 20 "$tmp/out"
    echo "-- stderr:"
    head -n 20 "$tmp/err"
}

expect_rc() { [ "$rc" = "$1" ] || fail "exit status $1 expected"; }
# expect_out PATTERN, expect_err PATTERN - an extended regular expression that some line matches.
expect_out() { grep -qE -- "$1" "$tmp/out" || fail "stdout should match: $1"; }
expect_err() { grep -qE -- "$1" "$tmp/err" || fail "stderr should match: $1"; }
expect_no_out() { [ ! -s "$tmp/out" ] || fail "nothing expected on stdout"; }
expect_no_err() { [ ! -s "$tmp/err" ] || fail "nothing expected on stderr"; }
# expect_json EXPRESSION - a Python expression over the document d on stdout.
expect_json() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$tmp/out" "$1" 2>/dev/null || fail "JSON should hold: $1"
}
# refused STATUS PATTERN - the last run failed with one sentence "error: ..." and wrote no result.
refused() {
    expect_rc "$1"
    expect_err "^error: .*$2"
    expect_no_out
}
finish() {
    [ $failures = 0 ] || exit 1
    exit 0
}
