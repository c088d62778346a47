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

# a template of one's own: a file, its variables, tools, and what of each row is learned
cat >"$tmp/own.jinja" <<'E2'
{%- for t in tools or [] %}[{{ t.name }}]{% endfor -%}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}{% if loud %}!{% endif %}<|im_end|>{% endfor -%}
{%- if add_generation_prompt %}<assistant>{% endif -%}
E2
cat >"$tmp/own.jsonl" <<'E2'
{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}], "tools": [{"name": "f"}]}
E2
run template -m "$tokenizer" --file "$tmp/own.jsonl" --chat_template "$tmp/own.jinja" --answers true \
    --chat_template_kwargs '{"loud": true}'
expect_rc 0
grep -q '"text": "\[f\]<user>hi!<|im_end|><assistant>yo!<|im_end|>"' "$tmp/out" || fail 'own text expected'
grep -q '"answers": \["yo!<|im_end|>"\]' "$tmp/out" || fail 'the answer with its end expected'
run template -m "$tokenizer" --file "$tmp/own.jsonl" --chat_template "$tmp/own.jinja" --chat_template_kwargs '[1]'
refused 2 'takes an object'
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template chatml --chat_template_kwargs '{"a": 1}'
refused 2 'takes no variables'
run template -m "$tokenizer" --file "$tmp/own.jsonl" --chat_template chatml
refused 3 'writes no tools'
echo "{% if %}" >"$tmp/bad.jinja"
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template "$tmp/bad.jinja"
refused 2 'line 1'
echo "{{ raise_exception('not today') }}" >"$tmp/bad.jinja"
run template -m "$tokenizer" --file "$tmp/in.jsonl" --chat_template "$tmp/bad.jinja"
refused 3 'row 1: chat template .*: line 1: the template refuses the conversation: not today'
finish
