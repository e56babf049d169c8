/* The store of a camera, the same that the Python client keeps; README.md describes it. */
#ifndef EDGESR_STORE_H
#define EDGESR_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "limits.h"
#include "release.h"
#include "signatures.h"

struct store {
    const char *path;
    int folder, metadata, releases, lock; /* descriptors */
};

struct stored { /* a release of which every file was there with its digest */
    bool there;
    long long release;
    char id[SHA256_HEX]; /* SHA-256 of its release.json, and the name of its folder */
    char content[SHA256_HEX];
    char family[33], compatible[101]; /* what is longer is no sound word: it is cut */
    char model[NAME_MOST_BYTES + 1];
};

struct standing { /* what the camera can serve right now */
    struct stored current, previous;
};

bool store_open(struct store *store, const char *path, bool make);
bool store_lock(struct store *store, long wait_s); /* until the process ends, however it ends */

/* A stored release with every file verified. */
bool store_release(const struct store *store, const char *id, struct stored *out);
/* A stored file that has these bytes, copied under its part name. False without a fault. */
bool store_copy(const struct store *store, const struct release_file *file, int goal_folder,
                const char *part);

/* The number that `current` states, whether its release is whole or not; 0: it states none. */
long long store_had(const struct store *store);
struct standing store_standing(const struct store *store);
/* The same with pointers repaired. `*lost`: `current` is damaged and no `previous` can stand in. */
bool store_heal(const struct store *store, struct standing *out, bool *lost);
/* The complete release with the highest number, of those that are not blocked; it may be one that
   was fetched and never tested. */
bool store_newest(const struct store *store, struct stored *out);
bool store_point(const struct store *store, const char *pointer, const struct stored *to);
bool store_return_to_previous(const struct store *store, struct standing *out);

/* The kind that a content was blocked for; false where it is not blocked. */
bool store_blocked(const struct store *store, const char *content, char kind[33]);
size_t store_blocked_count(const struct store *store);
bool store_block(const struct store *store, const char *content, const char *kind);

long store_attempts(const struct store *store, const char *id);
bool store_begin_trial(const struct store *store, const char *id, long attempt);
void store_end_trial(const struct store *store);

/* Remove every release but `kept`; of `manifests` only release.json stays, which says the next time
   why they are not taken. */
void store_collect(const struct store *store, const char *const kept[3],
                   const char (*manifests)[SHA256_HEX], size_t manifest_count);

#endif
