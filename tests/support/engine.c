/* engine.c - devices, models and data for tests of the engine (see engine.h). */
#include "tests/support/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"

void engine_ok(ql_status s, const char *call, const char *file, int line) {
    if (s == QL_OK) return;
    print_error("%s: %s\n", call, ql_last_error());
    _fail(file, line);
}

void engine_fails(ql_status s, ql_status want, const char *word, const char *call, const char *file,
                  int line) {
    if (s == want && strstr(ql_last_error(), word)) return;
    print_error("%s: %s, '%s'; wanted %s with '%s'\n", call, ql_status_name(s),
                s == QL_OK ? "" : ql_last_error(), ql_status_name(want), word);
    _fail(file, line);
}

ql_device *engine_device(int threads) {
    ql_device *inner = NULL, *dev = NULL;
    ql_device_opts o = {.threads = threads};
    OK(ql_device_open_named("cpu", &o, &inner));
    OK(ql_counting_open(inner, &dev));
    return dev;
}

void engine_close(ql_device *dev) {
    dev->backend->device_close(dev);
}

ql_counts engine_counts(const ql_device *dev) {
    ql_counts c;
    ql_counting_read(dev, &c);
    return c;
}

ql_model *engine_model(const char *name, int bits, int r, double dropout) {
    char path[1024];
    snprintf(path, sizeof path, QL_TEST_DATA "/models/%s", name);
    ql_source *source = NULL;
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    o.optimizer = r > 0;
    ql_model *m = NULL;
    OK(ql_model_open(source, &o, &m));
    if (!r) return m;
    ql_lora_config c = ql_lora_config_default();
    c.r = r;
    c.dropout = dropout;
    OK(ql_model_attach_lora(m, &c));
    return m;
}

ql_dataset engine_data(int n, int longest, int32_t vocab) {
    ql_dataset d = {.n = n, .format = QL_DATA_TOKENS};
    d.items = ql_host_calloc((size_t)n, sizeof(ql_example));
    ql_stream s = ql_stream_make(7, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < n; i++) {
        ql_example *e = &d.items[i];
        e->n = 4 + 3 * i < longest ? 4 + 3 * i : longest;
        e->row = i + 1;
        e->ids =
            ql_host_calloc((size_t)e->n, 2 * sizeof(int32_t)); /* one block, as core/data has it */
        e->labels = e->ids + e->n;
        for (int k = 0; k < e->n; k++) {
            e->ids[k] = (int32_t)ql_stream_below(&s, (uint64_t)vocab);
            e->labels[k] = k < e->n / 3 ? QL_IGNORE : e->ids[k];
            e->supervised += k > 0 && e->labels[k] != QL_IGNORE;
        }
        d.tokens += e->n;
        d.supervised += e->supervised;
        if (e->n > d.longest) d.longest = e->n;
    }
    return d;
}

/* Bytes of a field of one page. */
static size_t field_bytes(const ql_opt_layout *l, const ql_opt_part *p, int32_t page) {
    const ql_opt_page *at = &l->pages[page];
    return ql_opt_field_span(l, l->runs[at->run].coded, at->n, p->field).bytes;
}

unsigned char *engine_state(ql_trainer *t, size_t *bytes) {
    ql_model *m = ql_trainer_model(t);
    size_t values = m->n_trained * sizeof(float), n = values;
    unsigned char *out = calloc(1, values + t->opt.device_bytes + t->opt.host_bytes);
    OK(m->dev->backend->read(m->queue, m->trained, 0, out, values));
    ql_opt_part p;
    for (int32_t i = 0; ql_opt_part_at(&t->opt, i, &p); i++) {
        for (int32_t k = p.page; k < p.page_end; k++) {
            size_t size = field_bytes(&t->opt, &p, k);
            OK(ql_opt_store_read(&t->store, m->queue, &p, k, 0, size, out + n));
            n += size;
        }
    }
    *bytes = n;
    return out;
}
