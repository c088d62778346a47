/* bits_args.c - see bits_args.h. */
#include "tools/bits_args.h"

#include <stdio.h>

#include "core/base/fs.h"
#include "core/data/tokenizer.h"
#include "tools/engine.h"

static void show_progress(void *user, int64_t done, int64_t total, const char *name) {
    ql_progress(user, false, "measure  %lld/%lld  %s", (long long)done, (long long)total, name);
}

static ql_status check(const ql_cli *cli) {
    if (ql_cli_given(cli, "bits_by_layer"))
        return QL_FAIL(QL_ERR_INVALID, "--target_bpw chooses the bits; it contradicts "
                                       "--bits_by_layer");
    if (ql_cli_given(cli, "bits"))
        return QL_FAIL(QL_ERR_INVALID, "--target_bpw chooses the bits; it contradicts --bits");
    return QL_OK;
}

/* The first tokens of the calibration text; ids->n stays 0 without one. */
static ql_status read_text(const ql_bits_args *a, const ql_bits_request *r, ql_ids *ids) {
    ql_map map;
    ql_tokenizer *tok;
    if (!a->calibration) return QL_OK;
    QL_TRY(ql_tokenizer_open(r->tokenizer, &tok));
    ql_status s = ql_map_open(a->calibration, &map);
    if (s == QL_OK) {
        s = ql_tokenizer_encode(tok, map.data ? (const char *)map.data : "", (size_t)map.size, 0,
                                ids);
        ql_map_close(&map);
    }
    ql_tokenizer_close(tok);
    if (s == QL_OK && ids->n < 2)
        s = QL_FAIL(QL_ERR_FORMAT, "%s: %zu tokens; calibration needs two or more", a->calibration,
                    ids->n);
    if (s == QL_OK && ids->n > (size_t)a->tokens) ids->n = (size_t)a->tokens;
    return s;
}

static void say(ql_cli *cli, const ql_bits_args *a, const ql_bpw *b) {
    static const int sizes[4] = {2, 3, 4, 8};
    char text[160];
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (b->of[i] > 0)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld at %d", n ? ", " : "",
                          (long long)b->of[i], sizes[i]);
    ql_print(&cli->out, "bits  %.4f per weight for %g asked · weights %s · %llu bytes · by %s\n",
             b->bits, a->target, text, (unsigned long long)b->bytes,
             a->calibration ? "KL on the calibration text" : "relative error");
}

ql_status ql_bits_args_choose(ql_cli *cli, const ql_bits_args *a, const ql_bits_request *r,
                              ql_bpw *out) {
    ql_device *dev;
    ql_ids ids = {0};
    QL_TRY(check(cli));
    QL_TRY(ql_engine_open(cli, 0, &dev));
    ql_status s = read_text(a, r, &ids);
    const ql_bpw_opts o = {.quant = r->quant,
                           .target = a->target,
                           .quantize_head = r->quantize_head,
                           .requantize = r->requantize,
                           .ids = ids.n ? ids.ids : NULL,
                           .n_ids = (int32_t)ids.n,
                           .dev = dev,
                           .progress = show_progress,
                           .user = &cli->out};
    if (s == QL_OK) s = ql_bpw_choose(r->model, &o, out);
    ql_progress_end(&cli->out);
    ql_ids_free(&ids);
    ql_engine_close(dev);
    if (s == QL_OK) say(cli, a, out);
    return s;
}
