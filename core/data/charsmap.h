/*
 * charsmap.h - SentencePiece's precompiled character map: rewrites grapheme by grapheme.
 *
 * The bytes are a 32-bit length, a double-array trie of that many bytes, and a blob of replacement
 * texts that end with NUL; the trie's values are offsets into the blob. All little-endian.
 */
#ifndef QLORA_CORE_DATA_CHARSMAP_H
#define QLORA_CORE_DATA_CHARSMAP_H

#include "core/data/text.h"

typedef struct ql_charsmap ql_charsmap; /* immutable, shared between threads */

/* From base64, as tokenizer.json holds it. `what` names the file in messages. */
QL_NODISCARD ql_status ql_charsmap_open(const char *base64, size_t len, const char *what,
                                        ql_charsmap **out);
/* Appends the rewritten text; *kept_start becomes false where its beginning is dropped. */
QL_NODISCARD ql_status ql_charsmap_apply(const ql_charsmap *m, const char *s, size_t n,
                                         ql_text *out, bool *kept_start);
void ql_charsmap_close(ql_charsmap *m); /* NULL ok */

#endif
