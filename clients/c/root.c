/* The chain of roots: the TUF specification 1.0, section 5.3. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "fault.h"
#include "files.h"
#include "http.h"
#include "strict_json.h"
#include "trust_roles.h"

static char root_bytes[ROOT_MOST_BYTES]; /* of the newest trusted root, to be stored */
static size_t root_length;

/* Parse these bytes as the trusted root; everything parsed before is dropped. */
static bool adopt_root(struct trust *trust, const char *bytes, size_t length) {
    if (length > sizeof root_bytes) return fail(MALFORMED, "the root metadata is too long");
    memmove(root_bytes, bytes, length);
    root_length = length;
    arena_reset();
    return metadata_parse(&trust->root, ROOT, root_bytes, root_length, "root.json");
}

bool trust_start_root(struct trust *trust, const char *given, size_t length) {
    char reason[256];
    if (adopt_root(trust, given, length) &&
        trust_signed_by_root(trust, &trust->root, "root", "root.json"))
        return true;
    snprintf(reason, sizeof reason, "%s", fault_text());
    return fail(BAD_ROOT, "the given root metadata cannot be used: %s", reason);
}

/* The next root must be signed by the keys of the one before and by its own. */
static bool check_next_root(const struct trust *trust, const char *bytes, size_t length,
                            const char *name) {
    struct metadata next;
    long long wanted = trust->root.version + 1;
    if (!metadata_parse(&next, ROOT, bytes, length, name) ||
        !trust_signed_by_root(trust, &next, "root", name) ||
        !metadata_signed_by(&next, json_object_in(next.body, "keys"), root_role(&next, "root"),
                            name))
        return false;
    if (next.version > wanted)
        return fail(MIX_AND_MATCH, "`%s` is version %lld of the root, %lld was asked for", name,
                    next.version, wanted);
    return next.version == wanted ||
           fail(ROLLBACK, "the channel offers `root` version %lld, version %lld is to come next",
                next.version, wanted);
}

/* One step of the chain. 1: there is a newer root now; 0: there is none; -1: refused. */
static int follow_root(struct trust *trust, int history) {
    char name[40];
    size_t length = 0;
    snprintf(name, sizeof name, "%lld.root.json", trust->root.version + 1);
    ssize_t kept = history < 0 ? -1 : file_read(history, name, trust_stored, ROOT_MOST_BYTES);
    if (kept > 0 && check_next_root(trust, trust_stored, (size_t)kept, name))
        return adopt_root(trust, trust_stored, (size_t)kept) ? 1 : -1;
    forget_fault();
    if (!trust_fetch(trust, name, ROOT_MOST_BYTES, &length)) {
        /* object stores answer 403 for what is not there */
        bool none = fault_kind() == MISSING || http_status() == 403;
        if (none) forget_fault();
        return none ? 0 : -1;
    }
    if (!check_next_root(trust, trust_fetched, length, name) ||
        !file_write(history, name, trust_fetched, length, NULL))
        return -1;
    return adopt_root(trust, trust_fetched, length) ? 1 : -1;
}

/* A stored root that is newer than the chain: somebody keeps the chain from this camera. One that
   the keys of the chain's end did not sign may be anybody's who wrote to the store once. */
static bool no_newer_root_stored(struct trust *trust) {
    struct metadata found;
    ssize_t length = file_read(trust->folder, "root.json", trust_stored, ROOT_MOST_BYTES);
    if (length < 0) return true;
    bool whole = metadata_parse(&found, ROOT, trust_stored, (size_t)length, "root.json") &&
                 metadata_signed_by(&found, json_object_in(found.body, "keys"),
                                    root_role(&found, "root"), "root.json");
    if (whole && found.version <= trust->root.version) return true;
    if (whole && trust_signed_by_root(trust, &found, "root", "root.json"))
        return trust_fail_rollback("root", trust->root.version, found.version);
    say("the stored `root.json` is damaged; it is made anew");
    forget_fault();
    return true;
}

bool trust_follow_roots(struct trust *trust) {
    int step = 1, history = folder_open(trust->folder, "root_history", true);
    if (history < 0) return fail_errno(errno, "open", "root_history");
    for (int n = 0; step > 0 && n < ROOT_ROTATIONS_MOST; n++) step = follow_root(trust, history);
    close(history);
    if (step < 0) return false;
    return no_newer_root_stored(trust) &&
           file_write(trust->folder, "root.json", root_bytes, root_length, "root");
}
