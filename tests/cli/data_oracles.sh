#!/bin/sh
# data_oracles.sh - `qlora data show` against the recorded examples of qlora.py's rule, token for token and mask for mask.
. "$(dirname "$0")/lib.sh"
sft=$QL_TEST_SHARED/fixtures/eval
[ -f "$sft/sft_examples_llama2.jsonl" ] || { echo 'skipped: no recorded examples'; exit 77; }
command -v xz >/dev/null || { echo 'skipped: needs xz'; exit 77; }
for model in llama2 llama3; do
    mkdir -p "$tmp/$model"
    for file in tokenizer.json tokenizer_config.json; do
        xz -dc "$QL_TEST_SHARED/fixtures/tokenizers/$model/$file.xz" >"$tmp/$model/$file"
    done
done
python3 "$(dirname "$0")/data_oracles.py" "$qlora" "$sft" "$tmp"
