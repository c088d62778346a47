#!/bin/sh
# bits.sh - --target_bpw: the chosen bits keep to the size, are the same for any number of threads, in the plan and in the
# written folder; calibration on text; what is refused. The part with text needs ../shared.
here=$(dirname "$0")
. "$here/lib.sh"
tiny=$QL_TEST_DATA/models/tiny-llama
get() { python3 -c 'import json, sys; print(eval(sys.argv[2], {"d": json.load(open(sys.argv[1]))}))' "$tmp/out" "$1"; }

for target in 2.2 2.75 3.5 6; do
    run plan -m "$tiny" --target_bpw $target --threads 1 --json
    expect_rc 0
    rules=$(get 'd["bits_by_layer"]') bytes=$(get 'd["quantized_bytes"]')
    # No matrix is more than a tenth of this model, so the best allocation is near the target.
    expect_json "$target - 0.35 < d['weight_bits'] - 0.01 <= $target and sum(d['types'].values()) == 14"
    rm -rf "$tmp/q"
    run quantize -m "$tiny" --output_dir "$tmp/q" --target_bpw $target --threads 2 --json
    expect_rc 0
    expect_json "d['bits_by_layer'] == '$rules' and d['quantized_bytes'] == $bytes"
    expect_json "d['bits_per_weight'] <= $target"
    run plan -m "$tiny" --bits_by_layer "$rules" --json
    expect_json "d['quantized_bytes'] == $bytes"
    run plan -m "$tmp/q" --json
    expect_json "d['quantized_bytes'] == $bytes"
done
run plan -m "$tiny" --target_bpw 1
refused 2 'target_bpw 1: with nf2 in these blocks everywhere a weight takes 2\.1'
run plan -m "$tiny" --target_bpw 3 --bits_by_layer '*:2'
refused 2 'contradicts --bits_by_layer'
run quantize -m "$tiny" --output_dir "$tmp/x" --target_bpw 3 --bits 2
refused 2 'contradicts --bits'
run plan -m llama-7b --target_bpw 3
refused 2 'llama-7b'
run quantize --tensor "$QL_TEST_DATA/quant/q4_plain.safetensors" --name f32.small.input --output "$tmp/x" --target_bpw 3
refused 2 'goes with -m'
[ ! -e "$tmp/x" ] || fail 'something was written by a refused command'

model=$QL_TEST_SHARED/fixtures/models/stories260k
if [ -e "$model/model.safetensors" ]; then
    for seed in 1 2; do # a text that the model itself tells to measure on, another one to score
        run generate -m "$model" --raw --prompt "Once upon a time" --max_new_tokens 250 --seed $seed --json
        python3 -c 'import json, sys; print("Once upon a time" + json.load(open(sys.argv[1]))["text"])' "$tmp/out" >"$tmp/$seed.txt"
    done
    loss() { # FLAG... : loss of what these flags quantize to, in $loss
        rm -rf "$tmp/q"
        run quantize -m "$model" --output_dir "$tmp/q" --json "$@"
        expect_rc 0
        run eval -m "$tmp/q" --task perplexity --file "$tmp/2.txt" --window 256 --json
        expect_rc 0
        loss=$(get 'd["loss"]')
    }
    loss --bits 2 && two=$loss
    loss --target_bpw 2.5 --calibration "$tmp/1.txt" && mixed=$loss
    loss --bits 3 && three=$loss
    loss --target_bpw 3.5 --calibration "$tmp/1.txt" && chosen=$loss
    python3 -c 'import sys; x = [float(v) for v in sys.argv[1:]]; sys.exit(0 if x[1] < x[0] and x[3] < x[2] else 1)' \
        "$two" "$mixed" "$three" "$chosen" || fail "2 bits $two, 2.5 $mixed, 3 $three, 3.5 $chosen"
    : >"$tmp/empty.txt"
    run plan -m "$model" --target_bpw 3 --calibration "$tmp/empty.txt"
    refused 7 "calibration needs two or more"
else
    echo "the part with text is skipped: no $model"
fi
finish
