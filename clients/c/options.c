/* Reads the command line; every mistake in it is found before any work. */
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "clock.h"
#include "fault.h"
#include "limits.h"
#include "release.h"

#define VERSION "0.1.0" /* of the toolkit: toolkit/__init__.py */

static const char help[] =
    "usage: edgesr-pull --channel URL --device-id ID --root FILE --store DIR [options]\n"
    "Look for a better model in a signed channel; have it served once it has proved itself.\n\n"
    "  --channel URL          http:, https: or file: URL of the folder that holds metadata/ and\n"
    "                         targets/, or the folder itself, e.g. of a USB stick\n"
    "  --device-id ID         who this camera is, for rollouts; @FILE: the first line of a file\n"
    "  --root FILE            root.json that came with the firmware\n"
    "  --store DIR            where releases are kept; survives restarts\n"
    "  --family F             default: the only one of the channel\n"
    "  --compatible C         the kind of camera this is; default: the family's name\n"
    "  --firmware N           version of the firmware; default 0\n"
    "  --runtime NAME=VERSION what runs models here; default: not checked\n"
    "  --self-test PROGRAM    run as PROGRAM RELEASE_FOLDER; 0: good, 124: too slow,\n"
    "                         126 and 127: could not be run, other codes: wrong, signals: crash\n"
    "  --self-test-s N        its time limit; default 60\n"
    "  --self-test-mb N       its address space; default 2048\n"
    "  --time-floor TIME      it is at least 2026-11-21T18:00:00Z, say\n"
    "  --wait S               for another pull in the same store; default 60\n"
    "  --stall-s N            a try ends when nothing came for so long; default 30\n"
    "  --tries N              of each file; default 5\n"
    "  --retry-s S            pause before the second try, doubles with each; default 1\n"
    "  --ca FILE              authorities to trust for https, PEM; default: the system's\n"
    "  --json                 the result on stdout; else the model's path\n"
    "  --status               what the store holds; asks nobody, changes nothing\n"
    "  --return-to-previous   the present model misbehaves: serve the one before, block this one\n"
    "  --version\n\n"
    "exit: 0 fine, 2 usage, 3 something is missing or in the way, 5 refused for security\n\n"
    "example: edgesr-pull --channel https://models.example/street --device-id @/etc/machine-id \\\n"
    "           --root /etc/edgesr/root.json --store /var/lib/edgesr --self-test /usr/bin/try-model\n";

enum option_word {
    CHANNEL = 256, DEVICE_ID, ROOT_FILE, STORE, FAMILY, COMPATIBLE, FIRMWARE, RUNTIME, SELF_TEST,
    SELF_TEST_S, SELF_TEST_MB, TIME_FLOOR, WAIT, STALL_S, TRIES, RETRY_S, CA, JSON, STATUS, RETURN_TO_PREVIOUS,
    HELP, SHOW_VERSION,
    METADATA_DIR, METADATA_URL, TARGET_NAME, TARGET_BASE_URL, TARGET_DIR
};

static const struct option table[] = {
    {"channel", required_argument, NULL, CHANNEL},
    {"device-id", required_argument, NULL, DEVICE_ID},
    {"root", required_argument, NULL, ROOT_FILE},
    {"store", required_argument, NULL, STORE},
    {"family", required_argument, NULL, FAMILY},
    {"compatible", required_argument, NULL, COMPATIBLE},
    {"firmware", required_argument, NULL, FIRMWARE},
    {"runtime", required_argument, NULL, RUNTIME},
    {"self-test", required_argument, NULL, SELF_TEST},
    {"self-test-s", required_argument, NULL, SELF_TEST_S},
    {"self-test-mb", required_argument, NULL, SELF_TEST_MB},
    {"time-floor", required_argument, NULL, TIME_FLOOR},
    {"wait", required_argument, NULL, WAIT},
    {"stall-s", required_argument, NULL, STALL_S},
    {"tries", required_argument, NULL, TRIES},
    {"retry-s", required_argument, NULL, RETRY_S},
    {"ca", required_argument, NULL, CA},
    {"json", no_argument, NULL, JSON},
    {"status", no_argument, NULL, STATUS},
    {"return-to-previous", no_argument, NULL, RETURN_TO_PREVIOUS},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, SHOW_VERSION},
    {"metadata-dir", required_argument, NULL, METADATA_DIR},
    {"metadata-url", required_argument, NULL, METADATA_URL},
    {"target-name", required_argument, NULL, TARGET_NAME},
    {"target-base-url", required_argument, NULL, TARGET_BASE_URL},
    {"target-dir", required_argument, NULL, TARGET_DIR},
    {NULL, 0, NULL, 0},
};

static bool whole_number(const char *text, long long least, long long most, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= least && *out <= most;
}

static bool seconds(const char *text, double least, double most, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && *out >= least && *out <= most;
}

/* Seconds of an option whose limit works in whole ones, rounded up. */
static bool whole_seconds(const char *text, double least, double most, long *out) {
    double value;
    if (!seconds(text, least, most, &value)) return false;
    *out = (long)value + (value > (double)(long)value ? 1 : 0);
    return true;
}

/* `@FILE` stands for the first line of a file; device trees end theirs with a NUL. */
static const char *device_id(const char *text) {
    static char line[201];
    if (text[0] != '@') return text;
    int file = open(text + 1, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = file < 0 ? -1 : read(file, line, sizeof line - 1);
    if (file >= 0) close(file);
    if (length <= 0) return NULL;
    line[length] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    for (size_t end = strlen(line); end > 0 && strchr(" \t", line[end - 1]) != NULL; end--)
        line[end - 1] = '\0';
    return line;
}

/* A URL as it is; the name of a folder becomes one. */
static const char *channel_url(const char *text) {
    static char url[URL_MOST_BYTES];
    char absolute[PATH_MAX];
    if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0 ||
        strncmp(text, "file:///", 8) == 0)
        return strchr(text, '?') == NULL ? text : NULL;
    memcpy(url, "file://", 8);
    return realpath(text, absolute) != NULL && url_quote(url + 7, sizeof url - 7, absolute, "/")
               ? url
               : NULL;
}

static bool runtime(char *text, struct options *out) {
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == '\0') return false;
    *equals = '\0';
    out->runtime = text;
    out->runtime_version = equals + 1;
    return true;
}

/* A later floor than the program's own; an earlier one is of no use. */
static bool raise_floor(const char *text, int64_t *floor_s) {
    int64_t stated;
    if (!time_parse(text, &stated)) return false;
    if (stated > *floor_s) *floor_s = stated;
    return true;
}

/* libcurl tells an unusable file only when it connects, as if the server were at fault. */
static bool holds_certificate(const char *path) {
    FILE *file = fopen(path, "re");
    X509 *found = file == NULL ? NULL : PEM_read_X509_AUX(file, NULL, NULL, NULL);
    if (file != NULL) fclose(file);
    X509_free(found);
    return found != NULL;
}

static bool take_number(int option, const char *text, struct options *out) {
    long long number;
    switch (option) {
    case FIRMWARE: return whole_number(text, 0, 1ll << 40, &out->firmware);
    case SELF_TEST_S: return whole_seconds(text, 0.001, 86400, &out->self_test_s);
    case SELF_TEST_MB:
        if (!whole_number(text, 1, 1 << 20, &number)) return false;
        out->self_test_mb = (long)number;
        return true;
    case WAIT: return whole_seconds(text, 0, 86400, &out->wait_s);
    case STALL_S: return whole_seconds(text, 0.001, 86400, &out->transfer.stall_s);
    case RETRY_S: return seconds(text, 0, 3600, &out->transfer.retry_s);
    default:
        if (!whole_number(text, 1, 100, &number)) return false;
        out->transfer.tries = (int)number;
        return true;
    }
}

static bool take(int option, char *text, struct options *out) {
    switch (option) {
    case CHANNEL: return (out->channel = channel_url(text)) != NULL;
    case DEVICE_ID: return (out->device_id = device_id(text)) != NULL;
    case ROOT_FILE: out->root = text; return true;
    case STORE: out->store = text; return true;
    case FAMILY: out->family = text; return true;
    case COMPATIBLE: out->compatible = text; return true;
    case RUNTIME: return runtime(text, out);
    case SELF_TEST: return access(out->self_test = text, X_OK) == 0;
    case TIME_FLOOR: return raise_floor(text, &out->time_floor_s);
    case CA: return holds_certificate(out->transfer.ca = text);
    case JSON: return out->json = true;
    case STATUS: return out->status = true;
    case RETURN_TO_PREVIOUS: return out->return_to_previous = true;
    case METADATA_DIR: out->metadata_dir = text; return true;
    case METADATA_URL: out->metadata_url = text; return true;
    case TARGET_NAME: out->target_name = text; return true;
    case TARGET_BASE_URL: out->target_base_url = text; return true;
    case TARGET_DIR: out->target_dir = text; return true;
    default: return take_number(option, text, out);
    }
}

static bool check_pull(const struct options *found) {
    const struct { const char *name, *value; } needed[] = {
        {"--store", found->store}, {"--channel", found->channel},
        {"--device-id", found->device_id}, {"--root", found->root}};
    size_t count = found->return_to_previous || found->status ? 1 : sizeof needed / sizeof *needed;
    for (size_t i = 0; i < count; i++)
        if (needed[i].value == NULL || needed[i].value[0] == '\0')
            return fail(USAGE, "%s is missing", needed[i].name);
    if (count > 1 && !compatible_is_sound(found->device_id))
        return fail(USAGE, "`%.60s` is no device id: 1 to 100 printable characters, no space",
                    found->device_id);
    if (found->family != NULL && !family_is_sound(found->family))
        return fail(USAGE, "`%.60s` is no name of a family", found->family);
    return found->compatible == NULL || compatible_is_sound(found->compatible) ||
           fail(USAGE, "`%.60s` is no compatibility word", found->compatible);
}

bool options_read(int count, char **words, struct options *out) {
    int option;
    *out = (struct options){.self_test_s = 60, .self_test_mb = 2048, .wait_s = 60,
                            .transfer = {.stall_s = 30, .tries = 5, .retry_s = 1.0}};
    time_parse(EDGESR_FLOOR, &out->time_floor_s);
    opterr = 0;
    while ((option = getopt_long(count, words, "h", table, NULL)) != -1) {
        if (option == HELP || option == 'h') {
            fputs(help, stdout);
            exit(0);
        }
        if (option == SHOW_VERSION) {
            puts("edgesr-pull " VERSION);
            exit(0);
        }
        if (option == '?') return fail(USAGE, "`%s` is no option, or lacks a value", words[optind - 1]);
        if (!take(option, optarg, out))
            return fail(USAGE, "`--%s %s` cannot be used", table[option - CHANNEL].name, optarg);
    }
    out->command = optind < count ? words[optind] : NULL;
    out->argument = optind + 1 < count ? words[optind + 1] : NULL;
    return out->command != NULL || check_pull(out);
}
