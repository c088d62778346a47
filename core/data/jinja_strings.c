/*
 * jinja_strings.c - methods of texts that give texts or lists of them.
 */
#include <string.h>

#include "core/data/jinja_run.h"
#include "core/data/space.h"

/* ----------------------------------------------------------------- strip, case */

static ql_status strip_sides(ql_jrun *r, ql_jval self, const ql_jargs *a, bool left, bool right,
                             ql_jval *out) {
    ql_jval p = QL_JNULL;
    const ql_jstr *chars = NULL;
    QL_TRY(ql_jbind(r, "strip", a, "chars", 0, &p));
    if (p.kind != QL_JNONE) QL_TRY(ql_jneed_str(r, "strip", p, &chars));
    return ql_jstrip(r, self.u.s, chars, left, right, out);
}
static ql_status strip(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return strip_sides(r, self, a, true, true, out);
}
static ql_status lstrip(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return strip_sides(r, self, a, true, false, out);
}
static ql_status rstrip(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return strip_sides(r, self, a, false, true, out);
}

static ql_status with_case(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jcase how,
                           ql_jval *out) {
    ql_jbuf b = {0};
    QL_TRY(ql_jbind(r, "a method of case", a, "", 0, NULL));
    QL_TRY(ql_jput_case(r, &b, self.u.s, 0, self.u.s->n, how));
    return ql_jbuf_take(r, &b, out);
}
static ql_status upper(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return with_case(r, self, a, QL_JCASE_UPPER, out);
}
static ql_status lower(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return with_case(r, self, a, QL_JCASE_LOWER, out);
}
static ql_status capitalize(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return with_case(r, self, a, QL_JCASE_CAPITAL, out);
}
static ql_status swapcase(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return with_case(r, self, a, QL_JCASE_SWAP, out);
}

static bool letter(const ql_jstr *s, size_t at) {
    unsigned char c = (unsigned char)s->s[at];
    return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Runs of letters, each with a capital. */
static ql_status title(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s = self.u.s;
    ql_jbuf b = {0};
    QL_TRY(ql_jbind(r, "title", a, "", 0, NULL));
    for (size_t i = 0; i < s->n;) {
        size_t end = i;
        while (end < s->n && letter(s, end)) end++;
        if (end > i) QL_TRY(ql_jput_case(r, &b, s, i, end - i, QL_JCASE_CAPITAL));
        if (end < s->n) QL_TRY(ql_jput_part(r, &b, s, end, 1));
        i = end + 1;
    }
    return ql_jbuf_take(r, &b, out);
}

/* ------------------------------------------------------------- replace and parts */

static ql_status replace(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {QL_JNULL, QL_JNULL, ql_jint(-1)};
    const ql_jstr *old, *with;
    int64_t most;
    QL_TRY(ql_jbind(r, "replace", a, "old new count", 2, p));
    QL_TRY(ql_jneed_str(r, "replace", p[0], &old));
    QL_TRY(ql_jneed_str(r, "replace", p[1], &with));
    QL_TRY(ql_jneed_int(r, "replace", p[2], &most));
    return ql_jreplace(r, self.u.s, old, with, most, out);
}

static ql_status without(ql_jrun *r, ql_jval self, const ql_jargs *a, bool end, ql_jval *out) {
    const ql_jstr *s = self.u.s, *x;
    ql_jval p;
    QL_TRY(ql_jbind(r, "removeprefix and removesuffix", a, "prefix", 1, &p));
    QL_TRY(ql_jneed_str(r, "removeprefix and removesuffix", p, &x));
    bool there = x->n <= s->n && memcmp(end ? s->s + (s->n - x->n) : s->s, x->s, x->n) == 0;
    size_t gone = there ? x->n : 0;
    return ql_jsubstr(r, s, end ? 0 : gone, s->n - gone, out);
}
static ql_status removeprefix(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return without(r, self, a, false, out);
}
static ql_status removesuffix(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return without(r, self, a, true, out);
}

static ql_status join(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval p;
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "join", a, "iterable", 1, &p));
    if (p.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, p);
    QL_TRY(ql_jiterate(r, p, &l));
    return ql_jjoin(r, self.u.s, l, true, out);
}

static ql_status justify(ql_jrun *r, ql_jval self, const ql_jargs *a, char side, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, QL_JNULL};
    const ql_jstr *s = self.u.s, *fill;
    ql_jbuf b = {0};
    int64_t width;
    QL_TRY(ql_jtext(r, side == 'z' ? "0" : " ", QL_ORIGIN_TEMPLATE, &p[1]));
    QL_TRY(
        ql_jbind(r, "ljust, rjust and zfill", a, side == 'z' ? "width" : "width fillchar", 1, p));
    QL_TRY(ql_jneed_int(r, "ljust, rjust and zfill", p[0], &width));
    QL_TRY(ql_jneed_str(r, "ljust and rjust", p[1], &fill));
    if (ql_jpoints(fill) != 1) return QL_JFAIL(r, "the fill character must be one character long");
    int64_t space = width - (int64_t)ql_jpoints(s);
    size_t sign = side == 'z' && s->n && (s->s[0] == '-' || s->s[0] == '+');
    QL_TRY(ql_jput_part(r, &b, s, 0, side == 'l' ? s->n : sign));
    for (int64_t i = 0; i < space; i++) QL_TRY(ql_jput_all(r, &b, fill));
    if (side != 'l') QL_TRY(ql_jput_part(r, &b, s, sign, s->n - sign));
    return ql_jbuf_take(r, &b, out);
}
static ql_status ljust(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return justify(r, self, a, 'l', out);
}
static ql_status rjust(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return justify(r, self, a, 'r', out);
}
static ql_status zfill(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return justify(r, self, a, 'z', out);
}

/* ------------------------------------------------------------------------ split */

static ql_status push_part(ql_jrun *r, const ql_jstr *s, size_t from, size_t to, ql_jlist *l) {
    ql_jval part;
    QL_TRY(ql_jsubstr(r, s, from, to - from, &part));
    return ql_jlist_push(r, l, part);
}

/* Words between white space; the rest after `most` cuts keeps its end. */
static ql_status split_space(ql_jrun *r, const ql_jstr *s, int64_t most, ql_jlist *l) {
    for (size_t at = 0, n;;) {
        while (at < s->n && (n = ql_space_at(s->s + at, s->n - at)) > 0) at += n;
        if (at >= s->n) return QL_OK;
        if (most == 0) return push_part(r, s, at, s->n, l);
        size_t end = at;
        while (end < s->n && !ql_space_at(s->s + end, s->n - end)) end += ql_jpoint_len(s, end);
        QL_TRY(push_part(r, s, at, end, l));
        at = end;
        most -= most > 0;
    }
}

static ql_status split_on(ql_jrun *r, const ql_jstr *s, const ql_jstr *by, int64_t most,
                          ql_jlist *l) {
    size_t at = 0;
    for (size_t hit; most != 0 && (hit = ql_jstr_find(s, at, by)) != SIZE_MAX; at = hit + by->n) {
        QL_TRY(push_part(r, s, at, hit, l));
        most -= most > 0;
    }
    return push_part(r, s, at, s->n, l);
}

/* The last place of `by` in s[0..end); SIZE_MAX = nowhere. */
static size_t find_last(const ql_jstr *s, size_t end, const ql_jstr *by) {
    for (size_t at = end + 1; at-- > by->n;)
        if (memcmp(s->s + at - by->n, by->s, by->n) == 0) return at - by->n;
    return SIZE_MAX;
}

static void turn_around(ql_jlist *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        ql_jval swapped = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = swapped;
    }
}

static ql_status rsplit_on(ql_jrun *r, const ql_jstr *s, const ql_jstr *by, int64_t most,
                           ql_jlist *l) {
    size_t end = s->n;
    for (size_t hit; most != 0 && (hit = find_last(s, end, by)) != SIZE_MAX; end = hit) {
        QL_TRY(push_part(r, s, hit + by->n, end, l));
        most -= most > 0;
    }
    QL_TRY(push_part(r, s, 0, end, l));
    turn_around(l);
    return QL_OK;
}

static ql_status rsplit_space(ql_jrun *r, const ql_jstr *s, int64_t most, ql_jlist *l) {
    for (size_t end = s->n, n;;) {
        while (end > 0 && (n = ql_space_before(s->s, end)) > 0) end -= n;
        if (end == 0) break;
        size_t at = most == 0 ? 0 : end;
        while (at > 0 && !ql_space_before(s->s, at)) at--;
        QL_TRY(push_part(r, s, at, end, l));
        end = at;
        most -= most > 0;
    }
    turn_around(l);
    return QL_OK;
}

static ql_status cut(ql_jrun *r, ql_jval self, const ql_jargs *a, bool right, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, ql_jint(-1)};
    const ql_jstr *s = self.u.s, *by = NULL;
    ql_jlist *l;
    int64_t most;
    QL_TRY(ql_jbind(r, "split", a, "sep maxsplit", 0, p));
    if (p[0].kind != QL_JNONE) QL_TRY(ql_jneed_str(r, "split", p[0], &by));
    QL_TRY(ql_jneed_int(r, "split", p[1], &most));
    if (by && by->n == 0) return QL_JFAIL(r, "empty separator");
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &l));
    QL_TRY(ql_jstep(r, s->n / 8 * (by ? by->n / 8 + 1 : 1)));
    if (right)
        QL_TRY(by ? rsplit_on(r, s, by, most, l) : rsplit_space(r, s, most, l));
    else
        QL_TRY(by ? split_on(r, s, by, most, l) : split_space(r, s, most, l));
    *out = ql_jlist_value(l);
    return QL_OK;
}
static ql_status split(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return cut(r, self, a, false, out);
}
static ql_status rsplit(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return cut(r, self, a, true, out);
}

static ql_status splitlines(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval keep = ql_jbool(false);
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "splitlines", a, "keepends", 0, &keep));
    QL_TRY(ql_jsplit_lines(r, self.u.s, ql_jtruth(keep), &l));
    *out = ql_jlist_value(l);
    return QL_OK;
}

/* What stands before, is, and stands after the separator. */
static ql_status parts(ql_jrun *r, ql_jval self, const ql_jargs *a, bool last, ql_jval *out) {
    const ql_jstr *s = self.u.s, *by;
    ql_jval p;
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "partition", a, "sep", 1, &p));
    QL_TRY(ql_jneed_str(r, "partition", p, &by));
    if (by->n == 0) return QL_JFAIL(r, "empty separator");
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_TUPLE, &l));
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES * (by->n / 8 + 1)));
    size_t hit = last ? find_last(s, s->n, by) : ql_jstr_find(s, 0, by);
    bool there = hit != SIZE_MAX;
    size_t from = there ? hit : last ? 0 : s->n, to = there ? hit + by->n : from;
    QL_TRY(push_part(r, s, 0, from, l));
    QL_TRY(push_part(r, s, from, to, l));
    QL_TRY(push_part(r, s, to, s->n, l));
    *out = ql_jlist_value(l);
    return QL_OK;
}
static ql_status partition(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return parts(r, self, a, false, out);
}
static ql_status rpartition(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return parts(r, self, a, true, out);
}

const ql_jnamed_function ql_jmethods_text[] = {
    {"strip", strip},
    {"lstrip", lstrip},
    {"rstrip", rstrip},
    {"upper", upper},
    {"lower", lower},
    {"casefold", lower},
    {"capitalize", capitalize},
    {"swapcase", swapcase},
    {"title", title},
    {"replace", replace},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"join", join},
    {"ljust", ljust},
    {"rjust", rjust},
    {"zfill", zfill},
    {NULL, NULL},
};
const ql_jnamed_function ql_jmethods_split[] = {
    {"split", split},         {"rsplit", rsplit},         {"splitlines", splitlines},
    {"partition", partition}, {"rpartition", rpartition}, {NULL, NULL},
};
