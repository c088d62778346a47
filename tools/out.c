/* out.c - messages, the JSON document, the progress line and exit codes; see out.h. */
#define _POSIX_C_SOURCE 200809L
#include "tools/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/base/hostmem.h"

#define LIVE_INTERVAL_S  0.1
#define PLAIN_INTERVAL_S 10.0

ql_exit ql_exit_for(ql_stage stage, ql_status s) {
    switch (s) {
    case QL_OK: return QL_EXIT_OK;
    case QL_ERR_CANCELLED: return QL_EXIT_SIGINT;
    case QL_ERR_NUMERIC:
        return stage == QL_STAGE_DATA    ? QL_EXIT_DATA
               : stage == QL_STAGE_MODEL ? QL_EXIT_DAMAGED
                                         : QL_EXIT_DIVERGED;
    case QL_ERR_NOMEM_HOST:
    case QL_ERR_INTERNAL: return QL_EXIT_FAILED;
    case QL_ERR_NOMEM_DEV: return stage == QL_STAGE_RUN ? QL_EXIT_FAILED : QL_EXIT_NO_FIT;
    case QL_ERR_DEVICE_LOST: return QL_EXIT_FAILED;
    case QL_ERR_INVALID:
    case QL_ERR_SHAPE:
    case QL_ERR_DTYPE:
    case QL_ERR_UNSUPPORTED:
    case QL_ERR_IO:
    case QL_ERR_FORMAT:
    case QL_ERR_NOT_FOUND:
    case QL_ERR_DRIVER: break;
    }
    switch (stage) {
    case QL_STAGE_DEVICE: return s == QL_ERR_INVALID ? QL_EXIT_USAGE : QL_EXIT_DEVICE;
    case QL_STAGE_MODEL:
        /* A path that leads nowhere, an option or an architecture we lack: the user's call. */
        return s == QL_ERR_FORMAT || s == QL_ERR_SHAPE || s == QL_ERR_DTYPE ? QL_EXIT_DAMAGED
               : s == QL_ERR_IO                                             ? QL_EXIT_FAILED
                                                                            : QL_EXIT_USAGE;
    case QL_STAGE_DATA:
        return s == QL_ERR_NOT_FOUND ? QL_EXIT_USAGE
               : s == QL_ERR_IO      ? QL_EXIT_FAILED
                                     : QL_EXIT_DATA;
    case QL_STAGE_USAGE:
    case QL_STAGE_PLAN: return QL_EXIT_USAGE;
    case QL_STAGE_RUN: break;
    }
    return QL_EXIT_FAILED;
}

double ql_now_s(void) {
    struct timespec t = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ql_out_init(ql_out *o, bool json, bool quiet, const char *color) {
    *o = (ql_out){
        .json = json, .quiet = quiet, .live = isatty(STDERR_FILENO) != 0, .last_s = ql_now_s()};
    o->color = color && strcmp(color, "always") == 0;
    if (!color || strcmp(color, "auto") == 0) {
        const char *no_color = getenv("NO_COLOR");
        o->color = o->live && !(no_color && *no_color);
    }
}

/* Ends an unfinished live line before anything else is written. */
static void end_line(ql_out *o) {
    if (o->line) fputc('\n', stderr);
    o->line = false;
}

void ql_print(ql_out *o, const char *fmt, ...) {
    if (o->json) return;
    va_list ap;
    end_line(o);
    va_start(ap, fmt);
    vfprintf(stdout, fmt, ap);
    va_end(ap);
}

ql_exit ql_print_json(ql_out *o, json_t *doc) {
    if (!doc) {
        ql_error(o, "out of host memory for the JSON document");
        return QL_EXIT_FAILED;
    }
    ql_exit code = QL_EXIT_OK;
    if (o->json) {
        end_line(o);
        if (json_dumpf(doc, stdout, JSON_INDENT(2)) != 0 || fputc('\n', stdout) == EOF) {
            ql_error(o, "the JSON document cannot be written to standard output");
            code = QL_EXIT_FAILED;
        }
    }
    json_decref(doc);
    return code;
}

static void put_line(const char *fmt, va_list ap) QL_PRINTF(1, 0);

/* One line on stderr: names and texts that came from a file move no cursor and end no line. */
static void put_line(const char *fmt, va_list ap) {
    char small[1024];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    char *text = n >= (int)sizeof small ? ql_host_calloc((size_t)n + 1, 1) : NULL;
    if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    for (const char *c = text ? text : small; n >= 0 && *c; c++)
        fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, stderr);
    fputc('\n', stderr);
    ql_host_free(text);
}

void ql_note(ql_out *o, const char *fmt, ...) {
    if (o->quiet) return;
    va_list ap;
    end_line(o);
    va_start(ap, fmt);
    put_line(fmt, ap);
    va_end(ap);
}

void ql_error(ql_out *o, const char *fmt, ...) {
    va_list ap;
    end_line(o);
    fputs(o->color ? "\033[31merror:\033[0m " : "error: ", stderr);
    va_start(ap, fmt);
    put_line(fmt, ap);
    va_end(ap);
}

ql_exit ql_fail(ql_out *o, ql_stage stage, ql_status s) {
    const char *sentence = ql_last_error();
    ql_error(o, "%s", *sentence ? sentence : ql_status_name(s));
    return ql_exit_for(stage, s);
}

/* Columns of the terminal on stderr; many where nobody says. */
static int terminal_width(void) {
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1 : 10000;
}

size_t ql_text_fit(const char *text, int columns) {
    size_t n = 0;
    for (; text[n]; n++) {
        bool first = ((unsigned char)text[n] & 0xC0) != 0x80; /* the first byte of a character */
        if (first && columns-- <= 0) break;
    }
    return n;
}

void ql_progress(ql_out *o, bool milestone, const char *fmt, ...) {
    if (o->quiet) return;
    double now = ql_now_s();
    bool due = now - o->last_s >= (o->live ? LIVE_INTERVAL_S : PLAIN_INTERVAL_S);
    if (!milestone && !due) return;
    o->last_s = now;
    va_list ap;
    char line[512];
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (o->live) {
        line[ql_text_fit(line, terminal_width())] = '\0';
        fprintf(stderr, "\r\033[K%s", line);
    } else {
        fprintf(stderr, "%s\n", line);
    }
    o->line = o->live;
    fflush(stderr);
}

void ql_progress_end(ql_out *o) {
    end_line(o);
}

ql_exit ql_out_close(ql_out *o, ql_exit code) {
    end_line(o);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ql_error(o, "standard output cannot be written");
        if (code == QL_EXIT_OK) code = QL_EXIT_FAILED;
    }
    return code;
}
