/* JSON as a channel publishes it: ASCII, bounded, no floats, no key twice. */
#ifndef EDGESR_STRICT_JSON_H
#define EDGESR_STRICT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "fault.h"

void json_in_arena(void); /* once, before the first parse */

/* The value in `data`, an object. NULL and `malformed` where it is anything else. */
json_t *json_parse(const char *data, size_t length, const char *name);

/* The bytes that are signed: keys sorted, no spaces; `room` bytes at `out`. 0: does not fit. */
size_t json_canonical(json_t *value, char *out, size_t room);

/* Members of an object; NULL or false where missing or of another type. No fault is set. */
const char *json_text(const json_t *object, const char *key);
bool json_count(const json_t *object, const char *key, long long least, long long most,
                long long *out);
json_t *json_object_in(const json_t *object, const char *key);
json_t *json_array_in(const json_t *object, const char *key);

#endif
