/*
 * beam.h - beam search, called by search.c with options that it has checked.
 */
#ifndef QLORA_CORE_MODEL_BEAM_H
#define QLORA_CORE_MODEL_BEAM_H

#include "core/model/search.h"

/* `longest`: tokens of prompt and answer together, more than n. */
QL_NODISCARD ql_status ql_beam_search(ql_generator *g, const ql_search_opts *o,
                                      const int32_t *prompt, int32_t n, int32_t longest,
                                      ql_answer *out);

#endif
