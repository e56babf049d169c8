/* The index of a family and the manifest of a release, as toolkit/release.py writes them. */
#ifndef EDGESR_RELEASE_H
#define EDGESR_RELEASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "limits.h"

/* Texts below belong to the parsed JSON: they go with the arena. */

struct entry { /* one living release in an index */
    long long release, min_firmware, basis_points;
    const char *compatible, *salt, *manifest;
};

struct index {
    struct entry entries[ENTRIES_MOST];
    size_t count;
};

struct release_file {
    const char *name, *role, *sha256;
    long long length;
    bool is_fetched; /* by cameras; the others are for people */
};

struct release {
    long long number, min_firmware;
    const char *family, *compatible, *content, *runtime, *runtime_least, *model;
    struct release_file files[FILES_MOST];
    size_t count;
};

bool family_is_sound(const char *family);
bool compatible_is_sound(const char *compatible);
bool index_read(json_t *value, const char *family, struct index *out);

/* `entry` NULL: of a stored release, whose family and number are its own. */
bool release_read(json_t *value, const struct entry *entry, const char *family,
                  struct release *out);

bool rollout_admits(const struct entry *entry, const char *device_id);
bool version_is_older(const char *version, const char *least); /* 1.9 before 1.20 */

#endif
