/* known.c - the lists behind known.h, in the order of the design. */
#include "tools/known.h"

#include "tools/args.h"

const char *ql_known_commands(void) {
    return "convert quantize loftq data plan train eval judge elo generate chat serve merge export "
           "report bench selftest verify template tokenize tune";
}

static const char known_flags[] =
    /* model and quantization */
    "model_name_or_path adapter_name_or_path tokenizer bits quant_type double_quant blocksize "
    "blocksize2 bits_by_layer target_bpw compute_dtype quantize_head "
    /* adapter */
    "lora_r lora_alpha lora_dropout lora_target_modules rank_pattern alpha_pattern use_rslora "
    "use_dora init_lora_weights loftq_iter loftq_bits loraplus_lr_ratio modules_to_save "
    "exclude_modules layers_to_transform layers_pattern trainable_token_indices "
    /* data */
    "dataset dataset_format eval_dataset eval_dataset_size max_train_samples max_eval_samples "
    "source_max_len "
    "target_max_len max_seq_len train_on_source train_on chat_template packing group_by_length "
    "truncation eos_token "
    /* training */
    "per_device_train_batch_size gradient_accumulation_steps max_steps num_train_epochs "
    "learning_rate "
    "lr_scheduler_type warmup_ratio warmup_steps weight_decay max_grad_norm optim adam_beta1 "
    "adam_beta2 adam_epsilon gradient_checkpointing neftune_noise_alpha label_smoothing_factor "
    "data_seed deterministic loss beta full shuffle "
    /* memory and device */
    "mem ram stream opt_page_budget offload_activations allow_host_fallback "
    /* saving, evaluating, logging */
    "output_dir save_steps save_total_limit resume eval_steps eval_tasks early_stopping_patience "
    "load_best_model_at_end logging_steps report_to run_name dry_run config print_config "
    /* generating and measuring */
    "prompt max_new_tokens temperature top_k top_p raw task file window stride";

bool ql_known_flag(const char *name) {
    return ql_names_have(known_flags, name);
}
