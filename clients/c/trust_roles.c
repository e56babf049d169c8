/* What all roles share: fetching a file, holding it against its parent and its age. */
#include "trust_roles.h"

#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "http.h"
#include "strict_json.h"

#define OVER_BYTES (16u << 10) /* read beyond a signed length, to tell a mix-up from endless data */

char trust_fetched[TEXT_MOST_BYTES], trust_stored[TEXT_MOST_BYTES];

const json_t *trust_root_keys(const struct trust *trust) {
    return json_object_in(trust->root.body, "keys");
}

bool trust_signed_by_root(const struct trust *trust, const struct metadata *metadata,
                           const char *role, const char *name) {
    return metadata_signed_by(metadata, trust_root_keys(trust), root_role(&trust->root, role),
                              name);
}

bool trust_fetch(const struct trust *trust, const char *file, size_t most, size_t *length) {
    char url[URL_MOST_BYTES + FILE_NAME];
    int written = snprintf(url, sizeof url, "%s%s", trust->url, file);
    if (written < 0 || (size_t)written >= sizeof url)
        return fail(MALFORMED, "the URL of `%s` is too long", file);
    return http_get(url, trust_fetched, most, length);
}

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

bool trust_fail_rollback(const char *role, long long found, long long trusted) {
    return fail(ROLLBACK, "the channel offers `%s` version %lld, version %lld was trusted before",
                role, found, trusted);
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

bool trust_fetch_role(const struct trust *trust, const struct expected *want, const char *name,
                       struct metadata *out, size_t *length) {
    size_t most = role_most_bytes(want->role);
    bool stated = want->info.length >= 0 && want->info.length < (long long)most;
    size_t announced = stated ? (size_t)want->info.length : most;
    if (announced + OVER_BYTES < most) most = announced + OVER_BYTES;
    if (!trust_fetch(trust, name, most, length)) return false;
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
