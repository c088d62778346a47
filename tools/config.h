/*
 * config.h - a file of settings (YAML): its keys are the flags' names, its values go to the flags.
 *
 * One file may serve several commands: keys of other commands are left to them. Keys whose meaning
 * belongs to one command (output_dir, dataset, task ...) are taken only when the file is for this
 * command or one of the same kind: as its key `command` says, or, without that, when it has no key
 * of another command. `train`, `plan` and `data` are of one kind, and so is a file that does not
 * say; but an output_dir is taken by the very command only.
 *
 * `given: [names]` lists the keys that somebody gave; the others count as defaults as long as they
 * equal them. Written files (config_text.h) have it, so that reading one back is the same run.
 */
#ifndef QLORA_TOOLS_CONFIG_H
#define QLORA_TOOLS_CONFIG_H

#include "tools/args.h"
#include "tools/spelling.h"

typedef struct ql_config_scope {
    const char *command;
    const ql_arg_table *tables; /* this command's */
    size_t n_tables;
    const ql_arg_table *others; /* all commands': looked up, never set */
    size_t n_others;
    const ql_arg_value *line; /* what the command line gives: no remark where it decides */
    size_t n_line;
    ql_spellings *sp; /* texts and remarks; outlives the settings */
} ql_config_scope;

/* Reads the file and sets the flags. Nothing is set when it is refused for its form. */
QL_NODISCARD ql_status ql_config_load(const ql_config_scope *scope, const char *path);
/* The same from memory; `what` is the name in sentences. */
QL_NODISCARD ql_status ql_config_apply(const ql_config_scope *scope, const char *text, size_t len,
                                       const char *what);

#endif /* QLORA_TOOLS_CONFIG_H */
