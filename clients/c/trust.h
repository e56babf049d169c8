/* TUF's client workflow: from the root that came with the firmware to one trusted target. */
#ifndef EDGESR_TRUST_H
#define EDGESR_TRUST_H

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"
#include "limits.h"
#include "metadata.h"

struct loaded_role { /* a verified delegated role, found again by its name and who delegates to it */
    const char *name;
    const json_t *keys;
    struct metadata metadata;
};

struct trust {
    char url[URL_MOST_BYTES]; /* of the metadata's folder, with a slash at the end */
    int folder;               /* of the trusted metadata */
    struct clock clock;
    int64_t signed_at_s; /* of the timestamp; 0: it does not say */
    struct metadata root, timestamp, snapshot, targets;
    struct loaded_role loaded[DELEGATIONS_MOST];
    size_t loaded_count;
};

struct target {
    struct fileinfo info; /* length and hashes are there */
    const char *sha256;   /* NULL: not among the hashes */
};

/* Root chain, timestamp, snapshot, targets; each is stored as soon as it is trusted. */
bool trust_refresh(struct trust *trust, const char *given_root, size_t length);

/* Search the delegations for a target path. False with the fault `missing` where nobody has it. */
bool trust_find(struct trust *trust, const char *path, struct target *out);

/* Where the target lies below `base`, which ends with a slash. */
bool target_url(const struct trust *trust, const struct target *target, const char *base,
                const char *path, char *out, size_t room);

#endif
