/*
 * uniset.h - sets of characters exactly as the package `tokenizers` has them.
 *
 * Its tables are of older Unicode versions than utf8proc's: a vocabulary was made with them, so a
 * character that came later must be treated as unassigned here too.
 */
#ifndef QLORA_CORE_DATA_UNISET_H
#define QLORA_CORE_DATA_UNISET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ql_code_range {
    int32_t first, last;
} ql_code_range;

typedef enum ql_uniset {
    QL_UNISET_CONTROL,     /* what BertNormalizer's clean_text drops                     */
    QL_UNISET_NONSPACING,  /* what its strip_accents drops                               */
    QL_UNISET_MARK,        /* what the normalizer StripAccents drops                     */
    QL_UNISET_PUNCTUATION, /* what BertPreTokenizer and Punctuation set apart            */
    QL_UNISET_LATER        /* what NFC, NFD, NFKC and NFKD leave alone: starters, atomic */
} ql_uniset;

/* Sorted, not adjacent. */
const ql_code_range *ql_uniset_ranges(ql_uniset set, size_t *n);
bool ql_uniset_has(ql_uniset set, int32_t code);

#endif
