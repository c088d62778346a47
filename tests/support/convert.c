/* convert.c - see convert.h; 16-bit formats by arithmetic on exponent and fraction. */
#include "tests/support/convert.h"

#include <math.h>
#include <string.h>

/* sign, exponent of `exp_bits`, fraction of `frac_bits`. */
static uint16_t pack16(double v, int exp_bits, int frac_bits) {
    int bias = (1 << (exp_bits - 1)) - 1, top = (1 << exp_bits) - 1, e;
    uint16_t sign = (uint16_t)(signbit(v) ? 0x8000 : 0);
    if (isnan(v)) return (uint16_t)(top << frac_bits | 1 << (frac_bits - 1));
    if (isinf(v)) return (uint16_t)(sign | top << frac_bits);
    if (v == 0.0) return sign;
    frexp(v, &e); /* |v| = m 2^e with 0.5 <= m < 1, so the stored exponent is e - 1 + bias */
    int stored = e - 1 + bias;
    if (stored < 1) return (uint16_t)(sign | (int)ldexp(fabs(v), bias - 1 + frac_bits));
    int fraction = (int)ldexp(fabs(v), frac_bits + 1 - e) - (1 << frac_bits);
    return (uint16_t)(sign | stored << frac_bits | fraction);
}

static double unpack16(uint16_t u, int exp_bits, int frac_bits) {
    int bias = (1 << (exp_bits - 1)) - 1, top = (1 << exp_bits) - 1;
    int stored = u >> frac_bits & top, fraction = u & ((1 << frac_bits) - 1);
    double v = stored == top ? (fraction ? (double)NAN : (double)INFINITY)
               : stored == 0 ? ldexp(fraction, 1 - bias - frac_bits)
                             : ldexp((1 << frac_bits) + fraction, stored - bias - frac_bits);
    return u & 0x8000 ? -v : v;
}

void ql_element_store(ql_dtype t, uint8_t *at, double v) {
    float f = (float)v;
    int32_t i;
    uint16_t h;
    switch (t) {
    case QL_F32: memcpy(at, &f, sizeof f); break;
    case QL_F16:
        h = pack16(v, 5, 10);
        memcpy(at, &h, sizeof h);
        break;
    case QL_BF16:
        h = pack16(v, 8, 7);
        memcpy(at, &h, sizeof h);
        break;
    case QL_I32:
        i = (int32_t)v;
        memcpy(at, &i, sizeof i);
        break;
    default: *at = (uint8_t)v; break;
    }
}

double ql_element_load(ql_dtype t, const uint8_t *at) {
    float f;
    int32_t i;
    uint16_t h;
    switch (t) {
    case QL_F32: memcpy(&f, at, sizeof f); return (double)f;
    case QL_F16: memcpy(&h, at, sizeof h); return unpack16(h, 5, 10);
    case QL_BF16: memcpy(&h, at, sizeof h); return unpack16(h, 8, 7);
    case QL_I32: memcpy(&i, at, sizeof i); return (double)i;
    default: return (double)*at;
    }
}
