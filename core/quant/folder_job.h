/*
 * folder_job.h - state of one ql_quantize_folder call, shared by folder.c (plan, files) and
 * folder_tensors.c (one tensor after another).
 */
#ifndef QLORA_CORE_QUANT_FOLDER_JOB_H
#define QLORA_CORE_QUANT_FOLDER_JOB_H

#include "core/quant/shard.h"
#include "core/quant/stored.h"

typedef struct ql_folder_item {
    const ql_source_tensor *t;
    bool quantize;
    bool made;           /* by the maker */
    ql_quant_opts quant; /* when it is quantized */
    uint64_t bytes;      /* about what it will take */
    int32_t shard;
} ql_folder_item;

typedef struct ql_folder_job {
    const ql_source *s;
    const ql_quantize_folder_opts *o;
    ql_stored_format format;    /* of all quantized weights                           */
    const ql_quant_opts *first; /* storage of the first one                           */
    ql_bits *bits;              /* bits_by_layer, or NULL                             */
    json_t *plain;              /* plain modules, when its rules keep some; else NULL */
    char staged[QL_PATH_MAX];
    ql_folder_item *items;
    int64_t count;
    int32_t shards;
    ql_shard *open;
    json_t *weight_map;
    uint64_t total_bytes; /* of tensors written so far */
    uint64_t coded_bytes, coded_weights;
    double err2, norm2;
    ql_quantize_report r;
} ql_folder_job;

/* Reads, encodes or copies one planned tensor into the open shard; `file` is the shard's name. */
QL_NODISCARD ql_status ql_folder_write_item(ql_folder_job *j, const ql_folder_item *it,
                                            const char *file);

#endif
