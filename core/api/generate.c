/*
 * generate.c - tokens after a prompt, and answers through the chat template.
 *
 * The generator stays with the model between calls; one with another type of activations or too few
 * positions is replaced.
 */
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"

#define CONTEXT_STEP 256 /* positions are reserved in such pieces, so that generators last */

typedef struct request {
    qlora_generate_opts o;
    int32_t max_new;
    ql_dtype compute;
    ql_sampling sampling;
    int32_t extra_stop[2]; /* EOS of the tokenizer, end of turn of the template; -1 = none */
} request;

static ql_status read_request(const qlora_model *m, const qlora_generate_opts *opts, request *out) {
    request r = {.extra_stop = {-1, -1}};
    QL_TRY(ql_api_generate_opts(opts, &r.o));
    QL_TRY(ql_api_int("max_new_tokens", r.o.max_new_tokens, 1, 1 << 24, &r.max_new));
    QL_TRY(ql_api_int("top_k", r.o.top_k, 0, INT32_MAX, &r.sampling.top_k));
    QL_TRY(ql_api_compute(r.o.compute, m->session->dev, &r.compute));
    if (!(r.o.temperature >= 0) || r.o.temperature > 1e6)
        return QL_FAIL(QL_ERR_INVALID, "temperature is %g, expected 0 or more", r.o.temperature);
    if (!(r.o.top_p > 0) || r.o.top_p > 1)
        return QL_FAIL(QL_ERR_INVALID, "top_p is %g, expected 0 < p <= 1", r.o.top_p);
    if (r.o.n_stop < 0 || (r.o.n_stop > 0 && !r.o.stop))
        return QL_FAIL(QL_ERR_INVALID, "n_stop is %lld and stop is %s", (long long)r.o.n_stop,
                       r.o.stop ? "given" : "NULL");
    r.sampling.temperature = r.o.temperature;
    r.sampling.top_p = r.o.top_p;
    r.sampling.seed = r.o.seed;
    *out = r;
    return QL_OK;
}

/* ------------------------------------------------------------------ generator */

/* Bytes of a generator beyond those of the model, which is on the device. */
static ql_status generator_bytes(const qlora_model *m, const ql_memory_report *r, uint64_t *out) {
    ql_memory_report model = {0};
    uint64_t bytes = r->peak_bytes;
    ql_model_report(m->core, &model);
    for (int i = 0; i < QL_POOL_COUNT; i++) bytes -= model.device[i];
    *out = bytes;
    return QL_OK;
}

static ql_status need_generator(qlora_model *m, const request *r, size_t n) {
    int64_t limit = m->core->arch.max_positions, want = (int64_t)n + r->max_new;
    if ((int64_t)n > limit)
        return QL_FAIL(QL_ERR_INVALID, "prompt: %zu tokens, this model has %lld positions", n,
                       (long long)limit);
    if (want < r->o.context) want = r->o.context;
    want = (want + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    if (want > limit) want = limit;
    QL_TRY(ql_api_place(m));
    if (m->gen && m->gen_compute == r->compute && ql_generator_context(m->gen) >= want) {
        ql_generator_reset(m->gen);
        return QL_OK;
    }
    ql_api_drop_generator(m);
    ql_memory_report report;
    uint64_t bytes;
    ql_device *dev = m->session->dev;
    QL_TRY(ql_generator_plan(m->core, r->compute, (int32_t)want, dev, &report));
    QL_TRY(generator_bytes(m, &report, &bytes));
    QL_TRY(ql_api_fits(m->session, bytes, 0));
    m->gen_compute = r->compute;
    return ql_generator_create(m->core, r->compute, (int32_t)want, dev, &m->gen);
}

/* ------------------------------------------------------------------ tokens */

static bool has(const int32_t *ids, int64_t n, int32_t id) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool ends(const ql_arch *a, const request *r, int32_t id) {
    if (has(r->o.stop, r->o.n_stop, id)) return true;
    return !r->o.ignore_eos && (has(a->eos, a->n_eos, id) || has(r->extra_stop, 2, id));
}

static ql_status push(ql_ids *v, int32_t id) {
    QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof(int32_t)));
    v->ids[v->n++] = id;
    return QL_OK;
}

static ql_status run(qlora_model *m, const request *r, const int32_t *prompt, size_t n,
                     ql_ids *out) {
    const float *logits;
    const int32_t context = ql_generator_context(m->gen);
    QL_TRY(ql_generator_feed(m->gen, prompt, (int32_t)n, &logits));
    for (int32_t i = 0;; i++) {
        int32_t id = -1;
        (void)ql_api_progress(m->session, "generate", i, r->max_new);
        QL_TRY(ql_api_cancelled(m->session, "generate"));
        QL_TRY(ql_sample(&r->sampling, logits, m->core->arch.vocab, (uint64_t)i, &id));
        QL_TRY(push(out, id));
        bool more = !r->o.on_token || r->o.on_token(r->o.user, id);
        if (!more || ends(&m->core->arch, r, id) || i + 1 == r->max_new) return QL_OK;
        if (ql_generator_position(m->gen) == context) return QL_OK;
        QL_TRY(ql_generator_feed(m->gen, &id, 1, &logits));
    }
}

static ql_status generate(qlora_model *m, const request *r, const int32_t *prompt, size_t n,
                          ql_ids *out) {
    QL_TRY(need_generator(m, r, n));
    ql_ids v = {0};
    ql_status s = run(m, r, prompt, n, &v);
    if (s != QL_OK) {
        ql_ids_free(&v);
        return s;
    }
    *out = v;
    return QL_OK;
}

ql_status qlora_generate(qlora_model *m, const int32_t *prompt, size_t n,
                         const qlora_generate_opts *opts, int32_t **ids, size_t *n_ids) {
    NOT_NULL(m);
    NOT_NULL(prompt);
    NOT_NULL(ids);
    NOT_NULL(n_ids);
    request r;
    ql_ids v;
    if (n == 0) return QL_FAIL(QL_ERR_INVALID, "prompt: has no token");
    QL_TRY(read_request(m, opts, &r));
    QL_TRY(generate(m, &r, prompt, n, &v));
    *ids = v.ids;
    *n_ids = v.n;
    return QL_OK;
}

/* ------------------------------------------------------------------ text */

static const char *piece(const ql_tokenizer *tok, int32_t id) {
    const char *s = id >= 0 ? ql_tokenizer_piece(tok, id) : NULL;
    return s ? s : "";
}

/* [system, user, answer begins] in the template's words. */
static ql_status chat_prompt(const ql_tokenizer *tok, const ql_template *chat, const char *system,
                             const char *prompt, ql_ids *out) {
    ql_message m[2];
    size_t n = 0;
    if (system) m[n++] = (ql_message){"system", system, strlen(system)};
    m[n++] = (ql_message){"user", prompt, strlen(prompt)};
    ql_rendered r = {0};
    QL_TRY(ql_template_render(chat, m, n, true, piece(tok, ql_tokenizer_bos(tok)),
                              piece(tok, ql_tokenizer_eos(tok)), &r));
    ql_status s = ql_rendered_encode(&r, tok, out, NULL);
    ql_rendered_free(&r);
    return s;
}

static ql_status text_prompt(qlora_model *m, request *r, const char *prompt, ql_ids *out) {
    const ql_tokenizer *tok;
    const ql_template *chat;
    QL_TRY(ql_api_tokenizer(m, &tok));
    QL_TRY(ql_api_template(m, r->o.chat_template, &chat));
    r->extra_stop[0] = ql_tokenizer_eos(tok);
    if (!chat && r->o.system)
        return QL_FAIL(QL_ERR_INVALID, "system needs a chat template, and there is none");
    if (!chat) return ql_tokenizer_encode(tok, prompt, strlen(prompt), QL_ENCODE_ADD_SPECIAL, out);
    if (*ql_template_stop(chat)) r->extra_stop[1] = ql_tokenizer_id(tok, ql_template_stop(chat));
    return chat_prompt(tok, chat, r->o.system, prompt, out);
}

ql_status qlora_generate_text(qlora_model *m, const char *prompt, const qlora_generate_opts *opts,
                              char **text) {
    NOT_NULL(m);
    NOT_NULL(prompt);
    NOT_NULL(text);
    request r;
    ql_ids in = {0}, made = {0};
    QL_TRY(read_request(m, opts, &r));
    ql_status s = text_prompt(m, &r, prompt, &in);
    if (s == QL_OK && in.n == 0) s = QL_FAIL(QL_ERR_INVALID, "prompt: has no token");
    if (s == QL_OK) s = generate(m, &r, in.ids, in.n, &made);
    if (s == QL_OK) s = qlora_decode(m, made.ids, made.n, false, text);
    ql_ids_free(&in);
    ql_ids_free(&made);
    return s;
}
