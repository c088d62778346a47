#!/bin/sh
# info.sh - `qlora info`: the keys scripts rely on, QLORA_ISA, unknown devices.
. "$(dirname "$0")/lib.sh"

run info --json
expect_rc 0
expect_no_err
expect_json 'set(d) >= {"version", "git", "build", "devices"}'
expect_json 'd["devices"][0]["id"] == "cpu" and d["devices"][0]["kind"] == "cpu"'
expect_json 'all(set(x) >= {"id", "kind", "name", "isa", "memory_bytes"} for x in d["devices"])'
expect_json 'd["devices"][0]["memory_bytes"] > 0 and d["devices"][0]["compute_units"] >= 1'
expect_json 'all("why" in x for x in d["devices"][0]["isa_levels"] if not x["available"])'

run info
expect_rc 0
expect_out '^qlora [0-9.]+ \('
expect_out '^cpu: '

QLORA_ISA=portable
export QLORA_ISA
run info --json
expect_rc 0
expect_json 'd["devices"][0]["isa"] == "portable"'

QLORA_ISA=sse9
run info --json
case $rc in 2 | 6) ;; *) fail 'exit status 2 or 6 expected' ;; esac
expect_no_out
expect_err '^error: .*portable'
unset QLORA_ISA

# The levels that info says are there can be asked for, the others are refused.
run info --json
python3 -c 'import json, sys
for x in json.load(open(sys.argv[1]))["devices"][0]["isa_levels"]: print(x["name"], x["available"])' \
    "$tmp/out" >"$tmp/levels"
while read -r name there; do
    QLORA_ISA=$name
    export QLORA_ISA
    run info --json
    if [ "$there" = True ]; then
        expect_rc 0
        expect_json "d['devices'][0]['isa'] == '$name'"
    else
        case $rc in 2 | 6) ;; *) fail "QLORA_ISA=$name should be refused" ;; esac
        expect_err '^error: '
    fi
done <"$tmp/levels"
unset QLORA_ISA

run info --device tpu:0
refused 6 'cpu'
run info --device cpu:7
refused 6 'cpu'
finish
