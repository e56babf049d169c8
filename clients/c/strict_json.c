/* Checks the text before jansson sees it, and writes the canonical form that signatures cover. */
#include "strict_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "limits.h"

void json_in_arena(void) {
    json_set_alloc_funcs(arena_take, arena_return);
    arena_reset();
}

/* What the text breaks, or NULL. Depth is counted here: a parser that recurses never meets it. */
static const char *broken_rule(const char *data, size_t length) {
    size_t depth = 0;
    bool quoted = false, escaped = false;
    char before = ' ';
    for (size_t i = 0; i < length; before = data[i], i++) {
        char c = data[i];
        if ((unsigned char)c >= 0x80) return "it is not ASCII";
        if (escaped) {
            escaped = false;
        } else if (quoted) {
            escaped = c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MOST_DEPTH) return "it is nested deeper than 32";
        } else if (c == ']' || c == '}') {
            if (depth > 0) depth--;
        } else if (strchr(".eE", c) != NULL && before >= '0' && before <= '9') {
            return "it holds a float";
        }
    }
    return NULL;
}

json_t *json_parse(const char *data, size_t length, const char *name) {
    const char *rule = broken_rule(data, length);
    if (rule != NULL) {
        fail(MALFORMED, "`%s` is no JSON that a channel publishes: %s", name, rule);
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(data, length, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL) {
        fail(MALFORMED, "`%s` is no JSON that a channel publishes: %.100s", name,
             arena_was_full() ? "it takes more memory than the client has for it" : error.text);
    } else if (!json_is_object(value)) {
        fail(MALFORMED, "`%s` is no JSON that a channel publishes: it is no object", name);
        value = NULL;
    }
    return value;
}

struct writer {
    char *at;
    size_t room;
    bool fits;
};

static void put(struct writer *out, const char *bytes, size_t length) {
    out->fits = out->fits && length <= out->room;
    if (!out->fits) return;
    memcpy(out->at, bytes, length);
    out->at += length;
    out->room -= length;
}

static void put_text(struct writer *out, const char *text, size_t length) {
    put(out, "\"", 1);
    for (size_t i = 0; i < length; i++) { /* only these two are escaped in canonical JSON */
        if (text[i] == '"' || text[i] == '\\') put(out, "\\", 1);
        put(out, text + i, 1);
    }
    put(out, "\"", 1);
}

static int by_text(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void put_value(struct writer *out, json_t *value);

static void put_object(struct writer *out, json_t *object) {
    size_t size = json_object_size(object), n = 0;
    const char **keys = arena_take((size + 1) * sizeof *keys);
    if (keys == NULL) {
        out->fits = false;
        return;
    }
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it))
        keys[n++] = json_object_iter_key(it);
    qsort(keys, n, sizeof *keys, by_text);
    put(out, "{", 1);
    for (size_t i = 0; i < n; i++) {
        if (i > 0) put(out, ",", 1);
        put_text(out, keys[i], strlen(keys[i]));
        put(out, ":", 1);
        put_value(out, json_object_get(object, keys[i]));
    }
    put(out, "}", 1);
}

static void put_array(struct writer *out, json_t *array) {
    put(out, "[", 1);
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0) put(out, ",", 1);
        put_value(out, json_array_get(array, i));
    }
    put(out, "]", 1);
}

/* Recurses as deep as the text was nested: JSON_MOST_DEPTH at most. */
static void put_value(struct writer *out, json_t *value) {
    char digits[32];
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_object(out, value); break;
    case JSON_ARRAY: put_array(out, value); break;
    case JSON_STRING: put_text(out, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
        put(out, digits, strlen(digits));
        break;
    case JSON_TRUE: put(out, "true", 4); break;
    case JSON_FALSE: put(out, "false", 5); break;
    case JSON_NULL: put(out, "null", 4); break;
    default: out->fits = false; /* a float, which `broken_rule` keeps away */
    }
}

size_t json_canonical(json_t *value, char *out, size_t room) {
    struct writer writer = {.at = out, .room = room, .fits = true};
    size_t before = arena_used();
    put_value(&writer, value);
    arena_rewind(before); /* the lists of keys */
    return writer.fits ? room - writer.room : 0;
}

const char *json_text(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

bool json_count(const json_t *object, const char *key, long long least, long long most,
                long long *out) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) return false;
    *out = (long long)json_integer_value(value);
    return *out >= least && *out <= most;
}

json_t *json_object_in(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_object(value) ? value : NULL;
}

json_t *json_array_in(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_array(value) ? value : NULL;
}
