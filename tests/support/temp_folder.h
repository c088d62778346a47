/*
 * temp_folder.h - one folder per test process, under TMPDIR or /tmp, removed at exit.
 *
 * A failure here ends the program: the machine is at fault, not the code under test.
 */
#ifndef QLORA_TESTS_SUPPORT_TEMP_FOLDER_H
#define QLORA_TESTS_SUPPORT_TEMP_FOLDER_H

#include <stddef.h>

/* The folder; borrowed, the same for the whole process. */
const char *temp_folder(void);
/* Path of `name` inside it; borrowed, valid until exit. At most 256 names. */
const char *temp_path(const char *name);
/* Writes a file there (without core's own writer); its path as temp_path gives it. */
const char *temp_put(const char *name, const void *data, size_t size);

#endif
