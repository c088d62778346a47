/* chars.h - characters of UTF-8 text, for readers that do not work with pieces of text (text.h). */
#ifndef QLORA_CORE_DATA_CHARS_H
#define QLORA_CORE_DATA_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Number of code points, at most INT32_MAX. */
int32_t ql_text_chars(const char *s, size_t len);
bool ql_text_is_utf8(const char *s, size_t len);
/* The first character that no text should hold, -1 = none: a control character other than tab and
 * line ends, U+FFFD (something was lost before), U+FEFF. */
int32_t ql_text_bad_char(const char *s, size_t len);

#endif
