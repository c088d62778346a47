#!/bin/bash
# docs.sh - what the guides show is true: every block marked `sh run` runs, as written, on a tiny random model;
# every flag that a guide or a table names exists.
. "$(dirname "$0")/lib.sh"
make_model=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export OMP_WAIT_POLICY=passive PATH="$tmp/bin:$PATH"

# A model of random weights with a byte tokenizer and ChatML's template, and the example set as data.
mkdir -p "$tmp/bin" "$tmp/fixture"
ln -s "$qlora" "$tmp/bin/qlora"
cat >"$tmp/shape.json" <<'JSON'
{"model_type": "llama", "vocab_size": 260, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
 "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 3, "torch_dtype": "bfloat16"}
JSON
"$make_model" --model "$tmp/shape.json" --output_dir "$tmp/fixture/model" --quant_type none >/dev/null ||
    { echo 'the tiny model cannot be made'; exit 1; }
cp "$QL_TEST_DATA/tokenizer-bytes/tokenizer.json" "$tmp/fixture/model"
python3 - "$tmp/fixture/model/tokenizer_config.json" <<'PY'
import json, sys
template = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
json.dump({"eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template},
          open(sys.argv[1], "w"))
PY
head -n 40 "$root/examples/harbor/train.jsonl" >"$tmp/fixture/data.jsonl"
head -n 8 "$root/examples/harbor/heldout.jsonl" >"$tmp/fixture/heldout.jsonl"

# --- the blocks of each page, in its order, in a folder of its own
blocks=0
for page in "$root"/README.md "$root"/docs/*.md; do
    name=$(basename "$page" .md)
    awk '/^```sh run$/ { on = 1; next } /^```/ { on = 0 } on' "$page" >"$tmp/$name.sh"
    [ -s "$tmp/$name.sh" ] || continue
    blocks=$((blocks + 1))
    cp -r "$tmp/fixture" "$tmp/$name"
    (cd "$tmp/$name" && timeout 200 bash -eux "$tmp/$name.sh") >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="the commands of $(basename "$page")"
    if [ $rc != 0 ]; then
        tail -n 15 "$tmp/err" >"$tmp/tail"
        mv "$tmp/tail" "$tmp/err"
        fail 'every command that the page shows should run'
    fi
done
[ "$blocks" -ge 5 ] || fail "only $blocks pages have commands to run"

# --- the numbers of memory.md are those of the plan
python3 - "$root/docs/memory.md" >"$tmp/plans" <<'PY'
import re, sys
for flags, peak in re.findall(r"^\| (?:`([^`]*)`|none[^|]*) \| ([0-9.]+) GiB \|", open(sys.argv[1]).read(), re.M):
    print(peak, flags)
PY
[ "$(wc -l <"$tmp/plans")" -ge 12 ] || fail 'the table of memory.md has plans'
set -f # the rules of --bits_by_layer hold a star
while read -r peak flags; do
    # shellcheck disable=SC2086 # the flags are words
    run plan --model llama-7b --max_seq_len 512 --compare false $flags
    expect_rc 0
    expect_out "^plan .* peak $peak of"
done <"$tmp/plans"
set +f

# --- names of flags
last='flags in the documentation'
: >"$tmp/out"
python3 - "$qlora" "$root" >"$tmp/err" 2>&1 <<'PY' || fail 'a page names a flag that does not exist'
import glob, re, subprocess, sys
qlora, root = sys.argv[1:]
commands = re.findall(r"^  (\w+) ", subprocess.run([qlora, "--help"], capture_output=True, text=True).stdout, re.M)
flags = {"help", "version"}
for command in commands:
    text = subprocess.run([qlora, command, "--help", "all"], capture_output=True, text=True).stdout
    flags |= set(re.findall(r"^ +(?:-\w, )?--(\w+)", text, re.M))
    for other in re.findall(r"\.also = \"([^\"]*)\"", "".join(open(f).read() for f in glob.glob(root + "/tools/*.[ch]"))):
        flags |= {w.lstrip("-").replace("-", "_") for w in other.split()}
assert len(commands) > 10 and {"lora_r", "config", "window"} <= flags
spelled = set()
for names in re.findall(r'^    \{"([^"]+)", ', open(root + "/tools/spelling_table.c").read(), re.M):
    spelled |= {n.split(".")[0] for n in names.split()}
# flags of cmake, ctest, git, pip, the project's own scripts
foreign = set("preset build target install prefix fix cflags libs lora".split())
bad = []
for page in [root + "/README.md"] + glob.glob(root + "/docs/*.md") + glob.glob(root + "/examples/*.md"):
    name = page[len(root) + 1:]
    for number, line in enumerate(open(page, encoding="utf-8"), 1):
        for flag in re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*)", line):
            plain = flag.replace("-", "_")
            if plain not in flags | foreign | spelled:
                bad.append("%s:%d: --%s" % (name, number, flag))
# The tables of coming-from.md: the column "here" holds our names; the first column holds names that are known.
table = None
for number, line in enumerate(open(root + "/docs/coming-from.md", encoding="utf-8"), 1):
    cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.startswith("|") else None
    if cells is None:
        table = None
        continue
    if table is None:
        table = cells
        assert "here" in table, "line %d: a table without the column 'here'" % number
        continue
    here = cells[table.index("here")]
    for code in re.findall(r"`([^`]+)`", here):
        words = re.findall(r"(?:^|\s)--([\w-]+)", code) or re.findall(r"^(\w+)(?:: .*)?$", code)
        for word in words:
            if word.replace("-", "_") not in flags:
                bad.append("docs/coming-from.md:%d: `%s` is no flag of ours" % (number, word))
    if table[0] == "qlora.py":
        for word in re.findall(r"`--(\w+)", cells[0]):
            if word not in flags | spelled:
                bad.append("docs/coming-from.md:%d: --%s of qlora.py is not understood" % (number, word))
print("\n".join(bad))
sys.exit(1 if bad else 0)
PY
finish
