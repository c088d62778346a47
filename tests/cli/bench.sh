#!/bin/sh
# bench.sh - `qlora bench`: its rows hold positive finite numbers; what is refused. No speed is judged.
. "$(dirname "$0")/lib.sh"
finite='(lambda x: isinstance(x, (int, float)) and 0 < x < float("inf"))'

run bench ops --only gemm_nf4 --shape 512x576x576 --seconds 0.05 --threads 2 --json
expect_rc 0
expect_json "[(r['name'], r['shape'], r['device']) for r in d['rows']] == [('gemm_nf4', '512x576x576', 'cpu')]"
expect_json "all($finite(d['rows'][0][k]) for k in ('gflops', 'peak_share', 'seconds'))"
expect_json "d['rows'][0]['gbps'] is None and d['rows'][0]['repeats'] >= 5"
expect_json "all($finite(d['peaks'][k]) for k in ('gflops', 'gbps'))"
expect_json "d['machine']['threads'] == 2 and d['machine']['cpu'] and d['machine']['isa']"
# 2 x 512 x 576 x 576 operations in the time that the row states
expect_json "abs(d['rows'][0]['gflops'] * d['rows'][0]['seconds'] * 1e9 / (2 * 512 * 576 * 576) - 1) < 1e-6"

for name in norm_fwd norm_bwd rope act_fwd act_bwd loss adamw; do
    run bench ops --only $name --seconds 0 --device cpu --json
    expect_rc 0
    expect_json "len(d['rows']) == 1 and all($finite(d['rows'][0][k]) for k in ('gbps', 'peak_share'))"
done
run bench ops --only attention --seconds 0
expect_rc 0
expect_out '^attention +512x576x192 +[0-9.]+ +[0-9.]+'

model=$QL_TEST_DATA/models/tiny-llama
run bench train -m "$model" --tokens 16 --seconds 0 --lora_r 2 --per_device_train_batch_size 2 --json
expect_rc 0
expect_json "[(r['name'], r['shape']) for r in d['rows']] == [('train_step', '2x16')]"
expect_json "all($finite(d['rows'][0][k]) for k in ('tokens_per_s', 'peak_bytes', 'gflops', 'peak_share'))"
run bench generate -m "$model" --tokens 8 --max_new_tokens 4 --seconds 0 --json
expect_rc 0
expect_json "[(r['name'], r['shape']) for r in d['rows']] == [('prompt', '1x8'), ('generate', '1x4')]"
expect_json "all($finite(r['tokens_per_s']) for r in d['rows'])"

run bench
refused 2 'what'
run bench nosuch
refused 2 'ops train generate quantize'
run bench ops --only gemm_nf5
refused 2 'gemm_nf4 gemm_nf4_t'
run bench ops --only gemm_nf4 --shape 1x2x3
refused 2 '512x576x576'
run bench quantize --only gemm_nf4
refused 2 'quantize_nf4_dq'
run bench ops --seconds -1
refused 2 'seconds'
run bench ops -m "$model"
refused 2 'does not go with'
run bench train
refused 2 '-m DIR'
run bench generate -m "$model" --tokens 1
refused 2 'tokens'
run bench generate -m "$QL_TEST_DATA/models/tiny-bert" --tokens 8
refused 1 'bert'
run bench ops --device tpu
refused 6 'cpu'
finish
