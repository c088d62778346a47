/* data_page.h - rows of data as an HTML page: tokens coloured by what the loss sees. */
#ifndef QLORA_TOOLS_DATA_PAGE_H
#define QLORA_TOOLS_DATA_PAGE_H

#include "tools/data_look.h"
#include "tools/html.h"

/* A row with its tokens, or with its texts where there are none; `problem` NULL = none is known. */
void ql_page_row(ql_html *h, const ql_look *l, const ql_walk_row *row, const char *problem);
/* What is known about all rows: tiles, lengths, problems by kind. */
void ql_page_report(ql_html *h, const ql_look *l, const ql_check_report *r);

/* Tokens that --max_seq_len took from the row's right side; *out owned, NULL = none. */
QL_NODISCARD ql_status ql_lost_tokens(const ql_look *l, const ql_walk_row *row, int32_t **out,
                                      int32_t *n);

/* The length below which `share` of the rows are; sorts r->lengths. */
int32_t ql_length_quantile(const ql_check_report *r, double share);

#endif /* QLORA_TOOLS_DATA_PAGE_H */
