#!/bin/sh
# generate.sh - `qlora generate`: transformers' greedy ids, files of prompts, templates, what is refused.
. "$(dirname "$0")/lib.sh"
models=$QL_TEST_DATA/models

# Greedy ids recorded from transformers, through the program.
for m in tiny-llama tiny-llama-linear tiny-llama-rope3 tiny-llama-yarn tiny-mistral; do
    python3 - "$QL_TEST_DATA/generate/$m.json" >"$tmp/prompts.jsonl" 2>"$tmp/want.jsonl" <<'PY'
import json, sys
for row in json.load(open(sys.argv[1]))["rows"]:
    print(json.dumps({"ids": row["prompt"]}))
    print(json.dumps(row["new"]), file=sys.stderr)
PY
    n=$(python3 -c 'import json, sys; print(len(json.loads(open(sys.argv[1]).readline())))' "$tmp/want.jsonl")
    run generate -m "$models/$m" --tokenizer "$QL_TEST_DATA/tokenizer-bytes" --file "$tmp/prompts.jsonl" --json \
        --max_new_tokens "$n" --temperature 0 --ignore_eos
    expect_rc 0
    python3 - "$tmp/out" "$tmp/want.jsonl" 2>"$tmp/err" <<'PY'
import json, sys
got = [json.loads(x)["ids"] for x in open(sys.argv[1])]
want = [json.loads(x) for x in open(sys.argv[2])]
sys.exit(0 if got == want else "%s\n%s" % (got, want))
PY
    rc=$?
    last="greedy ids of $m"
    expect_rc 0
done

# One prompt of ids: no tokenizer is needed.
model=$models/tiny-llama
one() { run generate -m "$model" --prompt_ids 68,76,191 --max_new_tokens 6 "$@"; }
one --json
expect_rc 0
expect_no_err
expect_json 'd["ids"] == [241, 63, 75, 227, 186, 98] and d["text"] is None and d["stop"] == "length"'
expect_json 'd["prompt_tokens"] == 3'
one
expect_out '^241 63 75 227 186 98$'

# Draws depend on the seed; top_k 1 is greedy.
one --temperature 1.5 --seed 3 --json
cp "$tmp/out" "$tmp/three"
one --temperature 1.5 --seed 3 --json
python3 -c 'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(a["ids"] != b["ids"])' \
    "$tmp/three" "$tmp/out" || fail 'the same seed should draw the same'
one --temperature 1.5 --top_k 1 --json
expect_json 'd["ids"] == [241, 63, 75, 227, 186, 98]'
one --temperature 1.5 --top_p 0 --json
expect_json 'd["ids"] == [241, 63, 75, 227, 186, 98]'

# An adapter changes what is said; one that does not fit the model is refused.
one --adapter "$models/tiny-llama/adapter" --json
expect_rc 0
one --adapter "$models/tiny-mistral/adapter" --bits 4 --json
case $rc in 0 | 2 | 7) ;; *) fail 'a foreign adapter is refused or fits' ;; esac
one --adapter "$tmp"
expect_rc 2
one --adapter "$models/tiny-llama/adapter-dora" --json
expect_rc 0

# Words: the template of training, --raw, --system; byte ids can be read (byte + 4).
words() { run generate -m "$model" --tokenizer "$QL_TEST_DATA/tokenizer-bytes" --max_new_tokens 2 --json "$@"; }
words --prompt AB --raw
expect_rc 0
expect_json 'd["prompt_tokens"] == 3 and isinstance(d["text"], str)'
words --prompt AB --chat_template chatml
expect_rc 0
expect_json 'd["prompt_tokens"] == 1 + 4 + len("user\nAB\n" + "assistant\n") - 1'
words --prompt AB --chat_template nosuch
refused 2 'chatml'
words --prompt AB --prompt_ids 1
refused 2 'give one of'
words
refused 2 'give one of'
run generate -m "$model" --prompt AB
expect_rc 2
one --mem 1k
expect_rc 5
run generate -m "$model" --prompt_ids 1,999
refused 2 'id 999 is outside the vocabulary of 256'
run generate -m "$model" --prompt_ids 1,x
refused 2 'prompt_ids'
echo '{"prompt": 5}' >"$tmp/bad.jsonl"
words --file "$tmp/bad.jsonl" --raw
refused 3 'row 1'
python3 -c 'print("{\"ids\": %s}" % list(range(3, 70)))' >"$tmp/long.jsonl"
words --file "$tmp/long.jsonl" --raw
refused 3 '67 tokens'

# A model that speaks.
stories=$QL_TEST_SHARED/fixtures/models/stories260k
if [ -d "$stories" ]; then
    run generate -m "$stories" --prompt 'Once upon a time' --raw --max_new_tokens 30 --temperature 0
    expect_rc 0
    expect_out '^, there was a little girl named Lily'
else
    echo 'skipped: stories260k is not there'
fi
finish
