# tiny_run.sh - sourced behind lib.sh by tests of `qlora train`: the tiny model, rows of ids, and train.
model=$QL_TEST_DATA/models/tiny-llama
"$here/rows.py" 40 24 >"$tmp/rows.jsonl"
"$here/rows.py" 6 24 9 >"$tmp/held.jsonl"

# train RUN FLAG... - rows of ids on the tiny model.
train() {
    dir=$1
    shift
    run train -m "$model" --dataset "$tmp/rows.jsonl" --dataset_format tokens --output_dir "$dir" --lora_r 4 \
        --learning_rate 1e-2 --per_device_train_batch_size 2 --gradient_accumulation_steps 2 --logging_steps 1 "$@"
}
