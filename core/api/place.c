/*
 * place.c - when a model is on the device, and what becomes of trained values when it leaves.
 *
 * Core places a model once, with or without room for training. A model that was placed for reading
 * and is then trained (or trained twice) leaves the device first; its values wait on the host.
 */
#include "core/api/api.h"
#include "core/base/hostmem.h"

void ql_api_drop_generator(qlora_model *m) {
    ql_generator_free(m->gen);
    m->gen = NULL;
}

static void free_buffer(const ql_model *c, ql_buffer **buf) {
    c->dev->backend->buffer_free(*buf);
    *buf = NULL;
}

void ql_api_release(qlora_model *m) {
    ql_model *c = m->core;
    ql_api_drop_generator(m);
    if (!c || !c->dev) return;
    free_buffer(c, &c->weights);
    free_buffer(c, &c->trained);
    free_buffer(c, &c->gradients);
    for (int32_t i = 0; i < c->n_mappings; i++) free_buffer(c, &c->mappings[i].buf);
    c->dev = NULL;
    c->queue = NULL;
}

ql_status ql_api_keep_values(qlora_model *m) {
    ql_model *c = m->core;
    float *values = ql_host_calloc((size_t)c->n_trained, sizeof(float));
    if (!values) return QL_NOMEM("trained values");
    ql_status s =
        c->dev->backend->read(c->queue, c->trained, 0, values, c->n_trained * sizeof(float));
    if (s != QL_OK) {
        ql_host_free(values);
        return s;
    }
    ql_host_free(m->values);
    m->values = values;
    return QL_OK;
}

ql_status ql_api_unplace(qlora_model *m) {
    if (!m->core->dev) return QL_OK;
    if (m->trainer) return QL_FAIL(QL_ERR_INVALID, "model: a trainer of it is in use");
    if (m->has_values) QL_TRY(ql_api_keep_values(m));
    ql_api_release(m);
    return QL_OK;
}

ql_status ql_api_restore_values(qlora_model *m) {
    ql_model *c = m->core;
    if (m->values) {
        QL_TRY(c->dev->backend->write(c->queue, c->trained, 0, m->values,
                                      c->n_trained * sizeof(float)));
        QL_TRY(c->dev->backend->queue_sync(c->queue));
    } else if (m->values_dir) {
        QL_TRY(ql_adapter_load(c, m->values_dir));
    }
    ql_host_free(m->values);
    ql_host_free(m->values_dir);
    m->values = NULL;
    m->values_dir = NULL;
    return QL_OK;
}

static ql_status place(qlora_model *m) {
    ql_model *c = m->core;
    ql_device *dev = m->session->dev;
    QL_TRY(ql_model_place(c, dev, m->queue));
    QL_TRY(ql_api_cancelled(m->session, "load"));
    if (c->opts.full && !m->has_values) {
        QL_TRY(ql_model_init_trained(c, 0));
        m->has_values = true;
    }
    return ql_api_restore_values(m);
}

ql_status ql_api_place(qlora_model *m) {
    ql_model *c = m->core;
    ql_device *dev = m->session->dev;
    if (c->dev) return QL_OK;
    QL_TRY(ql_api_cancelled(m->session, "load"));
    if (!m->queue) QL_TRY(dev->backend->queue_create(dev, &m->queue));
    ql_memory_report r = {0};
    uint64_t bytes = 0;
    c->opts.optimizer = false;
    ql_model_report(c, &r);
    for (int i = 0; i < QL_POOL_COUNT; i++) bytes += r.device[i];
    QL_TRY(ql_api_fits(m->session, bytes, r.mapped_bytes));
    ql_status s = place(m);
    if (s != QL_OK) ql_api_release(m);
    return s;
}
