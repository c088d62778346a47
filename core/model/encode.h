/* encode.h - the first level of quantization on a device instead of one host thread. */
#ifndef QLORA_CORE_MODEL_ENCODE_H
#define QLORA_CORE_MODEL_ENCODE_H

#include "core/quant/quantize.h"

/* A ql_encode_fn whose `user` is a ql_queue: the device's q_quantize, byte for byte what
 * ql_encode_scalar gives. Host memory is used in place; a device that cannot do that, and types
 * with a scale per row, are left to ql_encode_scalar, so that nothing unplanned is allocated. */
QL_NODISCARD ql_status ql_encode_on_queue(void *user, const ql_quant_opts *o, const float *w,
                                          int64_t n, int64_t k, uint8_t *codes, float *absmax,
                                          float *zero);

#endif
