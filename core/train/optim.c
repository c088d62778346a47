/* optim.c - see optim.h. */
#include "core/train/optim.h"

#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"

static const ql_optim optims[] = {
    {"paged_adamw_32bit", "adamw", QL_OPT_ADAMW, false, true},
    {"adamw", "adamw", QL_OPT_ADAMW, false, false},
    {"adamw_8bit", "adamw_8bit", QL_OPT_ADAMW, true, false},
    {"paged_adamw_8bit", "adamw_8bit", QL_OPT_ADAMW, true, true},
    {"lion", "lion", QL_OPT_LION, false, false},
    {"lion_8bit", "lion_8bit", QL_OPT_LION, true, false},
    {"paged_lion_32bit", "lion", QL_OPT_LION, false, true},
    {"paged_lion_8bit", "lion_8bit", QL_OPT_LION, true, true},
    {"sgd", "sgd", QL_OPT_SGD, false, false},
    {"sgd_8bit", "sgd_8bit", QL_OPT_SGD, true, false},
};

const ql_optim *ql_optim_find(const char *name) {
    for (size_t i = 0; i < sizeof optims / sizeof *optims; i++)
        if (strcmp(optims[i].name, name) == 0) return &optims[i];
    return NULL;
}

const char *ql_optim_names(void) {
    return "paged_adamw_32bit adamw adamw_8bit paged_adamw_8bit lion lion_8bit paged_lion_32bit "
           "paged_lion_8bit sgd sgd_8bit";
}

/* ---------------------------------------------------------------------- bytes */

#define MAP_BYTES (256 * sizeof(float))
#define MAX_SLOT  (4u << 20)

static uint64_t aligned(uint64_t x, uint32_t align) {
    return (x + align - 1) & ~(uint64_t)(align - 1);
}

static uint64_t field_bytes(const ql_opt_layout *s, bool coded, uint64_t n, ql_opt_field f) {
    bool second = f == QL_OPT_V || f == QL_OPT_V_ABSMAX;
    if (second ? !s->has_v : !s->has_m) return 0;
    if (f == QL_OPT_M || f == QL_OPT_V) return coded ? n : n * sizeof(float);
    return coded ? (n + QL_OPT_BLOCK - 1) / QL_OPT_BLOCK * sizeof(float) : 0;
}

ql_opt_span ql_opt_field_span(const ql_opt_layout *s, bool coded, uint64_t n, ql_opt_field f) {
    ql_opt_span at = {0};
    for (int k = 0; k < (int)f; k++)
        at.off += aligned(field_bytes(s, coded, n, (ql_opt_field)k), s->align);
    at.bytes = field_bytes(s, coded, n, f);
    return at;
}

static uint64_t page_bytes(const ql_opt_layout *s, bool coded, uint64_t n) {
    return ql_opt_field_span(s, coded, n, QL_OPT_FIELDS).off;
}

static uint64_t maps_bytes(const ql_opt_layout *s) {
    return s->coded ? (uint64_t)(s->has_m + s->has_v) * aligned(MAP_BYTES, s->align) : 0;
}

uint64_t ql_opt_layout_full(const ql_opt_layout *s) {
    uint64_t sum = maps_bytes(s);
    for (int32_t i = 0; i < s->n_runs; i++) sum += page_bytes(s, s->runs[i].coded, s->runs[i].n);
    return sum;
}

/* Pages of one block in each slot; a float32 block is the largest. */
uint64_t ql_opt_layout_least(const ql_opt_layout *s) {
    uint64_t paged = maps_bytes(s) + QL_OPT_SLOTS * page_bytes(s, false, QL_OPT_BLOCK);
    uint64_t full = ql_opt_layout_full(s);
    return paged < full ? paged : full;
}

uint64_t ql_opt_layout_traffic(const ql_opt_layout *s) {
    return s->host_bytes;
}

/* ----------------------------------------------------------------------- runs */

/* Does a tensor that begins where the run ends continue it? Coded ones only on a block's edge. */
static bool joins(const ql_opt_run *r, bool coded, bool decay) {
    return r->coded == coded && r->decay == decay && (!coded || r->n % QL_OPT_BLOCK == 0);
}

/* Ends the last run at `first`, where the next tensor begins or all end. */
static ql_opt_run *end_run(ql_opt_layout *s, uint64_t first) {
    ql_opt_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;
    if (last) last->n = first - last->first;
    return last;
}

/* Runs over all elements, the padding behind each tensor included: it is 0 and stays 0. */
static void find_runs(ql_opt_layout *s, const ql_model *m) {
    for (int pass = 0; pass < 2; pass++) { /* the region's order: with weight decay first */
        for (int32_t i = 0; i < m->n_params; i++) {
            const ql_param *p = &m->params[i];
            if (p->decay != (pass == 0)) continue;
            bool coded = s->optim->coded && p->rows * p->cols >= QL_OPT_MIN_CODED;
            const ql_opt_run *last = end_run(s, p->first);
            s->coded |= coded;
            if (last && joins(last, coded, p->decay)) continue;
            s->runs[s->n_runs++] =
                (ql_opt_run){.first = p->first, .coded = coded, .decay = p->decay};
        }
    }
    end_run(s, m->n_trained);
}

/* ---------------------------------------------------------------------- pages */

/* Elements of the largest page of a run that fits a slot. */
static uint64_t page_elements(const ql_opt_layout *s, const ql_opt_run *r) {
    if (!s->slot_bytes) return r->n;
    uint64_t lo = 1, hi = s->slot_bytes / QL_OPT_BLOCK + 1; /* blocks: lo fits, hi does not */
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        bool fits = page_bytes(s, r->coded, mid * QL_OPT_BLOCK) <= s->slot_bytes;
        *(fits ? &lo : &hi) = mid;
    }
    return lo * QL_OPT_BLOCK;
}

/* Places a page: on the device while there is room and nothing before it went to the host. */
static void place(ql_opt_layout *s, ql_opt_page *page, uint64_t room) {
    bool all = s->n_resident == s->n_pages;
    page->host = s->slot_bytes && !(all && s->device_bytes + page->bytes <= room);
    page->at = page->host ? s->host_bytes : s->device_bytes;
    *(page->host ? &s->host_bytes : &s->device_bytes) += page->bytes;
    s->n_resident += !page->host;
    s->n_pages++;
}

static ql_status cut(ql_opt_layout *s, uint64_t room) {
    int64_t count = 0;
    for (int32_t i = 0; i < s->n_runs; i++) {
        uint64_t n = page_elements(s, &s->runs[i]);
        count += (int64_t)((s->runs[i].n + n - 1) / n);
    }
    if (count > INT32_MAX) return QL_FAIL(QL_ERR_INVALID, "the optimizer's pages are too many");
    s->pages = ql_host_calloc((size_t)count + 1, sizeof *s->pages);
    if (!s->pages) return QL_NOMEM("the optimizer's pages");
    for (int32_t i = 0; i < s->n_runs; i++) {
        const ql_opt_run *r = &s->runs[i];
        uint64_t n = page_elements(s, r), end = r->first + r->n;
        for (uint64_t at = r->first; at < end; at += n) {
            ql_opt_page *page = &s->pages[s->n_pages];
            *page = (ql_opt_page){.first = at, .n = end - at < n ? end - at : n, .run = i};
            page->bytes = page_bytes(s, r->coded, page->n);
            place(s, page, room);
        }
    }
    return QL_OK;
}

/* Slots of at most an eighth of the budget, so that most of it keeps pages. */
static ql_status plan_pages(ql_opt_layout *s, uint64_t budget) {
    uint64_t maps = maps_bytes(s), least = ql_opt_layout_least(s), room = UINT64_MAX;
    if (budget && budget < least)
        return QL_FAIL(QL_ERR_NOMEM_DEV,
                       "%llu bytes are too few for the pages of --optim %s; the smallest "
                       "--opt_page_budget is %llu",
                       (unsigned long long)budget, s->optim->name, (unsigned long long)least);
    if (budget && budget < ql_opt_layout_full(s)) {
        uint64_t block = page_bytes(s, false, QL_OPT_BLOCK);
        s->slot_bytes = budget / 8 > MAX_SLOT ? MAX_SLOT : budget / 8 > block ? budget / 8 : block;
        s->slot_bytes = s->slot_bytes / s->align * s->align;
        room = budget - QL_OPT_SLOTS * s->slot_bytes;
    }
    s->device_bytes = maps;
    s->map_v = maps / 2;
    return cut(s, room);
}

ql_status ql_opt_layout_plan(const ql_model *m, const ql_optim *optim, double momentum,
                             uint32_t align, uint64_t budget, ql_opt_layout *out) {
    ql_opt_layout s = {.optim = optim,
                       .has_m = optim->kind != QL_OPT_SGD || momentum != 0,
                       .has_v = optim->kind == QL_OPT_ADAMW,
                       .align = align < 64 ? 64 : align};
    if (optim->coded && !s.has_m)
        return QL_FAIL(QL_ERR_INVALID,
                       "--optim %s keeps a momentum in 8 bits, but --sgd_momentum is 0; use "
                       "--optim sgd, which then keeps nothing",
                       optim->name);
    if (budget && !optim->paged)
        return QL_FAIL(QL_ERR_INVALID,
                       "--optim %s stays on the device; --opt_page_budget needs a paged one "
                       "(paged_adamw_32bit, paged_adamw_8bit, paged_lion_32bit, paged_lion_8bit)",
                       optim->name);
    s.runs = ql_host_calloc((size_t)m->n_params + 1, sizeof *s.runs);
    if (!s.runs) return QL_NOMEM("the optimizer's layout");
    find_runs(&s, m);
    ql_status st = plan_pages(&s, budget);
    if (st != QL_OK) {
        ql_opt_layout_free(&s);
        return st;
    }
    *out = s;
    return QL_OK;
}

void ql_opt_layout_free(ql_opt_layout *s) {
    ql_host_free(s->runs);
    ql_host_free(s->pages);
    *s = (ql_opt_layout){0};
}

/* ---------------------------------------------------------------------- parts */

static const char *const field_names[] = {"m", "v", "m_absmax", "v_absmax"};

static void fill_part(const ql_opt_layout *s, int32_t run, ql_opt_field f, ql_opt_part *out) {
    bool coded = run >= 0 && s->runs[run].coded;
    *out = (ql_opt_part){.dtype = coded && f < QL_OPT_M_ABSMAX ? QL_ST_U8 : QL_ST_F32,
                         .field = f,
                         .page_end = s->n_pages};
    if (run >= 0) {
        while (s->pages[out->page].run < run) out->page++;
        out->page_end = out->page;
        while (out->page_end < s->n_pages && s->pages[out->page_end].run == run) out->page_end++;
        snprintf(out->name, sizeof out->name, "%d.%s", (int)run, field_names[f]);
    } else {
        snprintf(out->name, sizeof out->name, "%s", field_names[f]);
    }
    for (int32_t p = out->page; p < out->page_end; p++)
        out->count += field_bytes(s, s->runs[s->pages[p].run].coded, s->pages[p].n, f) /
                      ql_st_dtype_bytes(out->dtype);
}

bool ql_opt_part_at(const ql_opt_layout *s, int32_t i, ql_opt_part *out) {
    int32_t runs = s->coded ? s->n_runs : s->n_runs > 0;
    for (int32_t r = 0; r < runs; r++) {
        for (int f = 0; f < QL_OPT_FIELDS; f++) {
            if (!field_bytes(s, s->runs[r].coded, 1, (ql_opt_field)f) || i-- > 0) continue;
            fill_part(s, s->coded ? r : -1, (ql_opt_field)f, out);
            return true;
        }
    }
    return false;
}
