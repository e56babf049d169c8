/* An index, a release's manifest and its files: from the store where they are, else fetched. */
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
#include "http.h"
#include "task.h"
#include "strict_json.h"

#define SPARE_BYTES (256ll << 10) /* for pointers, metadata and the file system's own tables */
#define INDEX_NAME (32 + sizeof ".index.json")
#define PATH_NAME (2 * NAME_MOST_BYTES)

static char bytes[INDEX_MOST_BYTES > MANIFEST_MOST_BYTES ? INDEX_MOST_BYTES : MANIFEST_MOST_BYTES];

static bool find_target(const char *path, struct target *out) {
    if (!trust_find(&task.trust, path, out)) return false;
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
    return target_url(&task.trust, target, task.targets, path, url, sizeof url) &&
           http_get(url, bytes, (size_t)target->info.length, length) &&
           is_signed(target, *length, path) && file_write(folder, name, bytes, *length, state);
}

bool obtain_index(void) {
    char path[PATH_NAME], name[INDEX_NAME];
    struct target target;
    size_t length = 0;
    snprintf(path, sizeof path, "%s/index.json", task.family);
    snprintf(name, sizeof name, "%s.index.json", task.family);
    if (!find_target(path, &target)) return false;
    at("index", "before");
    if (!obtain_small(&target, path, task.store.metadata, name, "index", &length)) return false;
    json_t *value = json_parse(bytes, length, "index.json");
    if (value == NULL || !index_read(value, task.family, &task.index)) return false;
    at("index", "after");
    return true;
}

static bool file_target(const struct release_file *file, char *path, size_t room,
                        struct target *out) {
    snprintf(path, room, "%s/%lld/%s", task.family, task.release.number, file->name);
    return find_target(path, out);
}

/* What the manifest says of a file must be what the channel signed under that name. */
static bool files_are_signed(void) {
    char path[PATH_NAME];
    struct target target;
    for (size_t i = 0; i < task.release.count; i++) {
        const struct release_file *file = &task.release.files[i];
        if (!file->is_fetched) continue;
        if (!file_target(file, path, sizeof path, &target)) return false;
        if (target.info.length != file->length || strcmp(target.sha256, file->sha256) != 0)
            return fail(MIX_AND_MATCH,
                        "`%s` of release %lld is not the file that the channel signed", file->name,
                        task.release.number);
    }
    return true;
}

bool obtain_manifest(const struct entry *entry) {
    struct target target;
    size_t length = 0;
    at("manifest", "before");
    if (!find_target(entry->manifest, &target)) return false;
    snprintf(task.id, sizeof task.id, "%s", target.sha256);
    int folder = folder_open(task.store.releases, task.id, true);
    if (folder < 0) return fail_errno(errno, "make", task.id);
    bool there = obtain_small(&target, entry->manifest, folder, "release.json", "manifest", &length);
    close(folder);
    json_t *value = there ? json_parse(bytes, length, "release.json") : NULL;
    if (value == NULL || !release_read(value, entry, task.family, &task.release) ||
        !files_are_signed())
        return false;
    if (task.looked_at_count < ENTRIES_MOST)
        memcpy(task.looked_at[task.looked_at_count++], task.id, sizeof task.id);
    at("manifest", "after");
    return true;
}

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
    for (size_t i = 0; i < task.release.count; i++) {
        const struct release_file *file = &task.release.files[i];
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
    if (!store_copy(&task.store, file, folder, part)) {
        if (!file_target(file, path, sizeof path, &target) ||
            !target_url(&task.trust, &target, task.targets, path, url, sizeof url) ||
            !http_download(url, folder, part, file->length, file->sha256))
            return false;
    }
    return file_rename(folder, part, file->name);
}

void collect_releases(const struct standing *kept, const char *also) {
    const char *const ids[3] = {kept->current.id, kept->previous.id, also};
    store_collect(&task.store, ids, (const char (*)[SHA256_HEX])task.looked_at,
                  task.looked_at_count);
}

static bool obtain_files(int folder) {
    struct standing kept = task.before;
    at("space", "before");
    /* without a current one, the newest that is whole may be all that this camera has */
    if (!kept.current.there) store_newest(&task.store, &kept.current);
    collect_releases(&kept, task.id);
    at("space", "in");
    if (!require_space(folder)) return false;
    at("space", "after");
    at("fetch", "before");
    for (size_t i = 0; i < task.release.count; i++)
        if (is_missing(folder, &task.release.files[i]) &&
            !obtain_file(folder, &task.release.files[i]))
            return false;
    at("fetch", "after");
    return true;
}

bool obtain_release(struct stored *out) {
    int folder = folder_open(task.store.releases, task.id, false);
    if (folder < 0) return fail_errno(errno, "open", task.id);
    bool there = obtain_files(folder);
    close(folder);
    if (!there) return false;
    at("verify", "before");
    at("verify", "in");
    if (!store_release(&task.store, task.id, out))
        return fail(STORE_DAMAGED, "release %lld is not what was written a moment ago",
                    task.release.number);
    at("verify", "after");
    return true;
}
