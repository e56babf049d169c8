/* What all roles share: root.c, targets.c and, above them, trust.c. */
#ifndef EDGESR_TRUST_ROLES_H
#define EDGESR_TRUST_ROLES_H

#include "trust.h"

#define FILE_NAME (3 * NAME_MOST_BYTES) /* of a role whose name is quoted */

extern char trust_fetched[TEXT_MOST_BYTES]; /* the file that came last */
extern char trust_stored[TEXT_MOST_BYTES];  /* the file that was read from the store last */

/* What a role below the timestamp is checked against. */
struct expected {
    enum role role;
    const char *parent; /* file that names it, for messages */
    const json_t *keys, *delegation;
    struct fileinfo info;
};

/* Any file of the metadata's folder, into `trust_fetched`. */
bool trust_fetch(const struct trust *trust, const char *file, size_t most, size_t *length);
const json_t *trust_root_keys(const struct trust *trust);
bool trust_signed_by_root(const struct trust *trust, const struct metadata *metadata,
                          const char *role, const char *name);
bool trust_fail_rollback(const char *role, long long found, long long trusted);

/* Fetch a role that its parent announces; left in `trust_fetched`, verified but for its age. */
bool trust_fetch_role(const struct trust *trust, const struct expected *want, const char *name,
                      struct metadata *out, size_t *length);
bool trust_fresh(const struct trust *trust, const struct metadata *metadata, const char *role);
/* The file's name at the server and in messages; FILE_NAME bytes. */
bool trust_role_file(const struct trust *trust, const char *role, long long version, char *out);

/* root.c and targets.c */
bool trust_start_root(struct trust *trust, const char *given, size_t length);
bool trust_follow_roots(struct trust *trust);
bool trust_load_targets(struct trust *trust, const char *role, const json_t *keys,
                        const json_t *delegation, struct metadata *out);

#endif
