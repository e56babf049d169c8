/* One signed TUF file: its form, its signatures, and what it says of others. */
#ifndef EDGESR_METADATA_H
#define EDGESR_METADATA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum role { ROOT, TIMESTAMP, SNAPSHOT, TARGETS };

struct metadata {
    json_t *body;       /* the value of `signed`; NULL: not loaded */
    json_t *signatures;
    long long version;
    int64_t expires_s;
};

/* Read and check the form of one file; `name` is for messages, e.g. `snapshot.json`. */
bool metadata_parse(struct metadata *out, enum role role, const char *data, size_t length,
                    const char *name);

/* Whether a threshold of the role's keys signed it; `role` holds keyids and threshold. */
bool metadata_signed_by(const struct metadata *metadata, const json_t *keys, const json_t *role,
                        const char *name);

const json_t *root_role(const struct metadata *root, const char *role);
size_t role_most_bytes(enum role role);

/* An entry of `meta` or of `targets`. */
struct fileinfo {
    long long version; /* 0 for a target */
    long long length;  /* -1: not stated */
    json_t *hashes;    /* NULL: not stated */
};
bool fileinfo_read(const json_t *entry, struct fileinfo *out);
bool fileinfo_matches(const struct fileinfo *info, const char *data, size_t length);

/* Whether a delegation covers a target path, by patterns or by prefixes of its digest. */
bool delegation_covers(const json_t *delegation, const char *path);

#endif
