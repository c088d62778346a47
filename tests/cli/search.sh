#!/bin/sh
# search.sh - `qlora generate` with beams, rules and encoder-decoders: transformers' ids, and what is refused.
. "$(dirname "$0")/lib.sh"
models=$QL_TEST_DATA/models

# Greedy ids and beams recorded from transformers, through the program and its files of prompts.
for m in tiny-t5 tiny-t5-v11 tiny-bart tiny-mbart tiny-gemma2; do
    python3 - "$QL_TEST_DATA/generate/$m.json" "$tmp" <<'PY'
import json, sys
doc = json.load(open(sys.argv[1]))
beams = [b for b in doc["beams"] if b["eos"] is None]
for name, rows in (("rows", doc["rows"]), ("beams", beams)):
    with open("%s/%s.jsonl" % (sys.argv[2], name), "w") as f:
        for r in rows: f.write(json.dumps({"ids": r.get("encoder") or r["prompt"]}) + "\n")
    json.dump([r["new"] for r in rows], open("%s/%s.want" % (sys.argv[2], name), "w"))
    json.dump([r["score"] for r in rows], open("%s/%s.score" % (sys.argv[2], name), "w"))
start = doc["rows"][0].get("start")
with open(sys.argv[2] + "/flags", "w") as f:
    f.write("--max_new_tokens %d --ignore_eos" % len(doc["rows"][0]["new"]))
    if start is not None: f.write(" --decoder_start_token_id %d" % start)
open(sys.argv[2] + "/num_beams", "w").write(str(beams[0]["num_beams"]))
PY
    for kind in rows beams; do
        n=1
        [ $kind = rows ] || n=$(cat "$tmp/num_beams")
        # shellcheck disable=SC2046
        run generate -m "$models/$m" --tokenizer "$QL_TEST_DATA/tokenizer-bytes" --raw --file "$tmp/$kind.jsonl" --json \
            --num_beams "$n" $(cat "$tmp/flags")
        expect_rc 0
        python3 - "$tmp/out" "$tmp/$kind" 2>"$tmp/err" <<'PY'
import json, sys
got = [json.loads(x) for x in open(sys.argv[1])]
want, score = json.load(open(sys.argv[2] + ".want")), json.load(open(sys.argv[2] + ".score"))
if [g["ids"] for g in got] != want: sys.exit("%s\n%s" % ([g["ids"] for g in got], want))
if "score" in got[0]: sys.exit(any(abs(g["score"] - s) > 1e-4 * abs(s) for g, s in zip(got, score)))
PY
        rc=$?
        last="$kind of $m"
        expect_rc 0
    done
done

# Rules: what the flags forbid does not come; BART's config.json forces the last token.
ask() {
    m=$1
    shift
    run generate -m "$models/$m" --prompt_ids 83,33,80 --max_new_tokens 20 --json "$@"
}
ask tiny-gpt2 --no_repeat_ngram_size 1 --ignore_eos
expect_json 'len(set(d["ids"] + [83, 33, 80])) == 23'
ask tiny-gpt2 --num_beams 3 --no_repeat_ngram_size 2 --ignore_eos
expect_json 'len(set(zip(d["ids"], d["ids"][1:]))) == 19'
ask tiny-t5 --forced_bos_token_id 9
expect_json 'd["ids"][0] == 9'
ask tiny-bart --min_length 30
expect_json 'd["stop"] == "eos" and len(d["ids"]) == 19'
ask tiny-bart --min_length 30 --num_beams 2 --length_penalty 0 --early_stopping true
expect_json 'd["stop"] == "eos" and len(d["ids"]) == 19'

# Words: the source has the tokenizer's special tokens; a prefix is a part of the source.
words() { run generate -m "$models/tiny-t5" --tokenizer "$QL_TEST_DATA/tokenizer-bytes" --max_new_tokens 4 --json "$@"; }
words --prompt 'a: bc'
cp "$tmp/out" "$tmp/whole"
words --prompt bc --source_prefix 'a: '
python3 -c 'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:])
sys.exit(any(a[k] != b[k] for k in ("ids", "text", "prompt_tokens")) or a["prompt_tokens"] < 5)' "$tmp/whole" "$tmp/out" ||
    fail 'a prefix is a part of the source'
echo '{"prompt": "bc"}' >"$tmp/one.jsonl"
words --file "$tmp/one.jsonl" --source_prefix 'a: '
python3 -c 'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(a["ids"] != b["ids"])' \
    "$tmp/whole" "$tmp/out" || fail 'a prefix is a part of every source of a file'
words --prompt bc --temperature 1 --seed 4
expect_rc 0

# Refused with one sentence.
ask tiny-roberta
refused 2 'qlora eval'
ask tiny-mbart
refused 2 'decoder_start_token_id'
ask tiny-llama --decoder_start_token_id 3
refused 2 'no encoder'
ask tiny-llama --source_prefix x
refused 2 'no encoder'
ask tiny-t5 --source_prefix x
refused 2 'words'
ask tiny-t5 --forced_bos_token_id 256
refused 2 'vocabulary of 256'
ask tiny-llama --num_beams 2 --temperature 1
refused 2 'not sampled'
ask tiny-llama --early_stopping sometimes
refused 2 'early_stopping'
words --prompt a --chat_template chatml
refused 2 'chat template'
python3 -c 'print("{\"ids\": %s}" % ([9] * 65))' >"$tmp/long.jsonl"
run generate -m "$models/tiny-bart" --tokenizer "$QL_TEST_DATA/tokenizer-bytes" --file "$tmp/long.jsonl"
refused 3 '65 tokens'
finish
