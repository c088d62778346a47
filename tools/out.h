/*
 * out.h - what the program says: results and one JSON document on stdout, everything else on
 * stderr.
 *
 * Also the exit codes of the command line and how a failed library call becomes one. A live
 * progress line exists on a terminal only; elsewhere progress is plain lines. The state lives in
 * ql_out, so that a message never lands inside a live line.
 */
#ifndef QLORA_TOOLS_OUT_H
#define QLORA_TOOLS_OUT_H

#include <jansson.h>
#include <stdbool.h>

#include "qlora/status.h"

/* Exit codes scripts rely on. */
typedef enum ql_exit {
    QL_EXIT_OK = 0,
    QL_EXIT_FAILED = 1,   /* run-time failure                                     */
    QL_EXIT_USAGE = 2,    /* usage or configuration                               */
    QL_EXIT_DATA = 3,     /* input data refused                                   */
    QL_EXIT_GATE = 4,     /* a quality gate failed (verify, merge, eval)          */
    QL_EXIT_NO_FIT = 5,   /* does not fit; nothing was started                    */
    QL_EXIT_DEVICE = 6,   /* backend or device missing                            */
    QL_EXIT_DAMAGED = 7,  /* checkpoint or model file damaged, no fallback        */
    QL_EXIT_DIVERGED = 8, /* non-finite values or an early-stop rule              */
    QL_EXIT_SIGINT = 130, /* stopped by a signal after a clean save               */
    QL_EXIT_SIGTERM = 143
} ql_exit;

/* What the program was doing when a call failed: the same status means another exit code when it
 * comes from the user's data than when it comes from a model file. */
typedef enum ql_stage {
    QL_STAGE_USAGE,  /* arguments and configuration          */
    QL_STAGE_DEVICE, /* finding and opening a device         */
    QL_STAGE_MODEL,  /* model, tokenizer, adapter, checkpoint files */
    QL_STAGE_DATA,   /* data sets and other input            */
    QL_STAGE_PLAN,   /* before anything is started           */
    QL_STAGE_RUN     /* computing and writing                */
} ql_stage;
ql_exit ql_exit_for(ql_stage stage, ql_status s);

typedef struct ql_out {
    bool json;     /* results go out as one document; text results are dropped  */
    bool quiet;    /* no notes, no progress                                     */
    bool live;     /* stderr is a terminal                                      */
    bool color;    /* "error:" in red                                           */
    bool line;     /* a live line is on the screen                              */
    double last_s; /* when progress was last shown                              */
} ql_out;

/* `color`: "auto", "always" or "never"; auto respects NO_COLOR. */
void ql_out_init(ql_out *o, bool json, bool quiet, const char *color);

/* A result for people: stdout; nothing under --json. Ends with a newline of its own. */
void ql_print(ql_out *o, const char *fmt, ...) QL_PRINTF(2, 3);
/* The result for programs: prints and releases `doc` (NULL = out of memory). Does nothing but
 * release without --json. */
QL_NODISCARD ql_exit ql_print_json(ql_out *o, json_t *doc);
/* A remark: stderr, nothing under --quiet. One line, newline added. */
void ql_note(ql_out *o, const char *fmt, ...) QL_PRINTF(2, 3);
/* "error: <sentence>" on stderr. */
void ql_error(ql_out *o, const char *fmt, ...) QL_PRINTF(2, 3);
/* Prints the library's sentence for the failure `s` and returns the exit code. */
QL_NODISCARD ql_exit ql_fail(ql_out *o, ql_stage stage, ql_status s);

/* Progress. On a terminal the line is rewritten, at most ten times a second; elsewhere a line is
 * printed when `milestone` (one per logging step) or when ten seconds passed since the last. */
void ql_progress(ql_out *o, bool milestone, const char *fmt, ...) QL_PRINTF(3, 4);
/* Bytes of the first `columns` characters of UTF-8 text, or of all: a live line that wrapped could
 * not be rewritten. */
size_t ql_text_fit(const char *text, int columns);
/* Leaves the live line as it is and starts a new one. */
void ql_progress_end(ql_out *o);

/* Monotonic seconds. */
double ql_now_s(void);
/* Flushes stdout; a full disk or closed pipe turns success into QL_EXIT_FAILED. */
QL_NODISCARD ql_exit ql_out_close(ql_out *o, ql_exit code);

#endif /* QLORA_TOOLS_OUT_H */
