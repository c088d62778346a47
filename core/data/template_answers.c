/*
 * template_answers.c - which bytes of a rendering a model's own template makes an assistant's
 * answer.
 *
 * {% generation %} says it. Without it, for the answer of message i:
 *
 *   begin   where a generation prompt would end: the text of the messages before i with the prompt
 *           is a beginning of the whole text. Where it is not (a template that rewrites earlier
 *           turns), what the prompt adds is looked for in front of the first byte that comes from
 *           message i.
 *   end     the last byte that comes from message i, and of the template's own text behind it what
 *           is there too when the conversation ends with i, up to the mark that ends a turn.
 *
 * Bytes know their message (jinja.h), so contents that look like marks or repeat each other cannot
 * mislead. What cannot be told is refused: a mask that is a guess would train silently on the wrong
 * tokens.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/template_internal.h"

typedef struct search {
    const ql_own_template *t;
    const ql_chat *chat;
    const ql_jinja_output *whole;
    size_t i; /* the message */
} search;

static uint16_t origin_of(size_t message) {
    return (uint16_t)(QL_ORIGIN_MESSAGE + message);
}

static bool from_template(const ql_jinja_output *o, size_t at) {
    return (o->origin[at] & ~(unsigned)QL_ORIGIN_GENERATION) == QL_ORIGIN_TEMPLATE;
}

/* First and one past the last byte of message i; false = there are none. */
static bool bytes_of(const ql_jinja_output *o, size_t i, size_t *first, size_t *past) {
    *first = o->len;
    for (size_t at = 0; at < o->len; at++) {
        if (o->origin[at] != origin_of(i)) continue;
        if (*first == o->len) *first = at;
        *past = at + 1;
    }
    return *first < o->len;
}

static ql_status refuse(const search *f, const char *why) {
    return QL_FAIL(QL_ERR_FORMAT,
                   "chat template %s: the answer of message %zu cannot be told from the rest (%s): "
                   "mark answers with {%% generation %%} in the template, choose one with "
                   "--chat_template, or leave the message out with \"train\": false",
                   f->t->name, f->i + 1, why);
}

static bool begins_with(const ql_jinja_output *whole, const ql_jinja_output *part) {
    if (part->len == 0) return true;
    return part->len <= whole->len && memcmp(whole->text, part->text, part->len) == 0;
}

/* Where the template writes only a part of the prompt in front of an answer (thinking that it
 * leaves out of earlier turns): the end of that part, which is at the answer, behind a mark or an
 * end of line; 0 = it does not begin so. */
static size_t behind_part(const search *f, const ql_jinja_output *prompt,
                          const ql_jinja_output *plain, size_t first) {
    const ql_jinja_output *o = f->whole;
    size_t found = 0, at = plain->len;
    if (!begins_with(o, plain) || !begins_with(prompt, plain)) return 0;
    while (at < first && at < prompt->len && o->text[at] == prompt->text[at]) {
        size_t mark = ql_own_mark(f->t, f->chat, prompt->text + at, prompt->len - at);
        if (mark && (at + mark > first || memcmp(o->text + at, prompt->text + at, mark) != 0))
            break;
        at += mark ? mark : 1;
        if (mark || at == first || o->text[at - 1] == '\n') found = at;
    }
    return found;
}

/* Where the text that the prompt adds ends in front of `first`, behind earlier data; 0 = nowhere.
 */
static size_t behind_prompt(const ql_jinja_output *whole, const ql_jinja_output *prompt,
                            const ql_jinja_output *plain, size_t first) {
    if (!begins_with(prompt, plain) || prompt->len == plain->len) return 0;
    const char *added = prompt->text + plain->len;
    size_t n = prompt->len - plain->len;
    for (size_t end = first; end >= n; end--) {
        if (memcmp(whole->text + end - n, added, n) == 0) return end;
        if (!from_template(whole, end - 1)) return 0;
    }
    return 0;
}

static ql_status find_begin(const search *f, size_t first, size_t *out) {
    ql_jinja_output prompt = {0}, plain = {0};
    ql_status s = ql_own_text(f->t, f->chat, f->i, true, &prompt);
    if (s == QL_ERR_FORMAT) return refuse(f, "the messages before it cannot be rendered");
    QL_TRY(s);
    *out = begins_with(f->whole, &prompt) && prompt.len <= first ? prompt.len : 0;
    if (*out == 0) {
        /* with no message before, all there is is the prompt */
        if (f->i) s = ql_own_text(f->t, f->chat, f->i, false, &plain);
        if (s == QL_OK) *out = behind_prompt(f->whole, &prompt, &plain, first);
        if (s == QL_OK && *out == 0) *out = behind_part(f, &prompt, &plain, first);
        if (s == QL_ERR_FORMAT || (s == QL_OK && *out == 0))
            s = refuse(f, "the generation prompt does not stand in front of it");
    }
    ql_jinja_output_free(&prompt);
    ql_jinja_output_free(&plain);
    return s;
}

/* The template's own text at `past` that `whole` and `alone` share. */
static size_t shared_tail(const ql_jinja_output *whole, size_t past, const ql_jinja_output *alone,
                          size_t alone_past) {
    size_t n = 0;
    while (past + n < whole->len && alone_past + n < alone->len && from_template(whole, past + n) &&
           from_template(alone, alone_past + n) &&
           whole->text[past + n] == alone->text[alone_past + n]) {
        n++;
    }
    return n;
}

/* How much of text[0..n) belongs to the turn: up to the mark that ends it; 0 = there is none. */
static size_t through_mark(const search *f, const char *text, size_t n) {
    size_t first = 0;
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        len = ql_own_mark(f->t, f->chat, text + at, n - at);
        if (!len) continue;
        if (ql_own_stops(f->chat, text + at, len)) return at + len;
        if (!first) first = at + len;
    }
    return first;
}

static ql_status find_end(const search *f, size_t past, size_t *out) {
    ql_jinja_output alone = {0};
    const ql_jinja_output *o = f->whole;
    size_t first, alone_past = past;
    bool last = f->i + 1 == f->chat->n && !f->chat->add_generation_prompt;
    ql_status s = last ? QL_OK : ql_own_text(f->t, f->chat, f->i + 1, false, &alone);
    if (s == QL_ERR_FORMAT) return refuse(f, "no conversation may end with it");
    QL_TRY(s);
    if (!last && !bytes_of(&alone, f->i, &first, &alone_past)) {
        s = refuse(f, "it is not written when it is the last");
    } else {
        size_t tail = shared_tail(o, past, last ? o : &alone, alone_past);
        *out = past + through_mark(f, o->text + past, tail);
    }
    ql_jinja_output_free(&alone);
    return s;
}

static ql_status check_inside(const search *f, size_t begin, size_t end) {
    for (size_t at = begin; at < end; at++) {
        uint16_t origin = f->whole->origin[at];
        if (origin >= QL_ORIGIN_MESSAGE && origin != origin_of(f->i))
            return refuse(f, "it is mixed with another message");
    }
    return QL_OK;
}

static ql_status find_answer(const search *f, size_t *turn, bool *closed) {
    size_t first, past = 0, begin = 0, end = 0;
    if (!bytes_of(f->whole, f->i, &first, &past))
        return refuse(f, "the template does not write it");
    QL_TRY(find_begin(f, first, &begin));
    QL_TRY(find_end(f, past, &end));
    QL_TRY(check_inside(f, begin, end));
    for (size_t at = begin; at < end; at++) {
        if (turn[at]) return refuse(f, "it overlaps another answer");
        turn[at] = f->i + 1;
    }
    *closed = end > past;
    return QL_OK;
}

/* ----------------------------------------------------------------- {% generation %} */

static bool is_answer(const ql_message *m) {
    return strcmp(m->role, "assistant") == 0;
}

/* Stretches of {% generation %}: each belongs to the message whose bytes it holds, else to the next
 * answer in order. */
static ql_status marked_answers(const search *f, size_t *turn) {
    const ql_jinja_output *o = f->whole;
    size_t next = 0;
    for (size_t at = 0, end; at < o->len; at = end) {
        size_t owner = SIZE_MAX;
        for (end = at + 1; end < o->len; end++)
            if ((o->origin[end] ^ o->origin[at]) & QL_ORIGIN_GENERATION) break;
        if (!(o->origin[at] & QL_ORIGIN_GENERATION)) continue;
        for (size_t k = at; owner == SIZE_MAX && k < end; k++) {
            unsigned origin = o->origin[k] & ~(unsigned)QL_ORIGIN_GENERATION;
            if (origin >= QL_ORIGIN_MESSAGE) owner = origin - QL_ORIGIN_MESSAGE;
        }
        if (owner == SIZE_MAX)
            for (owner = next; owner < f->chat->n && !is_answer(&f->chat->messages[owner]);)
                owner++;
        if (owner >= f->chat->n) {
            return QL_FAIL(QL_ERR_FORMAT,
                           "chat template %s: {%% generation %%} marks text that belongs to no "
                           "message",
                           f->t->name);
        }
        for (size_t k = at; k < end; k++) {
            unsigned origin = o->origin[k] & ~(unsigned)QL_ORIGIN_GENERATION;
            if (origin >= QL_ORIGIN_MESSAGE) owner = origin - QL_ORIGIN_MESSAGE;
            turn[k] = owner + 1;
        }
        next = owner + 1;
    }
    return QL_OK;
}

ql_status ql_own_answers(const ql_own_template *t, const ql_chat *chat,
                         const ql_jinja_output *whole, size_t *turn, bool *closed) {
    search f = {.t = t, .chat = chat, .whole = whole};
    bool generation = ql_jinja_has_generation(t->jinja);
    *closed = generation || (t->stop && *t->stop);
    if (chat->answers == QL_ANSWERS_NONE) return QL_OK;
    if (generation) return marked_answers(&f, turn);
    for (size_t i = chat->n; i-- > 0;) {
        const ql_message *m = &chat->messages[i];
        bool learned = !(m->weighted && m->weight == 0) || chat->answers == QL_ANSWERS_EVERY;
        if (!is_answer(m) || (!learned && chat->answers == QL_ANSWERS_ALL)) continue;
        bool ends = *closed;
        f.i = i;
        if (learned) QL_TRY(find_answer(&f, turn, &ends));
        if (i + 1 == chat->n) *closed = ends;
        if (chat->answers == QL_ANSWERS_LAST) break;
    }
    return QL_OK;
}

/* --------------------------------------------------------------------------- spans */

/* The whole text to spans: control marks of the template's own text, and stretches of one turn. */
static ql_status put_spans(const ql_own_template *t, const ql_chat *chat, const ql_jinja_output *o,
                           const size_t *turn, ql_span_writer *w) {
    for (size_t at = 0, end; at < o->len; at = end) {
        bool own = from_template(o, at);
        for (end = at + 1; end < o->len && turn[end] == turn[at];) {
            if (from_template(o, end) != own) break;
            end++;
        }
        size_t done = at;
        for (size_t k = at, len; own && k < end; k += len ? len : 1) {
            len = ql_own_mark(t, chat, o->text + k, end - k);
            if (!len) continue;
            QL_TRY(ql_span_put(w, o->text + done, k - done, turn[at], false));
            QL_TRY(ql_span_put(w, o->text + k, len, turn[at], true));
            done = k + len;
        }
        QL_TRY(ql_span_put(w, o->text + done, end - done, turn[at], false));
    }
    return QL_OK;
}

ql_status ql_own_render(const ql_own_template *t, const ql_chat *chat, ql_rendered *out) {
    ql_jinja_output o = {0};
    ql_span_writer w = {0};
    QL_TRY(ql_own_text(t, chat, chat->n, chat->add_generation_prompt, &o));
    size_t *turn = ql_host_calloc(o.len + 1, sizeof *turn);
    ql_status s = turn ? ql_own_answers(t, chat, &o, turn, &w.r.closed) : QL_NOMEM("spans");
    if (s == QL_OK) s = put_spans(t, chat, &o, turn, &w);
    if (s == QL_OK && !w.r.text) {
        w.r.text = ql_host_strdup("");
        if (!w.r.text) s = QL_NOMEM("a rendered text");
    }
    ql_host_free(turn);
    ql_jinja_output_free(&o);
    if (s != QL_OK) {
        ql_rendered_free(&w.r);
        return s;
    }
    *out = w.r;
    return QL_OK;
}
