#!/bin/sh
# usage.sh - help, unknown names, values out of range: what the framework answers for every command.
. "$(dirname "$0")/lib.sh"

run
expect_rc 2
expect_no_out
expect_err '^usage: qlora COMMAND'

run --help
expect_rc 0
expect_no_err
for command in info quantize tokenize version; do expect_out "^  $command "; done

run version
expect_rc 0
expect_out '^qlora [0-9]+\.[0-9]+\.[0-9]+ \('

run tokenise
refused 2 "unknown command 'tokenise'; did you mean 'tokenize'"
run serve
refused 2 "'serve' is known, not available in this version"
run --json info
refused 2 'the command comes first'

run tokenize --help
expect_rc 0
expect_no_err
expect_out '^usage: qlora tokenize -m D --file IN.jsonl'
expect_out '^  -m, --model_name_or_path D .*\(required\)'
expect_out '^      --parse_special B .*\[true\]'
expect_out '^      --json '
expect_out '^examples:'
cp "$tmp/out" "$tmp/help"
run help tokenize
expect_rc 0
cmp -s "$tmp/help" "$tmp/out" || fail 'help tokenize and tokenize --help differ'

run tokenize --file x
refused 2 '--model_name_or_path is required'
run tokenize -m x --fiel y
refused 2 "unknown flag '--fiel'; did you mean '--file'"
run tokenize -m x --zzzzzzzz y
refused 2 "unknown flag '--zzzzzzzz'; --help"
run info --neftune_noise_alpha 5
refused 2 "'--neftune_noise_alpha' is known, not available in this version"
run info --neftune-noise-alpha=5
refused 2 "'--neftune_noise_alpha' is known, not available in this version"
run info extra
refused 2 "unexpected argument 'extra'"
run info --threads
refused 2 '--threads needs a value'
run info --threads two
refused 2 "--threads takes a whole number, not 'two'"
run info --threads 99999
refused 2 '--threads is 99999; it must be from 0 to 1024'
run info --color blue
refused 2 "--color takes one of 'auto always never', not 'blue'"
run info --json perhaps
refused 2 "unexpected argument 'perhaps'"
run info --json=perhaps
refused 2 "--json takes true or false, not 'perhaps'"

run info --device cpu --seed=7 --quiet --color never --threads 1 --json
expect_rc 0
expect_no_err

# A result that cannot be written is a failure.
if [ -e /dev/full ]; then
    "$qlora" info >/dev/full 2>"$tmp/err"
    rc=$?
    last='qlora info >/dev/full'
    : >"$tmp/out"
    expect_rc 1
    expect_err 'standard output cannot be written'
fi
finish
