#!/bin/sh
# quantize.sh - `qlora quantize`: folders and single tensors equal to what bitsandbytes and transformers
# wrote (tests/data/quant), the table explained, and options that are refused.
here=$(dirname "$0")
. "$here/lib.sh"
quant=$QL_TEST_DATA/quant

# equal GOT WANT [NAME=NAME]...
equal() {
    "$here/safetensors_equal.py" "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="$1 against $2"
    expect_rc 0
}

# folder FIXTURE FLAG... - quantizes tiny_base and compares weights and configuration.
folder() {
    fixture=$quant/$1
    shift
    rm -rf "$tmp/q"
    run quantize -m "$quant/tiny_base" --output_dir "$tmp/q" --json "$@"
    expect_rc 0
    expect_json 'd["quantized"] == 7 and 0 < d["bits_per_weight"] < 9'
    equal "$tmp/q/model.safetensors" "$fixture/model.safetensors"
    python3 - "$tmp/q/config.json" "$fixture/config.json" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
got, want = (json.load(open(p))["quantization_config"] for p in sys.argv[1:])
compute = "bnb_4bit_compute_dtype" # a hint for the loader, not a property of the weights
sys.exit(0 if all(got.get(k) == v for k, v in want.items() if k != compute) else "%s\n%s" % (got, want))
PY
    rc=$?
    last="config.json of $fixture"
    expect_rc 0
}
folder tiny_nf4_dq
folder tiny_nf4 --double_quant false
folder tiny_int8 --bits 8

# tensor FILE NAME PREFIX FLAG... - one tensor; PREFIX is where the fixture keeps the expected parts.
tensor() {
    file=$quant/$1.safetensors name=$2
    shift 2
    run quantize --tensor "$file" --name "$name" --output "$tmp/one.safetensors" --json "$@"
    expect_rc 0
}
for type in nf4 fp4; do
    want=f32.small.$type.bs64
    tensor q4_plain f32.small.input --quant_type $type --double_quant false
    equal "$tmp/one.safetensors" "$quant/q4_plain.safetensors" "$name=$want.packed" "$name.absmax=$want.absmax"
    want=f16.large.$type.bs4096
    tensor q4_plain f16.large.input --quant_type $type --double-quant=false --blocksize 4096
    equal "$tmp/one.safetensors" "$quant/q4_plain.safetensors" "$name=$want.packed" "$name.absmax=$want.absmax"
    want=bf16.$type.bs128
    tensor q4_double_quant bf16.input --quant_type $type --blocksize 128
    equal "$tmp/one.safetensors" "$quant/q4_double_quant.safetensors" "$name=$want.packed" \
        "$name.absmax=$want.absmax_q" "$name.nested_absmax=$want.nested_absmax"
done
tensor int8_vectorwise f32.weight --quant_type llm_int8
equal "$tmp/one.safetensors" "$quant/int8_vectorwise.safetensors" "$name=$name.CB" "f32.SCB=$name.SCB"
tensor q8_blockwise bf16.signed.input --quant_type dyn8 --blocksize 256
equal "$tmp/one.safetensors" "$quant/q8_blockwise.safetensors" "$name=bf16.signed.bs256.codes" \
    "$name.absmax=bf16.signed.bs256.absmax"
tensor q4_plain f32.small.input --quant_type fp4 --double_quant false --quant_rule cuda
equal "$tmp/one.safetensors" "$quant/q4_plain.safetensors" "$name=f32.small.fp4.bs64.packed_cuda_rule"

# Every type of the design, a plausible error for each, and its codes at their true size.
codes='(d["rows"] * d["cols"] * %d + 7) // 8'
for type in nf4:4 fp4:4 nf2:2 nf3:3 int2:2 int3:3 int4:4 int2s:2 int3s:3 int4s:4 int2a:2 int3a:3 int4a:4 int8:8 dyn8:8 \
    llm_int8:8; do
    bits=${type#*:} type=${type%:*}
    tensor int8_vectorwise f32.weight --quant_type $type --double_quant false
    expect_json 'd["quant_type"] == "'$type'" and 0 < d["rel_error"] < {2: 0.75, 3: 0.4, 4: 0.2, 8: 0.2}['$bits']'
    expect_json "$(printf "d['bytes'] - d['blocks'] * (8 if '$type'[-1] == 'a' else 4) == $codes" $bits)"
done
# A second level for all: scales in one byte, zeros in two, one float for every 256 scales.
for type in nf2:2 nf3:3 int2s:2 int3a:3 int8:8; do
    bits=${type#*:} type=${type%:*}
    tensor int8_vectorwise f32.weight --quant_type $type --double_quant true --blocksize 40
    expect_json "$(printf "d['bytes'] - d['blocks'] * (3 if '$type'[-1] == 'a' else 1) - 4 * -(-d['blocks'] // 256) == $codes" $bits)"
    expect_json 'd["blocks"] == -(-d["rows"] * d["cols"] // 40)'
done

# bits_by_layer: the plan names the bytes that the file's parts have; a mix goes into our own container, one type
# beside plain weights into bitsandbytes' format.
tiny=$QL_TEST_DATA/models/tiny-llama
mixed() { # TYPES RULES FLAG...
    types=$1 rules=$2
    shift 2
    rm -rf "$tmp/q"
    run plan -m "$tiny" --bits_by_layer "$rules" --json "$@"
    expect_rc 0
    planned=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["quantized_bytes"])' "$tmp/out")
    expect_json "d['types'] == $types"
    run quantize -m "$tiny" --output_dir "$tmp/q" --bits_by_layer "$rules" --json "$@"
    expect_rc 0
    expect_json "d['types'] == $types and d['quantized_bytes'] == $planned"
    python3 - "$tmp/q/model.safetensors" "$planned" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, struct, sys
with open(sys.argv[1], "rb") as f:
    head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
coded = {k.split(".quant_state.")[0] for k in head if ".quant_state." in k} | {
    k[:-3] + "weight" for k in head if k.endswith(".SCB")}
parts = [v for k, v in head.items() for p in coded
         if k in (p, p + ".absmax", p + ".nested_absmax", p + ".zero", p[:-6] + "SCB")]
bytes = sum(v["data_offsets"][1] - v["data_offsets"][0] for v in parts)
sys.exit(0 if bytes == int(sys.argv[2]) else "%d bytes in the file" % bytes)
PY
    rc=$?
    last="$planned bytes planned for $rules"
    expect_rc 0
}
method() {
    python3 -c 'import json, sys
c = json.load(open(sys.argv[1]))["quantization_config"]
sys.exit(0 if c["quant_method"] == sys.argv[2] and eval(sys.argv[3]) else str(c))' "$tmp/q/config.json" "$@" \
        >"$tmp/out" 2>"$tmp/err"
    rc=$?
    last="config.json of $rules"
    expect_rc 0
}
mixed '{"nf4": 7, "nf2": 7}' '0:4,*:2'
method qlora 'c["bits_by_layer"] == "0:4,*:2"'
run plan -m "$tmp/q" --json
expect_json "d['types'] == {'nf4': 7, 'nf2': 7} and d['quantized_bytes'] == $planned and d['weight_type'] == 'mixed'"
mixed '{"int3a": 2, "int2a": 11, "int8": 1}' 'model.layers.1.mlp.up_proj:8,down_proj:3,*:2' --quant_type int4a
mixed '{"nf4": 13, "llm_int8": 1}' '1.mlp.up_proj:8' --double_quant false
mixed '{"nf4": 10}' 'k_proj:16,v_proj:16'
method bitsandbytes '"model.layers.1.self_attn.v_proj" in c["llm_int8_skip_modules"] and "lm_head" in c["llm_int8_skip_modules"]'
run plan -m "$tmp/q" --json
expect_json "d['types'] == {'nf4': 10} and d['quantized_bytes'] == $planned"
mixed '{"llm_int8": 14}' '*:8'
method bitsandbytes 'c["load_in_8bit"]'
rm -rf "$tmp/q"
run quantize -m "$tiny" --output_dir "$tmp/q" --bits_by_layer '0:4,*:2' --format bnb
refused 2 'one storage type per model, and nf2 comes after nf4'
for wrong in '1-0:4=holds no layer' '0-7:4=names layer 7' '*:16=quantizes nothing' '*:5=2, 3, 4, 8 or 16' 'x:4=fits no weight'; do
    run quantize -m "$tiny" --output_dir "$tmp/q" --bits_by_layer "${wrong%=*}"
    refused 2 "${wrong#*=}"
done
run quantize --tensor "$quant/q4_plain.safetensors" --name f32.small.input --output "$tmp/q" --bits_by_layer '*:2'
refused 2 'goes with -m'
[ ! -e "$tmp/q" ] || fail 'something was written by a refused command'

run quantize --explain nf4 --draws 65536
expect_rc 0
expect_no_err
for word in '0\.9677083' '15 levels' 'entropy' 'fp4' 'int4' '[Ll]loyd'; do expect_out "$word"; done
cp "$tmp/out" "$tmp/explained"
run quantize --explain nf4 --draws 65536 --seed 0
cmp -s "$tmp/explained" "$tmp/out" || fail 'the same seed explains differently'
for type in nf4 fp4 int4; do
    run quantize --explain $type --draws 65536 --json
    expect_rc 0
    expect_json 'isinstance(d, dict) and len(d) > 0'
done

run quantize -m "$quant/tiny_base"
refused 2 '--output_dir'
run quantize
refused 2 '--tensor'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --quant_type nf5
refused 2 'nf4.*nf5'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --bits 5
refused 2 '--bits is 5; weights are quantized to 2, 3, 4 or 8'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --bits 16
refused 2 '--bits is 16'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --bits 8 --quant_type nf4
refused 2 'contradicts'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --blocksize 7
refused 2 '--blocksize 7: expected 8 to 65536'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --blocksize 100 --format bnb
refused 2 '--format bnb cannot hold nf4 in blocks of 100'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --format bnb --quant_type int4
refused 2 '--format bnb cannot hold int4'
run quantize -m "$quant/tiny_base" --output_dir "$tmp/x" --format gguf
refused 2 "not 'gguf'"
run quantize -m "$tmp/none" --output_dir "$tmp/x"
refused 2 "$tmp/none"
run quantize --tensor "$quant/q4_plain.safetensors" --name absent --output "$tmp/y"
refused 2 "no tensor 'absent'"
run quantize --tensor "$quant/tiny_expected.safetensors" --name input_ids --output "$tmp/y"
refused 2 'I64'
head -c 3000 "$quant/tiny_base/model.safetensors" >"$tmp/cut.safetensors"
run quantize --tensor "$tmp/cut.safetensors" --name lm_head.weight --output "$tmp/y"
refused 7 'cut.safetensors'
run quantize --explain nf9
refused 2 'nf9'
for path in "$tmp/x" "$tmp/y"; do
    last=$path
    [ ! -e "$path" ] || fail 'something was written by a refused command'
done
finish
