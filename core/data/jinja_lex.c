/*
 * jinja_lex.c - a template's text to tokens, white space control included.
 *
 * The rules are those of jinja2 with trim_blocks and lstrip_blocks: the end of line after a block
 * or a comment goes, white space between the beginning of a line and a block or a comment goes;
 * "-" takes all white space on its side, "+" leaves what the two rules would take. One end of line
 * at the end of the template goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/jinja_impl.h"
#include "core/data/space.h"
#include "core/data/text.h"

typedef struct lexer {
    ql_jinja *j;
    const char *s;
    size_t at, len;
    int line;
    bool line_starts; /* the last tag took the end of its line with it */
} lexer;

static ql_status fail(const lexer *l, const char *what) {
    return QL_FAIL(QL_ERR_FORMAT, "line %d: %s", l->line, what);
}

static ql_status push(lexer *l, ql_jtoken t) {
    ql_jinja *j = l->j;
    t.line = l->line;
    QL_TRY(ql_host_grow((void **)&j->tokens, &j->cap_tokens, j->n_tokens + 1, sizeof t));
    j->tokens[j->n_tokens++] = t;
    return QL_OK;
}

static bool starts(const lexer *l, size_t at, const char *what) {
    size_t n = strlen(what);
    return at + n <= l->len && memcmp(l->s + at, what, n) == 0;
}

static void advance(lexer *l, size_t to) {
    for (; l->at < to; l->at++) l->line += l->s[l->at] == '\n';
}

static void skip_space(lexer *l) {
    for (size_t n; (n = ql_space_at(l->s + l->at, l->len - l->at)) > 0;) advance(l, l->at + n);
}

/* --------------------------------------------------------------- ends of tags */

/* The end of a block or comment at l->at: "-x}" with the white space behind it, "+x}", or "x}" with
 * an end of line. False = none. */
static bool take_end(lexer *l, const char *end, bool trim_line) {
    char sign = l->at < l->len ? l->s[l->at] : '\0';
    size_t at = l->at + (sign == '-' || (sign == '+' && trim_line));
    if (!starts(l, at, end)) return false;
    size_t begin = l->at;
    advance(l, at + 2);
    if (sign == '-')
        skip_space(l);
    else if (sign != '+' && trim_line && l->at < l->len && l->s[l->at] == '\n')
        advance(l, l->at + 1);
    l->line_starts = l->at > begin && l->s[l->at - 1] == '\n';
    return true;
}

/* How much of text[0..n) is left in front of a tag with this sign. */
static size_t strip_before(const lexer *l, const char *text, size_t n, char sign, bool print) {
    if (sign == '-') {
        for (size_t k; (k = ql_space_before(text, n)) > 0;) n -= k;
        return n;
    }
    if (sign == '+' || print) return n;
    size_t begin = n;
    while (begin > 0 && text[begin - 1] != '\n') begin--;
    if (begin == 0 && !l->line_starts) return n;
    for (size_t at = begin; at < n;) {
        size_t k = ql_space_at(text + at, n - at);
        if (k == 0) return n;
        at += k;
    }
    return begin;
}

/* ---------------------------------------------------------------- expressions */

static bool name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

/* Value of a digit in base 16; 99 = none. */
static int digit_value(char c) {
    if (digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

static char peek(const lexer *l, size_t ahead) {
    return l->at + ahead < l->len ? l->s[l->at + ahead] : '\0';
}

static ql_status lex_based(lexer *l, int base) {
    uint64_t v = 0;
    size_t digits = 0;
    for (l->at += 2; digit_value(peek(l, 0)) < base || peek(l, 0) == '_'; l->at++) {
        if (peek(l, 0) == '_') continue;
        if (v > (uint64_t)INT64_MAX / (uint64_t)base)
            return fail(l, "a number does not fit in 64 bits");
        v = v * (uint64_t)base + (uint64_t)digit_value(peek(l, 0));
        digits++;
    }
    if (!digits || v > INT64_MAX)
        return fail(l, "a number does not fit in 64 bits or has no digit");
    return push(l, (ql_jtoken){.kind = QL_JT_INT, .i = (int64_t)v});
}

/* Digits with single underscores between them. */
static size_t digits_at(const lexer *l, size_t at) {
    size_t n = 0;
    while (at + n < l->len &&
           (digit(l->s[at + n]) ||
            (n > 0 && l->s[at + n] == '_' && at + n + 1 < l->len && digit(l->s[at + n + 1])))) {
        n++;
    }
    return n;
}

static ql_status lex_number(lexer *l, bool after_dot) {
    char first = peek(l, 0), second = peek(l, 1);
    int base = second == 'x' || second == 'X'   ? 16
               : second == 'o' || second == 'O' ? 8
               : second == 'b' || second == 'B' ? 2
                                                : 0;
    if (first == '0' && base && digit_value(peek(l, 2)) < base) return lex_based(l, base);
    size_t end = l->at + digits_at(l, l->at), fraction = 0, exponent = 0;
    if (!after_dot && end < l->len && l->s[end] == '.') fraction = digits_at(l, end + 1);
    size_t past = fraction ? end + 1 + fraction : end;
    if (!after_dot && past < l->len && (l->s[past] == 'e' || l->s[past] == 'E')) {
        size_t sign = past + 1 < l->len && (l->s[past + 1] == '+' || l->s[past + 1] == '-');
        exponent = digits_at(l, past + 1 + sign);
        if (exponent) past += 1 + sign + exponent;
    }
    char digits[64];
    size_t n = 0;
    for (size_t i = l->at; i < past; i++) {
        if (l->s[i] == '_') continue;
        if (n + 1 >= sizeof digits) return fail(l, "a number has too many digits");
        digits[n++] = l->s[i];
    }
    digits[n] = '\0';
    l->at = past;
    if (fraction || exponent)
        return push(l, (ql_jtoken){.kind = QL_JT_FLOAT, .f = strtod(digits, NULL)});
    errno = 0;
    long long v = strtoll(digits, NULL, 10);
    if (errno) return fail(l, "a number does not fit in 64 bits");
    return push(l, (ql_jtoken){.kind = QL_JT_INT, .i = v});
}

/* Reads up to `most` digits of a base; *n = how many. */
static uint32_t code_digits(const char *s, const char *end, int base, size_t most, size_t *n) {
    uint32_t code = 0;
    for (*n = 0; *n < most && s + *n < end && digit_value(s[*n]) < base; ++*n)
        code = code * (uint32_t)base + (uint32_t)digit_value(s[*n]);
    return code;
}

/* One escape of Python at s ('\\' is behind); appends to out, gives the bytes read. 0 = bad. */
static size_t unescape_one(const char *s, const char *end, char *out, size_t *n) {
    static const char FROM[] = "abfnrtv\\'\"", TO[] = "\a\b\f\n\r\t\v\\'\"";
    const char *plain = *s ? strchr(FROM, *s) : NULL;
    if (*s == '\n') return 1;
    if (plain) {
        out[(*n)++] = TO[plain - FROM];
        return 1;
    }
    size_t most = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0, read;
    bool octal = *s >= '0' && *s <= '7';
    if (!most && !octal) {
        out[(*n)++] = '\\';
        return *s == 'N' ? 0 : SIZE_MAX; /* unknown escapes stay as they are */
    }
    uint32_t code =
        octal ? code_digits(s, end, 8, 3, &read) : code_digits(s + 1, end, 16, most, &read);
    if (!octal && read != most) return 0;
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    *n += ql_utf8_encode((int32_t)code, out + *n);
    return read + !octal;
}

static ql_status lex_string(lexer *l) {
    char quote = l->s[l->at];
    size_t end = l->at + 1, n = 0;
    while (end < l->len && l->s[end] != quote) end += 1 + (l->s[end] == '\\');
    if (end >= l->len) return fail(l, "a string is not closed");
    char *out = ql_arena_alloc(&l->j->arena, end - l->at + 4, 1);
    if (!out) return QL_NOMEM("a template's text");
    for (const char *s = l->s + l->at + 1, *stop = l->s + end; s < stop;) {
        if (*s != '\\') {
            out[n++] = *s++;
            continue;
        }
        size_t used = unescape_one(s + 1, stop, out, &n);
        if (used == 0) return fail(l, "a string holds an escape that is not known");
        s += used == SIZE_MAX ? 1 : used + 1;
    }
    ql_jtoken t = {.kind = QL_JT_STRING, .s = out, .n = n};
    QL_TRY(push(l, t));
    advance(l, end + 1);
    return QL_OK;
}

static ql_status lex_operator(lexer *l, char *open, size_t *depth, size_t max_depth) {
    static const char *const LONG[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = l->s[l->at];
    size_t n = 1;
    for (size_t i = 0; i < sizeof LONG / sizeof *LONG; i++)
        if (starts(l, l->at, LONG[i])) n = 2;
    if (c == '(' || c == '[' || c == '{') {
        if (*depth == max_depth) return fail(l, "brackets are nested too deeply");
        open[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (*depth == 0 || open[--*depth] != c) return fail(l, "a bracket closes what is not open");
    } else if (n == 1 && !memchr("+-/*%~[](){}<>=.:|,;", c, 20)) {
        return fail(l, "a character has no meaning in an expression");
    }
    QL_TRY(push(l, (ql_jtoken){.kind = QL_JT_OPERATOR, .s = l->s + l->at, .n = n}));
    l->at += n;
    return QL_OK;
}

static size_t name_length(const lexer *l, size_t at) {
    size_t n = 0;
    while (at + n < l->len && (name_start(l->s[at + n]) || (n > 0 && digit(l->s[at + n])))) n++;
    return n;
}

/* Tokens up to and with the end of the tag. */
static ql_status lex_tag(lexer *l, bool print) {
    char open[QL_JPARSE_DEPTH];
    size_t depth = 0;
    for (bool dot = false;;) {
        skip_space(l);
        if (l->at >= l->len) return fail(l, "the template ends inside a tag");
        if (depth == 0 && take_end(l, print ? "}}" : "%}", !print))
            return push(l, (ql_jtoken){.kind = print ? QL_JT_PRINT_END : QL_JT_BLOCK_END});
        char c = l->s[l->at];
        bool was_dot = dot;
        dot = c == '.';
        if (digit(c)) {
            QL_TRY(lex_number(l, was_dot));
        } else if (name_start(c)) {
            size_t n = name_length(l, l->at);
            QL_TRY(push(l, (ql_jtoken){.kind = QL_JT_NAME, .s = l->s + l->at, .n = n}));
            l->at += n;
        } else if (c == '"' || c == '\'') {
            QL_TRY(lex_string(l));
        } else {
            QL_TRY(lex_operator(l, open, &depth, sizeof open));
        }
    }
}

/* ------------------------------------------------------------ text and raw text */

static ql_status push_text(lexer *l, const char *s, size_t n) {
    return n ? push(l, (ql_jtoken){.kind = QL_JT_TEXT, .s = s, .n = n}) : QL_OK;
}

/* "{% raw %}" at l->at: *past = its end, white space of "-%}" not yet taken; 0 = it is another. */
static size_t raw_tag(const lexer *l, size_t at, const char *word) {
    lexer t = *l;
    t.at = at + 2;
    if (peek(&t, 0) == '-' || peek(&t, 0) == '+') t.at++;
    skip_space(&t);
    if (!starts(&t, t.at, word)) return 0;
    t.at += strlen(word);
    skip_space(&t);
    return t.at;
}

static ql_status lex_raw(lexer *l, size_t past) {
    advance(l, past);
    if (!take_end(l, "%}", false)) return fail(l, "a raw block is not opened well");
    size_t begin = l->at;
    for (size_t at = begin; at < l->len; at++) {
        size_t end = starts(l, at, "{%") ? raw_tag(l, at, "endraw") : 0;
        if (!end) continue;
        size_t n = strip_before(l, l->s + begin, at - begin, l->s[at + 2], false);
        QL_TRY(push_text(l, l->s + begin, n));
        advance(l, end);
        return take_end(l, "%}", true) ? QL_OK : fail(l, "a raw block is not closed well");
    }
    return fail(l, "a raw block is not closed");
}

static ql_status lex_comment(lexer *l) {
    for (size_t at = l->at + 2; at < l->len; at++) {
        if (!starts(l, at, "#}")) continue;
        char before = l->s[at - 1];
        bool sign = at > l->at + 2 && (before == '-' || before == '+');
        advance(l, at - sign);
        return take_end(l, "#}", true) ? QL_OK : fail(l, "a comment is not closed well");
    }
    return fail(l, "a comment is not closed");
}

/* The next tag or the end of the text. */
static size_t next_tag(const lexer *l) {
    for (size_t at = l->at; at + 1 < l->len; at++)
        if (l->s[at] == '{' && memchr("%{#", l->s[at + 1], 3)) return at;
    return l->len;
}

static ql_status lex_all(lexer *l) {
    while (l->at < l->len) {
        size_t tag = next_tag(l), begin = l->at;
        char sign = tag + 2 < l->len ? l->s[tag + 2] : '\0';
        bool print = tag < l->len && l->s[tag + 1] == '{';
        size_t n = tag - begin;
        if (tag < l->len) n = strip_before(l, l->s + begin, n, sign, print);
        QL_TRY(push_text(l, l->s + begin, n));
        advance(l, tag);
        if (tag == l->len) break;
        if (l->s[tag + 1] == '#') {
            QL_TRY(lex_comment(l));
            continue;
        }
        size_t raw = print ? 0 : raw_tag(l, tag, "raw");
        if (raw && (starts(l, raw, "%}") || starts(l, raw, "-%}"))) {
            QL_TRY(lex_raw(l, raw));
            continue;
        }
        advance(l, tag + 2 + (sign == '-' || (sign == '+' && !print)));
        QL_TRY(push(l, (ql_jtoken){.kind = print ? QL_JT_PRINT_BEGIN : QL_JT_BLOCK_BEGIN}));
        QL_TRY(lex_tag(l, print));
    }
    return push(l, (ql_jtoken){.kind = QL_JT_END});
}

/* Copies the text with "\n" for "\r\n" and "\r", without the last end of line. */
static ql_status normalize(ql_jinja *j, const char *text, size_t len, size_t *out) {
    size_t n = 0;
    j->text = ql_arena_alloc(&j->arena, len + 1, 1);
    if (!j->text) return QL_NOMEM("a template's text");
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n') continue;
        j->text[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    *out = n > 0 && j->text[n - 1] == '\n' ? n - 1 : n;
    return QL_OK;
}

ql_status ql_jinja_lex(ql_jinja *j, const char *text, size_t len) {
    lexer l = {.j = j, .line = 1, .line_starts = true};
    if (len > QL_JINJA_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT, "the template has %zu bytes, at most %u are read", len,
                       QL_JINJA_MAX_BYTES);
    }
    if (ql_utf8_valid(text, len) != len) return QL_FAIL(QL_ERR_FORMAT, "the template is not UTF-8");
    QL_TRY(normalize(j, text, len, &l.len));
    l.s = j->text;
    return lex_all(&l);
}
