/* svd.c - see svd.h. */
#include "core/loftq/svd.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/loftq/blas.h"

enum { PANEL = 128 }; /* rows or columns that exist in double at once */

ql_svd_opts ql_svd_opts_default(void) {
    return (ql_svd_opts){.oversample = 16, .max_rounds = 24, .tolerance = 1e-4};
}

bool ql_svd_is_exact(const ql_svd_opts *o, int64_t n, int64_t k) {
    if (o->method != QL_SVD_AUTO) return o->method == QL_SVD_EXACT;
    return (n < k ? n : k) <= QL_SVD_EXACT_SIDE;
}

void ql_low_rank_free(ql_low_rank *f) {
    ql_host_free(f->left);
    ql_host_free(f->right);
    ql_host_free(f->sigma);
    *f = (ql_low_rank){0};
}

static ql_status make_room(int64_t n, int64_t k, int32_t r, ql_low_rank *f) {
    *f = (ql_low_rank){.n = n, .k = k, .r = r};
    f->left = ql_host_calloc((size_t)n, (size_t)r * sizeof *f->left);
    f->right = ql_host_calloc((size_t)r, (size_t)k * sizeof *f->right);
    f->sigma = ql_host_calloc((size_t)r, sizeof *f->sigma);
    return f->left && f->right && f->sigma ? QL_OK : QL_NOMEM("factors of a weight");
}

/* Columns [at, at + cols) of x [m, stride] in double, [m, cols]. */
static void widen_columns(const float *x, int64_t m, int64_t stride, int64_t at, int64_t cols,
                          double *out) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = (double)x[i * stride + at + j];
}

static int64_t panel_of(int64_t total, int64_t at) {
    return total - at < PANEL ? total - at : PANEL;
}

/* g = x x^T (lower triangle) of x [m, k], or x^T x of x [k, m]: panel by panel in double. */
static void gram(const float *x, int64_t m, int64_t k, bool of_columns, double *panel, double *g) {
    for (int64_t at = 0; at < k; at += PANEL) {
        int64_t cols = panel_of(k, at);
        if (of_columns)
            widen_columns(x + at * m, cols, m, 0, m, panel);
        else
            widen_columns(x, m, k, at, cols, panel);
        ql_blas_gram(m, cols, of_columns, panel, g);
    }
}

static double sum_of_squares(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* ---------------------------------------------------------------- exact */

/* The projection of x [m, k] on the columns of u [m, r]: left = U sqrt(S), right = U^T x / sqrt(S);
 * or of x [k, m], where the sides change places. S is the norm of what lies along each column. */
typedef struct projection {
    const float *x;
    const double *u;
    int64_t m, k;
    int32_t r;
    bool of_columns;
    double *panel, *along; /* [m, PANEL] or [PANEL, m]; [r, PANEL] or [PANEL, r] */
} projection;

/* along = U^T x or x U for the columns or rows [at, at + cols). */
static void project_panel(const projection *p, int64_t at, int64_t cols) {
    if (p->of_columns) {
        widen_columns(p->x + at * p->m, cols, p->m, 0, p->m, p->panel);
        const ql_product xu = {.m = cols, .n = p->r, .k = p->m, .alpha = 1.0f};
        ql_blas_product_f64(&xu, p->panel, p->u, p->along);
    } else {
        widen_columns(p->x, p->m, p->k, at, cols, p->panel);
        const ql_product ux = {.m = p->r, .n = cols, .k = p->m, .trans_a = true, .alpha = 1.0f};
        ql_blas_product_f64(&ux, p->u, p->panel, p->along);
    }
}

/* s^-1/2, or 0 for a direction that the matrix does not have. */
static double inverse_root(double s) {
    return s > 0 ? 1.0 / sqrt(s) : 0.0;
}

static void project(const projection *p, ql_low_rank *f) {
    for (int64_t at = 0; at < p->k; at += PANEL) {
        int64_t cols = panel_of(p->k, at);
        project_panel(p, at, cols);
        for (int32_t i = 0; i < p->r; i++) {
            double scale = inverse_root(f->sigma[i]);
            for (int64_t j = 0; j < cols; j++) {
                if (p->of_columns)
                    f->left[(at + j) * p->r + i] = (float)(scale * p->along[j * p->r + i]);
                else
                    f->right[i * p->k + at + j] = (float)(scale * p->along[i * cols + j]);
            }
        }
    }
    for (int64_t i = 0; i < p->m; i++)
        for (int32_t j = 0; j < p->r; j++) {
            float v = (float)(sqrt(f->sigma[j]) * p->u[i * p->r + j]);
            if (p->of_columns)
                f->right[j * p->m + i] = v;
            else
                f->left[i * p->r + j] = v;
        }
}

static ql_status exact(const float *w, ql_low_rank *f) {
    bool of_columns = f->k < f->n; /* the Gram matrix belongs to the shorter side */
    int64_t m = of_columns ? f->k : f->n, other = of_columns ? f->n : f->k;
    int32_t r = f->r;
    double *g = ql_host_calloc((size_t)m, (size_t)m * sizeof *g);
    double *panel = ql_host_calloc((size_t)m, PANEL * sizeof *panel);
    double *u = ql_host_calloc((size_t)m, (size_t)r * sizeof *u);
    double *along = ql_host_calloc((size_t)r, PANEL * sizeof *along);
    ql_status s = g && panel && u && along ? QL_OK : QL_NOMEM("a singular value decomposition");
    double total = sum_of_squares(w, f->n * f->k), kept = 0;
    if (s == QL_OK) {
        gram(w, m, other, of_columns, panel, g);
        s = ql_blas_eigen(m, g, r, f->sigma, u);
    }
    if (s == QL_OK) {
        double first = f->sigma[0];
        for (int32_t i = 0; i < r; i++) {
            kept += f->sigma[i];
            f->sigma[i] = sqrt(f->sigma[i] > 0 ? f->sigma[i] : 0);
        }
        const projection p = {w, u, m, other, r, of_columns, panel, along};
        project(&p, f);
        /* Eigenvalues are off by at most m eps of the first one; the factors are rounded to float
         * and the rest, which is orthogonal to them, sees the square of that. */
        double left_over = total - kept, slack = (double)r * (double)m * DBL_EPSILON * first;
        f->bound = left_over > slack ? 0.5 * slack / left_over : 0.0;
    }
    ql_host_free(g);
    ql_host_free(panel);
    ql_host_free(u);
    ql_host_free(along);
    return s;
}

/* ---------------------------------------------------------------- randomized */

typedef struct subspace {
    const float *w;
    int64_t n, k;
    int32_t r, l;
    float *y, *z;                  /* an orthonormal basis Y [n, l], and Z = W^T Y [k, l] */
    double *g, *panel, *theta, *x; /* Z^T Z [l, l]; its eigenvalues [r + 1] and vectors */
    int32_t wanted;                /* eigenvalues: r, and the one after them if there is one */
    double kept;                   /* the r largest together */
} subspace;

static ql_status open_subspace(const ql_svd_opts *o, const float *w, const ql_low_rank *f,
                               subspace *out) {
    int64_t least = f->n < f->k ? f->n : f->k, l = (int64_t)f->r + o->oversample;
    subspace b = {.w = w, .n = f->n, .k = f->k, .r = f->r, .l = (int32_t)(l < least ? l : least)};
    b.wanted = b.l > b.r ? b.r + 1 : b.r;
    b.y = ql_host_calloc((size_t)b.n, (size_t)b.l * sizeof *b.y);
    b.z = ql_host_calloc((size_t)b.k, (size_t)b.l * sizeof *b.z);
    b.g = ql_host_calloc((size_t)b.l, (size_t)b.l * sizeof *b.g);
    b.panel = ql_host_calloc((size_t)b.l, PANEL * sizeof *b.panel);
    b.theta = ql_host_calloc((size_t)b.wanted, sizeof *b.theta);
    b.x = ql_host_calloc((size_t)b.l, (size_t)b.wanted * sizeof *b.x);
    *out = b;
    if (!b.y || !b.z || !b.g || !b.panel || !b.theta || !b.x)
        return QL_NOMEM("a randomized singular value decomposition");
    ql_stream random = ql_stream_make(o->seed, QL_STREAM_PROJECTION, o->which >> 16);
    for (int64_t i = 0; i < b.k * b.l; i++) b.z[i] = ql_stream_normal(&random);
    return QL_OK;
}

static void close_subspace(subspace *b) {
    ql_host_free(b->y);
    ql_host_free(b->z);
    ql_host_free(b->g);
    ql_host_free(b->panel);
    ql_host_free(b->theta);
    ql_host_free(b->x);
}

/* Y = orth(W Z), Z = W^T Y, and how much of W lies in the best r directions of span(Y). */
static ql_status round_of(subspace *b) {
    const ql_product wz = {.m = b->n, .n = b->l, .k = b->k, .alpha = 1.0f};
    const ql_product wty = {.m = b->k, .n = b->l, .k = b->n, .trans_a = true, .alpha = 1.0f};
    ql_blas_product(&wz, b->w, b->z, b->y);
    QL_TRY(ql_blas_orthonormalize(b->n, b->l, b->y));
    ql_blas_product(&wty, b->w, b->y, b->z);
    memset(b->g, 0, (size_t)b->l * (size_t)b->l * sizeof *b->g);
    gram(b->z, b->l, b->k, true, b->panel, b->g);
    QL_TRY(ql_blas_eigen(b->l, b->g, b->wanted, b->theta, b->x));
    b->kept = 0;
    for (int32_t i = 0; i < b->r; i++) b->kept += b->theta[i];
    return QL_OK;
}

/* left = Y X Theta^1/4, right = Theta^-1/4 X^T Z^T. */
static ql_status rotate(const subspace *b, ql_low_rank *f) {
    float *x = ql_host_calloc((size_t)b->l, (size_t)b->r * sizeof *x);
    if (!x) return QL_NOMEM("factors of a weight");
    for (int32_t j = 0; j < b->r; j++) f->sigma[j] = sqrt(b->theta[j] > 0 ? b->theta[j] : 0);
    for (int32_t i = 0; i < b->l; i++)
        for (int32_t j = 0; j < b->r; j++)
            x[i * b->r + j] = (float)(b->x[i * b->wanted + j] * sqrt(f->sigma[j]));
    const ql_product yx = {.m = b->n, .n = b->r, .k = b->l, .alpha = 1.0f};
    ql_blas_product(&yx, b->y, x, f->left);
    for (int32_t i = 0; i < b->l; i++)
        for (int32_t j = 0; j < b->r; j++)
            x[i * b->r + j] = (float)(b->x[i * b->wanted + j] * inverse_root(f->sigma[j]));
    const ql_product xz = {
        .m = b->r, .n = b->k, .k = b->l, .trans_a = true, .trans_b = true, .alpha = 1.0f};
    ql_blas_product(&xz, x, b->z, f->right);
    ql_host_free(x);
    return QL_OK;
}

/* Halko, Martinsson, Tropp 2011, corollary 10.10: E ||W - Y Y^T W|| <= c s_{r+1}, where one round
 * here is half a power iteration of theirs more than the first. */
static double spectral_factor(const subspace *b, int32_t rounds) {
    double p = b->l - b->r, m = (double)(b->n < b->k ? b->n : b->k), r = b->r;
    if (b->l >= m) return 0.0; /* the subspace is the whole space */
    if (p < 2) return INFINITY;
    double start = 1.0 + sqrt(r / (p - 1.0)) + 2.718281828459045 * sqrt(r + p) / p * sqrt(m - r);
    return pow(start, 1.0 / (2.0 * (rounds - 1) + 1.0));
}

static ql_status randomized(const ql_svd_opts *o, const float *w, ql_low_rank *f) {
    subspace b;
    ql_status s = open_subspace(o, w, f, &b);
    double total = sum_of_squares(w, f->n * f->k), before = 0, gain = 0, last_gain = 0;
    for (int32_t i = 0; s == QL_OK && i < o->max_rounds; i++) {
        s = round_of(&b);
        f->rounds = i + 1;
        last_gain = gain;
        gain = b.kept - before;
        before = b.kept;
        if (b.l >= f->n || b.l >= f->k) break;
        if (i > 0 && gain <= o->tolerance * (total - b.kept)) break;
        /* The next round starts from an orthonormal Z, or the small directions drown in float. */
        if (s == QL_OK && i + 1 < o->max_rounds) s = ql_blas_orthonormalize(b.k, b.l, b.z);
    }
    if (s == QL_OK) s = rotate(&b, f);
    if (s == QL_OK) {
        double left_over = total - b.kept, c = spectral_factor(&b, f->rounds);
        double next = b.wanted > b.r ? b.theta[b.r] : b.theta[b.r - 1];
        double shrink = last_gain > 0 ? gain / last_gain : 0;
        if (left_over > 0 && c > 0 && f->rounds > 1) {
            f->bound = sqrt(1.0 + b.r * c * c * next / left_over) - 1.0;
            if (f->rounds > 2 && shrink < 1 && gain > 0)
                f->excess = 0.5 * gain * shrink / (1.0 - shrink) / left_over;
        }
    }
    close_subspace(&b);
    return s;
}

ql_status ql_low_rank_of(const ql_svd_opts *o, const float *w, int64_t n, int64_t k, int32_t r,
                         ql_low_rank *out) {
    int64_t least = n < k ? n : k;
    if (r < 1 || r > least)
        return QL_FAIL(QL_ERR_INVALID, "rank %d of a %lld x %lld weight: expected 1 to %lld",
                       (int)r, (long long)n, (long long)k, (long long)least);
    if (n > INT32_MAX / 2 || k > INT32_MAX / 2)
        return QL_FAIL(QL_ERR_INVALID, "a %lld x %lld weight is too large to factor", (long long)n,
                       (long long)k);
    ql_low_rank f;
    ql_status s = make_room(n, k, r, &f);
    if (s == QL_OK) s = ql_svd_is_exact(o, n, k) ? exact(w, &f) : randomized(o, w, &f);
    if (s != QL_OK) {
        ql_low_rank_free(&f);
        return s;
    }
    *out = f;
    return QL_OK;
}
