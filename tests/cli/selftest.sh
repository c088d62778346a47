#!/bin/sh
# selftest.sh - `qlora selftest`: families, single cases, what is refused.
. "$(dirname "$0")/lib.sh"

for family in elem gemm opt; do
    run selftest --family $family --json
    expect_rc 0
    expect_json "d['failed'] == 0 and d['passed'] > 0 and list(d['families']) == ['$family']"
done
run selftest --family rows --case 0 --seed 7 --verbose --device cpu
expect_rc 0
expect_out '^passed  '
expect_out '^rows +1 passed +0 skipped +0 failed'
run selftest --family nosuch
refused 2 'elem rows norm'
run selftest --device tpu
refused 6 'cpu'
finish
