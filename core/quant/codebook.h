/*
 * codebook.h - nearest-entry search in a code table: sorted thresholds and the codes between them.
 *
 * Entry i of the sorted table is chosen when exactly i thresholds lie strictly below the value, so
 * a tie goes to the lower entry. Under the CPU rule a NaN takes the highest entry, under the CUDA
 * rule the lowest (spec 1.5).
 */
#ifndef QLORA_CORE_QUANT_CODEBOOK_H
#define QLORA_CORE_QUANT_CODEBOOK_H

#include "core/quant/qtype.h"

enum { QL_CODEBOOK_ENTRIES = 16 };

typedef struct ql_codebook {
    float mid[QL_CODEBOOK_ENTRIES - 1]; /* ascending thresholds                         */
    uint8_t code[QL_CODEBOOK_ENTRIES];  /* code[i] lies between mid[i - 1] and mid[i]    */
    bool magnitude; /* thresholds apply to |v|; bit 3 of the code is the sign (CUDA's FP4) */
    bool cuda;      /* scaling and NaN of the CUDA rule                                   */
} ql_codebook;

/* Types encoded by QL_ENCODE_NEAREST at 4 bits or fewer. Thresholds of nf4 and fp4 depend on the
 * rule, the scaling of every type does. */
void ql_codebook_init(ql_codebook *c, const ql_qtype *type, ql_quant_rule rule);
/* Codes of one block x[n] and its stored scale. `full`: not the weight's partial last block. */
float ql_codebook_encode_block(const ql_codebook *c, const float *x, int64_t n, bool full,
                               uint8_t *codes);
/* The code of 0.0, which fills the last byte. */
uint8_t ql_codebook_zero(const ql_codebook *c);

#endif
