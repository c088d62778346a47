/*
 * folder.c - a whole model into a quantized Hugging Face folder.
 *
 * One tensor is in memory at a time. Everything is made in `out`.partial, which replaces `out` at
 * the end; a failure removes it. Order of work: plan (which tensors, which file), small files,
 * tensors, index.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/quant/folder_config.h"
#include "core/quant/folder_job.h"
#include "core/quant/keys.h"

#define DEFAULT_SHARD_BYTES UINT64_C(5000000000)
/* Tables and text of one quantized weight, for planning. */
#define PART_OVERHEAD 2048u

/* ------------------------------------------------------------------------------------ planning */

/* P of "P.weight". */
static bool module_of(const ql_source_tensor *t, char module[QL_KEY_MAX]) {
    size_t n = strlen(t->name), end = strlen(".weight");
    if (n <= end || n >= QL_KEY_MAX || strcmp(t->name + n - end, ".weight") != 0) return false;
    memcpy(module, t->name, n - end);
    module[n - end] = '\0';
    return true;
}

/* "P.weight" of a 2-D floating or quantized tensor whose module bitsandbytes' rules take. */
static bool may_quantize(const ql_folder_job *j, const ql_source_tensor *t) {
    char module[QL_KEY_MAX];
    if (!module_of(t, module)) return false;
    if (!ql_quantizes_module(ql_source_config(j->s), module, j->o->quantize_head)) return false;
    if (ql_stored_is_quantized(j->s, t->name)) return true;
    if (t->dims != 2) return false;
    return t->gguf != NULL || t->st->dtype == QL_ST_F32 || t->st->dtype == QL_ST_F16 ||
           t->st->dtype == QL_ST_BF16;
}

/* Storage of a weight that may be quantized, by its rule. */
static ql_status choose_storage(ql_folder_job *j, ql_folder_item *it) {
    char module[QL_KEY_MAX];
    it->quantize = true;
    it->quant = j->o->quant;
    if (j->bits == NULL || !module_of(it->t, module)) return QL_OK;
    if (ql_bits_choose(j->bits, module, &it->quant) != QL_BITS_PLAIN) return QL_OK;
    it->quantize = false;
    if (j->plain == NULL) j->plain = json_array();
    return j->plain != NULL ? QL_OK : QL_NOMEM("the list of plain modules");
}

static ql_status plan_item(ql_folder_job *j, ql_folder_item *it) {
    const ql_source_tensor *t = it->t;
    int64_t n, k;
    QL_TRY(ql_stored_shape(j->s, t->name, &n, &k));
    if (!j->o->dense && may_quantize(j, t)) QL_TRY(choose_storage(j, it));
    const ql_folder_maker *maker = j->o->maker;
    if (maker != NULL)
        QL_TRY(maker->wants(maker->user, t, it->quantize ? &it->quant : NULL, &it->made));
    if (!it->quantize) {
        bool raw = t->st != NULL && !ql_stored_is_quantized(j->s, t->name);
        it->bytes = raw ? t->st->bytes : (uint64_t)n * (uint64_t)k * sizeof(float);
        return QL_OK;
    }
    ql_qbytes size;
    bool turned = ql_has_conv1d(ql_source_config(j->s)) && !t->out_in &&
                  !ql_stored_is_quantized(j->s, t->name);
    QL_TRY(ql_quant_bytes(&it->quant, turned ? k : n, turned ? n : k, &size));
    it->bytes = size.codes + size.scale + size.scale2 + size.zero + PART_OVERHEAD;
    return QL_OK;
}

static ql_status plan(ql_folder_job *j) {
    int64_t total = ql_source_count(j->s);
    if (total == 0)
        return QL_FAIL(QL_ERR_INVALID, "%s: no weights to quantize", ql_source_path(j->s));
    j->items = ql_host_calloc((size_t)total, sizeof *j->items);
    if (j->items == NULL) return QL_NOMEM("the list of tensors");
    uint64_t limit = j->o->max_shard_bytes > 0 ? j->o->max_shard_bytes : DEFAULT_SHARD_BYTES;
    uint64_t in_shard = 0;
    for (int64_t i = 0; i < total; i++) {
        const ql_source_tensor *t = ql_source_at(j->s, i);
        j->r.bytes_in += t->st != NULL ? t->st->bytes : t->gguf->bytes;
        if (ql_stored_is_part(j->s, t->name)) continue;
        ql_folder_item *it = &j->items[j->count++];
        it->t = t;
        QL_TRY(plan_item(j, it));
        if (in_shard > 0 && it->bytes > limit - (in_shard < limit ? in_shard : limit)) {
            in_shard = 0;
            j->shards++;
        }
        in_shard += it->bytes;
        it->shard = j->shards;
    }
    j->shards++;
    return QL_OK;
}

/* bitsandbytes' format holds one storage for the whole model. */
static ql_status choose_format(ql_folder_job *j) {
    j->format = j->o->format;
    for (int64_t i = 0; i < j->count; i++) {
        const ql_folder_item *it = &j->items[i];
        if (!it->quantize) continue;
        if (j->first == NULL) j->first = &it->quant;
        const ql_qtype *type = ql_qtype_at(it->quant.type), *other = ql_qtype_at(j->first->type);
        bool holds =
            ql_bnb_holds(type, it->quant.block, it->quant.double_quant ? it->quant.block2 : 0);
        if (holds && type == other) continue;
        j->format = QL_STORED_QLORA;
        if (!j->o->bnb_only) return QL_OK;
        if (type == other)
            return QL_FAIL(QL_ERR_INVALID, "%s: bitsandbytes' format cannot hold %s", it->t->name,
                           type->name);
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: bitsandbytes' format holds one storage type per model, and %s comes "
                       "after %s; leave --format out to use our own container",
                       it->t->name, type->name, other->name);
    }
    return QL_OK;
}

/* A list of skipped modules replaces the rule of loaders, so it must name all that are plain. */
static ql_status list_plain(ql_folder_job *j) {
    char module[QL_KEY_MAX];
    if (j->plain == NULL) return QL_OK;
    if (j->first == NULL)
        return QL_FAIL(QL_ERR_INVALID, "bits_by_layer: '%.80s' quantizes nothing",
                       j->o->bits_by_layer);
    bool bad = !j->o->quantize_head && json_array_append_new(j->plain, json_string("lm_head")) != 0;
    for (int64_t i = 0; i < j->count && !bad; i++) {
        const ql_folder_item *it = &j->items[i];
        if (it->quantize || it->t->dims != 2 || !module_of(it->t, module)) continue;
        bad = strcmp(module, "lm_head") != 0 &&
              json_array_append_new(j->plain, json_string(module)) != 0;
    }
    return bad ? QL_NOMEM("the list of plain modules") : QL_OK;
}

/* ------------------------------------------------------------------------------------- writing */

static void shard_name(const ql_folder_job *j, int32_t shard, char out[64]) {
    if (j->shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", (int)shard + 1, (int)j->shards);
}

static ql_status commit_shard(ql_folder_job *j) {
    uint64_t bytes = 0;
    ql_shard *shard = j->open;
    j->open = NULL;
    if (shard == NULL) return QL_OK;
    QL_TRY(ql_shard_commit(shard, &bytes));
    j->total_bytes += bytes;
    j->r.files++;
    return QL_OK;
}

static ql_status write_tensors(ql_folder_job *j) {
    char file[64] = "";
    for (int64_t i = 0; i < j->count; i++) {
        if (i == 0 || j->items[i].shard != j->items[i - 1].shard) {
            QL_TRY(commit_shard(j));
            shard_name(j, j->items[i].shard, file);
            QL_TRY(ql_shard_open(j->staged, file, &j->open));
        }
        QL_TRY(ql_folder_write_item(j, &j->items[i], file));
        if (j->o->progress != NULL)
            j->o->progress(j->o->user, i + 1, j->count, j->items[i].t->name);
    }
    return commit_shard(j);
}

/* model.safetensors.index.json, when there is more than one file. */
static ql_status write_index(const ql_folder_job *j) {
    char path[QL_PATH_MAX];
    if (j->shards == 1) return QL_OK;
    QL_TRY(ql_path_join(path, j->staged, "model.safetensors.index.json"));
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size",
                              (json_int_t)j->total_bytes, "weight_map", j->weight_map);
    if (index == NULL) return QL_NOMEM("the index of the model's files");
    ql_status s = ql_json_write(path, index);
    json_decref(index);
    return s;
}

static ql_status write_config(const ql_folder_job *j) {
    char path[QL_PATH_MAX];
    json_t *config;
    QL_TRY(ql_path_join(path, j->staged, "config.json"));
    const ql_folder_storage storage = {.format = j->format,
                                       .quant = j->first != NULL ? j->first : &j->o->quant,
                                       .plain = j->plain};
    QL_TRY(ql_quantized_config(j->s, j->o, &storage, &config));
    ql_status s = ql_json_write(path, config);
    json_decref(config);
    return s;
}

/* --------------------------------------------------------------------------------------- whole */

/* `out` must be new, empty, or an earlier model, and not the source. */
static ql_status check_out(const ql_source *s, const char *out) {
    char config[QL_PATH_MAX];
    char **names = NULL;
    size_t n = 0, len = strlen(out), source = strlen(ql_source_path(s));
    while (len > 1 && out[len - 1] == '/') len--;
    while (source > 1 && ql_source_path(s)[source - 1] == '/') source--;
    if (len == source && strncmp(out, ql_source_path(s), len) == 0)
        return QL_FAIL(QL_ERR_INVALID, "%s: the output folder is the model that is read", out);
    if (!ql_dir_exists(out)) return QL_OK;
    QL_TRY(ql_dir_list(out, &names, &n));
    ql_host_free(names);
    QL_TRY(ql_path_join(config, out, "config.json"));
    if (n > 0 && !ql_file_exists(config))
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: the folder is not empty and holds no model; choose another output "
                       "folder",
                       out);
    return QL_OK;
}

static ql_status stage_path(const char *out, char staged[QL_PATH_MAX]) {
    size_t len = strlen(out);
    while (len > 1 && out[len - 1] == '/') len--;
    int n = snprintf(staged, QL_PATH_MAX, "%.*s.partial", (int)len, out);
    if (len == 0 || n < 0 || n >= QL_PATH_MAX)
        return QL_FAIL(QL_ERR_INVALID, "output folder: the path is empty or too long");
    return QL_OK;
}

static ql_status build(ql_folder_job *j) {
    if (j->o->bits_by_layer != NULL)
        QL_TRY(ql_bits_parse(j->o->bits_by_layer, &j->o->quant, &j->bits));
    QL_TRY(plan(j));
    if (j->bits != NULL) QL_TRY(ql_bits_finish(j->bits));
    QL_TRY(choose_format(j));
    QL_TRY(list_plain(j));
    QL_TRY(ql_dir_remove(j->staged));
    QL_TRY(ql_dir_create(j->staged));
    QL_TRY(ql_source_write_sidecars(j->s, j->staged));
    QL_TRY(write_config(j));
    QL_TRY(write_tensors(j));
    QL_TRY(write_index(j));
    const ql_folder_maker *maker = j->o->maker;
    return maker != NULL ? maker->finish(maker->user, j->staged) : QL_OK;
}

ql_status ql_quantize_folder(const ql_source *s, const ql_quantize_folder_opts *o, const char *out,
                             ql_quantize_report *report) {
    QL_TRY(ql_quant_opts_check(&o->quant));
    QL_TRY(check_out(s, out));
    ql_folder_job j = {.s = s, .o = o, .weight_map = json_object()};
    if (j.weight_map == NULL) return QL_NOMEM("the index of the model's files");
    ql_status status = stage_path(out, j.staged);
    bool named = status == QL_OK;
    if (status == QL_OK) status = build(&j);
    if (status == QL_OK) status = ql_dir_replace(j.staged, out);
    ql_shard_abort(j.open);
    ql_host_free(j.items);
    json_decref(j.weight_map);
    json_decref(j.plain);
    ql_bits_free(j.bits);
    if (status != QL_OK) {
        ql_status cleaned = named ? ql_dir_remove(j.staged) : QL_OK;
        (void)cleaned; /* the first failure is the one to report */
        return status;
    }
    j.r.bytes_out = j.total_bytes;
    j.r.coded_bytes = j.coded_bytes;
    if (j.coded_weights > 0)
        j.r.bits_per_weight = 8.0 * (double)j.coded_bytes / (double)j.coded_weights;
    if (j.norm2 > 0.0) j.r.rel_error = sqrt(j.err2 / j.norm2);
    *report = j.r;
    return QL_OK;
}
