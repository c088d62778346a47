/*
 * qlora/backend.h - the contract between core/ and one compute backend.
 *
 * A backend ("cpu", "cuda", "opencl", "cuda-host") supplies one ql_backend: a
 * constant table that says how to find devices, move bytes, order work and run
 * the operators below. core/ owns every policy (memory planning, paging order,
 * checkpointing, autograd, fallbacks); a backend owns mechanisms only.
 *
 * Rules that hold for the whole header
 *   1. Tensors are row-major matrices [rows, cols] with a row stride. A batch of
 *      sequences is packed: N = total tokens, and I32 offsets mark sequences.
 *   2. Operators never allocate. Temporary space is asked for when the program is
 *      planned (scratch_bytes) and arrives in the argument struct.
 *   3. Operators are asynchronous and in order on their queue. Argument structs
 *      are copied before the call returns; buffers must outlive the queue's work.
 *   4. core/ checks shapes, dtypes, bounds and aliasing before it calls in, so a
 *      backend may assert them but must not re-report them.
 *   5. f16/bf16 inputs accumulate in f32. Reductions have a fixed order for a
 *      given shape and device, so a run repeats bit for bit on that device. A
 *      backend without a deterministic variant says so in supports().
 *   6. Unless stated otherwise outputs do not overlap inputs. "in place" names
 *      the exact pair that may be identical.
 *   7. An absent optional operand is a ql_mat with buf == NULL and rows == 0; while planning no
 *      buffer is known yet and rows == 0 alone says absent.
 *   8. Scratch is a U8 matrix [1, bytes] placed at props.align. Operands are aligned to their
 *      element size: column slices of wide matrices occur everywhere.
 *   9. Indices (tokens, rows, positions, targets) are valid: core/ checks them.
 *
 * Shape letters used everywhere (kernels and tests use the same ones)
 *   N tokens (rows)   C model width   F feed-forward width   V vocabulary
 *   Hq / Hk query and key-value heads   D head size   S sequences   r LoRA rank
 */
#ifndef QLORA_BACKEND_H
#define QLORA_BACKEND_H
/* The comment columns of this header are set by hand. */
/* clang-format off */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QL_BACKEND_ABI 3u

typedef struct ql_backend ql_backend;
typedef struct ql_device  ql_device;
typedef struct ql_buffer  ql_buffer;
typedef struct ql_queue   ql_queue;
typedef struct ql_event   ql_event;

/* ------------------------------------------------------------------ tensors */

typedef enum ql_dtype {
    QL_F32 = 0, QL_F16 = 1, QL_BF16 = 2,
    QL_I32 = 3,
    QL_U8  = 4,      /* raw codes: packed NF4, dynamic 8-bit */
    QL_DTYPE_COUNT
} ql_dtype;

/* A strided view into a buffer. Element (i, j) lives at byte
 *   off + (i * ld + j) * sizeof(dtype).                    Plain value: copy freely. */
typedef struct ql_mat {
    ql_buffer *buf;                 /* borrowed; NULL = absent */
    uint64_t   off;                 /* bytes, multiple of sizeof(dtype) */
    int64_t    rows, cols;          /* both >= 1 when present */
    int64_t    ld;                  /* >= cols, in elements */
    ql_dtype   dtype;
} ql_mat;

/* A frozen weight W [n, k] in a quantized storage type. For NF4 the layout is identical
 * to bitsandbytes: flat index e = row * k + col, block b = e / block, and
 *   code(e)  = `bits` bits of codes, first element in the high bits of its byte,
 *   scale(b) = scale[b]                                           (single)
 *            = code2[scale[b]] * scale2[b / block2] + offset      (double)
 *   W(e)     = table[code(e)] * scale(b) + zero(b).
 * NF4, FP4, INT4, NF2, NF3, INT2, INT8 differ in `bits` and `table`; affine types and
 * GGUF's Q4_0 ... Q8_0 use `zero` and F16 scales, so a GGUF base trains as it is.
 * Blocks may straddle rows (k % block != 0): every backend handles that in its main
 * path, by bounded panels. No path decodes a whole matrix. */
/* Order of the codes inside their bytes. */
typedef enum ql_pack { QL_PACK_HIGH_FIRST,  /* bitsandbytes            */
                       QL_PACK_LOW_FIRST,   /* LoftQ's 2-bit files     */
                       QL_PACK_GGML         /* GGUF blocks, as stored  */ } ql_pack;

/* GGUF block layouts that are trained as they are (block 32). With QL_PACK_GGML `codes` is
 * U8 [n, bytes per row] and holds the scales too; table, scale and zero are absent.
 *   Q4_0 {f16 d; u8 q[16]}              w = d * (q - 8)     low nibbles: elements 0..15
 *   Q4_1 {f16 d, m; u8 q[16]}           w = d * q + m       high nibbles: elements 16..31
 *   Q5_0 {f16 d; u32 h; u8 q[16]}       w = d * (q - 16)    bit i of h = bit 4 of element i
 *   Q5_1 {f16 d, m; u32 h; u8 q[16]}    w = d * q + m
 *   Q8_0 {f16 d; i8 q[32]}              w = d * q           */
typedef enum ql_ggml { QL_GGML_NONE, QL_GGML_Q4_0, QL_GGML_Q4_1, QL_GGML_Q5_0, QL_GGML_Q5_1,
                       QL_GGML_Q8_0 } ql_ggml;

typedef struct ql_qmat {
    ql_mat  codes;                  /* U8, packed                                      */
    ql_mat  table;                  /* F32 [1, 2^bits]                                 */
    ql_mat  scale;                  /* F32, F16 or U8 [1, nb]                          */
    ql_mat  zero;                   /* absent or F32/F16 [1, nb]                       */
    ql_mat  scale2, code2, offset;  /* absent unless doubled; offset F32 [1,1]         */
    int64_t n, k;                   /* rows held here, in_features                     */
    int64_t row0;                   /* first row within the whole weight: chunks over
                                       max_alloc now, shards over machines later. codes,
                                       scale and scale2 begin at the item that holds its
                                       first element                                   */
    int32_t bits, block, block2;    /* block 0 = one per row                           */
    ql_pack pack;                   /* order of elements inside a group of bytes       */
    ql_ggml ggml;                   /* QL_PACK_GGML: which block layout                */
    float   post;                   /* last factor, rounded separately: 1/127 for LLM.int8; 0 = none */
} ql_qmat;

/* Counter-based randomness (Philox4x32-10). A draw depends only on (seed, step, stream,
 * key of the row, column), where a row's key is {sample id, position in the sample}: the
 * same mask whatever the packing, micro-batch split, thread count or device, and
 * backward redraws it. In attention the key of the column and the head enter too. */
typedef struct ql_rng {
    uint64_t seed, stream;          /* stream: which draw of the program this is        */
    ql_mat   key;                   /* I32 [N,2]; absent = {row, 0}                     */
    ql_mat   step;                  /* the step block; absent = step 0                  */
} ql_rng;

/* What changes from step to step lives in one small device buffer, the step block: U8
 * [1, QL_STEP_BLOCK_BYTES], laid out as this struct. Kernels read it, so no value makes a
 * round trip through the host and a recorded step stays valid. Host order, 4-byte fields. */
typedef struct ql_step_block {
    float    lr;                    /* learning rate of this step                       */
    float    loss_scale;            /* factor on every loss gradient: 1 / labelled
                                       tokens of the whole optimizer step (x fp16 scale) */
    float    unscale;               /* 1 / fp16 loss scale; 1 otherwise                 */
    float    bias1, bias2;          /* 1 - beta1^t, 1 - beta2^t                         */
    float    clip;                  /* written by ql_clip: min(1, max_norm / (norm + 1e-6)) */
    float    norm;                  /* written by ql_clip: global gradient norm, unscaled */
    float    skip;                  /* written by ql_clip: 1 when a gradient is not finite */
    uint32_t rng_step;              /* enters every draw                                */
    uint32_t reserved[7];
} ql_step_block;
#define QL_STEP_BLOCK_BYTES 64

/* ------------------------------------------------------- operator arguments
 * One plain struct per operator. The same struct is what the tape records, what
 * the dump tool prints and what the tests generate. "+=" marks accumulation,
 * chosen by `accumulate` so gradient accumulation needs no extra pass. */

/* y [R,K] = value */
typedef struct ql_fill_args { ql_mat y; float value; } ql_fill_args;

/* y = alpha * x + beta * y, converting dtypes. x [R,K] or [1,K] (broadcast over
 * rows). Covers copy, cast, scale, residual add, bias add. In place: y == x. */
typedef struct ql_axpby_args  { ql_mat x, y; float alpha, beta; } ql_axpby_args;

/* y = x * keep / (1 - p); keep(e) = uniform(rng, e) >= p, e = row * K + col.
 * Its own backward (pass dy as x). In place: y == x. */
typedef struct ql_dropout_args { ql_mat x, y; float p; ql_rng rng; } ql_dropout_args;

typedef enum ql_act_kind { QL_ACT_IDENTITY, QL_ACT_RELU, QL_ACT_GELU_ERF, QL_ACT_GELU_TANH,
                           QL_ACT_SILU, QL_ACT_TANH } ql_act_kind;

/* y = act(x) * up            x, up, y [R,F]; up absent -> y = act(x).
 * In place: y == x. */
typedef struct ql_act_fwd_args { ql_act_kind kind; ql_mat x, up, y; } ql_act_fwd_args;
/* dx = dy * up * act'(x);  dup = dy * act(x).   In place: dx == x, dup == up. */
typedef struct ql_act_bwd_args { ql_act_kind kind; ql_mat x, up, dy, dx, dup; } ql_act_bwd_args;

/* y[i,:] = scale * table[index[i],:]      table [V,C], index I32 [1,N], y [N,C].
 * Embedding lookup, [CLS] pooling, row permutation. */
typedef struct ql_gather_args {
    ql_mat table, index, y; float scale; bool accumulate;
} ql_gather_args;
/* dtable[index[i],:] += scale * dy[i,:], rows sharing an index summed in index order. */
typedef struct ql_scatter_add_args {
    ql_mat dy, index, dtable, scratch; float scale;
} ql_scatter_add_args;

typedef enum ql_norm_kind { QL_NORM_LAYER, QL_NORM_RMS } ql_norm_kind;

/* s = x + residual (residual absent -> s = x; `sum` receives s when present)
 * LAYER: y = (s - mean) * rstd * (w + w_offset) + b
 * RMS:   y = s * rstd * (w + w_offset)            rstd = 1/sqrt(mean(s^2) + eps)
 * x, residual, sum, y [N,C]; w, b [1,C]; mean, rstd F32 [1,N]. With groups g > 1 each row is g
 * vectors of C/g: w, b [1,C/g], mean, rstd [1,N*g], vector j of row i at i*g + j.
 * w_offset is 1 for gemma. In place: sum == x or residual. */
typedef struct ql_norm_fwd_args {
    ql_norm_kind kind; float eps, w_offset; int32_t groups;   /* > 1: per head (q/k norm) */
    ql_mat x, residual, w, b, sum, y, mean, rstd;
} ql_norm_fwd_args;
/* dx (=, += if accumulate) gradient w.r.t. s; dw, db (absent = frozen) always +=. */
typedef struct ql_norm_bwd_args {
    ql_norm_kind kind; float w_offset; bool accumulate;
    ql_mat s, w, mean, rstd, dy, dx, dw, db, scratch;
} ql_norm_bwd_args;

/* Rotates the first rot dims of each head of x [N, heads*D] by the angle of its
 * position; cos/sin come from core/ (plain, linear, yarn, longrope alike).
 * table F32 [P, rot]: cos in columns [0,rot/2), sin in [rot/2,rot). pos I32 [1,N].
 * sign +1 forward, -1 backward. interleaved: pairs (2i,2i+1), else (i, i+rot/2).
 * In place: y == x. */
typedef struct ql_rope_args {
    ql_mat x, table, pos, y;
    int32_t heads, head_dim, rot; float sign; bool interleaved;
} ql_rope_args;

typedef enum ql_attn_bias {
    QL_BIAS_NONE,
    QL_BIAS_TABLE,    /* t5: + table[bucket(j-i), h]                                     */
    QL_BIAS_DISENT    /* deberta: + c2p[i, h*R + bucket(i-j)] + p2c[j, h*R + bucket(i-j)] */
} ql_attn_bias;

/* What the mask and bias look like; shared by forward and backward.
 * bucket I32 [1, 2L-1] maps distance d in [-(L-1), L-1] to a bucket at index d+L-1;
 * core/ fills it once, so bucketing rules never enter a kernel. */
typedef struct ql_attn_spec {
    int32_t heads_q, heads_kv, dim_qk, dim_v;
    float   scale;                  /* applied to q.k; usually 1/sqrt(D)            */
    float   softcap;                /* 0 = off, else s = cap * tanh(s / cap)        */
    int32_t window;                 /* 0 = off, else i - j < window                 */
    bool    causal;
    float   dropout; ql_rng rng;    /* on probabilities; element (h*Nq + i)*Nk + j  */
    int32_t max_q, max_kv;          /* longest sequence that can occur (bounds scratch)  */
    ql_mat  start_q, start_kv;      /* I32 [1,S+1] packed offsets, S = cols - 1; kv may
                                       have gaps                                       */
    ql_mat  len_kv;                 /* I32 [1,S] rows in use (KV cache); absent = all.
                                       Query i of a sequence sits at len_kv-Lq+i       */
    ql_attn_bias bias;
    ql_mat  table;                  /* F32 [buckets, Hq]           (TABLE)          */
    ql_mat  c2p, p2c;               /* [Nq, Hq*R], [Nk, Hk*R]      (DISENT)         */
    ql_mat  bucket;
} ql_attn_spec;

/* o = softmax(scale * q k^T + bias + mask) v  per sequence and head, tiled so that
 * no [Nq,Nk] matrix exists.  q [Nq,Hq*D], k [Nk,Hk*D], v [Nk,Hk*Dv], o [Nq,Hq*Dv];
 * lse F32 [Hq,Nq] = log-sum-exp of each score row, kept for backward.
 * Query head h reads kv head h / (Hq/Hk). The bias is added after the softcap; p2c uses the kv head.
 * A row that sees no key gives o = 0 and lse = -inf. Rows of dk, dv in gaps are undefined. */
typedef struct ql_attn_fwd_args {
    ql_attn_spec spec; ql_mat q, k, v, o, lse, scratch;
} ql_attn_fwd_args;
/* Recomputes P = exp(scores - lse).  delta_i = sum_d do*o.
 * dv = P^T do;  dS = P * (do v^T - delta);  dq = scale dS k;  dk = scale dS^T q.
 * dtable / dc2p / dp2c accumulate (+=) when present. */
typedef struct ql_attn_bwd_args {
    ql_attn_spec spec;
    ql_mat q, k, v, o, lse, d_o, dq, dk, dv, dtable, dc2p, dp2c, scratch;
} ql_attn_bwd_args;

/* c = alpha * op(a) op(b) + beta * c (+ bias [1,n] on every row)
 * op(a) [m,k], op(b) [k,n], c [m,n]; `batch` >= 1 repeats with element strides. */
typedef struct ql_gemm_args {
    ql_mat a, b, c, bias, scratch;
    bool trans_a, trans_b; float alpha, beta;
    int32_t batch; int64_t stride_a, stride_b, stride_c;
} ql_gemm_args;

/* trans_w == false: y [N,n] = alpha * x [N,k] W^T + beta * y (+ bias [1,n])  forward
 * trans_w == true : y [N,k] = alpha * x [N,n] W   + beta * y                 dX
 * W is decoded tile by tile inside the kernel, or panel by panel into `scratch`
 * when that is faster for this N; never as a whole. */
typedef struct ql_gemm_q_args {
    ql_mat x, y, bias, scratch; ql_qmat w;
    bool trans_w; float alpha, beta;
} ql_gemm_q_args;

/* Optional fused pair. Absent in a table (NULL) -> core/ composes it from
 * dropout, gemm and gemm_q.
 *   xd = dropout(x);  u = xd a^T;  y = x W^T + bias + s * u b^T
 * a [r,k], b [n,r], u [N,r] (kept for backward). Exactly one of w.codes, wd is present. */
typedef struct ql_lora_fwd_args {
    ql_mat x, wd, bias, a, b, u, y, scratch; ql_qmat w;
    float s, p; ql_rng rng;
} ql_lora_fwd_args;
/* db += s * dy^T u;  du = s * dy b;  da += du^T xd;
 * dx (=, += if accumulate) dy W + dropout'(du a). */
typedef struct ql_lora_bwd_args {
    ql_mat x, wd, a, b, u, dy, dx, da, db, scratch; ql_qmat w;
    float s, p; ql_rng rng; bool accumulate;
} ql_lora_bwd_args;

/* w [n,k] -> q.codes, q.absmax (F32), per block: absmax = max |w|,
 * code = nearest table entry to w * (1 / max(absmax, 1e-38)), ties to the lower one.
 * The second (8-bit) level is applied by core/quant on the host. */
typedef enum ql_encode { QL_ENCODE_NEAREST,  /* nearest table entry                             */
                         QL_ENCODE_ROUND,    /* code = round_half_even(w * 127 / absmax), int8  */
                         QL_ENCODE_AFFINE    /* code = round((w - min) / scale), scale and zero
                                                from the block's range                          */ } ql_encode;
/* Where bitsandbytes' CPU and CUDA encoders differ (spec/quantization 1.3 to 1.5). */
typedef enum ql_quant_rule { QL_RULE_CPU, QL_RULE_CUDA } ql_quant_rule;
typedef struct ql_q_quantize_args   { ql_mat w; ql_qmat q; ql_encode encode; ql_quant_rule rule;
                                      int64_t first, total; /* element 0's place in the whole weight and
                                      the weight's size: a partial last block has its own rule; `first`
                                      is a multiple of block */ } ql_q_quantize_args;
/* rows [row0, row0 + w.rows) of q -> w [rows,k]. */
typedef struct ql_q_dequantize_args { ql_qmat q; ql_mat w; int64_t row0; } ql_q_dequantize_args;

typedef enum ql_loss_kind { QL_LOSS_XENT, QL_LOSS_MSE } ql_loss_kind;
/* XENT: z = softcap(logits);  loss[i] = lse(z_i) - z_i[target_i];
 *       dlogits = (softmax(z) - onehot) * grad_scale * softcap'.  logits [N,V], target I32 [1,N].
 *       Rows with target == ignore give loss 0 and gradient 0. Smoothing e as torch has it:
 *       (1 - e) * nll + e * mean over classes of -log p.
 * MSE : target F32 [N,V]; loss[i] = mean over columns. `weight` multiplies loss and gradient.
 * dlogits absent -> loss only. In place: dlogits == logits. */
typedef struct ql_loss_args {
    ql_loss_kind kind; ql_mat logits, target, weight, loss, dlogits;  /* weight F32 [1,N] or absent */
    ql_mat step;                    /* present: gradients are also scaled by its loss_scale */
    int32_t ignore; float softcap, smoothing, grad_scale;
} ql_loss_args;

/* y [1,K] (=, +=) column sums of x [R,K]: bias gradients. */
typedef struct ql_sum_rows_args { ql_mat x, y, scratch; bool accumulate; } ql_sum_rows_args;
/* y F32 [1,2]: y0 (=, +=) sum of squares; y1 (=, +=) count of non-finite elements. */
typedef struct ql_sumsq_args    { ql_mat x, y, scratch; bool accumulate; } ql_sumsq_args;

typedef enum ql_opt_kind { QL_OPT_ADAMW, QL_OPT_SGD, QL_OPT_LION } ql_opt_kind;
/* One optimizer step on a flat range. AdamW in the CPU order of spec 4.2:
 *   p *= 1 - lr*wd;  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g
 *   p -= lr/bias1 * m / (sqrt(v)/sqrt(bias2) + eps)         g = grad * unscale * clip
 * Weight decay first in all kinds. LION: p -= lr * sign(b1*m + (1-b1)*g);  m = b2*m + (1-b2)*g.
 * SGD: m = b1*m + g;  p -= lr*m  (m absent: p -= lr*g). A beta is the decimal that was meant:
 * 1 - 0.999f counts as 0.001, as in bitsandbytes. All [1,K]; p, g any float dtype; m, v F32, or
 * U8 dynamic 8-bit with absmax F32 [1, ceil(K/256)] each. `first` = index of element
 * 0 in the whole tensor, so a paged update in chunks equals an unpaged one exactly. */
typedef struct ql_opt_step_args {
    ql_opt_kind kind; ql_mat p, g, m, v, m_absmax, v_absmax, code8_m, code8_v;
    ql_mat step;                    /* step block: lr, bias1, bias2, unscale * clip, skip;
                                       skip != 0 leaves p, m and v untouched            */
    float beta1, beta2, eps, weight_decay, lr_scale;      /* lr_scale multiplies step.lr */
    int64_t first;
} ql_opt_step_args;

/* Global-norm clip. sum F32 [1,2] = {sum of squares, count of non-finite} over all gradients.
 * norm = sqrt(sum0) * step.unscale; clip = min(1, max_norm / (norm + 1e-6)), 1 when max_norm
 * is 0; skip = (sum1 > 0). Writes norm, clip, skip of the step block (torch's clip_grad_norm_). */
typedef struct ql_clip_args { ql_mat sum, step; float max_norm; } ql_clip_args;

/* norm F32 [1,n]: norm[i] = || W[i,:] + s * (b a)[i,:] ||_2, by panels (DoRA; W dense or quantized;
 * a [r,k], b [n,r], absent = W alone). No gradient: PEFT treats it as a constant. */
typedef struct ql_row_norm_args { ql_qmat w; ql_mat wd, a, b, norm, scratch; float s; } ql_row_norm_args;
/* y[i,j] = x[i,j] * m[j] / norm[j] (norm absent = 1); with dm present, dm[j] += sum_i dy[i,j] * x[i,j] / norm[j]
 * and y receives dx. x, y, dy [N,K]; m, norm, dm F32 [1,K]. In place: y == x. */
typedef struct ql_scale_cols_args { ql_mat x, m, norm, y, dy, dm, scratch; } ql_scale_cols_args;
/* y[dst[i],:] = x[src[i],:]; dst or src absent = i. KV-cache append, beam reorder, selection of labelled rows. */
typedef struct ql_row_copy_args { ql_mat x, y, src, dst; } ql_row_copy_args;

/* y[i, g y_step + y_at + j] (=, +=) x[i, g x_step + x_at + j]     g < groups, j < width
 * x [N, groups x_step], y [N, groups y_step]. Takes a fused projection whose columns go by head (q, k, v of head 0, of head 1, ...: GPT-NeoX,
 * Falcon) apart, and gathers its gradient; column slices need no operator. Other columns of y keep their content. */
typedef struct ql_col_copy_args { ql_mat x, y; int32_t groups, width, x_step, x_at, y_step, y_at; bool accumulate; } ql_col_copy_args;

/* ------------------------------------------------------------ operator table
 * X(ID, name, family). The family names the file that holds it in each backend:
 * backends/<b>/<family>.{c,cu} (+ kernels/<family>.cl). */
#define QL_OPS(X)                            \
    X(FILL,           fill,           elem)  \
    X(AXPBY,          axpby,          elem)  \
    X(DROPOUT,        dropout,        elem)  \
    X(ACT_FWD,        act_fwd,        elem)  \
    X(ACT_BWD,        act_bwd,        elem)  \
    X(GATHER,         gather,         rows)  \
    X(SCATTER_ADD,    scatter_add,    rows)  \
    X(NORM_FWD,       norm_fwd,       norm)  \
    X(NORM_BWD,       norm_bwd,       norm)  \
    X(ROPE,           rope,           rope)  \
    X(ATTN_FWD,       attn_fwd,       attn)  \
    X(ATTN_BWD,       attn_bwd,       attn)  \
    X(GEMM,           gemm,           gemm)  \
    X(GEMM_Q,         gemm_q,         quant) \
    X(Q_QUANTIZE,     q_quantize,     quant) \
    X(Q_DEQUANTIZE,   q_dequantize,   quant) \
    X(ROW_NORM,       row_norm,       rows)  \
    X(SCALE_COLS,     scale_cols,     rows)  \
    X(ROW_COPY,       row_copy,       rows)  \
    X(COL_COPY,       col_copy,       rows)  \
    X(LORA_FWD,       lora_fwd,       lora)  \
    X(LORA_BWD,       lora_bwd,       lora)  \
    X(LOSS,           loss,           loss)  \
    X(SUM_ROWS,       sum_rows,       reduce)\
    X(SUMSQ,          sumsq,          reduce)\
    X(CLIP,           clip,           opt)   \
    X(OPT_STEP,       opt_step,       opt)

typedef enum ql_op {
#define QL_X(ID, name, family) QL_OP_##ID,
    QL_OPS(QL_X)
#undef QL_X
    QL_OP_COUNT
} ql_op;

typedef struct ql_op_table {
#define QL_X(ID, name, family) ql_status (*name)(ql_queue *q, const ql_##name##_args *a);
    QL_OPS(QL_X)
#undef QL_X
} ql_op_table;

/* Any argument struct by op id: the payload of one tape record. */
typedef union ql_op_args {
#define QL_X(ID, name, family) ql_##name##_args name;
    QL_OPS(QL_X)
#undef QL_X
} ql_op_args;

QL_API const char *ql_op_name(ql_op op);               /* "gemm_q" */

/* ------------------------------------------------------------------- devices */

typedef enum ql_device_kind {
    QL_DEV_CPU, QL_DEV_GPU, QL_DEV_IGPU,
    QL_DEV_EMULATED                 /* real kernels run on the host, for tests */
} ql_device_kind;

enum {                              /* ql_device_props.caps */
    QL_CAP_ASYNC         = 1u << 0, /* queues run beside the host                       */
    QL_CAP_COPY_OVERLAP  = 1u << 1, /* transfers overlap kernels on another queue       */
    QL_CAP_F16           = 1u << 2, /* f16 arithmetic (storage is always supported)     */
    QL_CAP_BF16          = 1u << 3,
    QL_CAP_MATRIX_UNITS  = 1u << 4, /* tensor cores, AMX, ...                           */
    QL_CAP_UNIFIED       = 1u << 5, /* device and host share physical memory            */
    QL_CAP_WRAP_HOST     = 1u << 6, /* buffer_wrap works without a copy                 */
    QL_CAP_MANAGED       = 1u << 7, /* QL_MEM_MANAGED: hardware page migration          */
    QL_CAP_TIMESTAMPS    = 1u << 8
};

typedef struct ql_device_props {
    char     name[96], driver[64], id[32];  /* id: PCI bus id or "" */
    ql_device_kind kind;
    uint32_t caps;
    uint64_t mem_total, mem_free;           /* 0 = unknown */
    uint64_t max_alloc;                     /* largest single buffer (OpenCL limits it) */
    uint32_t align;                         /* required alignment of ql_mat.off         */
    uint32_t simd_width, local_mem, compute_units;
    char     isa[64];                       /* "avx2+fma+f16c", "sm_80", "OpenCL 3.0"   */
} ql_device_props;

typedef struct ql_device_opts {
    int      threads;                       /* cpu; 0 = all cores of the affinity mask  */
    uint64_t mem_limit;                     /* 0 = none; allocations beyond it fail     */
    const char *isa;                        /* force an implementation; NULL = best     */
} ql_device_opts;

/* Base parts of the backend objects. A backend embeds one as its FIRST member and
 * casts; core/ reads only what is here. */
struct ql_device { const ql_backend *backend; ql_device_props props; };
struct ql_queue  { ql_device *dev; };
struct ql_event  { ql_device *dev; };

/* ------------------------------------------------------- buffers & residency */

typedef enum ql_mem {
    QL_MEM_DEVICE,      /* device memory; the host cannot touch it                    */
    QL_MEM_HOST,        /* host memory fit for async copies (pinned where possible)   */
    QL_MEM_WRAPPED,     /* caller's host pointer (mmap'd weights); never freed by us  */
    QL_MEM_MANAGED      /* migrates by itself; only with QL_CAP_MANAGED               */
} ql_mem;

struct ql_buffer {
    ql_device *dev;
    uint64_t   size;
    ql_mem     mem;
    void      *host;    /* address valid on the host, or NULL */
};

/* Hints for QL_MEM_MANAGED ranges; a backend without managed memory ignores them. The page
 * schedule of core/memory decides what moves when: on CUDA it becomes prefetches of managed
 * memory (default), elsewhere copy() between QL_MEM_HOST and the device on a second queue. */
typedef enum ql_advice { QL_ADVISE_TO_DEVICE, QL_ADVISE_TO_HOST, QL_ADVISE_READ_MOSTLY,
                         QL_ADVISE_DISCARD,
                         QL_ADVISE_READ_ONLY /* any buffer: nothing writes the range until it is
                                                freed; the CPU write-protects its whole pages */
                       } ql_advice;

typedef enum ql_support {
    QL_SUPPORT_NO = 0,      /* *why is set to a static string */
    QL_SUPPORT_SLOW,        /* correct, generic path          */
    QL_SUPPORT_NATIVE       /* the tuned path                 */
} ql_support;

/* ----------------------------------------------------------- the backend table */

struct ql_backend {
    uint32_t    abi;                /* QL_BACKEND_ABI       */
    uint32_t    size;               /* sizeof(ql_backend)   */
    const char *name;               /* "cpu", "cuda", ...   */

    /* Devices. probe() answers 0 when the driver or hardware is missing: that is not
     * an error. It must not create contexts. */
    ql_status (*probe)(int *count);
    /* Properties of a device without opening it; NULL = open it to know. */
    ql_status (*describe)(int index, ql_device_props *out);
    ql_status (*device_open)(int index, const ql_device_opts *opts, ql_device **out);
    void      (*device_close)(ql_device *dev);                        /* NULL ok; last */
    ql_status (*device_memory)(ql_device *dev, uint64_t *free_now, uint64_t *total);

    /* Buffers. Sizes need not be rounded; content is undefined after allocation. */
    ql_status (*buffer_alloc)(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out);
    ql_status (*buffer_wrap)(ql_device *dev, void *host, uint64_t size, ql_buffer **out);
    void      (*buffer_free)(ql_buffer *buf);                         /* NULL ok */
    ql_status (*advise)(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what);

    /* Queues: in order within one, unordered between two unless an event says so. */
    ql_status (*queue_create)(ql_device *dev, ql_queue **out);
    void      (*queue_destroy)(ql_queue *q);                          /* drains; NULL ok */
    ql_status (*queue_flush)(ql_queue *q);                            /* start, do not wait */
    ql_status (*queue_sync)(ql_queue *q);     /* wait; reports the first async failure */

    /* Events: record on one queue, wait on another (no host stall) or on the host. */
    ql_status (*event_create)(ql_device *dev, ql_event **out);
    void      (*event_destroy)(ql_event *e);
    ql_status (*event_record)(ql_event *e, ql_queue *q);
    ql_status (*event_wait)(ql_queue *q, ql_event *e);
    ql_status (*event_sync)(ql_event *e);
    ql_status (*event_elapsed)(ql_event *from, ql_event *to, double *seconds);

    /* Transfers. Host side in QL_MEM_HOST: asynchronous; in pageable memory:
     * write() may return once the source has been staged, read() blocks. */
    ql_status (*write)(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src, uint64_t len);
    ql_status (*read)(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len);
    ql_status (*copy)(ql_queue *q, ql_buffer *dst, uint64_t doff,
                      ql_buffer *src, uint64_t soff, uint64_t len);

    /* Planning. Both are pure functions of (device, arguments): matrices carry shapes
     * and dtypes but their buf may still be NULL. */
    ql_support (*supports)(ql_device *dev, ql_op op, const ql_op_args *a, const char **why);
    uint64_t   (*scratch_bytes)(ql_device *dev, ql_op op, const ql_op_args *a);

    ql_op_table ops;                /* NULL allowed only for lora_fwd and lora_bwd */
};

/* ------------------------------------------------------------------ registry
 * A closed list of names, fixed at build time: cpu linked in, the others loadable modules; no constructors, no globals to
 * register. Order = preference for "auto". */
QL_API int               ql_backend_count(void);
QL_API const ql_backend *ql_backend_at(int i);
QL_API const ql_backend *ql_backend_find(const char *name);       /* NULL = not here: ql_backend_absence */
/* Why a backend of the closed list is not available or has no device, "" when it has; valid as ql_last_error is. */
QL_API const char       *ql_backend_absence(const char *name);
QL_API const ql_backend *ql_cpu_backend(void);                    /* always linked in    */

/* A backend of one's own: a shared object that exports this function. `--device ./mine.so` (a name with
 * a slash, optionally ":index") opens it; `qlora selftest` then runs every operator case against the
 * reference. The table must carry this header's QL_BACKEND_ABI and size. */
#define QL_BACKEND_ENTRY "ql_backend_entry"
typedef const ql_backend *(*ql_backend_entry_fn)(void);

/* What the loading program offers a module, so that it need not link libqlora. A module that exports this function
 * gets it called once, before the table is asked for; the struct outlives the module. */
typedef struct ql_host {
    uint32_t size;                  /* sizeof(ql_host) */
    ql_status (*fail)(const char *file, int line, ql_status s, const char *fmt, ...) QL_PRINTF(4, 5);   /* ql_fail_at */
    void (*note)(const char *message);                                          /* a remark for the user */
} ql_host;
#define QL_BACKEND_BIND "ql_backend_bind"
typedef void (*ql_backend_bind_fn)(const ql_host *host);

/* Checked entry points generated from QL_OPS, e.g. ql_run_gemm(q, &args): validate, then
 * call the table. Validation is on in every build; it is O(1) per call. */
#define QL_X(ID, name, family) QL_API ql_status ql_run_##name(ql_queue *q, const ql_##name##_args *a);
QL_OPS(QL_X)
#undef QL_X

#ifdef __cplusplus
}
#endif
#endif /* QLORA_BACKEND_H */
