#!/bin/sh
# tokenize_real.sh - `qlora tokenize` there and back on real vocabularies. Expected ids come from the
# fixtures, which transformers wrote.
. "$(dirname "$0")/lib.sh"
fixture=$QL_TEST_SHARED/fixtures/tokenizers/llama3
if [ ! -r "$fixture/ids.jsonl" ] || ! command -v xz >/dev/null; then
    echo "skipped: needs $fixture and xz"
    exit 77
fi
mkdir "$tmp/tok"
for f in tokenizer.json tokenizer_config.json; do xz -dc "$fixture/$f.xz" >"$tmp/tok/$f"; done

run tokenize -m "$tmp/tok" --file "$fixture/ids.jsonl" --output "$tmp/ids.jsonl" --json
expect_rc 0
expect_json 'd["rows"] == sum(1 for _ in open("'"$fixture/ids.jsonl"'"))'
python3 - "$fixture/ids.jsonl" "$tmp/ids.jsonl" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
want, got = ([json.loads(l) for l in open(p, encoding="utf-8")] for p in sys.argv[1:3])
bad = [i + 1 for i, (w, g) in enumerate(zip(want, got)) if w["ids"] != g["ids"]]
sys.exit(0 if not bad and len(want) == len(got) else "rows that differ: %s" % bad[:5])
PY
rc=$?
last='ids against the fixture'
expect_rc 0

# stdout and file hold the same rows
run tokenize -m "$tmp/tok" -f "$fixture/ids.jsonl"
expect_rc 0
cmp -s "$tmp/out" "$tmp/ids.jsonl" || fail 'stdout and --output differ'

run tokenize -m "$tmp/tok" --file "$tmp/ids.jsonl" --decode --output "$tmp/text.jsonl"
expect_rc 0
python3 - "$fixture/ids.jsonl" "$tmp/text.jsonl" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
want, got = ([json.loads(l)["text"] for l in open(p, encoding="utf-8")] for p in sys.argv[1:3])
bad = [i + 1 for i, (w, g) in enumerate(zip(want, got)) if w != g]
sys.exit(0 if not bad and len(want) == len(got) else "rows that differ: %s" % bad[:5])
PY
rc=$?
last='text after decoding'
expect_rc 0

printf '{"text": "<|begin_of_text|>a"}\n' >"$tmp/special.jsonl"
run tokenize -m "$tmp/tok" --file "$tmp/special.jsonl"
expect_out '^\{"ids": \[128000, 64\]\}$'
run tokenize -m "$tmp/tok" --file "$tmp/special.jsonl" --parse_special false
expect_rc 0
grep -q 128000 "$tmp/out" && fail 'a special token was parsed'

# --add_special_tokens: the other vocabulary puts a BOS (its fixture's "prefix") before every text.
mkdir "$tmp/tok2"
fixture2=$QL_TEST_SHARED/fixtures/tokenizers/llama2
for f in tokenizer.json tokenizer_config.json; do xz -dc "$fixture2/$f.xz" >"$tmp/tok2/$f"; done
run tokenize -m "$tmp/tok2" --file "$fixture2/ids.jsonl" --add-special-tokens --output "$tmp/ids2.jsonl"
expect_rc 0
python3 - "$fixture2/ids.jsonl" "$tmp/ids2.jsonl" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
want, got = ([json.loads(l) for l in open(p, encoding="utf-8")] for p in sys.argv[1:3])
bad = [i + 1 for i, (w, g) in enumerate(zip(want, got)) if w["prefix"] + w["ids"] != g["ids"]]
sys.exit(0 if not bad and len(want) == len(got) else "rows that differ: %s" % bad[:5])
PY
rc=$?
last='ids with --add_special_tokens'
expect_rc 0
finish
