/*
 * space.h - white space as Python's str.isspace knows it.
 */
#ifndef QLORA_CORE_DATA_SPACE_H
#define QLORA_CORE_DATA_SPACE_H

#include <stddef.h>

/* Bytes of the white space character that s[0..len) begins with, or ends with; 0 = none. */
size_t ql_space_at(const char *s, size_t len);
size_t ql_space_before(const char *s, size_t len);

#endif
