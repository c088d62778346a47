/*
 * plan_report.c - see plan_report.h.
 *
 * Alternatives are planned like the job itself, on the same device, so every number here is exact.
 */
#include "tools/plan_report.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "tools/engine.h"

/* ------------------------------------------------------------------ one line */

/* "paged_adamw_32bit", and what of it moves. */
static void optimizer_text(const ql_job *j, char *out, size_t size) {
    uint64_t moved = j->plan.host[QL_POOL_OPTIMIZER];
    int n = snprintf(out, size, "%s", j->opts.optim->name);
    if (moved && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", %s more paged", ql_text_bytes(moved).s);
}

static void print_rung(ql_cli *cli, const ql_job *j) {
    if (j->rung == QL_RUNG_AS_ASKED || j->rung == QL_RUNG_COUNT) return;
    ql_print(&cli->out, "memory  to fit %s: %s; %s a step move each way, results are the same\n",
             ql_text_bytes(j->budget).s, ql_rung_text(j->rung), ql_text_bytes(j->plan.page_in).s);
}

void ql_plan_print(ql_cli *cli, const ql_job *j) {
    const uint64_t *d = j->plan.device;
    bool gib = j->plan.peak_bytes >= 1ull << 30;
    double unit = gib ? 1073741824.0 : 1048576.0;
    const char *name = gib ? "GiB" : "MiB";
    char optimizer[96];
    optimizer_text(j, optimizer, sizeof optimizer);
    ql_print(&cli->out,
             "plan  weights %.2f %s (%s %.3f bit) · %s %.2f · gradients %.2f · optimiser %.2f (%s) "
             "· activations %.2f · logits %.2f · scratch %.2f · peak %.2f of %.2f %s\n",
             (double)d[QL_POOL_WEIGHTS] / unit, name, ql_model_weight_type(j->model),
             ql_model_weight_bits(j->model), j->model->opts.full ? "trained" : "adapter",
             (double)d[QL_POOL_ADAPTERS] / unit, (double)d[QL_POOL_GRADIENTS] / unit,
             (double)(d[QL_POOL_OPTIMIZER] + d[QL_POOL_STAGING]) / unit, optimizer,
             (double)d[QL_POOL_ACTIVATIONS] / unit, (double)d[QL_POOL_LOGITS] / unit,
             (double)d[QL_POOL_SCRATCH] / unit, (double)j->plan.peak_bytes / unit,
             (double)j->budget / unit, name);
    print_rung(cli, j);
}

/* -------------------------------------------------------------- alternatives */

/* The peak of other settings, as the budget makes them. */
static ql_status plan_with(const ql_job *j, const ql_train_opts *o, uint64_t *peak) {
    ql_memory_report r;
    ql_train_opts fitted = *o;
    ql_rung rung;
    QL_TRY(ql_trainer_plan(j->model, o, j->dev, &r));
    QL_TRY(ql_budget_climb(j->model, j->dev, j->budget, &fitted, &r, &rung));
    *peak = r.peak_bytes;
    return QL_OK;
}

/* The same model's shape, stored and trained otherwise. */
static ql_status plan_shape(const ql_job *j, const ql_model_opts *mo, const ql_train_opts *o,
                            ql_memory_report *out) {
    ql_source *source;
    ql_model *m;
    const ql_source *from = j->model->source;
    QL_TRY(ql_source_open_json(ql_source_path(from), ql_source_config(from), &source));
    QL_TRY(ql_model_open(source, mo, &m));
    ql_status s = QL_OK;
    ql_lora_config usual = ql_lora_config_default();
    if (!mo->full) s = ql_model_attach_lora(m, j->model->has_lora ? &j->model->lora : &usual);
    if (s == QL_OK) s = ql_trainer_plan(m, o, j->dev, out);
    ql_model_close(m);
    return s;
}

/* A micro-batch of `batch` rows with as many steps of accumulation as keep the whole batch. */
static bool with_batch(const ql_train_opts *o, int32_t batch, ql_train_opts *out) {
    if (o->batch % batch) return false;
    *out = *o;
    out->batch = batch;
    out->accumulate = o->accumulate * (o->batch / batch);
    return true;
}

/* The least memory of this run with equal results: one row at a time, and the segment length that
 * keeps least. */
static ql_status smallest(const ql_job *j, uint64_t *out) {
    ql_train_opts o = j->opts;
    ql_memory_report r;
    *out = j->plan.peak_bytes;
    (void)with_batch(&j->opts, 1, &o);
    QL_TRY(ql_budget_least_state(j->model, j->dev, &o));
    for (int32_t every = 0; every <= j->model->arch.body.layers; every = every ? 2 * every : 1) {
        o.checkpoint = every;
        QL_TRY(ql_trainer_plan(j->model, &o, j->dev, &r));
        if (r.peak_bytes < *out) *out = r.peak_bytes;
    }
    return QL_OK;
}

ql_status ql_plan_tape(const ql_job *j, char **text) {
    const ql_graph_opts g = ql_train_graph_opts(j->model, &j->opts);
    ql_graph *graph;
    QL_TRY(ql_graph_create(j->model, &g, j->dev, &graph));
    ql_status s = ql_tape_dump(ql_program_tape(graph->program), false, text);
    ql_graph_free(graph);
    return s;
}

/* ---------------------------------------------------------------------- JSON */

static json_t *classes(const uint64_t *bytes) {
    json_t *o = json_object();
    for (int i = 0; i < QL_POOL_COUNT; i++)
        json_object_set_new(o, ql_pool_name((ql_pool)i), json_integer((json_int_t)bytes[i]));
    return o;
}

/* What the process holds besides the allocator's buffers: code, stacks, tapes, data. */
static uint64_t runtime_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

ql_status ql_plan_json(const ql_job *j, json_t **out) {
    ql_model *m = j->model;
    uint64_t least = 0;
    QL_TRY(smallest(j, &least));
    json_t *doc = json_object();
    if (!doc) return QL_NOMEM("the plan");
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"peak_bytes", j->plan.peak_bytes},
                   {"budget_bytes", j->budget},
                   {"smallest_budget_bytes", least},
                   {"runtime_bytes", runtime_bytes()},
                   {"paged_bytes_per_step", j->plan.page_in + j->plan.page_out},
                   {"mapped_bytes", j->plan.mapped_bytes},
                   {"arena_bytes", j->plan.arena_bytes},
                   {"arena_lower_bound_bytes", j->plan.arena_lower_bound},
                   {"parameters", m->parameters},
                   {"trainable_parameters", m->trainable}};
    json_object_set_new(doc, "model", json_string(ql_source_path(m->source)));
    json_object_set_new(doc, "device", json_string(j->dev->backend->name));
    json_object_set_new(doc, "device_bytes", classes(j->plan.device));
    json_object_set_new(doc, "host_bytes", classes(j->plan.host));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(doc, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    json_object_set_new(doc, "weight_bits", json_real(ql_model_weight_bits(m)));
    json_object_set_new(doc, "weight_type", json_string(ql_model_weight_type(m)));
    json_object_set_new(doc, "quantized_bytes",
                        json_integer((json_int_t)ql_model_quantized_bytes(m)));
    json_object_set_new(doc, "types", ql_model_types_json(m));
    if (m->opts.bits_by_layer)
        json_object_set_new(doc, "bits_by_layer", json_string(m->opts.bits_by_layer));
    json_object_set_new(doc, "compute_dtype",
                        json_string(j->opts.compute == QL_BF16 ? "bf16" : "fp32"));
    json_object_set_new(doc, "optimizer_resident", json_boolean(j->plan.page_in == 0));
    json_object_set_new(doc, "rung", json_integer(j->rung));
    json_object_set_new(doc, "fits", json_boolean(j->plan.peak_bytes <= j->budget));
    json_object_set_new(doc, "max_seq_len", json_integer(j->opts.max_len));
    json_object_set_new(doc, "per_device_train_batch_size", json_integer(j->opts.batch));
    *out = doc;
    return QL_OK;
}

/* The paper's count for full fine-tuning: 16-bit weights and gradients, two fp32 moments. */
#define FULL_BYTES_PER_PARAMETER 12

ql_status ql_plan_compare(const ql_job *j, json_t **out) {
    ql_model_opts full = ql_model_opts_default(), lora = full, qlora = full;
    full.optimizer = lora.optimizer = qlora.optimizer = true;
    full.full = true;
    lora.bits = 16;
    if (j->model->opts.bits < 16) {
        qlora.bits = j->model->opts.bits;
        qlora.quant = j->model->opts.quant;
    }
    qlora.quantize_head = j->model->opts.quantize_head;
    qlora.bits_by_layer = j->model->opts.bits_by_layer;
    ql_memory_report rf, rl, rq;
    ql_train_opts resident = j->opts; /* what a budget did to this run says nothing of the others */
    resident.opt_budget = 0;
    QL_TRY(plan_shape(j, &full, &resident, &rf));
    QL_TRY(plan_shape(j, &lora, &resident, &rl));
    QL_TRY(plan_shape(j, &qlora, &resident, &rq));
    json_int_t paper = (json_int_t)j->model->parameters * FULL_BYTES_PER_PARAMETER;
    *out = json_pack("{s:{s:I, s:i, s:s, s:I}, s:{s:I, s:I}, s:{s:I, s:I}}", "full", "total_bytes",
                     paper, "bytes_per_parameter", FULL_BYTES_PER_PARAMETER, "counted",
                     "16-bit weights and gradients, two fp32 moments, no activations", "here_bytes",
                     (json_int_t)rf.peak_bytes, "lora", "total_bytes", (json_int_t)rl.peak_bytes,
                     "weights_bytes", (json_int_t)rl.device[QL_POOL_WEIGHTS], "qlora",
                     "total_bytes", (json_int_t)rq.peak_bytes, "weights_bytes",
                     (json_int_t)rq.device[QL_POOL_WEIGHTS]);
    return *out ? QL_OK : QL_NOMEM("the comparison");
}

/* ------------------------------------------------------------------- refusal */

/* A change of settings, as flags. */
typedef struct change {
    char text[160];
    ql_train_opts o;
} change;

/* Changes that keep the results, the smallest first. */
static int equal_changes(const ql_job *j, change out[24]) {
    int n = 0;
    for (int recompute = 0; recompute < 2; recompute++) {
        ql_train_opts base = j->opts;
        char prefix[64] = "";
        if (recompute) {
            base.checkpoint = 1;
            snprintf(prefix, sizeof prefix, "--gradient_checkpointing true --checkpoint_every 1 ");
            if (j->opts.checkpoint == 1) continue;
            out[n].o = base;
            snprintf(out[n++].text, sizeof out->text, "%s", prefix);
        }
        for (int32_t b = base.batch / 2; b >= 1 && n < 24; b /= 2) {
            if (!with_batch(&base, b, &out[n].o)) continue;
            snprintf(out[n].text, sizeof out->text,
                     "%s--per_device_train_batch_size %d --gradient_accumulation_steps %d", prefix,
                     out[n].o.batch, out[n].o.accumulate);
            n++;
        }
    }
    return n;
}

static bool first_fit(const ql_job *j, char text[160]) {
    change c[24];
    int n = equal_changes(j, c);
    for (int i = 0; i < n; i++) {
        uint64_t peak = 0;
        if (plan_with(j, &c[i].o, &peak) != QL_OK || peak > j->budget) continue;
        memcpy(text, c[i].text, sizeof c->text);
        return true;
    }
    return false;
}

/* Would 4-bit weights fit where 16- or 8-bit ones do not? */
static bool four_bits_fit(const ql_job *j) {
    ql_model_opts o = ql_model_opts_default();
    ql_memory_report r;
    o.optimizer = true;
    o.quantize_head = j->model->opts.quantize_head;
    if (ql_model_weight_bits(j->model) < 6 && !j->model->opts.full) return false;
    return plan_shape(j, &o, &j->opts, &r) == QL_OK && r.peak_bytes <= j->budget;
}

ql_exit ql_plan_refuse(ql_cli *cli, const ql_job *j) {
    char text[160], advice[320];
    uint64_t least = 0;
    if (first_fit(j, text)) {
        snprintf(advice, sizeof advice, "This fits and gives the same results: %s", text);
    } else if (four_bits_fit(j)) {
        snprintf(advice, sizeof advice, "This fits: --bits 4 (without --full)");
    } else if (smallest(j, &least) == QL_OK) {
        snprintf(advice, sizeof advice,
                 "The smallest budget with these rows is %s (%llu bytes); shorter rows "
                 "(--max_seq_len) and a smaller --lora_r need less",
                 ql_text_bytes(least).s, (unsigned long long)least);
    } else {
        snprintf(advice, sizeof advice, "%s", ql_last_error());
    }
    ql_error(&cli->out, "this run needs %s of device memory (%llu bytes), the budget is %s. %s",
             ql_text_bytes(j->plan.peak_bytes).s, (unsigned long long)j->plan.peak_bytes,
             ql_text_bytes(j->budget).s, advice);
    return QL_EXIT_NO_FIT;
}
