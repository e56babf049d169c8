/* Form and signatures of TUF metadata. */
#include "metadata.h"

#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "fault.h"
#include "limits.h"
#include "signatures.h"
#include "strict_json.h"

static const char *const role_words[] = {"root", "timestamp", "snapshot", "targets"};

size_t role_most_bytes(enum role role) {
    switch (role) {
    case ROOT: return ROOT_MOST_BYTES;
    case TIMESTAMP: return TIMESTAMP_MOST_BYTES;
    case SNAPSHOT: return SNAPSHOT_MOST_BYTES;
    default: return TARGETS_MOST_BYTES;
    }
}

const json_t *root_role(const struct metadata *root, const char *role) {
    return json_object_in(json_object_in(root->body, "roles"), role);
}

/* Key ids and a threshold. The same id twice would count one key as two. */
static bool is_role(const json_t *role) {
    long long threshold;
    const json_t *ids = json_array_in(role, "keyids");
    if (ids == NULL || json_array_size(ids) > KEYS_MOST ||
        !json_count(role, "threshold", 1, COUNT_MOST, &threshold))
        return false;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (id == NULL) return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(id, json_string_value(json_array_get(ids, j))) == 0) return false;
    }
    return true;
}

static bool are_keys(json_t *keys) {
    const char *id;
    json_t *key;
    json_object_foreach(keys, id, key) {
        if (json_text(key, "keytype") == NULL || json_text(key, "scheme") == NULL ||
            json_text(json_object_in(key, "keyval"), "public") == NULL)
            return false;
    }
    return keys != NULL;
}

static bool is_root(const struct metadata *root) {
    const json_t *consistent = json_object_get(root->body, "consistent_snapshot");
    for (size_t i = 0; i < sizeof role_words / sizeof *role_words; i++)
        if (!is_role(root_role(root, role_words[i]))) return false;
    return (consistent == NULL || json_is_boolean(consistent)) &&
           json_object_size(json_object_in(root->body, "roles")) == 4 &&
           are_keys(json_object_in(root->body, "keys"));
}

bool fileinfo_read(const json_t *entry, struct fileinfo *out) {
    const json_t *length = json_object_get(entry, "length");
    const json_t *hashes = json_object_get(entry, "hashes");
    out->version = 0;
    out->length = -1;
    out->hashes = json_object_in(entry, "hashes");
    if (!json_is_object(entry)) return false;
    if (json_object_get(entry, "version") != NULL &&
        !json_count(entry, "version", 1, COUNT_MOST, &out->version))
        return false;
    if (length != NULL && !json_count(entry, "length", 0, COUNT_MOST, &out->length)) return false;
    if (hashes != NULL && json_object_size(out->hashes) == 0) return false;
    const char *algorithm;
    json_t *digest;
    json_object_foreach(out->hashes, algorithm, digest) {
        if (!json_is_string(digest)) return false;
    }
    return true;
}

bool fileinfo_matches(const struct fileinfo *info, const char *data, size_t length) {
    if (info->length >= 0 && info->length != (long long)length) return false;
    return info->hashes == NULL || hashes_match(info->hashes, data, length);
}

/* The entries of `meta`: of metadata files, so each has a version. */
static bool is_meta(json_t *meta) {
    const char *name;
    json_t *entry;
    struct fileinfo info;
    json_object_foreach(meta, name, entry) {
        if (!fileinfo_read(entry, &info) || info.version == 0) return false;
    }
    return meta != NULL;
}

static bool are_delegations(const json_t *delegations) {
    const json_t *roles = json_array_in(delegations, "roles");
    if (!json_is_object(delegations) || !are_keys(json_object_in(delegations, "keys")))
        return false;
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const json_t *role = json_array_get(roles, i);
        const char *name = json_text(role, "name");
        if (name == NULL || !is_role(role) ||
            !json_is_boolean(json_object_get(role, "terminating")))
            return false;
        for (size_t r = 0; r < sizeof role_words / sizeof *role_words; r++)
            if (strcasecmp(name, role_words[r]) == 0) return false; /* on FAT the same file */
    }
    return roles != NULL || json_object_in(delegations, "succinct_roles") != NULL;
}

static bool are_targets(const struct metadata *targets) {
    const json_t *delegations = json_object_get(targets->body, "delegations");
    json_t *files = json_object_in(targets->body, "targets");
    const char *path;
    json_t *entry;
    struct fileinfo info;
    json_object_foreach(files, path, entry) {
        if (!fileinfo_read(entry, &info) || info.length < 0 || info.hashes == NULL) return false;
    }
    return files != NULL && (delegations == NULL || are_delegations(delegations));
}

static bool has_form_of(const struct metadata *metadata, enum role role) {
    json_t *meta = json_object_in(metadata->body, "meta");
    switch (role) {
    case ROOT: return is_root(metadata);
    case TIMESTAMP: return is_meta(meta) && json_object_get(meta, "snapshot.json") != NULL;
    case SNAPSHOT: return is_meta(meta);
    default: return are_targets(metadata);
    }
}

/* A list of keyid and sig; two of one key could hide a bad one behind a good one. */
static bool are_signatures(const json_t *signatures) {
    if (signatures == NULL || json_array_size(signatures) > KEYS_MOST) return false;
    for (size_t i = 0; i < json_array_size(signatures); i++) {
        const json_t *one = json_array_get(signatures, i);
        const char *id = json_text(one, "keyid");
        if (id == NULL || json_text(one, "sig") == NULL) return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(id, json_text(json_array_get(signatures, j), "keyid")) == 0) return false;
    }
    return true;
}

bool metadata_parse(struct metadata *out, enum role role, const char *data, size_t length,
                    const char *name) {
    struct metadata found = {0};
    const json_t *file = json_parse(data, length, name);
    if (file == NULL) return false;
    found.body = json_object_in(file, "signed");
    found.signatures = json_array_in(file, "signatures");
    const char *type = json_text(found.body, "_type");
    const char *spec = json_text(found.body, "spec_version");
    if (type == NULL || strcmp(type, role_words[role]) != 0)
        return fail(MALFORMED, "`%s` is no %s metadata", name, role_words[role]);
    if (spec == NULL || strncmp(spec, "1.", 2) != 0)
        return fail(MALFORMED, "`%s` is of another TUF version than 1", name);
    if (!json_count(found.body, "version", 1, COUNT_MOST, &found.version) ||
        !time_parse(json_text(found.body, "expires"), &found.expires_s) ||
        !are_signatures(found.signatures) || !has_form_of(&found, role))
        return fail(MALFORMED, "`%s` lacks what %s metadata must have", name, role_words[role]);
    *out = found;
    return true;
}

/* The signature by a key, or NULL; an empty one stands for a signer who has not signed yet. */
static const char *signature_of(const struct metadata *metadata, const char *id) {
    for (size_t i = 0; i < json_array_size(metadata->signatures); i++) {
        const json_t *one = json_array_get(metadata->signatures, i);
        const char *hex = json_text(one, "sig");
        if (strcmp(json_text(one, "keyid"), id) == 0) return hex[0] == '\0' ? NULL : hex;
    }
    return NULL;
}

/* One key under two ids must not count twice. */
static bool counted_before(const json_t *keys, const json_t *key, const char *const *valid_ids,
                           size_t valid) {
    for (size_t i = 0; i < valid; i++)
        if (json_equal(json_object_get(json_object_get(keys, valid_ids[i]), "keyval"),
                       json_object_get(key, "keyval")))
            return true;
    return false;
}

static bool any_signature(const struct metadata *metadata) {
    for (size_t i = 0; i < json_array_size(metadata->signatures); i++)
        if (json_text(json_array_get(metadata->signatures, i), "sig")[0] != '\0') return true;
    return false;
}

static bool fail_signatures(const struct metadata *metadata, size_t known, size_t valid,
                            long long threshold, const char *name) {
    if (!any_signature(metadata)) return fail(UNSIGNED, "`%s` carries no signature", name);
    if (known == 0) return fail(WRONG_KEY, "`%s` is signed by no key of its role", name);
    if (valid == 0) return fail(TAMPERED, "`%s` was changed after it was signed", name);
    return fail(THRESHOLD, "`%s` is signed by %zu of %lld keys that its role needs", name, valid,
                threshold);
}

bool metadata_signed_by(const struct metadata *metadata, const json_t *keys, const json_t *role,
                        const char *name) {
    static char bytes[TEXT_MOST_BYTES];
    const char *valid_ids[KEYS_MOST];
    size_t known = 0, valid = 0, length = json_canonical(metadata->body, bytes, sizeof bytes);
    const json_t *ids = json_array_in(role, "keyids");
    long long threshold = 0;
    if (length == 0) return fail(MALFORMED, "`%s` is too large to be verified", name);
    for (size_t i = 0; i < json_array_size(ids) && valid < KEYS_MOST; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        const json_t *key = json_object_get(keys, id);
        const char *hex = signature_of(metadata, id);
        if (key == NULL || hex == NULL || counted_before(keys, key, valid_ids, valid)) continue;
        known++;
        if (signature_valid(key, hex, bytes, length)) valid_ids[valid++] = id;
    }
    if (!json_count(role, "threshold", 1, COUNT_MOST, &threshold) || (long long)valid < threshold)
        return fail_signatures(metadata, known, valid, threshold, name);
    return true;
}

/* Shell patterns, segment by segment; bounded, as matching many stars takes exponential time. */
static bool pattern_covers(const char *pattern, const char *path) {
    size_t stars = 0;
    if (pattern == NULL || strlen(pattern) > PATTERN_MOST_BYTES) return false;
    for (const char *c = pattern; *c != '\0'; c++) stars += *c == '*';
    return stars <= PATTERN_MOST_STARS && fnmatch(pattern, path, FNM_PATHNAME | FNM_NOESCAPE) == 0;
}

bool delegation_covers(const json_t *delegation, const char *path) {
    const json_t *prefixes = json_array_in(delegation, "path_hash_prefixes");
    const json_t *paths = json_array_in(delegation, "paths");
    char digest[SHA256_HEX];
    sha256_hex(path, strlen(path), digest);
    for (size_t i = 0; i < json_array_size(prefixes); i++) {
        const char *prefix = json_string_value(json_array_get(prefixes, i));
        if (prefix != NULL && strncmp(digest, prefix, strlen(prefix)) == 0) return true;
    }
    for (size_t i = 0; prefixes == NULL && i < json_array_size(paths); i++)
        if (pattern_covers(json_string_value(json_array_get(paths, i)), path)) return true;
    return false;
}
