/*
 * template_own.c - a model's own Jinja template: opening it, and what it sees of a conversation.
 *
 * As with transformers: keys of messages that are null are left out, reasoning may come under three
 * names, variables are messages, tools, documents, add_generation_prompt, the special tokens' texts
 * and the caller's own.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/template_internal.h"

#define FIXED_DATE                                                                                 \
    1721952000 /* 2024-07-26, which Llama 3.1's template names when it has no clock */

/* Marks that end a turn in families whose EOS token is another. */
static const char *const STOPS[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|eot|>", "</s>",
    "<|endoftext|>", "<|END_OF_TURN_TOKEN|>", "<|return|>", "<|call|>", "<turn|>",
    "<|end_of_text|>",
    /* octal: what follows a hexadecimal escape may be a digit */
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>"};

/* ------------------------------------------------------------------------- marks */

bool ql_own_stops(const ql_chat *chat, const char *s, size_t len) {
    size_t eos = strlen(chat->eos);
    if (eos && eos == len && memcmp(chat->eos, s, len) == 0) return true;
    for (size_t i = 0; i < sizeof STOPS / sizeof *STOPS; i++) {
        if (strlen(STOPS[i]) == len && memcmp(STOPS[i], s, len) == 0) return true;
    }
    return false;
}

static size_t longer(const char *mark, const char *s, size_t len, size_t best) {
    size_t n = strlen(mark);
    return n > best && n <= len && memcmp(mark, s, n) == 0 ? n : best;
}

size_t ql_own_mark(const ql_own_template *t, const ql_chat *chat, const char *s, size_t len) {
    size_t best = longer(chat->eos, s, len, longer(chat->bos, s, len, 0)), low = 0;
    size_t high = t->n_marks;
    while (low < high) { /* the first mark with this first byte */
        size_t middle = (low + high) / 2;
        if ((unsigned char)t->marks[middle][0] < (unsigned char)s[0])
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < t->n_marks && t->marks[low][0] == s[0]; low++)
        best = longer(t->marks[low], s, len, best);
    for (size_t i = 0; !t->tok && i < sizeof STOPS / sizeof *STOPS; i++)
        best = longer(STOPS[i], s, len, best);
    return best;
}

static int by_first_byte(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static ql_status find_marks(ql_own_template *t) {
    for (int32_t id = 0; t->tok && id < ql_tokenizer_size(t->tok); id++) {
        const char *piece = ql_tokenizer_piece(t->tok, id);
        if (!piece || !*piece || !ql_tokenizer_is_special(t->tok, id)) continue;
        QL_TRY(ql_host_grow((void **)&t->marks, &t->marks_cap, t->n_marks + 1, sizeof *t->marks));
        t->marks[t->n_marks++] = piece;
    }
    if (t->n_marks) qsort(t->marks, t->n_marks, sizeof *t->marks, by_first_byte);
    return QL_OK;
}

/* ------------------------------------------------------------------------ messages */

static bool set_text(json_t *o, const char *key, const char *s, size_t n) {
    return json_object_set_new(o, key, json_stringn(s, n)) == 0;
}

/* Reasoning under its three names: the first that is there, as `reasoning_content`. */
static bool add_reasoning(json_t *o) {
    static const char *const NAMES[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *found = NULL;
    for (size_t i = 0; !found && i < 3; i++) found = json_object_get(o, NAMES[i]);
    if (!found) return true;
    json_incref(found);
    bool good = json_object_get(o, "thinking") || json_object_set(o, "thinking", found) == 0;
    return json_object_set_new(o, "reasoning_content", found) == 0 && good;
}

/* What the template sees of a message: all its keys but null ones and those about the loss. */
static json_t *message_object(const ql_message *m) {
    json_t *o = json_object();
    bool good = o != NULL;
    json_t *from = (json_t *)(uintptr_t)m->object; /* jansson's iterators are not const */
    if (!from) good = good && set_text(o, "role", m->role, strlen(m->role));
    for (void *it = from ? json_object_iter(from) : NULL; good && it;
         it = json_object_iter_next(from, it)) {
        const char *key = json_object_iter_key(it);
        bool ours = strcmp(key, "weight") == 0 || strcmp(key, "train") == 0;
        if (!ours && !json_is_null(json_object_iter_value(it)))
            good = json_object_set(o, key, json_object_iter_value(it)) == 0;
    }
    if (!from) good = good && set_text(o, "content", m->content, m->content_len);
    if (good) good = add_reasoning(o);
    if (good) return o;
    json_decref(o);
    return NULL;
}

static json_t *message_list(const ql_message *m, size_t n) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; good && i < n; i++)
        good = json_array_append_new(list, message_object(&m[i])) == 0;
    if (good) return list;
    json_decref(list);
    return NULL;
}

/* ----------------------------------------------------------------------- rendering */

typedef struct variables {
    ql_jinja_var *v;
    size_t n, cap;
    json_t *owned; /* a list of what was made here */
} variables;

static ql_status add(variables *v, const char *name, const json_t *value, int kind) {
    QL_TRY(ql_host_grow((void **)&v->v, &v->cap, v->n + 1, sizeof *v->v));
    v->v[v->n] = (ql_jinja_var){.name = name, .value = value};
    if (kind == QL_JINJA_TRUSTED) v->v[v->n].kind = QL_JINJA_TRUSTED;
    if (kind == QL_JINJA_MESSAGES) v->v[v->n].kind = QL_JINJA_MESSAGES;
    v->n++;
    return QL_OK;
}

/* Takes `value` over. */
static ql_status add_new(variables *v, const char *name, json_t *value, int kind) {
    if (!value || json_array_append_new(v->owned, value) != 0)
        return QL_NOMEM("the variables of a template");
    return add(v, name, value, kind);
}

static ql_status add_token(variables *v, const char *name, const char *text) {
    if (!text || !*text) return QL_OK;
    return add_new(v, name, json_string(text), QL_JINJA_TRUSTED);
}

static ql_status add_tokens(const ql_own_template *t, const ql_chat *chat, variables *v) {
    QL_TRY(add_token(v, "bos_token", chat->bos));
    QL_TRY(add_token(v, "eos_token", chat->eos));
    if (!t->tok) return QL_OK;
    const struct {
        const char *name;
        int32_t id;
    } MORE[] = {{"unk_token", ql_tokenizer_unk(t->tok)},
                {"pad_token", ql_tokenizer_pad(t->tok)},
                {"sep_token", ql_tokenizer_sep(t->tok)},
                {"cls_token", ql_tokenizer_cls(t->tok)},
                {"mask_token", ql_tokenizer_mask(t->tok)}};
    for (size_t i = 0; i < sizeof MORE / sizeof *MORE; i++)
        if (MORE[i].id >= 0)
            QL_TRY(add_token(v, MORE[i].name, ql_tokenizer_piece(t->tok, MORE[i].id)));
    return QL_OK;
}

static ql_status add_all(const ql_own_template *t, const ql_chat *chat, size_t n, bool prompt,
                         variables *v) {
    v->owned = json_array();
    if (!v->owned) return QL_NOMEM("the variables of a template");
    QL_TRY(add_tokens(t, chat, v));
    QL_TRY(add_new(v, "messages", message_list(chat->messages, n), QL_JINJA_MESSAGES));
    QL_TRY(chat->tools ? add(v, "tools", chat->tools, QL_JINJA_DATA)
                       : add_new(v, "tools", json_null(), QL_JINJA_DATA));
    QL_TRY(chat->documents ? add(v, "documents", chat->documents, QL_JINJA_DATA)
                           : add_new(v, "documents", json_null(), QL_JINJA_DATA));
    QL_TRY(add_new(v, "add_generation_prompt", json_boolean(prompt), QL_JINJA_DATA));
    for (void *it = t->kwargs ? json_object_iter(t->kwargs) : NULL; it;
         it = json_object_iter_next(t->kwargs, it)) {
        QL_TRY(add(v, json_object_iter_key(it), json_object_iter_value(it), QL_JINJA_DATA));
    }
    return QL_OK;
}

ql_status ql_own_text(const ql_own_template *t, const ql_chat *chat, size_t n, bool prompt,
                      ql_jinja_output *out) {
    variables v = {0};
    ql_status s = add_all(t, chat, n, prompt, &v);
    if (s == QL_OK) {
        const ql_jinja_input in = {
            .vars = v.v, .n_vars = v.n, .now = t->now, .limits = ql_jinja_limits_default()};
        s = ql_jinja_render(t->jinja, &in, out);
    }
    json_decref(v.owned);
    ql_host_free(v.v);
    if (s != QL_ERR_FORMAT) return s;
    char cause[400];
    (void)snprintf(cause, sizeof cause, "%s", ql_last_error());
    return QL_FAIL(s, "chat template %s: %s", t->name, cause);
}

/* ------------------------------------------------------------------------- opening */

/* The next number of at most `most` digits, with `before` in front of it (0 = nothing). */
static bool read_digits(const char **s, char before, int most, int *out) {
    int n = 0, v = 0;
    if (before && *(*s)++ != before) return false;
    for (; n < most && **s >= '0' && **s <= '9'; n++) v = 10 * v + (*(*s)++ - '0');
    *out = v;
    return n > 0;
}

/* "2026-01-31" with or without " 12:34:56" to seconds since 1970. */
static bool read_date(const char *s, int64_t *out) {
    int y, month, d, hour = 0, minute = 0, second = 0;
    if (!s || !read_digits(&s, 0, 4, &y) || !read_digits(&s, '-', 2, &month) ||
        !read_digits(&s, '-', 2, &d))
        return false;
    if (*s && (!read_digits(&s, *s == 'T' ? 'T' : ' ', 2, &hour) ||
               !read_digits(&s, ':', 2, &minute) || !read_digits(&s, ':', 2, &second)))
        return false;
    if (*s) return false;
    bool sane = y >= 1970 && y <= 9999 && month >= 1 && month <= 12 && d >= 1 && d <= 31 &&
                hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60;
    if (!sane) return false;
    /* days from 1 March 0: a year begins in March, so that the leap day is its last */
    int64_t year = month > 2 ? y : y - 1, from_march = (month + 9) % 12;
    int64_t days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 +
                   d - 1 - 719468;
    *out = ((days * 24 + hour) * 60 + minute) * 60 + second;
    return true;
}

static ql_status read_kwargs(ql_own_template *t, const json_t *kwargs) {
    t->now = FIXED_DATE;
    if (!kwargs) return QL_OK;
    if (!json_is_object(kwargs))
        return QL_FAIL(QL_ERR_INVALID, "the variables of a chat template must be an object");
    t->kwargs = json_deep_copy(kwargs);
    if (!t->kwargs) return QL_NOMEM("the variables of a template");
    const json_t *now = json_object_get(t->kwargs, "strftime_now");
    if (!now) return QL_OK;
    if (!read_date(json_string_value(now), &t->now)) {
        return QL_FAIL(QL_ERR_INVALID,
                       "strftime_now of a chat template must be a date such as \"2026-01-31\" or "
                       "\"2026-01-31 12:00:00\"");
    }
    (void)json_object_del(t->kwargs, "strftime_now");
    return QL_OK;
}

/* The mark that ends an answer, by asking: "" where the template writes none or refuses. */
static ql_status find_stop(ql_own_template *t) {
    const ql_message m[] = {QL_MESSAGE("user", "a", 1), QL_MESSAGE("assistant", "b", 1)};
    const char *bos = NULL, *eos = NULL;
    if (t->tok && ql_tokenizer_bos(t->tok) >= 0)
        bos = ql_tokenizer_piece(t->tok, ql_tokenizer_bos(t->tok));
    if (t->tok && ql_tokenizer_eos(t->tok) >= 0)
        eos = ql_tokenizer_piece(t->tok, ql_tokenizer_eos(t->tok));
    const ql_chat chat = {.messages = m,
                          .n = 2,
                          .bos = bos ? bos : "",
                          .eos = eos ? eos : "",
                          .answers = QL_ANSWERS_ALL};
    ql_rendered r = {0};
    ql_status s = ql_own_render(t, &chat, &r);
    if (s == QL_ERR_NOMEM_HOST) return s;
    for (size_t i = r.n_spans; s == QL_OK && !t->stop && i-- > 0;) {
        const ql_span *span = &r.spans[i];
        if (!span->mark || !span->turn) continue;
        t->stop = ql_host_strndup(r.text + span->begin, span->end - span->begin);
        if (!t->stop) s = QL_NOMEM("a template's mark");
    }
    ql_rendered_free(&r);
    if (!t->stop && s != QL_ERR_NOMEM_HOST) t->stop = ql_host_strdup("");
    return t->stop ? QL_OK : QL_NOMEM("a template's mark");
}

static ql_status open_own(ql_own_template *t, const char *name, const char *jinja, size_t len,
                          const json_t *kwargs) {
    t->name = ql_host_strdup(name);
    if (!t->name) return QL_NOMEM("a chat template");
    QL_TRY(read_kwargs(t, kwargs));
    ql_status s = ql_jinja_compile(jinja, len, &t->jinja);
    if (s == QL_ERR_FORMAT) {
        char cause[400];
        (void)snprintf(cause, sizeof cause, "%s", ql_last_error());
        return QL_FAIL(s, "chat template %s: %s", name, cause);
    }
    QL_TRY(s);
    QL_TRY(find_marks(t));
    return find_stop(t);
}

ql_status ql_template_open(const char *name, const char *jinja, size_t len, const json_t *kwargs,
                           const ql_tokenizer *tok, ql_template **out) {
    ql_template *t = ql_host_calloc(1, sizeof *t);
    if (!t) return QL_NOMEM("a chat template");
    t->opened = true;
    t->own = ql_host_calloc(1, sizeof *t->own);
    ql_status s = t->own ? QL_OK : QL_NOMEM("a chat template");
    if (s == QL_OK) {
        t->own->tok = tok;
        s = open_own(t->own, name, jinja, len, kwargs);
    }
    if (s != QL_OK) {
        ql_template_close(t);
        return s;
    }
    t->name = t->own->name;
    t->stop = t->own->stop;
    *out = t;
    return QL_OK;
}

void ql_template_close(const ql_template *t) {
    if (!t || !t->opened) return;
    if (t->own) {
        ql_jinja_free(t->own->jinja);
        ql_host_free(t->own->name);
        ql_host_free(t->own->stop);
        ql_host_free((void *)t->own->marks);
        json_decref(t->own->kwargs);
    }
    ql_host_free(t->own);
    ql_host_free((void *)(uintptr_t)t);
}
