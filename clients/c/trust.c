/* The order of the roles; timestamp and snapshot: the TUF specification 1.0, sections 5.4, 5.5. */
#include "trust.h"

#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "strict_json.h"
#include "trust_roles.h"

/* What the store remembers of the roles that count up. */
struct remembered {
    struct metadata timestamp, snapshot; /* `body` NULL: not there, or of no use */
};

/* A stored file of a top-level role. False where it is well-formed and of other keys than this
   root's; a signature that does not verify is damage. */
static bool load_stored(const struct trust *trust, enum role role, const char *word,
                        struct metadata *out) {
    char name[24];
    struct metadata found;
    *out = (struct metadata){.body = NULL};
    snprintf(name, sizeof name, "%s.json", word);
    ssize_t length = file_read(trust->folder, name, trust_stored, role_most_bytes(role));
    if (length < 0) return true;
    bool formed = metadata_parse(&found, role, trust_stored, (size_t)length, name);
    bool ours = formed && trust_signed_by_root(trust, &found, word, name);
    if (ours) *out = found;
    bool damaged = !formed || fault_kind() == TAMPERED;
    if (!ours) say("the stored `%s` is of no use: %s", name, fault_text());
    forget_fault();
    return ours || damaged;
}

/* Where the root has other keys for one of them, both are forgotten (5.3.11): that is the way back
   after stolen keys signed versions that no honest role can exceed. */
static struct remembered remember(const struct trust *trust) {
    struct remembered found;
    bool timestamp = load_stored(trust, TIMESTAMP, "timestamp", &found.timestamp);
    bool snapshot = load_stored(trust, SNAPSHOT, "snapshot", &found.snapshot);
    if (!timestamp || !snapshot) found.timestamp.body = found.snapshot.body = NULL;
    return found;
}

static bool read_signed_at(struct trust *trust, const struct metadata *timestamp) {
    trust->signed_at_s = 0;
    if (json_object_get(timestamp->body, "signed_at") == NULL) return true;
    if (!time_parse(json_text(timestamp->body, "signed_at"), &trust->signed_at_s))
        return fail(MALFORMED, "`timestamp.json` has a `signed_at` that is no time");
    clock_raise_now(&trust->clock, trust->signed_at_s);
    return true;
}

static bool snapshot_info(const struct metadata *timestamp, struct fileinfo *out) {
    return fileinfo_read(
        json_object_get(json_object_in(timestamp->body, "meta"), "snapshot.json"), out);
}

static bool timestamp_goes_on(const struct metadata *before, const struct metadata *now) {
    struct fileinfo old_snapshot, new_snapshot;
    if (now->version < before->version)
        return trust_fail_rollback("timestamp", now->version, before->version);
    snapshot_info(before, &old_snapshot);
    snapshot_info(now, &new_snapshot);
    return new_snapshot.version >= old_snapshot.version ||
           trust_fail_rollback("snapshot", new_snapshot.version, old_snapshot.version);
}

static bool refresh_timestamp(struct trust *trust, const struct metadata *before) {
    struct metadata *now = &trust->timestamp;
    size_t length = 0;
    bool known = before->body != NULL && read_signed_at(trust, before);
    if (!trust_fetch(trust, "timestamp.json", TIMESTAMP_MOST_BYTES, &length))
        return fault_kind() == MISSING
                   ? fail(MISSING, "no channel is there: --channel is the folder that holds metadata/")
                   : false;
    if (!metadata_parse(now, TIMESTAMP, trust_fetched, length, "timestamp.json") ||
        !trust_signed_by_root(trust, now, "timestamp", "timestamp.json"))
        return false;
    if (known && now->version == before->version) {
        *now = *before; /* an equal number means no change, whatever else it says */
        at("timestamp", "in");
        return trust_fresh(trust, &trust->root, "root") && trust_fresh(trust, now, "timestamp");
    }
    return (!known || timestamp_goes_on(before, now)) && read_signed_at(trust, now) &&
           trust_fresh(trust, &trust->root, "root") && trust_fresh(trust, now, "timestamp") &&
           file_write(trust->folder, "timestamp.json", trust_fetched, length, "timestamp");
}

/* No role may vanish from the snapshot, and no version may go down. */
static bool snapshot_goes_on(const struct metadata *before, const struct metadata *now) {
    const char *name;
    char role[NAME_MOST_BYTES];
    json_t *old_entry, *new_meta = json_object_in(now->body, "meta");
    struct fileinfo was, is;
    json_object_foreach(json_object_in(before->body, "meta"), name, old_entry) {
        const json_t *entry = json_object_get(new_meta, name);
        fileinfo_read(old_entry, &was);
        snprintf(role, sizeof role, "%.*s", (int)strcspn(name, "."), name);
        if (entry == NULL)
            return fail(ROLLBACK, "the channel offers no `%s`, version %lld was trusted before",
                        role, was.version);
        fileinfo_read(entry, &is);
        if (is.version < was.version) return trust_fail_rollback(role, is.version, was.version);
    }
    return true;
}

static bool refresh_snapshot(struct trust *trust, const struct metadata *before) {
    char name[FILE_NAME];
    size_t length = 0;
    struct metadata *now = &trust->snapshot;
    struct expected want = {.role = SNAPSHOT, .parent = "timestamp.json",
                            .keys = trust_root_keys(trust),
                            .delegation = root_role(&trust->root, "snapshot")};
    if (!snapshot_info(&trust->timestamp, &want.info))
        return fail(MALFORMED, "`timestamp.json` names no snapshot");
    bool known = before->body != NULL;
    if (known && before->version == want.info.version && trust->clock.now_s < before->expires_s) {
        *now = *before;
        at("snapshot", "in");
        return true;
    }
    return trust_role_file(trust, "snapshot", want.info.version, name) &&
           trust_fetch_role(trust, &want, name, now, &length) &&
           (!known || snapshot_goes_on(before, now)) && trust_fresh(trust, now, "snapshot") &&
           file_write(trust->folder, "snapshot.json", trust_fetched, length, "snapshot");
}

bool trust_refresh(struct trust *trust, const char *given_root, size_t length) {
    at("root", "before");
    if (!trust_start_root(trust, given_root, length) || !trust_follow_roots(trust)) return false;
    at("root", "after");
    struct remembered before = remember(trust);
    at("timestamp", "before");
    if (!refresh_timestamp(trust, &before.timestamp)) return false;
    at("timestamp", "after");
    at("snapshot", "before");
    if (!refresh_snapshot(trust, &before.snapshot)) return false;
    at("snapshot", "after");
    return trust_load_targets(trust, "targets", trust_root_keys(trust),
                              root_role(&trust->root, "targets"), &trust->targets);
}
