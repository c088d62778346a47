#!/bin/sh
# tokenize.sh - `qlora tokenize`: files and rows that are refused, and that nothing is left behind then.
. "$(dirname "$0")/lib.sh"
mkdir "$tmp/tok"
cp "$QL_TEST_DATA"/tokenizer-bytes/* "$tmp/tok"
printf '{"text": "a"}\n' >"$tmp/good.jsonl"

run tokenize -m "$tmp/tok" --file "$tmp/good.jsonl"
expect_rc 0
expect_out '^\{"ids": \[[0-9]+\]\}$'
printf '\n{"text": "a"}\r\n\n{"text": "", "more": [1]}' >"$tmp/blank.jsonl"
run tokenize -m "$tmp/tok" --file "$tmp/blank.jsonl" --output "$tmp/ids.jsonl" --json
expect_rc 0
expect_json 'd["rows"] == 2'
[ "$(tail -n 1 "$tmp/ids.jsonl")" = '{"ids": []}' ] || fail 'an empty text should have no ids'

refuse_row() {
    printf "$1" >"$tmp/bad.jsonl"
    rm -f "$tmp/never"
    shift
    run tokenize -m "$tmp/tok" --file "$tmp/bad.jsonl" --output "$tmp/never" "$@"
    refused 3 'row 2'
    [ ! -e "$tmp/never" ] || fail 'a file appeared'
}
refuse_row '{"text": "a"}\n{"text": 1}\n'
refuse_row '{"text": "a"}\n{"text": "a\n'
refuse_row '{"text": "a"}\n["text"]\n'
refuse_row '{"text": "a"}\n{"text": "a", "text": "b"}\n'
refuse_row '{"text": "a"}\n{"text": "\\xff"}\n'
refuse_row '{"ids": [1]}\n{"ids": [1, -1]}\n' --decode
refuse_row '{"ids": [1]}\n{"ids": [1, 4000000000]}\n' --decode
refuse_row '{"ids": [1]}\n{"ids": [1.5]}\n' --decode

run tokenize -m "$tmp/none" --file "$tmp/good.jsonl"
refused 2 "$tmp/none"
run tokenize -m "$tmp/tok" --file "$tmp/none.jsonl"
refused 2 "$tmp/none.jsonl"
run tokenize -m "$tmp/tok" --file "$tmp/good.jsonl" --json
refused 2 '--json needs --output'
echo '{"version": "1.0", "model": {}' >"$tmp/tok/tokenizer.json"
run tokenize -m "$tmp/tok" --file "$tmp/good.jsonl"
refused 7 'tokenizer.json'
finish
