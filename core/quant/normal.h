/* normal.h - the standard normal distribution in double: density, distribution, quantile. */
#ifndef QLORA_CORE_QUANT_NORMAL_H
#define QLORA_CORE_QUANT_NORMAL_H

#include "core/quant/qtype.h"

double ql_normal_pdf(double x);
double ql_normal_cdf(double x);
/* Inverse of the distribution function; relative error below 4e-15 for 1e-300 < p < 1 - 1e-15,
 * -Inf and Inf at 0 and 1, NaN outside. */
double ql_normal_quantile(double p);

#endif
