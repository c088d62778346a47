/* convert.h - device bytes of one element to and from double, written from the formats' layout. */
#ifndef QLORA_TESTS_SUPPORT_CONVERT_H
#define QLORA_TESTS_SUPPORT_CONVERT_H

#include "qlora/backend.h"

/* `v` has been rounded to the dtype (ref_round_to); NaN becomes the quiet positive NaN. */
void ql_element_store(ql_dtype t, uint8_t *at, double v);
double ql_element_load(ql_dtype t, const uint8_t *at);

#endif
