#!/bin/sh
# classify.sh - classification and regression from the command line: QLoRA on a random RoBERTa-shaped base learns
# (held-out rows, bars that a run at rate 0 misses), scores are printed and recorded, `eval` gives the same ones.
here=$(dirname "$0")
. "$here/lib.sh"
make_model=$2
"$here/tasks.py" tokenizer roberta "$QL_TEST_DATA/tokenizer-bytes" "$tmp/tok"
base() { # NAME CONFIG-ENTRIES DROPPED-PREFIX
    cat >"$tmp/$1.json" <<JSON
{"model_type": "roberta", "vocab_size": 260, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
 "intermediate_size": 128, "max_position_embeddings": 36, "type_vocab_size": 1, "pad_token_id": 3, "bos_token_id": 0,
 "eos_token_id": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.0,
 "attention_probs_dropout_prob": 0.0 $2}
JSON
    "$make_model" --model "$tmp/$1.json" --output_dir "$tmp/$1.small" --quant_type none >/dev/null || exit 1
    "$here/tasks.py" scale "$tmp/$1.small" "$tmp/$1" 6 "${3-}" || exit 1
}
# train RUN MODEL ROWS RATE FLAG... - 10 epochs at most; held-out rows beside the rows.
train() {
    dir=$tmp/$1 model=$tmp/$2 kind=$3 rate=$4
    shift 4
    run train -m "$model" --tokenizer "$tmp/tok" --dataset "$tmp/$kind.jsonl" --eval_dataset "$tmp/$kind.held.jsonl" \
        --output_dir "$dir" --lora_r 32 --lora_alpha 32 --learning_rate "$rate" --lr_scheduler_type cosine --max_grad_norm 1 \
        --per_device_train_batch_size 16 --gradient_accumulation_steps 1 --num_train_epochs 10 --logging_steps 50 \
        --save_steps 0 --threads 1 "$@"
}
log() {
    python3 -c 'import json, sys
d = [json.loads(x) for x in open(sys.argv[1])]
sys.exit(0 if eval(sys.argv[2]) else 1)' "$1/train.jsonl" "$2" 2>/dev/null || fail "train.jsonl should hold: $2"
}
for kind in pairs numbers; do
    "$here/tasks.py" $kind 400 5 >"$tmp/$kind.jsonl"
    "$here/tasks.py" $kind 80 6 >"$tmp/$kind.held.jsonl"
done

# Pairs with class names on a base without a classifier: the classes come from the rows. Measured: accuracy 1.0,
# Matthews 1.0 on the held-out rows; at rate 0 about one half and 0.
base plain '' classifier.
train learns plain pairs 2e-3 --eval_steps 125
expect_rc 0
expect_out '^data  400 rows \(classification, classify\) .* 2 classes .* 80 evaluation rows'
expect_err '^eval  125/250  loss [0-9.]+ · accuracy [0-9.]+ · f1 [0-9.]+ · macro f1 [0-9.]+ · matthews [-0-9.]+$'
expect_out '^eval  loss [0-9.]+ · accuracy [0-9.]+ · f1 '
log "$tmp/learns" '[x["step"] for x in d if "eval_matthews" in x] == [125, 250]'
log "$tmp/learns" 'd[-1]["eval_accuracy"] > 0.9 and d[-1]["eval_f1"] > 0.9 and d[-1]["eval_matthews"] > 0.8'
train still plain pairs 0 --json
expect_rc 0
expect_json 'd["eval_accuracy"] < 0.75 and d["eval_f1"] < 0.8 and d["eval_matthews"] < 0.5'
python3 - "$tmp/learns" >"$tmp/out" 2>"$tmp/err" <<'PY'
import json, sys
run = sys.argv[1]
assert json.load(open(run + "/adapter/labels.json")) == {"num_labels": 2, "names": ["other", "same"]}
data = json.load(open(run + "/data.json"))
assert data["task"] == "classify" and data["num_labels"] == 2 and data["labels"] == ["other", "same"]
assert json.load(open(run + "/adapter/adapter_config.json"))["task_type"] == "SEQ_CLS"
PY
rc=$?
last='files of the run'
expect_rc 0

# `eval` with the adapter knows the classes from it and gives the run's last scores; without it it guesses.
run eval -m "$tmp/plain" --bits 4 --tokenizer "$tmp/tok" --adapter "$tmp/learns/adapter" --task classify \
    --file "$tmp/pairs.held.jsonl" --threads 2 --json
expect_rc 0
expect_json 'd["task"] == "classify" and d["rows"] == 80 and d["accuracy"] > 0.9 and d["matthews"] > 0.8'
python3 - "$tmp/out" "$tmp/learns/train.jsonl" 2>"$tmp/err" <<'PY'
import json, sys
a = json.load(open(sys.argv[1]))
b = [json.loads(x) for x in open(sys.argv[2])][-1]
assert all(abs(a[k] - b["eval_" + k]) < 1e-6 for k in ("loss", "accuracy", "f1", "macro_f1", "matthews")), (a, b)
PY
rc=$?
last='eval after train'
expect_rc 0
run eval -m "$tmp/plain" --bits 4 --tokenizer "$tmp/tok" --adapter "$tmp/learns/adapter" --dataset "$tmp/pairs.held.jsonl"
expect_rc 0
expect_out '^loss [0-9.]+ · accuracy 0\.9|accuracy 1\.0'

# A model that names its classes; a number of one label. Measured: Pearson 0.99, at rate 0 below 0.5.
base named ', "id2label": {"0": "same", "1": "other"}'
train order named pairs 2e-3 --num_train_epochs 1 --json
expect_rc 0
expect_json 'set(d) >= {"eval_accuracy", "eval_f1", "eval_macro_f1", "eval_matthews", "eval_loss"}'
grep -q '"labels": *\[' "$tmp/order/data.json" || fail 'data.json should name the classes'
python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["labels"] != ["same", "other"])' "$tmp/order/data.json" ||
    fail "the model's own order of classes"
train numbers plain numbers 2e-3
expect_rc 0
expect_out '^data  400 rows .* numbers '
expect_out '^eval  loss [0-9.]+ · pearson [0-9.]+ · spearman [0-9.]+ · mse [0-9.]+$'
log "$tmp/numbers" 'd[-1]["eval_pearson"] > 0.9 and d[-1]["eval_spearman"] > 0.85 and d[-1]["eval_mse"] < 0.1'
log "$tmp/numbers" 'abs(d[-1]["eval_mse"] - d[-1]["eval_loss"]) < 1e-5'
train flat plain numbers 0 --json
expect_rc 0
expect_json 'd["eval_pearson"] is None or d["eval_pearson"] < 0.7'

# Refused: what the model or the classes do not know.
train x plain pairs 1e-3 --task seq2seq
refused 2 '--task seq2seq: a model of the family roberta does classify'
train x plain pairs 1e-3 --dataset_format alpaca
refused 3 "cannot teach the task 'classify'"
train x plain pairs 1e-3 --num_labels 3
refused 3 '2 different labels, the model has 3 classes'
train x plain numbers 1e-3 --num_labels 2
refused 3 'row [0-9]+: the label -?[0-9.]+ is no class'
train x named pairs 1e-3 --num_labels 5
refused 3 '2 different labels, the model has 5 classes'
run eval -m "$tmp/plain" --num_labels 2 --tokenizer "$tmp/tok" --file "$tmp/pairs.held.jsonl"
refused 3 "row 1: the label '(same|other)' is a name, the classes have numbers"
run eval -m "$tmp/plain" --task perplexity --tokenizer "$tmp/tok" --file "$tmp/pairs.held.jsonl"
refused 2 '--task perplexity: a model of the family roberta does classify'
echo '{"text": "a text that is longer than the positions of the model", "label": 1}' >"$tmp/long.jsonl"
cp "$tmp/long.jsonl" "$tmp/long.held.jsonl"
train x plain long 1e-3
refused 3 'the model has positions for 32: cut the rows with --max_seq_len 32 --truncation right'
train x plain long 1e-3 --max_seq_len 32 --truncation right --max_steps 1
expect_rc 0
finish
