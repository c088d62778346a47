/*
 * events.h - event files of TensorBoard: scalars and texts over steps.
 *
 * A file is a sequence of TFRecords, each an Event message in protobuf's wire format. Only the few
 * fields that TensorBoard reads are written, by hand: no protobuf library.
 */
#ifndef QLORA_TOOLS_EVENTS_H
#define QLORA_TOOLS_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_events ql_events;

/* Creates folder/events.out.tfevents.<time>.<host>.<pid>. `first_step`: the step that comes next;
 * what earlier files of the folder have from there on is forgotten by the reader (a resumed run).
 */
QL_NODISCARD ql_status ql_events_open(const char *folder, int64_t first_step, ql_events **out);
void ql_events_close(ql_events *e); /* NULL ok */
/* Written through at once, so that a running TensorBoard sees it. */
QL_NODISCARD ql_status ql_events_scalar(ql_events *e, const char *tag, int64_t step, double value);
QL_NODISCARD ql_status ql_events_text(ql_events *e, const char *tag, int64_t step, const char *text,
                                      size_t len);
const char *ql_events_path(const ql_events *e);

/* CRC-32C (Castagnoli) of bytes, and as a TFRecord stores it: rotated, plus a constant. */
uint32_t ql_crc32c(const void *data, size_t len);
uint32_t ql_crc32c_masked(const void *data, size_t len);

#endif /* QLORA_TOOLS_EVENTS_H */
