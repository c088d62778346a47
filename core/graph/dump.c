/*
 * dump.c - a tape as a readable listing or as JSON lines: one record a line.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/graph/tape.h"

typedef struct text {
    char *s;
    size_t n, cap;
    ql_status status;
} text;

static void put(text *b, const char *fmt, ...) QL_PRINTF(2, 3);

static void put(text *b, const char *fmt, ...) {
    if (b->status != QL_OK) return;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need >= 0) b->status = ql_host_grow((void **)&b->s, &b->cap, b->n + (size_t)need + 1, 1);
    if (need >= 0 && b->status == QL_OK) {
        vsnprintf(b->s + b->n, (size_t)need + 1, fmt, again);
        b->n += (size_t)need;
    }
    va_end(again);
}

static const char *const phases[] = {"fwd", "re ", "bwd"};

/* A value's name inside a JSON string. */
static void put_json_name(text *b, const char *name) {
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c == '"' || c == '\\')
            put(b, "\\%c", c);
        else if (c < 0x20)
            put(b, "\\u%04x", c);
        else
            put(b, "%c", c);
    }
}

static void put_operand(text *b, const ql_tape *t, const ql_record *r, int k, bool json) {
    const ql_value *x = ql_tape_at(t, r->operand[k]);
    const ql_value *base = ql_tape_at(t, ql_tape_base(t, r->operand[k]));
    const ql_operand *info = &ql_op_info_of(r->op).operand[k];
    ql_use access = ql_operand_access(r->op, &r->args, k);
    if (json) {
        put(b, "{\"operand\":\"%s\",\"value\":\"", info->name);
        put_json_name(b, x->name);
        put(b, "\",\"access\":%d,\"dtype\":\"%s\",\"rows\":%" PRId64 ",\"cols\":%" PRId64,
            (int)access, ql_dtype_name(x->dtype), x->rows.max, x->cols.max);
        put(b, ",\"first\":%d,\"last\":%d,\"bytes\":%" PRIu64 "}", base->first, base->last,
            ql_value_bytes(x));
        return;
    }
    const char *mark = access == QL_USE_UPDATE ? "+" : access == QL_USE_WRITE ? ">" : "";
    put(b, " %s%s=%s[%" PRId64 ",%" PRId64 "]%s", mark, info->name, x->name, x->rows.max,
        x->cols.max, ql_dtype_name(x->dtype));
}

ql_status ql_tape_dump(const ql_tape *t, bool json, char **out) {
    text b = {0};
    for (int32_t i = 0; i < ql_tape_count(t); i++) {
        const ql_record *r = ql_tape_record_at(t, i);
        const ql_op_info info = ql_op_info_of(r->op);
        if (json)
            put(&b,
                "{\"record\":%d,\"phase\":\"%.3s\",\"layer\":%d,\"segment\":%d,\"op\":\"%s\","
                "\"operands\":[",
                i, phases[r->phase], r->layer, r->segment, info.name);
        else
            put(&b, "%5d %s %3d %-11s", i, phases[r->phase], r->layer, info.name);
        bool comma = false;
        for (int k = 0; k < info.count; k++) {
            if (!r->operand[k]) continue;
            if (json && comma) put(&b, ",");
            put_operand(&b, t, r, k, json);
            comma = true;
        }
        put(&b, json ? "]}\n" : "\n");
    }
    if (b.status != QL_OK) {
        ql_host_free(b.s);
        return b.status;
    }
    if (!b.s) b.s = ql_host_strdup("");
    if (!b.s) return QL_NOMEM("a tape listing");
    *out = b.s;
    return QL_OK;
}
