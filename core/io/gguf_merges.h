/* gguf_merges.h - the merge list of tokenizer.json from a GGUF: pairs of texts in merging order. */
#ifndef QLORA_CORE_IO_GGUF_MERGES_H
#define QLORA_CORE_IO_GGUF_MERGES_H

#include "core/base/json.h"
#include "core/io/gguf.h"

/* tokenizer.ggml.merges, "left right" cut at the first space. */
QL_NODISCARD ql_status ql_gguf_merges_stored(const ql_gguf *g, const char *path, json_t **out);
/* SentencePiece: every cut of a piece into two pieces, best score first. `pieces` lists the texts
 * by id, `ids` maps them back. */
QL_NODISCARD ql_status ql_gguf_merges_from_scores(const ql_gguf *g, const char *path,
                                                  const json_t *pieces, const json_t *ids,
                                                  json_t **out);

#endif
