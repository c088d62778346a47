#!/bin/sh
# report.sh - `qlora report`: the page of a run and of several, which fetch nothing and obey no text.
here=$(dirname "$0")
. "$here/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama
"$here/rows.py" 24 16 >"$tmp/rows.jsonl"
"$here/rows.py" 6 16 9 >"$tmp/held.jsonl"
train() {
    dir=$1
    shift
    run train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$dir" --lora_r 4 \
        --gradient_accumulation_steps 2 --logging_steps 1 --eval_dataset "$tmp/held.jsonl" --eval_steps 4 "$@"
}
# page FILE EXPRESSION - over the page p, parsed strictly; t is its text without tags.
page() {
    python3 - "$1" "$2" >"$tmp/py" 2>&1 <<'PY' || fail "$1 should hold: $2 ($(tail -n 1 "$tmp/py"))"
import re, sys
from html.parser import HTMLParser
p = open(sys.argv[1], encoding="utf-8").read()
class Check(HTMLParser):
    """Every element is closed in its order; nothing refers to anything outside."""
    void = {"meta", "line", "circle", "path"}
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text = [], []
    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attrs:
            assert name not in ("src", "href", "srcset", "action", "background") and not name.startswith("on"), name
            assert not re.search(r"https?:|//|url\(", value or "") or name in ("title", "aria-label"), (name, value)
        if tag not in self.void: self.open.append(tag)
    def handle_startendtag(self, tag, attrs):
        if tag not in self.void: raise AssertionError(tag)
        for name, value in attrs: assert name not in ("href", "src"), name
    def handle_endtag(self, tag):
        if tag in self.void: return
        assert self.open and self.open.pop() == tag, tag
    def handle_data(self, data): self.text.append(data)
c = Check()
c.feed(p)
c.close()
assert not c.open, c.open
style = p[p.index("<style>"):p.index("</style>")]
assert not re.search(r"url\(|@import|https?:", style)
t = " ".join(" ".join(c.text).split())
sys.exit(0 if eval(sys.argv[2]) else 1)
PY
}

train "$tmp/a" --max_steps 24 --save_steps 8 --run_name 'first <script>alert(1)</script> & "run"'
expect_rc 0
page "$dir/report.html" '"Complete at step 24" in t and "Evaluation loss" in t and "first <script>alert(1)" in t'
page "$dir/report.html" 'p.count("<svg") == 6 and "<script" not in p and "24 of 24" in t'
page "$dir/report.html" 'all(x in t for x in ("Gradient norm", "Learning rate", "Tokens per second", "Device memory", "as planned"))'
page "$dir/report.html" 'all(x in t for x in ("xxh3_128", "xxh3_64", "fingerprint", "learning_rate", "kernels", "compiler"))'
hash=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/run.json"))["result"]["xxh3_128"])' "$dir")
page "$dir/report.html" "'$hash' in t"

# The same page by hand; the numbers for programs.
cp "$dir/report.html" "$tmp/by-train.html"
run report "$tmp/a" --json
expect_rc 0
cmp -s "$tmp/by-train.html" "$tmp/a/report.html" || fail 'the page of train and of report should be the same'
expect_json 'd["output"].endswith("a/report.html") and d["runs"][0]["steps"] == 24 and d["runs"][0]["loss"] > 0'
python3 - "$tmp/a" "$tmp/out" <<'PY' || fail 'the summary should agree with train.jsonl'
import json, sys
lines = [json.loads(x) for x in open(sys.argv[1] + "/train.jsonl")]
r = json.load(open(sys.argv[2]))["runs"][0]
assert r["loss"] == lines[-1]["loss"] and r["mem_bytes"] == lines[-1]["mem_bytes"]
best = min((x["eval_loss"], x["step"]) for x in lines if "eval_loss" in x)
assert (r["best_eval_loss"], r["best_eval_step"]) == best
speeds = sorted(x["tok_s"] for x in lines)
assert r["tok_s"] == speeds[len(speeds) // 2]
PY

# Several runs: what differs is told, what is the same is not.
train "$tmp/b" --max_steps 8 --save_steps 0 --learning_rate 1e-3
expect_rc 0
run report "$tmp/a" "$tmp/b" --output "$tmp/both.html"
expect_rc 0
expect_out '/both.html$'
page "$tmp/both.html" '"2 runs" in t and "What differs" in t and "learning_rate 0.0002 0.001" in t and "lora_r" not in t'
page "$tmp/both.html" 'p.count("class=\"keys\"") == 6'
run report "$tmp/a" "$tmp/a" "$tmp/a" "$tmp/a" "$tmp/a" "$tmp/a" "$tmp/a" "$tmp/b" -o "$tmp/eight.html"
expect_rc 0
page "$tmp/eight.html" '"8 runs" in t'

# A run that diverged, one that is being written, files that are not what they should be.
mkdir "$tmp/odd"
{
    echo '{"step":1,"epoch":0.1,"loss":null,"grad_norm":null,"lr":1e308,"tok_s":-1,"mem_bytes":1e300,"</svg>":3}'
    echo '{"step":"x","loss":1}'
    echo 'not json'
    echo '{"step":2,"loss":1e-320,"grad_norm":0,"warning":"<b>jump</b>"}'
    printf '{"step":3,"lo'
} >"$tmp/odd/train.jsonl"
echo '{"state":"diverged","sessions":7,"run_name":"x","model":{"a":{"b":{"c":{"d":{"e":1}}}}}}' >"$tmp/odd/run.json"
echo '{"device_bytes":[1,2],"peak_bytes":"many"}' >"$tmp/odd/plan.json"
printf 'learning_rate: 1\nno colon\n: 3\nlist:\n  - 1\n' >"$tmp/odd/config.yaml"
printf '{"step":0,"index":1,"prompt":"</pre><script>","text":7}\n{"index":1e9}\n[]\n' >"$tmp/odd/samples.jsonl"
run report "$tmp/odd"
expect_rc 0
page "$tmp/odd/report.html" '"Diverged at step 2" in t and "<b>jump</b>" in t and "not a number" in t'
run report "$tmp/odd" "$tmp/a" -o "$tmp/mixed.html"
expect_rc 0
page "$tmp/mixed.html" '"2 runs" in t'
echo '[]' >"$tmp/odd/run.json"
run report "$tmp/odd"
refused 3 'run.json: holds no object'
mkdir "$tmp/empty"
: >"$tmp/empty/train.jsonl"
run report "$tmp/empty"
expect_rc 0
page "$tmp/empty/report.html" 'len(t) > 0'

run report "$tmp/none"
refused 2 'is not the folder of a run: it has no train.jsonl'
run report "$tmp/a" "$tmp/b"
refused 2 'give --output FILE'
run report
refused 2 'run is required'
run report "$tmp/a" -o "$tmp/none/page.html"
refused 1 'page.html'
finish
