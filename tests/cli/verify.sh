#!/bin/sh
# verify.sh - `qlora verify`: recorded oracles pass, a changed one does not, partial ones say so.
. "$(dirname "$0")/lib.sh"
models=$QL_TEST_DATA/models

for m in tiny-llama tiny-llama-linear tiny-llama-rope3 tiny-llama-yarn tiny-mistral; do
    run verify "$models/$m" --json
    expect_rc 0
    expect_json 'd["ok"] and all(r["ok"] and r["max_abs"] < 1e-4 for r in d["groups"])'
    expect_json '{r["group"] for r in d["groups"]} >= {"plain.logits", "packed.loss", "qlora.grad", "qlora.after3"}'
done
run verify "$models/tiny-llama" --cases plain,rslora --threads 1 --write "$tmp/own.safetensors"
expect_rc 0
expect_out '^rslora.grad .* ok$'
expect_out '^recorded, not run: .*qlora'
[ -s "$tmp/own.safetensors" ] || fail '--write should have stored our values'
run verify "$models/tiny-llama" --compute_dtype bf16
expect_rc 0
run verify "$models/tiny-llama" --cases dora,loftq
expect_rc 0
expect_out '^dora.after3 .* ok$'
expect_out '^loftq.logits .* ok$'
run verify "$models/tiny-llama" --cases ,
refused 2 'plain packed qlora'
run verify "$models/tiny-llama" --cases nonsense
refused 2 'plain packed qlora'
run verify "$tmp/none"
refused 2 'no such folder'

# An oracle with one changed logit is out of tolerance: status 4.
cp -r "$models/tiny-llama" "$tmp/changed"
chmod -R u+w "$tmp/changed"
python3 - "$tmp/changed/oracle.safetensors" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])["plain.logits"]["data_offsets"][0]
data[at:at + 4] = struct.pack("<f", struct.unpack("<f", data[at:at + 4])[0] + 0.01)
open(sys.argv[1], "wb").write(data)
PY
run verify "$tmp/changed" --cases plain --json
expect_rc 4
expect_json 'not d["ok"] and [r["group"] for r in d["groups"] if not r["ok"]] == ["plain.logits"]'
expect_err '^error: .*out of tolerance'
run verify "$tmp/changed" --cases packed
expect_rc 0

# The recorded run of stories260k beside it.
if [ -d "$QL_TEST_SHARED/fixtures/models/stories260k" ]; then
    run verify "$QL_TEST_SHARED/fixtures/models/stories260k/" --json
    expect_rc 0
    expect_err 'has no oracle of its own; verifying the recorded run'
    expect_json 'd["ok"] and {r["group"] for r in d["groups"]} >= {"curve.losses", "curve.final_adapter"}'
else
    echo 'skipped: stories260k is not there'
fi
finish
