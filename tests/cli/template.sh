#!/bin/sh
# template.sh - `qlora template`: rendered conversations as JSON lines, refusals.
. "$(dirname "$0")/lib.sh"
tokenizer=$QL_TEST_DATA/tokenizer-bytes
cat >"$tmp/in.jsonl" <<'E2'
{"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": true}
{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}
E2
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template chatml
expect_rc 0
expect_no_err
python3 - "$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
got = [json.loads(x) for x in open(sys.argv[1])]
want = ["<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"]
sys.exit(0 if got == [{"text": t} for t in want] else str(got))
PY
rc=$?
last='texts of chatml'
expect_rc 0
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template llama2 --output "$tmp/out.jsonl"
expect_rc 0
expect_no_out
grep -q '\[INST\] hi \[/INST\]' "$tmp/out.jsonl" || fail 'llama2 marks expected'

run template -m "$tokenizer" --file "$tmp/in.jsonl"
refused 2 'chat_template'
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template nosuch
refused 2 'chatml'
echo '{"messages": [{"role": "assistant", "content": "me first"}]}' >"$tmp/bad.jsonl"
run template -m "$tokenizer" --file "$tmp/bad.jsonl" --chat_template llama2
refused 3 'row 1'
echo '{"messages": "hi"}' >"$tmp/bad.jsonl"
run template -m "$tokenizer" --file "$tmp/bad.jsonl" --chat_template chatml
refused 3 'row 1'
finish
