/* Kinds of failure, their words, exit codes and hints. */
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const words[KINDS] = {
    [KIND_NONE] = "", [ARBITRARY_FILE] = "arbitrary-file", [UNSIGNED] = "unsigned",
    [WRONG_KEY] = "wrong-key", [THRESHOLD] = "threshold", [TAMPERED] = "tampered",
    [ROLLBACK] = "rollback", [FREEZE] = "freeze", [MIX_AND_MATCH] = "mix-and-match",
    [ENDLESS_DATA] = "endless-data", [MALFORMED] = "malformed", [NETWORK] = "network",
    [TIMED_OUT] = "timeout", [HTTP_STATUS] = "http", [MISSING] = "missing",
    [TRUNCATED] = "truncated", [BAD_RANGE] = "range", [TLS] = "tls", [CLOCK_WRONG] = "clock",
    [DISK_FULL] = "disk-full", [READ_ONLY] = "read-only", [BUSY] = "busy",
    [STORE_DAMAGED] = "store", [NEWER_SCHEMA] = "schema", [OTHER_COMPATIBLE] = "compatible",
    [OLD_FIRMWARE] = "firmware", [OLD_RUNTIME] = "runtime", [GOLDEN] = "golden", [SLOW] = "slow",
    [CRASH] = "crash", [BLOCKED] = "blocked", [BAD_ROOT] = "root", [USAGE] = "usage",
};

static enum kind last_kind;
static char last_text[512];

bool fail(enum kind kind, const char *format, ...) {
    char text[sizeof last_text]; /* the arguments may hold the last text itself */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    last_kind = kind;
    memcpy(last_text, text, sizeof text);
    return false;
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

bool fail_errno(int number, const char *doing, const char *name) {
    /* EFBIG: a limit on file sizes; for a camera it is as full as ENOSPC */
    bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
    bool closed = number == EROFS || number == EACCES || number == EPERM;
    enum kind kind = full ? DISK_FULL : closed ? READ_ONLY : STORE_DAMAGED;
    return fail(kind, "cannot %s `%s`: %s", doing, name, strerror(number));
}

void forget_fault(void) {
    last_kind = KIND_NONE;
    last_text[0] = '\0';
}

enum kind fault_kind(void) { return last_kind; }

const char *fault_text(void) { return last_text; }

const char *kind_word(enum kind kind) { return words[kind]; }

enum kind kind_of_word(const char *word) {
    for (int kind = 1; kind < KINDS; kind++)
        if (strcmp(words[kind], word) == 0) return (enum kind)kind;
    return KIND_NONE;
}

int kind_exit_code(enum kind kind) {
    if (kind == KIND_NONE) return 0;
    if (kind <= MALFORMED) return 5;
    return kind >= BAD_ROOT ? 2 : 3;
}

const char *kind_hint(enum kind kind) {
    switch (kind) {
    case BAD_ROOT: return "hand in the `root.json` that came with the camera's firmware";
    case USAGE: return "`edgesr-pull --help` lists the options";
    case BUSY: return "another pull is at work on this store; try again later";
    case DISK_FULL: return "free space where the store lies; the next run resumes";
    case READ_ONLY: return "make the store writable; the next run resumes";
    case CLOCK_WRONG: return "set the clock; the present model stays";
    case NEWER_SCHEMA: return "update the client; the present model stays";
    default:
        return kind_exit_code(kind) == 5
                   ? "the present model stays; tell whoever runs the channel"
                   : "the present model stays; the next run tries again";
    }
}

void print_fault(void) {
    const char *label = kind_exit_code(last_kind) == 5 ? "refused" : "error";
    fprintf(stderr, "%s[%s]: %s\n\nhint: %s\n", label, kind_word(last_kind), last_text,
            kind_hint(last_kind));
}
