# guanaco.sh - sourced by guanaco-{7,13,33,65}b.sh: what the four Guanaco runs of the QLoRA paper share.
#
#   examples/guanaco-7b.sh plan [FLAG...]      exact memory of the run, from the shape alone
#   examples/guanaco-7b.sh train -m ./llama-7b --dataset oasst1.jsonl --output_dir runs/guanaco-7b
#
# The data are OASST1's best replies, one row a conversation: {"input": "", "output": "### Human: ..."};
# loss on the output only. Flags behind the command win over the paper's. QLORA names the program.
#
# Of the authors' settings two are not flags here: rows are not grouped by length (that changes the
# order only), and their warm-up ratio of 0.03 has no effect with the constant schedule.

# guanaco SHAPE DROPOUT LEARNING_RATE COMMAND [FLAG...]
guanaco() {
    shape=$1 dropout=$2 rate=$3 command=${4:-plan}
    shift $(($# < 4 ? $# : 4))
    case $command in
    plan) set -- --model "$shape" "$@" ;;
    train) ;;
    *)
        echo "usage: ${0##*/} plan|train [FLAG...]" >&2
        exit 2
        ;;
    esac
    exec "${QLORA:-qlora}" "$command" \
        --bits 4 --quant_type nf4 --blocksize 64 --double_quant true --blocksize2 256 --compute_dtype bf16 \
        --lora_r 64 --lora_alpha 16 --lora_dropout "$dropout" --lora_target_modules all-linear \
        --per_device_train_batch_size 1 --gradient_accumulation_steps 16 --max_steps 1875 \
        --learning_rate "$rate" --lr_scheduler_type constant --warmup_ratio 0.03 \
        --optim paged_adamw_32bit --adam_beta1 0.9 --adam_beta2 0.999 --adam_epsilon 1e-8 \
        --weight_decay 0 --max_grad_norm 0.3 --gradient_checkpointing true \
        --dataset_format input-output --source_max_len 16 --target_max_len 512 --max_seq_len 528 \
        --train_on_source false --seed 0 "$@"
}
