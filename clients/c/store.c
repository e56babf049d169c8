/* Releases, pointers to two of them, contents that failed, and a count of self-tests. */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "fault.h"
#include "files.h"
#include "strict_json.h"

#define MANIFEST "release.json"
#define LINE_MOST 128u
#define LOOK_NS 200000000l /* between two tries at the lock */

static bool make_path(const char *path) {
    char folder[4096];
    if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(folder, 0755); /* what fails here shows at the last one */
        *slash = '/';
    }
    return mkdir(folder, 0755) == 0 || errno == EEXIST;
}

bool store_open(struct store *store, const char *path, bool make) {
    *store = (struct store){path, -1, -1, -1, -1};
    if (make && !make_path(path)) return fail_errno(errno, "make", path);
    store->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->folder < 0) return fail_errno(errno, "open", path);
    store->metadata = folder_open(store->folder, "metadata", make);
    if (make && store->metadata < 0) return fail_errno(errno, "open", "metadata");
    store->releases = folder_open(store->folder, "releases", make);
    return !make || store->releases >= 0 || fail_errno(errno, "open", "releases");
}

static bool fail_busy(const struct store *store, long wait_s) {
    char owner[32];
    ssize_t length = pread(store->lock, owner, sizeof owner - 1, 0);
    owner[length < 0 ? 0 : length] = '\0';
    return fail(BUSY, "process %ld is at work in this store, also after %ld s", atol(owner), wait_s);
}

bool store_lock(struct store *store, long wait_s) {
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    char owner[24];
    int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    store->lock = openat(store->folder, "lock", flags, 0644);
    if (store->lock < 0) return fail_errno(errno, "open", "lock");
    for (long tries = wait_s * (1000000000l / LOOK_NS); flock(store->lock, LOCK_EX | LOCK_NB) != 0;
         tries--) {
        if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno(errno, "lock", "lock");
        if (tries <= 0) return fail_busy(store, wait_s);
        nanosleep(&pause, NULL);
    }
    int length = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(store->lock, 0) != 0 || pwrite(store->lock, owner, (size_t)length, 0) != length)
        return fail_errno(errno, "write", "lock");
    return true;
}

/* ---- releases ---- */

/* A stored manifest, if it is the one that its folder is named after. */
static bool read_manifest(const struct store *store, const char *id, struct release *out) {
    static char bytes[MANIFEST_MOST_BYTES];
    char digest[SHA256_HEX];
    int folder = folder_open(store->releases, id, false);
    if (folder < 0) return false;
    ssize_t length = file_read(folder, MANIFEST, bytes, sizeof bytes);
    close(folder);
    if (length < 0) return false;
    sha256_hex(bytes, (size_t)length, digest);
    json_t *value = strcmp(digest, id) == 0 ? json_parse(bytes, (size_t)length, MANIFEST) : NULL;
    return value != NULL && release_read(value, NULL, NULL, out);
}

static bool files_are_whole(const struct store *store, const char *id,
                            const struct release *release) {
    int folder = folder_open(store->releases, id, false);
    bool whole = folder >= 0;
    for (size_t i = 0; whole && i < release->count; i++) {
        const struct release_file *file = &release->files[i];
        whole = !file->is_fetched || file_matches(folder, file->name, file->length, file->sha256);
    }
    if (folder >= 0) close(folder);
    return whole;
}

bool store_release(const struct store *store, const char *id, struct stored *out) {
    struct release release;
    size_t mark = arena_used();
    bool whole = is_hex(id, 64) && read_manifest(store, id, &release) &&
                 files_are_whole(store, id, &release);
    *out = (struct stored){.there = whole};
    if (whole) {
        out->release = release.number;
        snprintf(out->id, sizeof out->id, "%s", id);
        snprintf(out->content, sizeof out->content, "%s", release.content);
        snprintf(out->family, sizeof out->family, "%.32s", release.family);
        snprintf(out->compatible, sizeof out->compatible, "%.100s", release.compatible);
        snprintf(out->model, sizeof out->model, "%s", release.model);
    }
    arena_rewind(mark);
    return whole;
}

/* Names of folders that look like releases, one after the other. */
static const char *next_id(DIR *listing) {
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL)
        if (is_hex(entry->d_name, 64)) return entry->d_name;
    return NULL;
}

static DIR *list_releases(const struct store *store) {
    int folder = folder_open(store->folder, "releases", false);
    DIR *listing = folder < 0 ? NULL : fdopendir(folder);
    if (listing == NULL && folder >= 0) close(folder);
    return listing;
}

static bool copy_from(const struct store *store, const char *id, const struct release_file *wanted,
                      int goal_folder, const char *part) {
    struct release release;
    size_t mark = arena_used();
    bool copied = false;
    int folder = folder_open(store->releases, id, false);
    bool known = folder >= 0 && read_manifest(store, id, &release);
    for (size_t i = 0; known && !copied && i < release.count; i++)
        copied = strcmp(release.files[i].sha256, wanted->sha256) == 0 &&
                 file_matches(folder, release.files[i].name, wanted->length, wanted->sha256) &&
                 file_copy(folder, release.files[i].name, goal_folder, part) &&
                 file_matches(goal_folder, part, wanted->length, wanted->sha256);
    if (folder >= 0) close(folder);
    arena_rewind(mark);
    return copied;
}

bool store_copy(const struct store *store, const struct release_file *file, int goal_folder,
                const char *part) {
    DIR *listing = list_releases(store);
    const char *id;
    bool copied = false;
    while (listing != NULL && !copied && (id = next_id(listing)) != NULL)
        copied = copy_from(store, id, file, goal_folder, part);
    if (listing != NULL) closedir(listing);
    forget_fault();
    return copied;
}

void store_collect(const struct store *store, const char *const kept[3],
                   const char (*manifests)[SHA256_HEX], size_t manifest_count) {
    DIR *listing = list_releases(store);
    const char *id;
    while (listing != NULL && (id = next_id(listing)) != NULL) {
        bool keep = false, is_known = false;
        for (size_t i = 0; i < 3; i++) keep = keep || strcmp(kept[i], id) == 0;
        for (size_t i = 0; i < manifest_count; i++)
            is_known = is_known || strcmp(manifests[i], id) == 0;
        if (!keep) folder_remove(store->releases, id, is_known ? MANIFEST : "");
    }
    if (listing != NULL) closedir(listing);
}

/* ---- pointers ---- */

/* `<release> <id>` and a line's end, nothing else. */
static bool read_pointer(const struct store *store, const char *name, long long *release,
                         char id[SHA256_HEX]) {
    char line[LINE_MOST + 1];
    ssize_t length = file_read(store->folder, name, line, LINE_MOST);
    if (length < 0) return false;
    line[length] = '\0';
    size_t digits = strspn(line, "0123456789");
    if (strlen(line) != (size_t)length || digits < 1 || digits > 13 || line[0] == '0' ||
        line[digits] != ' ' || strlen(line + digits) != 1 + 64 + 1 || line[length - 1] != '\n')
        return false;
    line[length - 1] = '\0';
    *release = strtoll(line, NULL, 10);
    snprintf(id, SHA256_HEX, "%s", line + digits + 1);
    return is_hex(id, 64);
}

static struct stored pointed_to(const struct store *store, const char *name) {
    struct stored found = {.there = false};
    char id[SHA256_HEX];
    long long release;
    if (read_pointer(store, name, &release, id)) store_release(store, id, &found);
    return found;
}

long long store_had(const struct store *store) {
    char id[SHA256_HEX];
    long long release;
    return read_pointer(store, "current", &release, id) ? release : 0;
}

struct standing store_standing(const struct store *store) {
    struct fault saved = fault_save();
    struct standing found = {pointed_to(store, "current"), pointed_to(store, "previous")};
    fault_restore(&saved); /* a damaged release is an answer here, no fault */
    return found;
}

bool store_point(const struct store *store, const char *pointer, const struct stored *to) {
    char line[LINE_MOST];
    int length = snprintf(line, sizeof line, "%lld %s\n", to->release, to->id);
    return file_write(store->folder, pointer, line, (size_t)length, NULL);
}

static bool drop_file(const struct store *store, const char *name) {
    if (unlinkat(store->folder, name, 0) != 0 && errno != ENOENT)
        return fail_errno(errno, "remove", name);
    return folder_sync(store->folder);
}

static bool exists(const struct store *store, const char *name) {
    struct stat facts;
    return fstatat(store->folder, name, &facts, AT_SYMLINK_NOFOLLOW) == 0;
}

bool store_newest(const struct store *store, struct stored *out) {
    struct stored best = {.there = false}, one;
    char kind[33];
    const char *id;
    DIR *listing = list_releases(store);
    while (listing != NULL && (id = next_id(listing)) != NULL)
        if (store_release(store, id, &one) && !store_blocked(store, one.content, kind) &&
            (!best.there || one.release > best.release))
            best = one;
    if (listing != NULL) closedir(listing);
    forget_fault(); /* of releases that were looked at */
    *out = best;
    return best.there;
}

bool store_heal(const struct store *store, struct standing *out, bool *lost) {
    *out = store_standing(store);
    bool damaged = exists(store, "current"), had_previous = exists(store, "previous");
    *lost = !out->current.there && !out->previous.there && (damaged || had_previous);
    if (!out->current.there && (damaged || had_previous))
        say("`current` %s", damaged ? "names no complete release" : "is lost");
    if (!out->current.there && out->previous.there) { /* it was served before, so it is proved */
        say("release %lld is served instead", out->previous.release);
        if (!store_point(store, "current", &out->previous)) return false;
        out->current = out->previous;
    } else if (out->current.there && store_had(store) != out->current.release) {
        say("`current` states another release than it names: corrected");
        if (!store_point(store, "current", &out->current)) return false;
    }
    if (out->previous.there || !had_previous) return true;
    say("`previous` names no complete release: dropped");
    return drop_file(store, "previous");
}

bool store_return_to_previous(const struct store *store, struct standing *out) {
    bool lost;
    if (!store_heal(store, out, &lost)) return false;
    if (!out->current.there || !out->previous.there ||
        strcmp(out->current.id, out->previous.id) == 0)
        return fail(STORE_DAMAGED, "there is no previous model to return to");
    if (!store_block(store, out->current.content, "misbehaved") ||
        !store_point(store, "current", &out->previous))
        return false;
    out->current = out->previous;
    out->previous = (struct stored){.there = false};
    return drop_file(store, "previous");
}
