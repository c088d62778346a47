/*
 * bits.h - bits_by_layer: which storage a weight gets, by the number of its layer or by its name.
 *
 *   RULE,RULE,...   RULE = WHERE:STORAGE   "0-3:4,*:2"   "down_proj:4,lm_head:8,*:nf2"
 *   WHERE           3 or 0-3: layers (of every stack); a name: one or more whole parts of the
 *                   module's path ("mlp", "self_attn.q_proj", a whole path); *: everything
 *   STORAGE         2, 3, 4, 8: the type of the same family as --quant_type; 16: not quantized; or
 *                   the name of a type
 *
 * The first rule that fits a weight decides. Weights that no rule fits keep the usual storage.
 */
#ifndef QLORA_CORE_QUANT_BITS_H
#define QLORA_CORE_QUANT_BITS_H

#include "core/quant/quantize.h"

typedef struct ql_bits ql_bits;
typedef enum ql_bits_choice {
    QL_BITS_USUAL, /* no rule fits                  */
    QL_BITS_TYPE,  /* *out says how it is quantized */
    QL_BITS_PLAIN  /* 16: it stays as it is         */
} ql_bits_choice;

/* `usual`: family, blocks and second level. A request that cannot mean anything is QL_ERR_INVALID
 * with the rule in question. */
QL_NODISCARD ql_status ql_bits_parse(const char *text, const ql_quant_opts *usual, ql_bits **out);
/* Asked once for every weight that could be quantized: module = path without ".weight". */
ql_bits_choice ql_bits_choose(ql_bits *b, const char *module, ql_quant_opts *out);
/* After the last weight: every rule must have decided something, and no layer may lie beyond the
 * model's last. */
QL_NODISCARD ql_status ql_bits_finish(const ql_bits *b);
void ql_bits_free(ql_bits *b); /* NULL ok */

/* Storage of type `id` with the blocks of `usual`: no second level where the type has none. */
ql_quant_opts ql_quant_opts_of(const ql_quant_opts *usual, ql_qtype_id id);
/* The type of 2, 3, 4 or 8 bits in the family of `like`: nf4 -> nf2, int4a -> int2a; NULL for other
 * numbers. */
const ql_qtype *ql_qtype_like(ql_qtype_id like, int64_t bits);

#endif
