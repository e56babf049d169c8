/* The order in which things happen, so that a kill at any point leaves a valid model served. */
#include "pull.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "release.h"
#include "result.h"
#include "self_test.h"
#include "store.h"
#include "strict_json.h"
#include "trust.h"

#define SPARE_BYTES (256ll << 10) /* for pointers, metadata and the file system's own tables */
#define INDEX_NAME (32 + sizeof ".index.json")
#define PATH_NAME (2 * NAME_MOST_BYTES)

/* What the parts of one poll share. Static: a camera's stack is small. */
static struct poll {
    const struct options *options;
    const char *family, *compatible;
    char targets[URL_MOST_BYTES]; /* URL of the channel's targets */
    struct store store;
    struct trust trust;
    struct standing before;
    struct index index;
    struct release release; /* the one at hand */
    char id[SHA256_HEX];    /* of the one at hand */
    struct result result;
} poll;

static char bytes[INDEX_MOST_BYTES > MANIFEST_MOST_BYTES ? INDEX_MOST_BYTES : MANIFEST_MOST_BYTES];

/* ---- metadata ---- */

static bool read_root(const struct options *options, char *out, size_t *length) {
    int file = open(options->root, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = file < 0 ? -1 : read(file, out, ROOT_MOST_BYTES);
    if (file >= 0) close(file);
    *length = got < 0 ? 0 : (size_t)got;
    return got > 0 || fail(BAD_ROOT, "the root metadata `%s` cannot be read", options->root);
}

static bool channel_urls(void) {
    const char *channel = poll.options->channel;
    size_t length = strlen(channel);
    while (length > 0 && channel[length - 1] == '/') length--;
    int written = snprintf(poll.trust.url, sizeof poll.trust.url, "%.*s/metadata/", (int)length,
                           channel);
    snprintf(poll.targets, sizeof poll.targets, "%.*s/targets/", (int)length, channel);
    return written < (int)sizeof poll.trust.url || fail(USAGE, "the channel's URL is too long");
}

static bool lock_and_heal(void) {
    at("lock", "before");
    if (!store_open(&poll.store, poll.options->store) ||
        !store_lock(&poll.store, poll.options->wait_s))
        return false;
    at("lock", "in");
    if (!store_heal(&poll.store, &poll.before)) return false;
    at("lock", "after");
    return true;
}

static bool refresh(const char *root, size_t length) {
    at("clock", "before");
    poll.trust.folder = poll.store.metadata;
    poll.trust.clock = clock_read(poll.options->time_floor_s);
    poll.result.clock_known = true;
    at("clock", "in");
    at("clock", "after");
    return trust_refresh(&poll.trust, root, length);
}

/* Which family, and which kind of camera, where the command line does not say. */
static bool choose_family(void) {
    poll.family = poll.options->family;
    if (poll.family == NULL && (poll.family = trust_only_family(&poll.trust)) == NULL) return false;
    if (!family_is_sound(poll.family))
        return fail(USAGE, "`%.40s` is no name of a family", poll.family);
    poll.compatible = poll.options->compatible == NULL ? poll.family : poll.options->compatible;
    return compatible_is_sound(poll.compatible) ||
           fail(USAGE, "`%.40s` is no compatibility word", poll.compatible);
}

/* ---- small files: the index and a manifest ---- */

static bool find_target(const char *path, struct target *out) {
    if (!trust_find(&poll.trust, path, out)) return false;
    return is_hex(out->sha256, 64) || fail(MALFORMED, "`%s` has no SHA-256", path);
}

static bool is_signed(const struct target *target, size_t length, const char *path) {
    char digest[SHA256_HEX];
    sha256_hex(bytes, length, digest);
    if ((long long)length < target->info.length)
        return fail(TRUNCATED, "%zu of %lld bytes of `%s` came", length, target->info.length, path);
    return strcmp(digest, target->sha256) == 0 ||
           fail(ARBITRARY_FILE, "`%s` has SHA-256 %s, signed is %s", path, digest, target->sha256);
}

/* A verified file in `bytes`: from the store where it is unchanged, which costs no request. */
static bool obtain_small(const struct target *target, const char *path, int folder,
                         const char *name, const char *state, size_t *length) {
    char url[URL_MOST_BYTES];
    if (target->info.length > (long long)sizeof bytes)
        return fail(ENDLESS_DATA, "`%s` is %lld bytes long, at most %zu are read", path,
                    target->info.length, sizeof bytes);
    ssize_t kept = file_read(folder, name, bytes, sizeof bytes);
    if (kept >= 0 && is_signed(target, (size_t)kept, path)) {
        *length = (size_t)kept;
        at(state, "in");
        return true;
    }
    return target_url(&poll.trust, target, poll.targets, path, url, sizeof url) &&
           http_get(url, bytes, (size_t)target->info.length, length) &&
           is_signed(target, *length, path) && file_write(folder, name, bytes, *length, state);
}

static bool read_index(void) {
    char path[PATH_NAME], name[INDEX_NAME];
    struct target target;
    size_t length = 0;
    snprintf(path, sizeof path, "%s/index.json", poll.family);
    snprintf(name, sizeof name, "%s.index.json", poll.family);
    if (!find_target(path, &target)) return false;
    at("index", "before");
    if (!obtain_small(&target, path, poll.store.metadata, name, "index", &length)) return false;
    json_t *value = json_parse(bytes, length, "index.json");
    if (value == NULL || !index_read(value, poll.family, &poll.index)) return false;
    at("index", "after");
    return true;
}

static bool file_target(const struct release_file *file, char *path, size_t room,
                        struct target *out) {
    snprintf(path, room, "%s/%lld/%s", poll.family, poll.release.number, file->name);
    return find_target(path, out);
}

/* What the manifest says of a file must be what the channel signed under that name. */
static bool files_are_signed(void) {
    char path[PATH_NAME];
    struct target target;
    for (size_t i = 0; i < poll.release.count; i++) {
        const struct release_file *file = &poll.release.files[i];
        if (!file->is_fetched) continue;
        if (!file_target(file, path, sizeof path, &target)) return false;
        if (target.info.length != file->length || strcmp(target.sha256, file->sha256) != 0)
            return fail(MIX_AND_MATCH,
                        "`%s` of release %lld is not the file that the channel signed", file->name,
                        poll.release.number);
    }
    return true;
}

static bool read_manifest(const struct entry *entry) {
    struct target target;
    size_t length = 0;
    at("manifest", "before");
    if (!find_target(entry->manifest, &target)) return false;
    snprintf(poll.id, sizeof poll.id, "%s", target.sha256);
    int folder = folder_open(poll.store.releases, poll.id, true);
    if (folder < 0) return fail_errno(errno, "make", poll.id);
    bool there = obtain_small(&target, entry->manifest, folder, "release.json", "manifest", &length);
    close(folder);
    json_t *value = there ? json_parse(bytes, length, "release.json") : NULL;
    if (value == NULL || !release_read(value, entry, poll.family, &poll.release) ||
        !files_are_signed())
        return false;
    at("manifest", "after");
    return true;
}

/* ---- reasons not to take a release ---- */

static bool hold_back(long long release, const char *kind, const char *text) {
    struct held_back *slot = &poll.result.held_back[poll.result.held_back_count];
    say("release %lld is held back [%s]: %s", release, kind, text);
    if (poll.result.held_back_count == HELD_BACK_MOST) return false;
    poll.result.held_back_count++;
    slot->release = release;
    snprintf(slot->kind, sizeof slot->kind, "%s", kind);
    snprintf(slot->text, sizeof slot->text, "%s", text);
    return false;
}

/* As far as the index tells. */
static bool index_admits(const struct entry *entry) {
    char text[sizeof poll.result.held_back->text];
    if (strcmp(entry->compatible, poll.compatible) != 0) {
        snprintf(text, sizeof text, "it is for `%.60s`, this is `%.60s`", entry->compatible,
                 poll.compatible);
        return hold_back(entry->release, "compatible", text);
    }
    if (entry->min_firmware > poll.options->firmware) {
        snprintf(text, sizeof text, "it needs firmware %lld, this is %lld", entry->min_firmware,
                 poll.options->firmware);
        return hold_back(entry->release, "firmware", text);
    }
    if (rollout_admits(entry, poll.options->device_id)) return true;
    snprintf(text, sizeof text, "%g %% of the cameras take it, not yet this one",
             (double)entry->basis_points / 100.0);
    return hold_back(entry->release, "rollout", text);
}

/* As far as its manifest tells. */
static bool manifest_admits(void) {
    char kind[33], text[sizeof poll.result.held_back->text];
    const struct options *own = poll.options;
    const struct release *release = &poll.release;
    if (store_blocked(&poll.store, release->content, kind))
        return hold_back(release->number, kind, "this content failed here before and is blocked");
    if (own->runtime == NULL || (strcmp(own->runtime, release->runtime) == 0 &&
                                 !version_is_older(own->runtime_version, release->runtime_least)))
        return true;
    bool other = strcmp(own->runtime, release->runtime) != 0;
    snprintf(text, sizeof text, "it needs %.32s %.32s or newer, this camera has %s%.32s",
             release->runtime, release->runtime_least, other ? "no " : "",
             other ? release->runtime : own->runtime_version);
    return hold_back(release->number, "runtime", text);
}

/* ---- a release's files ---- */

static bool is_missing(int folder, const struct release_file *file) {
    return file->is_fetched && !file_matches(folder, file->name, file->length, file->sha256);
}

static void part_name(const struct release_file *file, char out[NAME_MOST_BYTES + 8]) {
    snprintf(out, NAME_MOST_BYTES + 8, "%s.part", file->name);
}

static bool require_space(int folder) {
    struct statvfs found;
    struct stat facts;
    long long needed = 0;
    char part[NAME_MOST_BYTES + 8];
    for (size_t i = 0; i < poll.release.count; i++) {
        const struct release_file *file = &poll.release.files[i];
        if (!is_missing(folder, file)) continue;
        part_name(file, part);
        bool begun = fstatat(folder, part, &facts, AT_SYMLINK_NOFOLLOW) == 0;
        needed += file->length - (begun ? (long long)facts.st_size : 0);
    }
    if (fstatvfs(folder, &found) != 0) return fail_errno(errno, "look at", "the store");
    long long free_bytes = (long long)found.f_bavail * (long long)found.f_frsize;
    return needed <= 0 || free_bytes >= needed + SPARE_BYTES ||
           fail(DISK_FULL, "%lld more bytes are needed and %lld to spare, %lld are free", needed,
                SPARE_BYTES, free_bytes);
}

/* One file under its final name: copied from another release that has it, or fetched. */
static bool obtain_file(int folder, const struct release_file *file) {
    char path[PATH_NAME], url[URL_MOST_BYTES], part[NAME_MOST_BYTES + 8];
    struct target target;
    part_name(file, part);
    if (!store_copy(&poll.store, file, folder, part)) {
        if (!file_target(file, path, sizeof path, &target) ||
            !target_url(&poll.trust, &target, poll.targets, path, url, sizeof url) ||
            !http_download(url, folder, part, file->length, file->sha256))
            return false;
    }
    return file_rename(folder, part, file->name);
}

static bool obtain_files(int folder) {
    at("space", "before");
    store_collect(&poll.store, poll.before.current.id, poll.before.previous.id, poll.id);
    at("space", "in");
    if (!require_space(folder)) return false;
    at("space", "after");
    at("fetch", "before");
    for (size_t i = 0; i < poll.release.count; i++)
        if (is_missing(folder, &poll.release.files[i]) &&
            !obtain_file(folder, &poll.release.files[i]))
            return false;
    at("fetch", "after");
    return true;
}

static bool obtain_release(struct stored *out) {
    int folder = folder_open(poll.store.releases, poll.id, false);
    if (folder < 0) return fail_errno(errno, "open", poll.id);
    bool there = obtain_files(folder);
    close(folder);
    if (!there) return false;
    at("verify", "before");
    at("verify", "in");
    if (!store_release(&poll.store, poll.id, out))
        return fail(STORE_DAMAGED, "release %lld is not what was written a moment ago",
                    poll.release.number);
    at("verify", "after");
    return true;
}

/* ---- self-test and activation ---- */

static bool run_trial(const struct stored *stored, struct verdict *verdict) {
    char folder[4096];
    long attempts = store_attempts(&poll.store, stored->id);
    if (attempts >= TRIAL_ATTEMPTS_MOST) {
        verdict->kind = CRASH;
        snprintf(verdict->text, sizeof verdict->text, "%d self-tests never came to an end",
                 TRIAL_ATTEMPTS_MOST);
        return true;
    }
    if (!store_begin_trial(&poll.store, stored->id, attempts + 1)) return false;
    say("release %lld: self-test, attempt %ld", stored->release, attempts + 1);
    at("test", "in");
    snprintf(folder, sizeof folder, "%s/releases/%s", poll.store.path, stored->id);
    bool judged = self_test(poll.options->self_test, folder, poll.options->self_test_s, verdict);
    if (!judged) store_end_trial(&poll.store);
    return judged;
}

/* False with the fault of the machine, or without one where the model was found bad. */
static bool prove(const struct stored *stored) {
    struct verdict verdict = {.kind = KIND_NONE};
    if (poll.options->self_test == NULL) {
        say("release %lld is not tested on this camera: there is no --self-test", stored->release);
        at("test", "in");
        return true;
    }
    if (!run_trial(stored, &verdict)) return false;
    if (verdict.kind != KIND_NONE &&
        !store_block(&poll.store, stored->content, kind_word(verdict.kind)))
        return false;
    store_end_trial(&poll.store);
    return verdict.kind == KIND_NONE ||
           hold_back(stored->release, kind_word(verdict.kind), verdict.text);
}

static bool activate(const struct stored *stored) {
    at("activate", "before");
    if (poll.before.current.there &&
        !store_point(&poll.store, "previous", &poll.before.current))
        return false;
    at("activate", "in");
    if (!store_point(&poll.store, "current", stored)) return false;
    at("activate", "after");
    return true;
}

/* Fetch, test and activate. False with a fault, or without one where it is held back. */
static bool take_release(const struct entry *entry) {
    struct stored stored;
    forget_fault();
    if (!index_admits(entry) || !read_manifest(entry) || !manifest_admits()) return false;
    if (!obtain_release(&stored)) return false;
    at("test", "before");
    if (!prove(&stored)) return false;
    at("test", "after");
    return activate(&stored);
}

static void collect(const struct standing *kept) {
    at("collect", "before");
    at("collect", "in");
    store_collect(&poll.store, kept->current.id, kept->previous.id, NULL);
    at("collect", "after");
}

/* ---- the whole ---- */

/* The newest release first; true where one is served now. */
static bool take_newest(void) {
    long long above = poll.before.current.there ? poll.before.current.release : 0;
    for (size_t i = 0; i < poll.index.count && poll.index.entries[i].release > above; i++) {
        if (take_release(&poll.index.entries[i])) return true;
        if (fault_kind() != KIND_NONE) return false;
    }
    return false;
}

static bool any_is_meant(void) {
    for (size_t i = 0; i < poll.index.count; i++)
        if (strcmp(poll.index.entries[i].compatible, poll.compatible) == 0) return true;
    return false;
}

/* Nothing was taken: because there is nothing, not yet, or for a reason to act on. */
static void explain_kept(void) {
    struct result *result = &poll.result;
    result->outcome = "current";
    for (size_t i = 0; i < result->held_back_count; i++) {
        const struct held_back *one = &result->held_back[i];
        if (strcmp(one->kind, "compatible") == 0) continue;
        result->outcome = "waiting";
        if (strcmp(one->kind, "rollout") == 0) continue;
        result->outcome = "kept";
        fail_held_back(one->kind, "release %lld is not taken: %s", one->release, one->text);
        return;
    }
    if (any_is_meant()) return;
    result->outcome = poll.before.current.there ? "kept" : "failed";
    fail(OTHER_COMPATIBLE, "the channel has no release for `%s`", poll.compatible);
}

static void poll_once(void) {
    static char root[ROOT_MOST_BYTES];
    size_t length = 0;
    if (!read_root(poll.options, root, &length) || !channel_urls() || !lock_and_heal() ||
        !refresh(root, length) || !choose_family() || !read_index())
        return;
    bool updated = take_newest();
    if (fault_kind() != KIND_NONE) return;
    poll.result.standing = updated ? store_standing(&poll.store) : poll.before;
    collect(&poll.result.standing);
    poll.result.outcome = "updated";
    if (!updated) explain_kept();
}

static void send_back(void) {
    if (!store_open(&poll.store, poll.options->store) ||
        !store_lock(&poll.store, poll.options->wait_s) ||
        !store_return_to_previous(&poll.store, &poll.result.standing))
        return;
    poll.result.outcome = "updated";
}

int pull(const struct options *options) {
    poll.options = options;
    if (options->return_to_previous)
        send_back();
    else
        poll_once();
    poll.result.clock = poll.trust.clock;
    if (poll.result.outcome == NULL) { /* it was stopped by a fault, which is told below */
        struct standing now = poll.store.releases >= 0 ? store_standing(&poll.store) : poll.before;
        poll.result.standing = now;
        poll.result.outcome = kind_exit_code(fault_kind()) == 5 ? "refused" : "failed";
    }
    result_print(&poll.result, options->store, options->json);
    if (fault_kind() != KIND_NONE) print_fault();
    int code = kind_exit_code(fault_kind());
    store_close(&poll.store);
    return code;
}
