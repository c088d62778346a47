/* gguf_blocks.h - decoding of GGML blocks; the public part of the types is in gguf.h. */
#ifndef QLORA_CORE_IO_GGUF_BLOCKS_H
#define QLORA_CORE_IO_GGUF_BLOCKS_H

#include "core/io/gguf.h"

/* Decodes n_blocks blocks of the supported type t to n_blocks * ql_gguf_block_elems(t) floats. */
void ql_gguf_decode(ql_gguf_type t, const uint8_t *blocks, int64_t n_blocks, float *y);

#endif
