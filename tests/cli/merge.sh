#!/bin/sh
# merge.sh - `qlora merge`: W + s B A to the last bit, reported changes, types, what is refused.
. "$(dirname "$0")/lib.sh"
model=$QL_TEST_DATA/models/tiny-llama

merge() { run merge -m "$model" --adapter "$model/adapter" --output_dir "$tmp/m" --json "$@"; }
merge --to f32
expect_rc 0
expect_json 'd["dtype"] == "F32" and len(d["tensors"]) == 14'
cp "$tmp/out" "$tmp/report"
cat >"$tmp/read.py" <<'PY'
import json, struct
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__": continue
        a, b = t["data_offsets"]
        raw = data[8 + n + a:8 + n + b]
        if t["dtype"] == "F32": v = struct.unpack("<%df" % (len(raw) // 4), raw)
        elif t["dtype"] == "BF16": v = [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]
        else: v = None
        out[name] = (t["shape"], v)
    return out
PY
PYTHONPATH=$tmp python3 - "$model" "$tmp/m" "$tmp/report" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
from read import read
model, merged, report = sys.argv[1:]
w, m = read(model + "/model.safetensors"), read(merged + "/model.safetensors")
a = read(model + "/adapter/adapter_model.safetensors")
c = json.load(open(model + "/adapter/adapter_config.json"))
s = c["lora_alpha"] / c["r"]
changes = {t["name"]: t["max_change"] for t in json.load(open(report))["tensors"]}
assert set(w) == set(m)
for name, (shape, v) in w.items():
    key = "base_model.model." + name[:-len(".weight")]
    if key + ".lora_A.weight" not in a:
        assert m[name] == (shape, v), name
        continue
    (r, k), A = a[key + ".lora_A.weight"]
    (n, _), B = a[key + ".lora_B.weight"]
    largest = 0
    for i in range(n):
        for j in range(k):
            d = s * sum(B[i * r + x] * A[x * k + j] for x in range(r))
            largest = max(largest, abs(d))
            assert abs(m[name][1][i * k + j] - (v[i * k + j] + d)) < 1e-6, (name, i, j)
    assert abs(changes[name] - largest) <= 1e-5 * largest + 1e-12, (name, changes[name], largest)
config = json.load(open(merged + "/config.json"))
assert "quantization_config" not in config
PY
rc=$?
last='merged weights'
expect_rc 0

# The merged model says what model and adapter say.
run generate -m "$model" --adapter "$model/adapter" --prompt_ids 68,76,191 --max_new_tokens 12 --json
cp "$tmp/out" "$tmp/with"
run generate -m "$tmp/m" --prompt_ids 68,76,191 --max_new_tokens 12 --json
expect_rc 0
python3 -c 'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(a["ids"] != b["ids"])' \
    "$tmp/with" "$tmp/out" || fail 'merged and attached adapter should generate the same ids'

# A quantized base is decoded; the type follows --to, or config.json.
run merge -m "$model/nf4" --adapter "$model/adapter" --output_dir "$tmp/q" --to bf16 --json
expect_rc 0
expect_json 'd["dtype"] == "BF16"'
run generate -m "$tmp/q" --prompt_ids 1,5 --max_new_tokens 4 --json
expect_rc 0
merge
expect_json 'd["dtype"] == "F32"'
merge --to nf4
refused 2 'known, not available in this version'
run merge -m "$model" --output_dir "$tmp/x"
refused 2 'adapter_name_or_path is required'
run merge -m "$model" --adapter "$tmp/none" --output_dir "$tmp/x"
expect_rc 2
head -c 900 "$model/adapter/adapter_model.safetensors" >"$tmp/short"
cp -r "$model/adapter" "$tmp/a"
chmod -R u+w "$tmp/a"
cp "$tmp/short" "$tmp/a/adapter_model.safetensors"
run merge -m "$model" --adapter "$tmp/a" --output_dir "$tmp/x"
refused 7 'adapter_model.safetensors'
[ -e "$tmp/x" ] && fail 'a refused merge should leave nothing behind'
finish
