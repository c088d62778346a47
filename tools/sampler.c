/* sampler.c - see sampler.h. */
#include "tools/sampler.h"

#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "tools/lines.h"

#define FROM_ROWS 4 /* prompts taken from the data */

bool ql_sample_wanted(const ql_sample_args *a) {
    return a->steps > 0 || a->prompts;
}

/* ------------------------------------------------------------------------- texts */

/* "1 5 7" */
static ql_status ids_as_text(const int32_t *ids, size_t n, char **out) {
    char *text = ql_host_calloc(n + 1, 12), *at = text;
    if (!text) return QL_NOMEM("a sample");
    for (size_t i = 0; i < n; i++) at += sprintf(at, i ? " %d" : "%d", ids[i]);
    *out = text;
    return QL_OK;
}

static ql_status as_text(const ql_sampler *s, const int32_t *ids, size_t n, bool special,
                         char **out) {
    size_t len;
    return s->tok ? ql_tokenizer_decode(s->tok, ids, n, !special, out, &len)
                  : ids_as_text(ids, n, out);
}

/* ----------------------------------------------------------------------- prompts */

static ql_status push(ql_sampler *s, ql_sample_prompt **out) {
    QL_TRY(ql_host_grow((void **)&s->prompts, &s->cap, s->n + 1, sizeof *s->prompts));
    *out = &s->prompts[s->n++];
    **out = (ql_sample_prompt){.text = NULL};
    return QL_OK;
}

static ql_status copy_ids(ql_ids *to, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) QL_TRY(ql_ids_push(to, ids[i]));
    return QL_OK;
}

/* The tokens before the first that is learned, and those that are learned. A row that is learned
 * from its start on has no prompt. */
static ql_status add_row(ql_sampler *s, const ql_example *e) {
    int32_t front = 0, learned = 0;
    ql_sample_prompt *p;
    while (!s->encoder && front < e->n && e->labels[front] == QL_IGNORE) front++;
    if (!s->encoder && (front == 0 || front == e->n)) return QL_OK;
    QL_TRY(push(s, &p));
    QL_TRY(s->encoder ? copy_ids(&p->ids, e->source, (size_t)e->n_source)
                      : copy_ids(&p->ids, e->ids, (size_t)front));
    int32_t *answer = ql_host_calloc((size_t)e->n + 1, sizeof *answer);
    if (!answer) return QL_NOMEM("a sample");
    for (int32_t i = front; i < e->n; i++)
        if (e->labels[i] != QL_IGNORE) answer[learned++] = e->labels[i];
    ql_status st = as_text(s, answer, (size_t)learned, false, &p->expected);
    ql_host_free(answer);
    return st;
}

static ql_status from_rows(ql_sampler *s, const ql_dataset *d) {
    for (int64_t i = 0; i < d->n && s->n < FROM_ROWS; i++) QL_TRY(add_row(s, &d->items[i]));
    if (s->n) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "--sample_steps: no row of the data has a beginning that is not learned; give "
                   "--sample_prompts");
}

static ql_status add_text(ql_sampler *s, const ql_prompter *by, const char *text, size_t len) {
    ql_sample_prompt *p;
    QL_TRY(push(s, &p));
    if (!s->encoder) return ql_prompt_text(by, text, len, &p->ids);
    if (!s->tok) return QL_FAIL(QL_ERR_INVALID, "a prompt in words needs a tokenizer");
    return ql_tokenizer_encode(s->tok, text, len, QL_ENCODE_ADD_SPECIAL, &p->ids);
}

static ql_status add_line(ql_sampler *s, const ql_prompter *by, const json_t *row,
                          const char *where) {
    ql_sample_prompt *p;
    const json_t *text = json_object_get(row, "prompt");
    if (s->encoder && json_is_string(text))
        return add_text(s, by, json_string_value(text), json_string_length(text));
    QL_TRY(push(s, &p));
    return ql_prompt_row(by, row, where, &p->ids);
}

static ql_status from_file(ql_sampler *s, const ql_prompter *by, const char *path) {
    ql_lines in;
    QL_TRY(ql_lines_open(path, &in));
    ql_status st = QL_OK;
    while (st == QL_OK) {
        json_t *row = NULL;
        char where[QL_PATH_MAX + 32];
        st = ql_lines_next_object(&in, &row);
        if (st != QL_OK || !row) break;
        snprintf(where, sizeof where, "%s: row %lld", path, (long long)in.row);
        st = add_line(s, by, row, where);
        json_decref(row);
    }
    ql_lines_close(&in);
    if (st == QL_OK && !s->n) return QL_FAIL(QL_ERR_FORMAT, "%s: holds no prompt", path);
    return st;
}

/* Every prompt can be read by the model, and is shown as the text that it is. */
static ql_status finish_prompts(ql_sampler *s, const ql_arch *arch) {
    for (size_t i = 0; i < s->n; i++) {
        ql_sample_prompt *p = &s->prompts[i];
        if (p->ids.n < 1 || (int64_t)p->ids.n >= arch->max_positions)
            return QL_FAIL(QL_ERR_FORMAT,
                           "sample prompt %zu has %zu tokens; the model has %lld positions", i + 1,
                           p->ids.n, (long long)arch->max_positions);
        for (size_t k = 0; k < p->ids.n; k++)
            if (p->ids.ids[k] >= arch->vocab)
                return QL_FAIL(QL_ERR_FORMAT,
                               "sample prompt %zu: id %d is outside the vocabulary of %lld", i + 1,
                               p->ids.ids[k], (long long)arch->vocab);
        QL_TRY(as_text(s, p->ids.ids, p->ids.n, true, &p->text));
    }
    return QL_OK;
}

/* ---------------------------------------------------------------------------- life */

static ql_status search_of(const ql_sample_args *a, const ql_model *m, ql_sampler *s) {
    const ql_search_args greedy = {.max_new = a->max_new,
                                   .beams = 1,
                                   .top_p = 1,
                                   .length_penalty = 1,
                                   .early = "false",
                                   .start = -1,
                                   .forced_bos = -1};
    ql_decoding d;
    QL_TRY(ql_decoding_read(m, &d));
    if (s->encoder && d.start < 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "--sample_steps: this %s model names no token that answers begin behind",
                       m->arch.family);
    return ql_search_args_read(&greedy, m, 0, &s->stops, &s->search, &s->start);
}

static ql_status open_prompts(const ql_sample_args *a, const ql_model *m, const ql_data *data,
                              ql_sampler *s) {
    const ql_prompter by = {.tok = data->tok, .chat = s->encoder ? NULL : data->chat};
    s->tok = data->tok;
    ql_stops_find(&m->arch, &by, &s->stops);
    QL_TRY(search_of(a, m, s));
    if (!a->prompts) {
        QL_TRY(from_rows(s, data->has_eval ? &data->eval : &data->train));
    } else if (ql_file_exists(a->prompts)) {
        QL_TRY(from_file(s, &by, a->prompts));
    } else {
        QL_TRY(add_text(s, &by, a->prompts, strlen(a->prompts)));
    }
    return finish_prompts(s, &m->arch);
}

ql_status ql_sampler_open(const ql_sample_args *a, const ql_model *m, const ql_data *data,
                          ql_sampler *out) {
    ql_sampler s = {.encoder = m->arch.encoder.layers > 0};
    if (m->arch.task == QL_TASK_CLASSIFY)
        return QL_FAIL(QL_ERR_INVALID,
                       "--sample_steps: a %s model with a classifier writes no text",
                       m->arch.family);
    s.search.max_new = (int32_t)a->max_new;
    ql_status st = data ? open_prompts(a, m, data, &s) : QL_OK;
    if (st != QL_OK) {
        ql_sampler_free(&s);
        return st;
    }
    *out = s;
    return QL_OK;
}

ql_generator_opts ql_sampler_room(const ql_sampler *s, const ql_model *m, ql_longest longest,
                                  ql_dtype compute) {
    int64_t prompt = s->encoder ? longest.source : longest.row, positions = m->arch.max_positions;
    if (s->n) prompt = 1;
    for (size_t i = 0; i < s->n; i++)
        if ((int64_t)s->prompts[i].ids.n > prompt) prompt = (int64_t)s->prompts[i].ids.n;
    int64_t context = (s->encoder ? 1 : prompt) + s->search.max_new;
    return (ql_generator_opts){.compute = compute,
                               .context = (int32_t)(context < positions ? context : positions),
                               .sequences = 1,
                               .source = s->encoder ? (int32_t)prompt : 0};
}

void ql_sampler_free(ql_sampler *s) {
    for (size_t i = 0; i < s->n; i++) {
        ql_ids_free(&s->prompts[i].ids);
        ql_host_free(s->prompts[i].text);
        ql_host_free(s->prompts[i].expected);
    }
    ql_host_free(s->prompts);
    *s = (ql_sampler){.n = 0};
}

/* ------------------------------------------------------------------------- writing */

static ql_status search(const ql_sampler *s, ql_generator *g, const ql_ids *prompt,
                        ql_answer *out) {
    ql_search_opts o = s->search;
    o.stop = s->stops.ids; /* of this sampler, wherever it was copied to */
    ql_generator_reset(g);
    if (!s->encoder) return ql_search(g, &o, prompt->ids, (int32_t)prompt->n, out);
    QL_TRY(ql_generator_set_source(g, prompt->ids, (int32_t)prompt->n));
    return ql_search(g, &o, &s->start, 1, out);
}

ql_status ql_sampler_write(const ql_sampler *s, ql_generator *g, size_t i, int64_t step,
                           json_t **out) {
    const ql_sample_prompt *p = &s->prompts[i];
    ql_answer answer;
    char *text = NULL;
    QL_TRY(search(s, g, &p->ids, &answer));
    ql_status st = as_text(s, answer.ids.ids, answer.ids.n - answer.stopped, false, &text);
    ql_ids_free(&answer.ids);
    QL_TRY(st);
    json_t *line =
        json_pack("{s:I, s:I, s:s, s:s, s:s}", "step", (json_int_t)step, "index", (json_int_t)i + 1,
                  "prompt", p->text, "text", text, "stop", answer.stopped ? "eos" : "length");
    if (line && p->expected) json_object_set_new(line, "expected", json_string(p->expected));
    ql_host_free(text);
    if (!line) return QL_NOMEM("a sample");
    *out = line;
    return QL_OK;
}
