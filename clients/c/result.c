/* Writes a result; the same document as `edgesr pull --json`. */
#include "result.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "fault.h"
#include "http.h"

#define SCHEMA 1

/* The model's own file, absolute; "" where there is none. */
static void model_path(const struct stored *stored, const char *store_path, char *out, size_t room) {
    char absolute[PATH_MAX];
    out[0] = '\0';
    if (!stored->there || realpath(store_path, absolute) == NULL) return;
    int length = snprintf(out, room, "%s/releases/%s/%s", absolute, stored->id, stored->model);
    if (length < 0 || (size_t)length >= room) out[0] = '\0';
}

static json_t *number_or_null(const struct stored *stored) {
    return stored->there ? json_integer(stored->release) : json_null();
}

static json_t *text_or_null(const char *text) {
    json_t *value = text[0] == '\0' ? NULL : json_string(text); /* NULL: not UTF-8 */
    return value == NULL ? json_null() : value;
}

static json_t *error_json(void) {
    if (fault_kind() == KIND_NONE) return json_null();
    return json_pack("{ss, ss, si}", "kind", fault_word(), "text", fault_text(), "exit_code",
                     kind_exit_code(fault_kind()));
}

static json_t *clock_json(const struct result *result) {
    char system[TIME_TEXT], floor[TIME_TEXT], now[TIME_TEXT];
    if (!result->clock_known) return json_null();
    time_text(result->clock.system_s, system);
    time_text(result->clock.floor_s, floor);
    time_text(result->clock.now_s, now);
    return json_pack("{ss, ss, ss, sb}", "system", system, "floor", floor, "now", now, "corrected",
                     result->clock.now_s > result->clock.system_s);
}

static json_t *held_back_json(const struct result *result) {
    json_t *list = json_array();
    for (size_t i = 0; i < result->held_back_count; i++) {
        const struct held_back *one = &result->held_back[i];
        json_array_append_new(list, json_pack("{sI, ss, ss}", "release", (json_int_t)one->release,
                                              "kind", one->kind, "text", one->text));
    }
    return list;
}

static void print_json(const struct result *result, const char *path) {
    const struct counters *traffic = http_counters();
    const struct standing *standing = &result->standing;
    arena_reset(); /* nothing of the channel is needed any more */
    json_t *value = json_pack(
        "{si, ss, so, so, so, so, so, sI, sI, sI, so, so}", "schema", SCHEMA, "outcome",
        result->outcome, "release", number_or_null(&standing->current), "id",
        text_or_null(standing->current.id), "path", text_or_null(path), "previous",
        number_or_null(&standing->previous), "held_back", held_back_json(result), "requests",
        (json_int_t)traffic->requests, "bytes_fetched", (json_int_t)traffic->bytes_fetched,
        "bytes_resumed", (json_int_t)traffic->bytes_resumed, "error", error_json(), "clock",
        clock_json(result));
    json_dumpf(value, stdout, 0);
    putchar('\n');
}

void result_say(const struct result *result) {
    const struct counters *traffic = http_counters();
    char served[48] = "no model";
    if (result->standing.current.there)
        snprintf(served, sizeof served, "release %lld", result->standing.current.release);
    char resumed[48] = "";
    if (traffic->bytes_resumed > 0)
        snprintf(resumed, sizeof resumed, ", %lld kept from before", traffic->bytes_resumed);
    say("%s: %s is served, %lld requests, %lld bytes fetched%s", result->outcome, served,
        traffic->requests, traffic->bytes_fetched, resumed);
}

void result_print(const struct result *result, const char *store_path, bool json) {
    char path[PATH_MAX];
    model_path(&result->standing.current, store_path, path, sizeof path);
    if (json) {
        print_json(result, path);
    } else if (path[0] != '\0') {
        printf("%s\n", path);
    }
}
