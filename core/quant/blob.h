/*
 * blob.h - the quant_state text of a stored weight: written as Python's json.dumps writes it, read
 * strictly.
 */
#ifndef QLORA_CORE_QUANT_BLOB_H
#define QLORA_CORE_QUANT_BLOB_H

#include "core/base/hostmem.h"
#include "core/quant/qtype.h"

#define QL_BLOB_VERSION 1

typedef struct ql_blob {
    bool own; /* qlora__ keys: version, bits and pack are present */
    const ql_qtype *type;
    ql_pack pack;
    int32_t block, block2; /* block2 0 = single level */
    int64_t n, k;
    const char *source_dtype; /* static string */
    float offset;
} ql_blob;

#define QL_BLOB_TEXT_MAX 512
/* Writes the text (NUL-terminated); returns its length. `longest`: with an offset of the greatest
 * length instead, for declaring. */
int ql_blob_write(const ql_blob *b, bool longest, char text[QL_BLOB_TEXT_MAX]);
/* `suffix` is the end of the key, "bitsandbytes__nf4" or "qlora__int4"; `what` names file and key.
 */
QL_NODISCARD ql_status ql_blob_read(const char *text, size_t len, const char *suffix,
                                    const char *what, ql_blob *out);
/* repr(x) of Python: the shortest decimal that reads back as x. out holds 32 bytes. */
int ql_python_float(double x, char out[32]);

#endif
