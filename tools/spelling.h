/*
 * spelling.h - settings as other programs write them: transformers 4 and 5, PEFT, bitsandbytes,
 * TRL, qlora.py, llama.cpp, and the names of Axolotl, LLaMA-Factory and mlx-lm.
 *
 * Each is mapped to ours exactly, accepted as meaningless here with one line that says so, or
 * refused with what to do. The same table serves the command line and files of settings.
 */
#ifndef QLORA_TOOLS_SPELLING_H
#define QLORA_TOOLS_SPELLING_H

#include "core/base/hostmem.h"
#include "tools/args.h"

typedef enum ql_fate {
    QL_FATE_MAPS,    /* `to` holds our names and values                        */
    QL_FATE_NOTED,   /* accepted; `to` says why it means nothing here           */
    QL_FATE_REFUSED, /* `to` says what to do                                    */
    QL_FATE_FOREIGN, /* refused; another program's name of our flag `to`        */
    QL_FATE_OPENS    /* a mapping of settings: its keys count as if outside it  */
} ql_fate;

typedef struct ql_spelling {
    const char *names;  /* with the same fate, separated by spaces                        */
    const char *values; /* the fate is that of these values; NULL = every other value.
                         * "<1": between 0 and 1; true and false stand for every boolean,
                         * null for an empty text too                                     */
    ql_fate fate;
    const char *to; /* MAPS: "bits=4", "lora_r=*" (* is the value), several with spaces   */
} ql_spelling;

/* The row of a plain name with this value; NULL = none. A row for single values comes before a flag
 * of ours with that name, a row for every other value behind it. `value` NULL: any row with the
 * name.
 */
const ql_spelling *ql_spelling_find(const char *name, const char *value);
/* May it stand on the command line without a value? */
bool ql_spelling_is_switch(const char *name);
/* The n-th row, NULL behind the last. */
const ql_spelling *ql_spelling_at(size_t n);

/* Where texts of mapped values live, and the remarks of one reading. */
typedef struct ql_spellings {
    ql_arena arena;
    char **notes;
    size_t n_notes, notes_cap;
} ql_spellings;
void ql_spellings_free(ql_spellings *sp);
/* Keeps a remark for later. */
QL_NODISCARD ql_status ql_spellings_note(ql_spellings *sp, const char *fmt, ...) QL_PRINTF(2, 3);

/* What a row makes of `value` for the flags of `tables`: up to `most` values into out. Values for
 * flags that no table has are left out. `name` is what sentences call it, with its place. */
QL_NODISCARD ql_status ql_spelling_apply(const ql_spelling *row, const ql_arg_table *tables,
                                         size_t n_tables, const char *name, const char *value,
                                         ql_spellings *sp, ql_arg_value *out, size_t most,
                                         size_t *n);
enum { QL_SPELLING_MOST = 4 }; /* values that one spelling becomes */

/* The refusal of a name that is no flag: known for later, another program's, or near to one of
 * ours. `where` stands in front of the sentence, `kind` is "flag" or "key", `dashes` are put before
 * our names. */
ql_status ql_spelling_unknown(const ql_arg_table *tables, size_t n_tables, const char *where,
                              const char *kind, const char *name, const char *dashes);

#endif /* QLORA_TOOLS_SPELLING_H */
