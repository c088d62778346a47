/*
 * optim_store.h - the optimizer's state in memory: two stores, the slots between them, the update.
 */
#ifndef QLORA_CORE_TRAIN_OPTIM_STORE_H
#define QLORA_CORE_TRAIN_OPTIM_STORE_H

#include "core/base/fs_pages.h"
#include "core/train/optim.h"

typedef struct ql_opt_store {
    const ql_opt_layout *layout; /* borrowed */
    ql_device *dev;
    ql_buffer *device, *slots; /* NULL = none */
    ql_buffer *host;           /* pages beside the device: in host memory ... */
    ql_queue *copies;
    ql_event *in[QL_OPT_SLOTS], *done[QL_OPT_SLOTS];
    ql_page_file *file; /* ... or in a file, for a device whose memory is the host's */
    ql_io_queue *io;
    uint64_t ticket[QL_OPT_SLOTS];
    bool ahead; /* the first pages are asked for already */
} ql_opt_store;

/* Allocates and zeroes the state; `layout` outlives the store. `page_dir`: pages that leave the
 * device lie in a file there instead of in host memory, for devices whose buffers the host can
 * reach; NULL = in memory. On failure *out is empty. */
QL_NODISCARD ql_status ql_opt_store_create(const ql_opt_layout *layout, ql_queue *q,
                                           const char *page_dir, ql_opt_store *out);
void ql_opt_store_free(ql_opt_store *s); /* a zeroed one is empty */

typedef struct ql_opt_hyper {
    double beta1, beta2, epsilon, weight_decay, momentum;
} ql_opt_hyper;

/* Asks for the first pages, to come in while the gradients are computed. */
QL_NODISCARD ql_status ql_opt_store_prefetch(ql_opt_store *s);
/* One update of all trained values of m from their gradients on queue q; `step` is the step block.
 * May return before the last page is back in its store. */
QL_NODISCARD ql_status ql_opt_store_update(ql_opt_store *s, ql_queue *q, const ql_model *m,
                                           ql_mat step, const ql_opt_hyper *h);

/* Bytes of a part of one page (part.page <= page < part.page_end) into `out`, or from `in`. All
 * moves are finished first. */
QL_NODISCARD ql_status ql_opt_store_read(ql_opt_store *s, ql_queue *q, const ql_opt_part *part,
                                         int32_t page, uint64_t at, uint64_t n, void *out);
QL_NODISCARD ql_status ql_opt_store_write(ql_opt_store *s, ql_queue *q, const ql_opt_part *part,
                                          int32_t page, uint64_t at, uint64_t n, const void *in);

#endif
