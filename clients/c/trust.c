/* Root chain, timestamp and snapshot: the TUF specification 1.0, sections 5.3 to 5.5. */
#include "trust.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "http.h"
#include "signatures.h"
#include "strict_json.h"
#include "trust_roles.h"

#define OVER_BYTES (16u << 10) /* read beyond a signed length, to tell a mix-up from endless data */

char trust_fetched[TEXT_MOST_BYTES], trust_stored[TEXT_MOST_BYTES];
static char root_bytes[ROOT_MOST_BYTES]; /* of the newest trusted root, to be stored */
static size_t root_length;

static const json_t *root_keys(const struct trust *trust) {
    return json_object_in(trust->root.body, "keys");
}

static bool signed_by_root(const struct trust *trust, const struct metadata *metadata,
                           const char *role, const char *name) {
    return metadata_signed_by(metadata, root_keys(trust), root_role(&trust->root, role), name);
}

static bool fetch(const struct trust *trust, const char *file, size_t most, size_t *length) {
    char url[URL_MOST_BYTES + FILE_NAME];
    int written = snprintf(url, sizeof url, "%s%s", trust->url, file);
    if (written < 0 || (size_t)written >= sizeof url)
        return fail(MALFORMED, "the URL of `%s` is too long", file);
    return http_get(url, trust_fetched, most < sizeof trust_fetched ? most : sizeof trust_fetched, length);
}

/* ---- expiry ---- */

static bool fail_expired(const struct trust *trust, int64_t expires_s, const char *role) {
    char until[TIME_TEXT], now[TIME_TEXT], system[TIME_TEXT], signed_at[TIME_TEXT];
    char here[80] = "";
    time_text(expires_s, until);
    time_text(trust->clock.now_s, now);
    time_text(trust->clock.system_s, system);
    time_text(trust->signed_at_s, signed_at);
    if (trust->clock.now_s > trust->clock.system_s)
        snprintf(here, sizeof here, " (the system's clock says %s)", system);
    if (trust->signed_at_s > 0 && trust->clock.now_s - trust->signed_at_s > CLOCK_APART_S)
        return fail(CLOCK_WRONG,
                    "`%s` expired at %s, it is %s here%s; the channel was signed at %s, more than "
                    "a year before",
                    role, until, now, here, signed_at);
    return fail(FREEZE, "`%s` expired at %s, it is %s here%s", role, until, now, here);
}

bool trust_fresh(const struct trust *trust, const struct metadata *metadata, const char *role) {
    return trust->clock.now_s < metadata->expires_s ||
           fail_expired(trust, metadata->expires_s, role);
}

static bool fail_rollback(const char *role, long long found, long long trusted) {
    return fail(ROLLBACK, "the channel offers `%s` version %lld, version %lld was trusted before",
                role, found, trusted);
}

/* ---- root ---- */

/* Parse these bytes as the trusted root; everything parsed before is dropped. */
static bool adopt_root(struct trust *trust, const char *bytes, size_t length) {
    if (length > sizeof root_bytes) return fail(MALFORMED, "the root metadata is too long");
    memmove(root_bytes, bytes, length);
    root_length = length;
    arena_reset();
    return metadata_parse(&trust->root, ROOT, root_bytes, root_length, "root.json");
}

static bool start_root(struct trust *trust, const char *given, size_t length) {
    char reason[256];
    if (adopt_root(trust, given, length) &&
        signed_by_root(trust, &trust->root, "root", "root.json"))
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
        !signed_by_root(trust, &next, "root", name) ||
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
    if (!fetch(trust, name, ROOT_MOST_BYTES, &length)) {
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

/* A stored root that is newer than the chain: somebody keeps the chain from this camera. */
static bool no_newer_root_stored(struct trust *trust) {
    struct metadata found;
    ssize_t length = file_read(trust->folder, "root.json", trust_stored, ROOT_MOST_BYTES);
    if (length < 0) return true;
    if (!metadata_parse(&found, ROOT, trust_stored, (size_t)length, "root.json") ||
        !metadata_signed_by(&found, json_object_in(found.body, "keys"), root_role(&found, "root"),
                            "root.json")) {
        say("the stored `root.json` is damaged; it is made anew");
        forget_fault();
        return true;
    }
    return found.version <= trust->root.version ||
           fail_rollback("root", trust->root.version, found.version);
}

static bool follow_root_chain(struct trust *trust) {
    int step = 1, history = folder_open(trust->folder, "root_history", true);
    if (history < 0) return fail_errno(errno, "open", "root_history");
    for (int n = 0; step > 0 && n < ROOT_ROTATIONS_MOST; n++) step = follow_root(trust, history);
    close(history);
    if (step < 0) return false;
    return no_newer_root_stored(trust) &&
           file_write(trust->folder, "root.json", root_bytes, root_length, "root");
}

/* ---- timestamp and snapshot ---- */

/* What the store remembers of the roles that count up. */
struct remembered {
    struct metadata timestamp, snapshot; /* `body` NULL: not there, or of no use */
};

/* A stored file of a top-level role. False where it is well-formed but not signed by this root. */
static bool load_stored(const struct trust *trust, enum role role, const char *word,
                        struct metadata *out) {
    char name[24];
    struct metadata found;
    *out = (struct metadata){.body = NULL};
    snprintf(name, sizeof name, "%s.json", word);
    ssize_t length = file_read(trust->folder, name, trust_stored, role_most_bytes(role));
    if (length < 0) return true;
    bool formed = metadata_parse(&found, role, trust_stored, (size_t)length, name);
    bool ours = formed && signed_by_root(trust, &found, word, name);
    if (ours) *out = found;
    if (!ours) say("the stored `%s` is of no use: %s", name, fault_text());
    forget_fault();
    return ours || !formed;
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
        return fail_rollback("timestamp", now->version, before->version);
    snapshot_info(before, &old_snapshot);
    snapshot_info(now, &new_snapshot);
    return new_snapshot.version >= old_snapshot.version ||
           fail_rollback("snapshot", new_snapshot.version, old_snapshot.version);
}

static bool refresh_timestamp(struct trust *trust, const struct metadata *before) {
    struct metadata *now = &trust->timestamp;
    size_t length = 0;
    bool known = before->body != NULL && read_signed_at(trust, before);
    if (!fetch(trust, "timestamp.json", TIMESTAMP_MOST_BYTES, &length) ||
        !metadata_parse(now, TIMESTAMP, trust_fetched, length, "timestamp.json") ||
        !signed_by_root(trust, now, "timestamp", "timestamp.json"))
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
        if (is.version < was.version) return fail_rollback(role, is.version, was.version);
    }
    return true;
}

/* Whether a file is the very one that its signed parent names. */
static bool fits_parent(const struct fileinfo *info, const struct metadata *found,
                        const char *bytes, size_t length, const char *name, const char *parent) {
    if (found->version != info->version)
        return fail(MIX_AND_MATCH,
                    "`%s` is not the one that `%s` names: version %lld is signed, found %lld", name,
                    parent, info->version, found->version);
    return fileinfo_matches(info, bytes, length) ||
           fail(MIX_AND_MATCH, "`%s` is not the one that `%s` names: its length or digest differs",
                name, parent);
}

/* The file's name at the server and in messages. */
bool trust_role_file(const struct trust *trust, const char *role, long long version, char *out) {
    char quoted[FILE_NAME - 32];
    if (!url_quote(quoted, sizeof quoted, role, ""))
        return fail(MALFORMED, "a role's name is too long: `%.60s`", role);
    if (json_is_true(json_object_get(trust->root.body, "consistent_snapshot")))
        snprintf(out, FILE_NAME, "%lld.%s.json", version, quoted);
    else
        snprintf(out, FILE_NAME, "%s.json", quoted);
    return true;
}

/* Fetch a role that its parent announces; left in `fetched`, verified but for its age. */
bool trust_fetch_role(const struct trust *trust, const struct expected *want, const char *name,
                       struct metadata *out, size_t *length) {
    size_t most = role_most_bytes(want->role);
    size_t announced = want->info.length >= 0 ? (size_t)want->info.length : most;
    if (announced < most && announced + OVER_BYTES < most) most = announced + OVER_BYTES;
    if (!fetch(trust, name, most, length)) return false;
    if (*length > announced) { /* another signed file under this name, or bytes without end */
        bool mixed = metadata_parse(out, want->role, trust_fetched, *length, name) &&
                     out->version != want->info.version &&
                     metadata_signed_by(out, want->keys, want->delegation, name);
        return fail(mixed ? MIX_AND_MATCH : ENDLESS_DATA, "`%s` has %zu bytes, %zu are signed",
                    name, *length, announced);
    }
    return metadata_parse(out, want->role, trust_fetched, *length, name) &&
           metadata_signed_by(out, want->keys, want->delegation, name) &&
           fits_parent(&want->info, out, trust_fetched, *length, name, want->parent);
}

static bool refresh_snapshot(struct trust *trust, const struct metadata *before) {
    char name[FILE_NAME];
    size_t length = 0;
    struct metadata *now = &trust->snapshot;
    struct expected want = {.role = SNAPSHOT, .word = "snapshot", .parent = "timestamp.json",
                            .state = "snapshot", .keys = root_keys(trust),
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
    if (!start_root(trust, given_root, length) || !follow_root_chain(trust)) return false;
    at("root", "after");
    struct remembered before = remember(trust);
    at("timestamp", "before");
    if (!refresh_timestamp(trust, &before.timestamp)) return false;
    at("timestamp", "after");
    at("snapshot", "before");
    if (!refresh_snapshot(trust, &before.snapshot)) return false;
    at("snapshot", "after");
    return trust_load_targets(trust, "targets", root_keys(trust), root_role(&trust->root, "targets"),
                        &trust->targets);
}
