/*
 * spelling_table.c - the rows of spelling.h. The first row that has a name and its value counts, so
 * rows for single values stand above the one for every other value.
 *
 * A name of ours may stand here for those of its values that other programs write otherwise.
 */
#include "tools/spelling.h"

#define MAPS    QL_FATE_MAPS
#define NOTED   QL_FATE_NOTED
#define REFUSED QL_FATE_REFUSED
#define FOREIGN QL_FATE_FOREIGN
#define OPENS   QL_FATE_OPENS

#define OFFLINE     "this program opens no network connection; files are read and written here only"
#define ONE_PROCESS "a run is one process on one device"
#define NO_LOADER   "rows are read by the program itself, in the order that --data_seed gives"
#define NO_TORCH    "there is no PyTorch underneath"
#define NO_PADDING  "rows lie end to end without padding"

/* clang-format off */
static const ql_spelling rows[] = {
    /* ---- transformers: numbers */
    {"bf16", "true", MAPS, "compute_dtype=bf16"},
    {"bf16", "false null", MAPS, ""},
    {"fp16", "false null", MAPS, ""},
    {"fp16", "true", REFUSED, "activations are fp32 or bf16 here: write compute_dtype: bf16, or leave it out"},
    {"tf32", "true false null", NOTED, "sums are fp32 in every case"},
    {"bf16_full_eval fp16_full_eval", "true false null", NOTED, "evaluation computes as training does"},
    {"fp16_opt_level fp16_backend half_precision_backend fp16_scale_window", NULL, NOTED, "there is no mixed precision to tune; see compute_dtype"},
    {"torch_dtype dtype", NULL, NOTED, "weights that are not quantized keep the type of their file; see compute_dtype and bits"},
    {"bnb_4bit_compute_dtype", "bfloat16 bf16 torch.bfloat16", MAPS, "compute_dtype=bf16"},
    {"bnb_4bit_compute_dtype", "float32 fp32 torch.float32", MAPS, "compute_dtype=fp32"},
    {"bnb_4bit_compute_dtype", NULL, REFUSED, "activations are fp32 or bf16 here: write compute_dtype: bf16"},
    {"compute_dtype", "bfloat16 torch.bfloat16", MAPS, "compute_dtype=bf16"},
    {"compute_dtype", "float32 torch.float32", MAPS, "compute_dtype=fp32"},

    /* ---- bitsandbytes */
    {"load_in_4bit", "true", MAPS, "bits=4"},
    {"load_in_4bit", "false", REFUSED, "write bits: 8, or bits: 16 for weights as the files hold them"},
    {"load_in_8bit", "true", MAPS, "bits=8"},
    {"load_in_8bit", "false null", MAPS, ""},
    {"bnb_4bit_quant_type", NULL, MAPS, "quant_type=*"},
    {"bnb_4bit_use_double_quant", NULL, MAPS, "double_quant=*"},
    {"bnb_4bit_quant_storage", NULL, NOTED, "codes are bytes; files with another quant_storage are read too"},
    {"llm_int8_threshold", "0 0.0", NOTED, "outliers are not computed apart"},
    {"llm_int8_threshold", NULL, REFUSED, "outliers are not computed apart here: llm_int8 is a threshold of 0; leave it out"},
    {"llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight", "false", MAPS, ""},
    {"llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight", "true", REFUSED, "leave it out: quantized weights stay quantized, on one device"},
    {"quantization_config bnb_config lora_config peft_config training_args training_arguments", NULL, OPENS, ""},

    /* ---- transformers: batches, steps, schedule */
    {"per_gpu_train_batch_size", NULL, MAPS, "per_device_train_batch_size=*"},
    {"per_device_eval_batch_size per_gpu_eval_batch_size eval_accumulation_steps", NULL, NOTED, "an evaluation gives the same for every batch; `qlora eval` takes batch_size"},
    {"auto_find_batch_size", "false", MAPS, ""},
    {"auto_find_batch_size", "true", REFUSED, "leave it out: `qlora plan` says beforehand which batch fits"},
    {"warmup_steps", "<1", MAPS, "warmup_ratio=*"},
    {"lr_scheduler_kwargs lr_scheduler_kwargs.num_cycles lr_scheduler_kwargs.power", NULL, REFUSED, "the schedules take no settings of their own here; see --lr_scheduler_type"},
    {"optim", "adamw_torch adamw_torch_fused adamw_hf adamw_apex_fused adamw_anyprecision adamw_torch_xla", MAPS, "optim=adamw"},
    {"optim", "paged_adamw", MAPS, "optim=paged_adamw_32bit"},
    {"optim", "lion_32bit", MAPS, "optim=lion"},
    {"optim", "adamw_bnb_8bit", MAPS, "optim=adamw_8bit"},
    {"optim_args optim_target_modules", NULL, REFUSED, "optimizers take no settings of their own here; see adam_beta1, adam_beta2, adam_epsilon"},
    {"adafactor", "false", MAPS, ""},
    {"adafactor", "true", REFUSED, "leave it out: the optimizer is AdamW (optim: adamw)"},
    {"adam8bit", "false", MAPS, ""},
    {"adam8bit", "true", MAPS, "optim=adamw_8bit"},
    {"average_tokens_across_devices", "true false", NOTED, "a step's loss is always divided by its number of learned tokens"},
    {"full_determinism", "true false", NOTED, "a run always gives the same bytes for the same seed"},
    {"use_liger_kernel liger_kernel_config use_liger", NULL, NOTED, "losses are computed without keeping all logits anyway"},

    /* ---- transformers: memory */
    {"gradient_checkpointing.every", NULL, MAPS, "gradient_checkpointing=true checkpoint_every=*"},
    {"gradient_checkpointing", "unsloth", MAPS, "gradient_checkpointing=true"},
    {"activation_checkpointing use_gradient_checkpointing", "unsloth", MAPS, "gradient_checkpointing=true"},
    {"activation_checkpointing use_gradient_checkpointing", "true", MAPS, "gradient_checkpointing=true"},
    {"activation_checkpointing use_gradient_checkpointing", "false", MAPS, "gradient_checkpointing=false"},
    {"gradient_checkpointing_kwargs activation_checkpointing_kwargs", NULL, NOTED, "blocks are computed again with the same dropout masks, whatever it says"},
    {"max_memory_MB", NULL, MAPS, "mem=*e6"},
    {"torch_empty_cache_steps", NULL, NOTED, "nothing is allocated on the device after the first step"},
    {"use_cache", "true false", NOTED, "training keeps no cache, generation always does"},
    {"low_cpu_mem_usage offload_folder offload_state_dict", NULL, NOTED, "weights are read from the mapped file tensor by tensor"},

    /* ---- transformers: evaluating, saving, logging */
    {"evaluation_strategy eval_strategy", "steps", NOTED, "eval_steps says when"},
    {"evaluation_strategy eval_strategy", "no", NOTED, "rows to evaluate on are evaluated after the last step; without them nothing is"},
    {"evaluation_strategy eval_strategy", NULL, REFUSED, "write eval_steps, the steps between evaluations"},
    {"eval_delay", "0", MAPS, ""},
    {"eval_on_start", "false", MAPS, ""},
    {"eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics include_inputs_for_metrics prediction_loss_only", NULL, NOTED, "metrics are computed row by row"},
    {"metric_for_best_model", "eval_loss", MAPS, "metric_for_best_model=loss"},
    {"metric_for_best_model", "eval_accuracy", MAPS, "metric_for_best_model=accuracy"},
    {"metric_for_best_model", "eval_f1", MAPS, "metric_for_best_model=f1"},
    {"greater_is_better", "true false null", NOTED, "it follows from the metric"},
    {"save_strategy", "best", REFUSED, "write load_best_model_at_end: true and save_steps"},
    {"save_strategy", "steps", NOTED, "save_steps says when"},
    {"save_strategy", "no", MAPS, "save_steps=0"},
    {"save_strategy", NULL, REFUSED, "write save_steps, the steps between checkpoints"},
    {"logging_strategy", "steps", NOTED, "logging_steps says when"},
    {"logging_strategy", NULL, REFUSED, "write logging_steps, the steps between lines of train.jsonl"},
    {"logging_first_step", "true false", NOTED, "the first step is always logged"},
    {"logging_dir", NULL, NOTED, "logs are files in output_dir"},
    {"logging_nan_inf_filter include_num_input_tokens_seen include_tokens_per_second log_on_each_node log_level log_level_replica skip_memory_metrics debug", NULL, NOTED, "train.jsonl has what was computed, with tokens and memory"},
    {"disable_tqdm", "true", MAPS, "quiet=true"},
    {"disable_tqdm", "false", MAPS, ""},
    {"report_to", "[] null", MAPS, "report_to=none"},
    {"report_to", "wandb mlflow comet_ml clearml neptune swanlab trackio codecarbon dagshub flyte azure_ml dvclive", REFUSED, "this program opens no network connection; train.jsonl in output_dir has every logged step"},
    {"save_safetensors", "true", NOTED, "files are always safetensors"},
    {"save_safetensors", "false", REFUSED, "leave it out: files are always safetensors"},
    {"save_only_model", "false", MAPS, ""},
    {"save_only_model", "true", REFUSED, "leave it out: a checkpoint always has what resuming needs"},
    {"save_on_each_node enable_jit_checkpoint restore_callback_states_from_checkpoint", NULL, NOTED, ONE_PROCESS},
    {"overwrite_output_dir", "true", MAPS, "resume=never"},
    {"overwrite_output_dir", "false", MAPS, ""},
    {"resume_from_checkpoint", "true", MAPS, "resume=auto"},
    {"resume_from_checkpoint", "false", MAPS, "resume=never"},
    {"resume_from_checkpoint", NULL, MAPS, "resume=*"},
    {"ignore_data_skip", "false", MAPS, ""},
    {"ignore_data_skip", "true", REFUSED, "leave it out: a resumed run goes on where its data stood"},
    {"jit_mode_eval torch_compile use_ipex", "true false", NOTED, NO_TORCH},
    {"torch_compile_backend torch_compile_mode torchdynamo xpu_backend", NULL, NOTED, NO_TORCH},

    /* ---- transformers: what is run */
    {"do_train", "true", NOTED, "that is what `qlora train` does"},
    {"do_train", "false", REFUSED, "use `qlora eval` or `qlora generate`"},
    {"do_eval", "true false", NOTED, "rows to evaluate on (eval_dataset, eval_dataset_size) are evaluated, without them nothing is"},
    {"do_predict predict_with_generate", "false", MAPS, ""},
    {"do_predict predict_with_generate", "true", REFUSED, "use `qlora generate --file ROWS` with the adapter afterwards"},
    {"generation_max_length generation_num_beams generation_config sortish_sampler", NULL, NOTED, "nothing is generated; `qlora generate` has its own flags"},
    {"do_sample", "false", MAPS, "temperature=0"},
    {"do_sample", "true", NOTED, "a temperature above 0 samples"},
    {"num_beam_groups", "1", MAPS, ""},
    {"typical_p repetition_penalty", "1 1.0", MAPS, ""},
    {"diversity_penalty", "0 0.0", MAPS, ""},
    {"penalty_alpha min_new_tokens", "null", MAPS, ""},
    {"num_beam_groups typical_p repetition_penalty diversity_penalty penalty_alpha min_new_tokens", NULL, REFUSED, "`qlora generate` does not have it: leave it out"},

    /* ---- transformers: devices and processes */
    {"use_cpu no_cuda", "true", MAPS, "device=cpu"},
    {"use_cpu no_cuda", "false", MAPS, ""},
    {"use_mps_device", "false", MAPS, ""},
    {"use_mps_device", "true", REFUSED, "write the device: `qlora info` lists those of this machine"},
    {"device_map", "cpu", MAPS, "device=cpu"},
    {"device_map", NULL, NOTED, "the whole model is on the device of --device"},
    {"local_rank", "-1 0 null", NOTED, ONE_PROCESS},
    {"local_rank", NULL, REFUSED, ONE_PROCESS "; start it once"},
    {"ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout accelerator_config parallelism_config mp_parameters tpu_num_cores tpu_metrics_debug split_batches dispatch_batches", NULL, NOTED, ONE_PROCESS},
    {"deepspeed fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap", "false null []", MAPS, ""},
    {"deepspeed fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap", NULL, REFUSED, ONE_PROCESS "; leave it out, `qlora plan` says what fits"},
    {"attn_implementation use_flash_attention_2", NULL, NOTED, "there is one attention, exact and without padding"},
    {"gpu_layers n_gpu_layers ngl", NULL, NOTED, "the whole model is on the device of --device"},

    /* ---- transformers: data */
    {"dataloader_drop_last", "false", MAPS, ""},
    {"dataloader_drop_last", "true", REFUSED, "leave it out: every row is used, the last step of an epoch may be shorter"},
    {"dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order preprocessing_num_workers dataset_num_proc", NULL, NOTED, NO_LOADER},
    {"remove_unused_columns label_names length_column_name past_index overwrite_cache", NULL, NOTED, "a row's columns are those of its format"},
    {"train_sampling_strategy", "random", MAPS, ""},
    {"train_sampling_strategy", "group_by_length", MAPS, "group_by_length=true"},
    {"train_sampling_strategy", "sequential", MAPS, "shuffle=false"},
    {"trust_remote_code", "true false", NOTED, "a model is data here; no code of its folder is run"},
    {"use_auth_token", "true false null", NOTED, OFFLINE},
    {"hub_token token cache_dir model_revision revision use_fast_tokenizer force_download local_files_only", NULL, NOTED, OFFLINE},
    {"push_to_hub", "false", NOTED, OFFLINE},
    {"push_to_hub", "true", REFUSED, OFFLINE "; copy output_dir/adapter yourself"},
    {"push_to_hub_model_id push_to_hub_organization push_to_hub_token hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision project trackio_space_id trackio_bucket_id trackio_static_space_id", NULL, NOTED, OFFLINE},

    /* ---- PEFT */
    {"r", NULL, MAPS, "lora_r=*"},
    {"target_modules", NULL, MAPS, "lora_target_modules=*"},
    {"bias", "none", MAPS, ""},
    {"bias", NULL, REFUSED, "biases stay frozen here: write bias: none or leave it out"},
    {"lora_bias use_qalora use_bdlora ensure_weight_tying", "false", MAPS, ""},
    {"lora_bias use_qalora use_bdlora ensure_weight_tying", "true", REFUSED, "this kind of adapter is not here: leave it out"},
    {"layer_replication megatron_config eva_config corda_config lora_ga_config arrow_config target_parameters alora_invocation_tokens", NULL, REFUSED, "this kind of adapter is not here: leave it out"},
    {"task_type", "CAUSAL_LM", MAPS, "task=causal"},
    {"task_type", "SEQ_CLS", MAPS, "task=classify"},
    {"task_type", "SEQ_2_SEQ_LM", MAPS, "task=seq2seq"},
    {"task_type", NULL, REFUSED, "tasks are CAUSAL_LM, SEQ_CLS and SEQ_2_SEQ_LM here"},
    {"peft_type", "LORA", MAPS, ""},
    {"peft_type", NULL, REFUSED, "adapters are LoRA here (use_dora, use_rslora)"},
    {"fan_in_fan_out inference_mode auto_mapping megatron_core peft_version runtime_config", NULL, NOTED, "it follows from the model"},
    {"base_model_name_or_path", NULL, MAPS, "model_name_or_path=*"},

    /* ---- TRL and Unsloth */
    {"max_length max_seq_length", NULL, MAPS, "max_seq_len=*"},
    {"completion_only_loss assistant_only_loss", "true", MAPS, "train_on_source=false"},
    {"completion_only_loss assistant_only_loss", "false", MAPS, "train_on_source=true"},
    {"completion_only_loss", "null", MAPS, ""},
    {"dataset_text_field", "text", NOTED, "rows with a key text are text"},
    {"dataset_text_field", NULL, REFUSED, "rename the column to text, or use one of the formats of --dataset_format"},
    {"padding_free pad_token padding padding_side pad_to_multiple_of", NULL, NOTED, NO_PADDING},
    {"eval_packing packing_strategy", NULL, NOTED, "packing says how micro-batches are filled"},
    {"chat_template_path", NULL, MAPS, "chat_template=*"},
    {"random_state", NULL, MAPS, "seed=*"},

    /* ---- qlora.py */
    {"lora_modules", "all", MAPS, "lora_target_modules=all-linear"},
    {"lora_modules", NULL, REFUSED, "write lora_target_modules: q_proj,v_proj or all-linear"},
    {"max_new_tokens temperature top_k top_p num_beams length_penalty no_repeat_ngram_size", NULL, NOTED, "nothing is generated; `qlora generate` has it"},
    {"full_finetune", NULL, MAPS, "full=*"},
    {"do_mmlu_eval", "false", MAPS, ""},
    {"do_mmlu_eval", "true", REFUSED, "nothing is measured by MMLU while training: leave it out"},
    {"mmlu_split mmlu_dataset max_mmlu_samples mmlu_source_max_len", NULL, NOTED, "MMLU is not measured while training"},
    {"max_eval_samples", "null", MAPS, ""},
    {"max_eval_samples", NULL, REFUSED, "write eval_dataset_size, the rows to set aside, or shorten eval_dataset"},

    /* ---- Axolotl, LLaMA-Factory, mlx-lm, torchtune: refused with our name */
    {"base_model base_model_config pretrained_model_name_or_path", NULL, FOREIGN, "model_name_or_path"},
    {"tokenizer_config tokenizer_name tokenizer_name_or_path", NULL, FOREIGN, "tokenizer"},
    {"micro_batch_size train_batch_size", NULL, FOREIGN, "per_device_train_batch_size"},
    {"eval_batch_size", NULL, FOREIGN, "batch_size of `qlora eval`"},
    {"datasets pretraining_dataset dataset_dir data_path train_file train_data data", NULL, FOREIGN, "dataset, a file of rows, with dataset_format"},
    {"test_datasets validation_file eval_data", NULL, FOREIGN, "eval_dataset, a file of rows"},
    {"val_set_size val_size test_split", NULL, FOREIGN, "eval_dataset_size"},
    {"max_samples", NULL, FOREIGN, "max_train_samples"},
    {"num_epochs epochs", NULL, FOREIGN, "num_train_epochs"},
    {"iters", NULL, FOREIGN, "max_steps"},
    {"sequence_len cutoff_len block_size", NULL, FOREIGN, "max_seq_len"},
    {"sample_packing pad_to_sequence_len neat_packing", NULL, FOREIGN, "packing"},
    {"optimizer", NULL, FOREIGN, "optim"},
    {"lr_scheduler lr_schedule", NULL, FOREIGN, "lr_scheduler_type"},
    {"gradient_clipping max_norm", NULL, FOREIGN, "max_grad_norm"},
    {"warmup", NULL, FOREIGN, "warmup_steps or warmup_ratio"},
    {"lora_rank rank", NULL, FOREIGN, "lora_r"},
    {"lora_target", NULL, FOREIGN, "lora_target_modules"},
    {"lora_target_linear", NULL, FOREIGN, "lora_target_modules: all-linear"},
    {"lora_modules_to_save additional_target", NULL, FOREIGN, "modules_to_save"},
    {"lora_model_dir resume_adapter_file", NULL, FOREIGN, "adapter_name_or_path"},
    {"adapter_path", NULL, FOREIGN, "output_dir for training, adapter_name_or_path for an adapter that is there"},
    {"finetuning_type fine_tune_type", NULL, FOREIGN, "bits (4 quantizes) and full (true trains all weights)"},
    {"quantization_bit", NULL, FOREIGN, "bits"},
    {"quantization_type", NULL, FOREIGN, "quant_type"},
    {"double_quantization", NULL, FOREIGN, "double_quant"},
    {"template conversation", NULL, FOREIGN, "chat_template"},
    {"mask_prompt", NULL, FOREIGN, "train_on_source: false, the default"},
    {"train_on_inputs train_on_prompt", NULL, FOREIGN, "train_on_source"},
    {"mask_history", NULL, FOREIGN, "train_on"},
    {"grad_checkpoint enable_activation_checkpointing", NULL, FOREIGN, "gradient_checkpointing"},
    {"num_layers", NULL, FOREIGN, "layers_to_transform"},
    {"lora_parameters", NULL, FOREIGN, "lora_r, lora_alpha and lora_dropout"},
    {"steps_per_report", NULL, FOREIGN, "logging_steps"},
    {"steps_per_eval evals_per_epoch", NULL, FOREIGN, "eval_steps"},
    {"save_every saves_per_epoch", NULL, FOREIGN, "save_steps"},
    {"auto_resume_from_checkpoints", NULL, FOREIGN, "resume"},
    {"flash_attention flash_attn sdp_attention xformers_attention eager_attention", NULL, FOREIGN, "not needed: there is one attention, exact and without padding"},
    {"wandb_project wandb_entity wandb_watch wandb_name wandb_log_model use_wandb", NULL, FOREIGN, "not needed: train.jsonl in output_dir has every logged step, nothing is sent"},
    {"special_tokens tokens", NULL, FOREIGN, "trainable_token_indices for rows of the embedding; the tokenizer itself stays as it is"},
    {"stage", NULL, FOREIGN, "loss (sft)"},
    {"plot_loss", NULL, FOREIGN, "not needed: train.jsonl has every logged step"},
    {"model_type tokenizer_type is_llama_derived_model strict", NULL, FOREIGN, "not needed: it follows from the model's config.json; unknown keys are always refused"},
};
/* clang-format on */

const ql_spelling *ql_spelling_at(size_t n) {
    return n < sizeof rows / sizeof *rows ? &rows[n] : NULL;
}
