#!/bin/bash
# bits.sh PROGRAM - what bases below four bits take, from shapes alone (cli_quantize compares such plans with written
# files, byte for byte). req_28: the mean bits of a 2/4-bit mix are exact. req_30: real ratios for DeBERTa-base,
# BART-large and LLaMA-2 shapes. The range published for them, 25 to 30 % at 2 bits and 15 to 20 % at 4, has its
# numbers in the wrong order: fewer bits cannot take more.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../cli/lib.sh"

# Linear weights of LLaMA-2-7B's 32 layers; without a second level every 64 weights add a float.
weights=$((32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)))
mean() { # RULES BITS: the paper's rows 3, 2.5 and 2.25
    run plan --model llama-2-7b --bits_by_layer "$1" --double_quant false --lora_r 8 --max_seq_len 16 --json
    expect_rc 0
    expect_json "8 * d['quantized_bytes'] == ($2 + 0.5) * $weights and d['weight_bits'] == $2 + 0.5"
}
mean '0-15:4,*:2' 3
mean '0-7:4,*:2' 2.5
mean '0-3:4,*:2' 2.25
mean '*:2' 2

cat >"$tmp/deberta.json" <<'J'
{"model_type": "deberta-v2", "architectures": ["DebertaV2ForSequenceClassification"], "hidden_size": 768,
 "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
 "max_position_embeddings": 512, "type_vocab_size": 0, "vocab_size": 128100, "relative_attention": true,
 "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": true, "pos_att_type": "p2c|c2p",
 "position_biased_input": false, "max_relative_positions": -1, "layer_norm_eps": 1e-7, "pooler_dropout": 0,
 "pooler_hidden_act": "gelu", "pooler_hidden_size": 768}
J
cat >"$tmp/bart.json" <<'J'
{"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 1024, "vocab_size": 50265,
 "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
 "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "activation_function": "gelu", "max_position_embeddings": 1024,
 "is_encoder_decoder": true, "decoder_start_token_id": 2, "scale_embedding": false, "tie_word_embeddings": true,
 "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0}
J
# ratio NAME MODEL LINEAR: bytes of the quantized weights, and of the whole model, over 16 bits. With a second level
# a block of 64 adds a byte and 256 blocks a float; other weights keep their 16 bits.
ratio() {
    for bits in 2 3 4; do
        run plan --model "$2" --bits $bits --lora_r 8 --max_seq_len 16 --json
        expect_rc 0
        expect_json "d['quantized_bytes'] == $3 * $bits // 8 + $3 // 64 + 4 * sum(-(-n // 16384) for n in $4)"
        python3 -c 'import json, sys
d, n = json.load(open(sys.argv[1])), int(sys.argv[2])
whole = (d["quantized_bytes"] + 2 * (d["parameters"] - n)) / (2 * d["parameters"])
print("%-15s %s bits: quantized weights %.2f %% of 16 bits, the whole model %.2f %%"
      % (sys.argv[3], sys.argv[4], 100 * d["quantized_bytes"] / (2 * n), 100 * whole))' "$tmp/out" "$3" "$1" $bits
        expect_json "d['quantized_bytes'] / (2 * $3) < {2: 0.1335, 3: 0.196, 4: 0.2585}[$bits]"
        expect_json "d['quantized_bytes'] / (2 * $3) > {2: 0.1325, 3: 0.195, 4: 0.2575}[$bits]"
    done
}
# (with the pooler)
attention=$((4 * 768 * 768)) mlp=$((2 * 768 * 3072))
ratio DeBERTa-v3-base "$tmp/deberta.json" $((12 * (attention + mlp) + 768 * 768)) \
    "[768 * 768] * 49 + [768 * 3072] * 24"
attention=$((4 * 1024 * 1024)) mlp=$((2 * 1024 * 4096))
ratio BART-large "$tmp/bart.json" $((12 * (attention + mlp) + 12 * (2 * attention + mlp))) \
    "[1024 * 1024] * 144 + [1024 * 4096] * 48"
ratio LLaMA-2-7B llama-2-7b $weights "[4096 * 4096] * 128 + [4096 * 11008] * 96"
finish
