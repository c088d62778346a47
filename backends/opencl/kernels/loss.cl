/*
 * loss.cl - cross-entropy and mean squared error, loss and gradient in one operator; one work-group
 * per row.
 *
 * XENT, z = softcap(logits), e = smoothing (torch's definition):
 *   loss = (1 - e) (lse - z_t) + e (lse - mean z)
 *   d    = (softmax(z) - (1 - e) onehot(t) - e / V) softcap'(z)
 * MSE: loss = mean over columns of (x - t)^2;  d = 2 (x - t) / V.
 * Both are multiplied by the row's weight, d also by grad_scale and the step's loss_scale.
 */

/* The largest of the row first; lse - z_t is taken as (top - z_t) + log(sum): a sure row loses
 * nothing to the size of its logits. */
__kernel void loss_xent(MAT(logits), MAT(target), MAT(weight), MAT(loss), MAT(dlogits), MAT(step),
                        const long V, const int ignore, const float softcap, const float smoothing,
                        const float grad_scale) {
    __local float tmp[QL_WG];
    mat x = GET(logits), target = GET(target), weight = GET(weight), loss = GET(loss),
        d = GET(dlogits), step = GET(step);
    long i = get_group_id(0), l = get_local_id(0);
    int t = load_int(target, i);
    float w = has(weight) ? load_at(weight, i) : 1.0f;
    float scale = grad_scale * (has(step) ? step_field(step, STEP_LOSS_SCALE) : 1.0f);
    bool ignored = t == ignore; /* computes on, so that no barrier stands behind a condition */
    float top = -INFINITY, sum = 0.0f, rest = 0.0f, values = 0.0f, values_rest = 0.0f;
    float zt = ql_softcap(load(x, i, ignored ? 0 : t), softcap);
    for (long j = l; j < V; j += QL_WG) {
        float z = ql_softcap(load(x, i, j), softcap);
        top = z > top ? z : top;
    }
    top = group_max(top, tmp);
    for (long j = l; j < V; j += QL_WG) {
        float z = ql_softcap(load(x, i, j), softcap);
        add_exact(&sum, &rest, ql_exp(z - top));
        add_exact(&values, &values_rest, z - top);
    }
    sum = group_sum(sum + rest, tmp);
    values = group_sum(values + values_rest, tmp);
    float log_sum = log(sum), inverse = 1.0f / sum;
    if (l == 0) {
        float nll = (1.0f - smoothing) * ((top - zt) + log_sum);
        if (smoothing > 0.0f) nll += smoothing * (log_sum - values / (float)V);
        store_at(loss, i, ignored ? 0.0f : nll * w);
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* dlogits may be logits: z_t was read */
    for (long j = l; has(d) && j < V; j += QL_WG) {
        float z = ql_softcap(load(x, i, j), softcap);
        float g = ql_exp(z - top) * inverse - smoothing / (float)V;
        if (j == t) g -= 1.0f - smoothing;
        store(d, i, j, ignored ? 0.0f : g * ql_softcap_d(z, softcap) * (scale * w));
    }
}

__kernel void loss_mse(MAT(logits), MAT(target), MAT(weight), MAT(loss), MAT(dlogits), MAT(step),
                       const long V, const float grad_scale) {
    __local float tmp[QL_WG];
    mat x = GET(logits), target = GET(target), weight = GET(weight), loss = GET(loss),
        d = GET(dlogits), step = GET(step);
    long i = get_group_id(0), l = get_local_id(0);
    float w = has(weight) ? load_at(weight, i) : 1.0f;
    float scale = grad_scale * (has(step) ? step_field(step, STEP_LOSS_SCALE) : 1.0f);
    float sum = 0.0f, rest = 0.0f, slope = 2.0f / (float)V * scale * w;
    for (long j = l; j < V; j += QL_WG) {
        float e = load(x, i, j) - load(target, i, j);
        add_exact(&sum, &rest, e * e);
        if (has(d)) store(d, i, j, e * slope);
    }
    sum = group_sum(sum + rest, tmp);
    if (l == 0) store_at(loss, i, sum / (float)V * w);
}
