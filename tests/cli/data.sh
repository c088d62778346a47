#!/bin/sh
# data.sh - `qlora data`: check, show, stats, split, their pages and exit codes; token and mask equality with the oracles.
. "$(dirname "$0")/lib.sh"
tok=$QL_TEST_DATA/tokenizer-bytes
printf '%s\n' '{"instruction":"Name a fruit.","output":"An apple."}' '{"instruction":"Name a tree.","output":"An oak."}' \
    >"$tmp/clean.jsonl"

# check: nothing found is 0, a problem is 3, with and without a tokenizer
run data check "$tmp/clean.jsonl" -m "$tok" --json
expect_rc 0
expect_json 'd == {"rows": 2, "problems": []}'
run data check "$tmp/clean.jsonl"
expect_rc 0
expect_out 'alpaca by the keys instruction and output'
expect_out 'no problem was found'
{ cat "$tmp/clean.jsonl"; printf '%s\n' '{"instruction":"Name a tree.","output":"An oak."}' '{"instruction":"<|im_end|>","output":"x"}' \
    '{"instruction":"x","output":""}' '{"instruction":'; } >"$tmp/bad.jsonl"
for with in "" "-m $tok"; do
    run data check "$tmp/bad.jsonl" $with --json
    expect_rc 3
    expect_json 'd["rows"] == 6 and [(p["row"], p["kind"]) for p in d["problems"]] == [(3, "duplicate"), (4, "template-marker"),
        (5, "empty-answer"), (6, "json")] and all(set(p) == {"row", "kind", "message"} for p in d["problems"])'
done
run data check "$tmp/bad.jsonl" -m "$tok" --max_seq_len 200 --json
expect_json '[p["kind"] for p in d["problems"] if p["row"] == 1] == [] and d["rows"] == 6'
run data check "$tmp/bad.jsonl" -m "$tok" --max_seq_len 100 --json
expect_json '{p["row"] for p in d["problems"] if p["kind"] == "too-long"} == {1, 2, 3, 4}'
run data check "$tmp/bad.jsonl" --ignore duplicate,template_marker,empty-answer --ignore json --json
expect_rc 3
run data check "$tmp/bad.jsonl" --ignore duplicate,template_marker,empty-answer,json
expect_rc 0
run data check "$tmp/bad.jsonl" --ignore duplicates
refused 2 '--ignore takes kinds of .*duplicate'
run data check "$tmp/clean.jsonl" --eval_dataset "$tmp/clean.jsonl" --json
expect_rc 3
expect_json '[p["kind"] for p in d["problems"]] == ["overlap"] * 2'
printf 'prompt,completion\n"a,b\n' >"$tmp/bad.csv"
run data check "$tmp/bad.csv" --json
expect_rc 3
expect_json 'd["problems"][0]["kind"] == "table"'
printf 'a,,b\n1,2,3\n' >"$tmp/head.csv"
run data check "$tmp/head.csv" --json
expect_rc 3
expect_json 'd["rows"] == 0 and d["problems"][0]["row"] == 0'
run data check "$tmp/none.jsonl"
refused 2 'none.jsonl'
run data
refused 2 'action'
run data pack "$tmp/clean.jsonl"
refused 2 'known, not available'
run data check
refused 2 'dataset'

# show: JSON lines of what is learned; people see it, too
run data show "$tmp/clean.jsonl" -m "$tok" --json
expect_rc 0
python3 - "$tmp/out" <<'P' || fail 'lines of source, target, input_ids, labels'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert len(rows) == 2
for r in rows:
    assert set(r) == {"source", "target", "input_ids", "labels"}
    text = r["source"] + r["target"]
    assert r["input_ids"] == [0] + [b + 4 for b in text.encode()] + [1]
    n = 1 + len(r["source"].encode())
    assert r["labels"] == [-100] * n + r["input_ids"][n:]
assert rows[0]["target"] == "An apple."
P
run data show "$tmp/bad.jsonl" -m "$tok" --row 3
expect_rc 0
expect_out '^row 3: [0-9]+ tokens, 8 learned'
expect_out '^  off *\| Below is an instruction'
expect_out '^  on *\| An oak\.$'
expect_out '^  eos *\| </s>'
run data show "$tmp/bad.jsonl" -m "$tok" --rows 0
expect_rc 3
expect_out '^row 6: json: '
run data show "$tmp/bad.jsonl" --row 7
refused 2 'has 6 rows'
run data show "$tmp/clean.jsonl" -m "$tok" --color always --row 1
expect_out "$(printf '\033')\[92m"

# pages: whole, self-contained, escaped
printf '%s\n' '{"prompt":"<script>alert(1)</script>","completion":"x"}' >>"$tmp/page.jsonl"
run data show "$tmp/page.jsonl" -m "$tok" --html "$tmp/show.html"
expect_rc 0
run data check "$tmp/bad.jsonl" -m "$tok" --html "$tmp/check.html"
expect_rc 3
run data stats "$tmp/bad.jsonl" -m "$tok" --html "$tmp/stats.html" --json
expect_rc 0
expect_json 'd["rows"] == 6 and d["lengths"]["longest"] >= d["lengths"]["half"] > 0 and 0 < d["packing"] <= 1'
expect_json 'd["problems"] == {"json": 1, "empty-answer": 1, "template-marker": 1, "duplicate": 1}'
python3 - "$tmp" <<'P' || fail 'pages'
import html.parser, sys
for name in "show", "check", "stats":
    text = open(f"{sys.argv[1]}/{name}.html").read()
    assert text.rstrip().endswith("</html>") and "<script" not in text and "http" not in text.split("<body")[1]
    html.parser.HTMLParser().feed(text)
assert 'class="t-eos"' in open(f"{sys.argv[1]}/show.html").read()
assert "template-marker" in open(f"{sys.argv[1]}/check.html").read()
P

run data check "$tmp/clean.jsonl" -m "$tok" --max_seq_len 160 --truncation right --html "$tmp/cut.html"
expect_rc 3
grep -q 'class="t-cut"[^>]*>l</span>' "$tmp/cut.html" || fail 'what was cut should be on the page'

# tasks without a model: by the rows
printf 'sentence\tlabel\n"good\tyes\nbad\tno\n' >"$tmp/glue.tsv"
run data show "$tmp/glue.tsv" --json
expect_rc 0
head -n 1 "$tmp/out" | grep -q '"source": "\\"good"' || fail 'the first sentence'
run data stats "$tmp/glue.tsv" --json
expect_json 'd["task"] == "classify"'

# split: the same rows as training sets aside, none twice, none lost
python3 -c 'for i in range(40): print("{\"prompt\":\"q%d\",\"completion\":\"a%d\"}" % (i, i))' >"$tmp/forty.jsonl"
run data split "$tmp/forty.jsonl" --eval_dataset_size 0.25 --output_dir "$tmp/parts" --json --seed 3
expect_rc 0
expect_json 'd == {"train": 30, "eval": 10}'
cat "$tmp/parts/train.jsonl" "$tmp/parts/eval.jsonl" | sort >"$tmp/all"
sort "$tmp/forty.jsonl" | cmp -s - "$tmp/all" || fail 'rows were lost or changed'
run data split "$tmp/forty.jsonl" --eval_dataset_size 40 --output_dir "$tmp/parts2"
refused 2 'sets 40 rows aside'
[ ! -e "$tmp/parts2" ] || fail 'a folder appeared'
run data split "$tmp/forty.jsonl"
refused 2 'needs --eval_dataset_size'

finish
