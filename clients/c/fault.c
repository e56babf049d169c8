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
    [CRASH] = "crash", [HELD_BACK] = "held-back", [BAD_ROOT] = "root", [USAGE] = "usage",
};

static struct fault last;
static char place[sizeof last.place];

/* Texts hold names from the network: what a terminal could take for a command is masked. */
static void mask(char *text) {
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~') *text = '?';
}

void fault_place(const char *url) {
    snprintf(place, sizeof place, "%s", url);
    mask(place);
}

__attribute__((format(printf, 3, 0))) static void
remember(enum kind kind, const char *word, const char *format, va_list arguments) {
    char text[sizeof last.text]; /* the arguments may hold the last text itself */
    vsnprintf(text, sizeof text, format, arguments);
    mask(text);
    last.kind = kind;
    memcpy(last.text, text, sizeof text);
    snprintf(last.word, sizeof last.word, "%s", word);
    snprintf(last.place, sizeof last.place, "%s", kind <= TLS ? place : "");
}

bool fail(enum kind kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    remember(kind, words[kind], format, arguments);
    va_end(arguments);
    return false;
}

bool fail_held_back(const char *word, const char *format, ...) {
    va_list arguments;
    enum kind kind = OLD_FIRMWARE; /* `misbehaved`, or one of a later client, are none of ours */
    while (kind < HELD_BACK && strcmp(words[kind], word) != 0) kind++;
    va_start(arguments, format);
    remember(kind, word, format, arguments);
    va_end(arguments);
    return false;
}

void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    mask(line);
    fprintf(stderr, "  %s\n", line);
}

bool fail_errno(int number, const char *doing, const char *name) {
    /* EFBIG: a limit on file sizes; for a camera it is as full as ENOSPC */
    bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
    bool closed = number == EROFS || number == EACCES || number == EPERM;
    enum kind kind = full ? DISK_FULL : closed ? READ_ONLY : STORE_DAMAGED;
    return fail(kind, "cannot %s `%s`: %s", doing, name, strerror(number));
}

void forget_fault(void) {
    last.kind = KIND_NONE;
    last.text[0] = last.word[0] = last.place[0] = '\0';
}

struct fault fault_save(void) { return last; }

void fault_restore(const struct fault *saved) { last = *saved; }

enum kind fault_kind(void) { return last.kind; }

const char *fault_text(void) { return last.text; }

const char *fault_word(void) { return last.word; }

const char *kind_word(enum kind kind) { return words[kind]; }

int kind_exit_code(enum kind kind) {
    if (kind == KIND_NONE) return 0;
    if (kind <= MALFORMED) return 5;
    return kind >= BAD_ROOT ? 2 : 3;
}

/* What to do, after what is said of the present model. */
static const char *hint_of(enum kind kind) {
    switch (kind) {
    case CLOCK_WRONG: return "set the clock";
    case TLS: return "--ca names the authorities to trust, and certificates need the right clock";
    case NEWER_SCHEMA: return "update the client";
    case OTHER_COMPATIBLE: return "--compatible is the word that releases for this camera state";
    case OLD_FIRMWARE: return "this release needs a newer firmware";
    case OLD_RUNTIME: return "install the runtime, or state its version with --runtime";
    case GOLDEN:
    case SLOW:
    case CRASH:
    case HELD_BACK: return "publish a better one";
    default:
        return kind_exit_code(kind) == 5 ? "tell whoever runs the channel"
                                         : "the next run tries again";
    }
}

/* Of what has nothing to do with the present model: all there is to say. */
static const char *plain_hint_of(enum kind kind) {
    switch (kind) {
    case BAD_ROOT: return "hand in the `root.json` that came with the camera's firmware";
    case USAGE: return "`edgesr-pull --help` lists the options";
    case BUSY: return "another pull is at work on this store; try again later";
    case DISK_FULL: return "free space where the store lies; the next run resumes";
    case READ_ONLY: return "make the store writable; the next run resumes";
    default: return NULL;
    }
}

void print_fault(const char *served) {
    const char *label = kind_exit_code(last.kind) == 5 ? "refused" : "error";
    const char *plain = plain_hint_of(last.kind);
    fprintf(stderr, "%s[%s]: %s\n", label, last.word, last.text);
    if (last.place[0] != '\0') fprintf(stderr, "  --> %s\n", last.place);
    if (plain != NULL)
        fprintf(stderr, "\nhint: %s\n", plain);
    else
        fprintf(stderr, "\nhint: %s%s\n", served, hint_of(last.kind));
}
