/* Targets roles and their delegations: the TUF specification 1.0, sections 5.6 and 5.7. */
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "http.h"
#include "signatures.h"
#include "strict_json.h"
#include "trust_roles.h"

/* The stored file of a targets role, if it is the very one that the snapshot names. */
static bool stored_targets(const struct trust *trust, const struct expected *want,
                           const char *kept_as, struct metadata *out) {
    ssize_t length = file_read(trust->folder, kept_as, trust_stored, TARGETS_MOST_BYTES);
    bool sound = length >= 0 && fileinfo_matches(&want->info, trust_stored, (size_t)length) &&
                 metadata_parse(out, TARGETS, trust_stored, (size_t)length, kept_as) &&
                 out->version == want->info.version && trust->clock.now_s < out->expires_s &&
                 metadata_signed_by(out, want->keys, want->delegation, kept_as);
    forget_fault();
    return sound;
}

bool trust_load_targets(struct trust *trust, const char *role, const json_t *keys,
                         const json_t *delegation, struct metadata *out) {
    char name[FILE_NAME], kept_as[FILE_NAME], listed[FILE_NAME];
    size_t length = 0;
    const char *state = out == &trust->targets ? "targets" : "family";
    struct expected want = {.role = TARGETS, .parent = "snapshot.json", .keys = keys,
                            .delegation = delegation};
    int written = snprintf(listed, sizeof listed, "%s.json", role);
    const json_t *entry =
        written < 0 || (size_t)written >= sizeof listed
            ? NULL
            : json_object_get(json_object_in(trust->snapshot.body, "meta"), listed);
    if (!fileinfo_read(entry, &want.info))
        return fail(MIX_AND_MATCH, "`snapshot.json` does not list the role `%.60s`", role);
    at(state, "before");
    if (!trust_role_file(trust, role, want.info.version, name) ||
        !url_quote(kept_as, sizeof kept_as - sizeof ".json", role, ""))
        return false;
    strcat(kept_as, ".json");
    bool ready = stored_targets(trust, &want, kept_as, out);
    if (ready) at(state, "in");
    ready = ready ||
            (trust_fetch_role(trust, &want, name, out, &length) && trust_fresh(trust, out, role) &&
             file_write(trust->folder, kept_as, trust_fetched, length, state));
    if (ready) at(state, "after");
    return ready;
}

/* A delegation that is to be searched, with the keys that its delegator states. */
struct pending {
    const json_t *role, *keys;
};

/* The verified metadata of a delegated role, loaded once. */
static const struct metadata *delegated(struct trust *trust, const struct pending *next) {
    const char *name = json_text(next->role, "name");
    for (size_t i = 0; i < trust->loaded_count; i++)
        if (trust->loaded[i].keys == next->keys && strcmp(trust->loaded[i].name, name) == 0)
            return &trust->loaded[i].metadata;
    struct loaded_role *slot = &trust->loaded[trust->loaded_count];
    if (trust->loaded_count == DELEGATIONS_MOST) {
        fail(MALFORMED, "more than %d delegated roles", DELEGATIONS_MOST);
        return NULL;
    }
    if (!trust_load_targets(trust, name, next->keys, next->role, &slot->metadata)) return NULL;
    slot->name = name;
    slot->keys = next->keys;
    trust->loaded_count++;
    return &slot->metadata;
}

/* Put the delegations that cover the path on the stack, the first on top. */
static bool push_delegations(const struct metadata *targets, const char *path,
                             struct pending *stack, size_t *depth) {
    const json_t *delegations = json_object_in(targets->body, "delegations");
    const json_t *roles = json_array_in(delegations, "roles");
    const json_t *covering[DELEGATIONS_PENDING];
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const json_t *role = json_array_get(roles, i);
        if (!delegation_covers(role, path)) continue;
        if (count == DELEGATIONS_PENDING)
            return fail(MALFORMED, "more than %d delegations of one path", DELEGATIONS_PENDING);
        covering[count++] = role;
        if (!json_is_true(json_object_get(role, "terminating"))) continue;
        *depth = 0; /* nobody after this one may answer for the path */
        break;
    }
    if (count > DELEGATIONS_PENDING - *depth)
        return fail(MALFORMED, "more than %d delegations of one path", DELEGATIONS_PENDING);
    while (count > 0)
        stack[(*depth)++] = (struct pending){.role = covering[--count],
                                             .keys = json_object_in(delegations, "keys")};
    return true;
}

static bool listed_in(const struct metadata *targets, const char *path, struct target *out) {
    const json_t *entry = json_object_get(json_object_in(targets->body, "targets"), path);
    if (entry == NULL || !fileinfo_read(entry, &out->info)) return false;
    out->sha256 = json_text(out->info.hashes, "sha256");
    return true;
}

/* Whether a role was searched already: roles may delegate in circles. */
static bool seen(const char *name, const char **visited, size_t *count) {
    for (size_t i = 0; i < *count; i++)
        if (strcmp(visited[i], name) == 0) return true;
    visited[(*count)++] = name;
    return false;
}

bool trust_find(struct trust *trust, const char *path, struct target *out) {
    struct pending stack[DELEGATIONS_PENDING];
    const char *visited[DELEGATIONS_MOST];
    size_t depth = 0, visits = 0;
    if (listed_in(&trust->targets, path, out)) return true;
    if (!push_delegations(&trust->targets, path, stack, &depth)) return false;
    while (depth > 0 && visits < DELEGATIONS_MOST) {
        struct pending next = stack[--depth];
        if (seen(json_text(next.role, "name"), visited, &visits)) continue;
        const struct metadata *found = delegated(trust, &next);
        if (found == NULL) return false;
        if (listed_in(found, path, out)) return true;
        if (!push_delegations(found, path, stack, &depth)) return false;
    }
    return fail(MISSING, "the channel's metadata does not list `%s`", path);
}

bool target_url(const struct trust *trust, const struct target *target, const char *base,
                const char *path, char *out, size_t room) {
    char quoted[URL_MOST_BYTES / 2], digest[2 * EVP_MAX_MD_SIZE + 2] = "";
    void *first = json_object_iter(target->info.hashes);
    if (json_is_true(json_object_get(trust->root.body, "consistent_snapshot")) && first != NULL) {
        const char *hex = json_string_value(json_object_iter_value(first));
        if (!is_hex(hex, strlen(hex)) || strlen(hex) > 2 * EVP_MAX_MD_SIZE)
            return fail(MALFORMED, "the digest of `%.100s` is none", path);
        snprintf(digest, sizeof digest, "%s.", hex);
    }
    if (!url_quote(quoted, sizeof quoted, path, "/!$&'()*+,;=:@"))
        return fail(MALFORMED, "the target path `%.100s` is too long", path);
    /* the same folder; the quoted name starts after the quoted folder's last slash */
    const char *slash = strrchr(quoted, '/');
    int folder = slash == NULL ? 0 : (int)(slash + 1 - quoted);
    int written = snprintf(out, room, "%s%.*s%s%s", base, folder, quoted, digest, quoted + folder);
    return (written > 0 && (size_t)written < room) || fail(MALFORMED, "a URL is too long");
}
