/*
 * generate.c - tokens after a prompt, and answers through the chat template.
 *
 * The generator stays with the model between calls; one with another type of activations or too
 * little room is replaced.
 */
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"

#define CONTEXT_STEP 256 /* positions are reserved in such pieces, so that generators last */

typedef struct request {
    qlora_generate_opts o;
    ql_search_opts search;
    ql_dtype compute;
    int32_t start; /* the decoder's first token, -1 without an encoder          */
    ql_ids stops;  /* everything that ends the text                             */
} request;

static void request_free(request *r) {
    ql_ids_free(&r->stops);
}

static ql_status read_early(const char *name, ql_early_stopping *out) {
    static const char *const names[] = {"false", "true", "never"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name ? name : "false", names[i]) != 0) continue;
        *out = (ql_early_stopping)i;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_INVALID, "early_stopping is '%.32s', expected false, true or never",
                   name);
}

static ql_status read_sampling(const qlora_generate_opts *o, ql_sampling *out) {
    QL_TRY(ql_api_int("top_k", o->top_k, 0, INT32_MAX, &out->top_k));
    if (!(o->temperature >= 0) || o->temperature > 1e6)
        return QL_FAIL(QL_ERR_INVALID, "temperature is %g, expected 0 or more", o->temperature);
    if (!(o->top_p > 0) || o->top_p > 1)
        return QL_FAIL(QL_ERR_INVALID, "top_p is %g, expected 0 < p <= 1", o->top_p);
    out->temperature = o->temperature;
    out->top_p = o->top_p;
    out->seed = o->seed;
    return QL_OK;
}

static ql_status read_search(const qlora_generate_opts *o, ql_search_opts *s) {
    QL_TRY(ql_api_int("max_new_tokens", o->max_new_tokens, 1, 1 << 24, &s->max_new));
    QL_TRY(ql_api_int("num_beams", o->num_beams, 1, 1024, &s->beams));
    QL_TRY(ql_api_int("no_repeat_ngram_size", o->no_repeat_ngram_size, 0, 1 << 20,
                      &s->rules.no_repeat_ngram));
    QL_TRY(ql_api_int("min_length", o->min_length, 0, 1 << 24, &s->rules.min_length));
    if (!(o->length_penalty >= -100 && o->length_penalty <= 100))
        return QL_FAIL(QL_ERR_INVALID, "length_penalty is %g, expected -100 to 100",
                       o->length_penalty);
    s->length_penalty = o->length_penalty;
    QL_TRY(read_early(o->early_stopping, &s->early));
    return read_sampling(o, &s->sampling);
}

/* What the model's files say: the decoder's start, tokens that are forced. */
static ql_status read_decoding(const qlora_model *m, request *r) {
    const ql_arch *a = &m->core->arch;
    ql_decoding d;
    int32_t start;
    QL_TRY(ql_decoding_read(m->core, &d));
    QL_TRY(ql_api_int("decoder_start", r->o.decoder_start, -1, a->vocab - 1, &start));
    r->start = start >= 0 ? start : d.start;
    r->search.rules.forced_bos = d.forced_bos;
    r->search.rules.forced_eos = r->o.ignore_eos ? -1 : d.forced_eos;
    if (!a->encoder.layers && start >= 0)
        return QL_FAIL(QL_ERR_INVALID, "decoder_start: a %s model has no encoder", a->family);
    if (a->encoder.layers && r->start < 0)
        return QL_FAIL(QL_ERR_INVALID,
                       "this %s model names no token that answers begin behind: set decoder_start "
                       "to the language's id",
                       a->family);
    return QL_OK;
}

static ql_status add_stops(request *r, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        bool known = ids[i] < 0;
        for (size_t k = 0; k < r->stops.n && !known; k++) known = r->stops.ids[k] == ids[i];
        if (!known) QL_TRY(ql_ids_push(&r->stops, ids[i]));
    }
    return QL_OK;
}

static ql_status fill_request(const qlora_model *m, const qlora_generate_opts *opts, request *r) {
    const ql_arch *a = &m->core->arch;
    r->search = ql_search_defaults();
    QL_TRY(ql_api_generate_opts(opts, &r->o));
    QL_TRY(read_search(&r->o, &r->search));
    QL_TRY(ql_api_compute(r->o.compute, m->session->dev, &r->compute));
    QL_TRY(read_decoding(m, r));
    if (r->o.n_stop < 0 || (r->o.n_stop > 0 && !r->o.stop))
        return QL_FAIL(QL_ERR_INVALID, "n_stop is %lld and stop is %s", (long long)r->o.n_stop,
                       r->o.stop ? "given" : "NULL");
    QL_TRY(add_stops(r, r->o.stop, r->o.n_stop));
    return r->o.ignore_eos ? QL_OK : add_stops(r, a->eos, a->n_eos);
}

static ql_status read_request(const qlora_model *m, const qlora_generate_opts *opts, request *out) {
    request r = {.start = -1};
    ql_status s = fill_request(m, opts, &r);
    if (s != QL_OK) {
        request_free(&r);
        return s;
    }
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

/* `n` in whole steps, within the model's positions. */
static int32_t rounded(int64_t n, int64_t limit) {
    n = (n + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    return (int32_t)(n < limit ? n : limit);
}

static bool has_room(const ql_generator *g, const ql_generator_opts *want) {
    if (!g) return false;
    const ql_generator_opts *have = ql_generator_options(g);
    return have->compute == want->compute && have->context >= want->context &&
           have->sequences >= want->sequences && have->source >= want->source;
}

static ql_status need_generator(qlora_model *m, const request *r, size_t n) {
    const int64_t limit = m->core->arch.max_positions;
    const bool encoder = r->start >= 0;
    if ((int64_t)n > limit)
        return QL_FAIL(QL_ERR_INVALID, "prompt: %zu tokens, this model has %lld positions", n,
                       (long long)limit);
    int64_t want = (encoder ? 1 : (int64_t)n) + r->search.max_new;
    if (want < r->o.context) want = r->o.context;
    const ql_generator_opts o = {.compute = r->compute,
                                 .context = rounded(want, limit),
                                 .sequences = r->search.beams,
                                 .source = encoder ? rounded((int64_t)n, limit) : 0};
    QL_TRY(ql_api_place(m));
    if (has_room(m->gen, &o)) return QL_OK;
    ql_api_drop_generator(m);
    ql_memory_report report;
    uint64_t bytes;
    ql_device *dev = m->session->dev;
    QL_TRY(ql_generator_plan_for(m->core, &o, dev, &report));
    QL_TRY(generator_bytes(m, &report, &bytes));
    QL_TRY(ql_api_fits(m->session, bytes, 0));
    return ql_generator_create_for(m->core, &o, dev, &m->gen);
}

/* ------------------------------------------------------------------ tokens */

typedef struct listener {
    qlora_model *m;
    const request *r;
    int32_t steps;
} listener;

/* Shows progress, hears of cancelling, tells of the new id. */
static ql_status step(void *user, const ql_ids *ids, bool *more) {
    listener *l = user;
    const qlora_generate_opts *o = &l->r->o;
    (void)ql_api_progress(l->m->session, "generate", ++l->steps, l->r->search.max_new);
    QL_TRY(ql_api_cancelled(l->m->session, "generate"));
    if (ids && o->on_token) *more = o->on_token(o->user, ids->ids[ids->n - 1]);
    return QL_OK;
}

/* Tells of the ids that beams found, and cuts where the listener has enough. */
static void tell(const request *r, ql_ids *ids) {
    if (r->search.beams <= 1 || !r->o.on_token) return;
    for (size_t i = 0; i < ids->n; i++)
        if (!r->o.on_token(r->o.user, ids->ids[i])) ids->n = i + 1;
}

static ql_status generate(qlora_model *m, const request *r, const int32_t *prompt, size_t n,
                          ql_ids *out) {
    QL_TRY(need_generator(m, r, n));
    listener l = {.m = m, .r = r};
    ql_search_opts o = r->search;
    ql_answer found;
    o.stop = r->stops.ids;
    o.n_stop = (int32_t)r->stops.n;
    o.step = step;
    o.user = &l;
    QL_TRY(ql_api_cancelled(m->session, "generate"));
    if (r->start >= 0) {
        QL_TRY(ql_generator_set_source(m->gen, prompt, (int32_t)n));
        QL_TRY(ql_search(m->gen, &o, &r->start, 1, &found));
    } else {
        QL_TRY(ql_search(m->gen, &o, prompt, (int32_t)n, &found));
    }
    tell(r, &found.ids);
    *out = found.ids;
    return QL_OK;
}

ql_status qlora_generate(qlora_model *m, const int32_t *prompt, size_t n,
                         const qlora_generate_opts *opts, int32_t **ids, size_t *n_ids) {
    NOT_NULL(m);
    NOT_NULL(prompt);
    NOT_NULL(ids);
    NOT_NULL(n_ids);
    request r;
    ql_ids v = {0};
    if (n == 0) return QL_FAIL(QL_ERR_INVALID, "prompt: has no token");
    QL_TRY(read_request(m, opts, &r));
    ql_status s = generate(m, &r, prompt, n, &v);
    request_free(&r);
    if (s != QL_OK) return s;
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
    if (system) m[n++] = QL_MESSAGE("system", system, strlen(system));
    m[n++] = QL_MESSAGE("user", prompt, strlen(prompt));
    ql_rendered r = {0};
    QL_TRY(ql_template_render(chat, m, n, true, piece(tok, ql_tokenizer_bos(tok)),
                              piece(tok, ql_tokenizer_eos(tok)), &r));
    ql_status s = ql_rendered_encode(&r, tok, out, NULL);
    ql_rendered_free(&r);
    return s;
}

/* EOS of the tokenizer, end of turn of the template. */
static ql_status add_text_stops(request *r, const ql_tokenizer *tok, const ql_template *chat) {
    if (r->o.ignore_eos) return QL_OK;
    const int32_t eos = ql_tokenizer_eos(tok);
    QL_TRY(add_stops(r, &eos, 1));
    if (!chat || !*ql_template_stop(chat)) return QL_OK;
    const int32_t turn = ql_tokenizer_id(tok, ql_template_stop(chat));
    return add_stops(r, &turn, 1);
}

static ql_status text_prompt(qlora_model *m, request *r, const char *prompt, ql_ids *out) {
    const ql_tokenizer *tok;
    const ql_template *chat = NULL;
    const bool encoder = r->start >= 0;
    QL_TRY(ql_api_tokenizer(m, &tok));
    if (encoder && r->o.chat_template)
        return QL_FAIL(QL_ERR_INVALID, "chat_template: a %s model reads its source without one",
                       m->core->arch.family);
    if (!encoder) QL_TRY(ql_api_template(m, r->o.chat_template, &chat));
    if (!chat && r->o.system)
        return QL_FAIL(QL_ERR_INVALID, "system needs a chat template, and there is none");
    QL_TRY(add_text_stops(r, tok, chat));
    if (!chat) return ql_tokenizer_encode(tok, prompt, strlen(prompt), QL_ENCODE_ADD_SPECIAL, out);
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
    request_free(&r);
    ql_ids_free(&in);
    ql_ids_free(&made);
    return s;
}
