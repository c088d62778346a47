/* names.h - lists of names separated by spaces, and the name nearest to a misspelt one. */
#ifndef QLORA_TOOLS_NAMES_H
#define QLORA_TOOLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define QL_NAME_MAX 64 /* longest name that is compared */

/* Next word of a list separated by spaces or '|': its length, 0 at the end. */
size_t ql_next_name(const char **list);
/* Is `word` one of the names? */
bool ql_names_have(const char *names, const char *word);
/* Copies `word` without leading dashes, hyphens as underscores; false when it is too long. */
bool ql_plain_name(const char *word, size_t len, char out[QL_NAME_MAX + 1]);

/* The name among `names` nearest to `word`, copied into out[size]; false when none is near. Hyphens
 * count as underscores. */
bool ql_nearest_name(const char *names, const char *word, char *out, size_t size);
/* Edits that turn the plain name `word` into `name`; SIZE_MAX when that is too many to be a slip.
 */
size_t ql_name_distance(const char *word, const char *name);

#endif /* QLORA_TOOLS_NAMES_H */
