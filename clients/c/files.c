/* openat and friends; every name here was checked by whoever passes it. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "hooks.h"
#include "limits.h"
#include "signatures.h"

#define CHUNK_BYTES (32u << 10)
#define PART_NAME (NAME_MOST_BYTES + 160u) /* a metadata file's name may be a quoted role */

int folder_open(int parent, const char *name, bool make) {
    if (make && mkdirat(parent, name, 0755) == 0)
        fsync(parent); /* its name must be there before anything leads to it */
    else if (make && errno != EEXIST)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

bool folder_sync(int folder) {
    /* some file systems (FAT by FUSE) have no fsync of folders; there is no better to do there */
    if (fsync(folder) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS) return true;
    return fail_errno(errno, "sync", "the store's folder");
}

/* O_NONBLOCK: a pipe under a file's name must not hold the camera up. */
static int regular_open(int folder, const char *name, struct stat *facts) {
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file >= 0 && (fstat(file, facts) != 0 || !S_ISREG(facts->st_mode))) {
        close(file);
        return -1;
    }
    return file;
}

static ssize_t read_some(int file, void *out, size_t most) {
    ssize_t got;
    do got = read(file, out, most);
    while (got < 0 && errno == EINTR);
    return got;
}

ssize_t file_read(int folder, const char *name, char *out, size_t most) {
    struct stat facts;
    int file = regular_open(folder, name, &facts);
    if (file < 0) return -1;
    size_t length = 0;
    ssize_t got = 0;
    bool fits = facts.st_size >= 0 && (unsigned long long)facts.st_size <= most;
    while (fits && length < most && (got = read_some(file, out + length, most - length)) > 0)
        length += (size_t)got;
    close(file);
    return fits && got >= 0 ? (ssize_t)length : -1;
}

bool write_all(int file, const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        ssize_t written = write(file, at, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        at += written;
        length -= (size_t)written;
    }
    return true;
}

bool file_rename(int folder, const char *from, const char *to) {
    if (renameat(folder, from, folder, to) != 0) return fail_errno(errno, "rename", from);
    return folder_sync(folder);
}

static bool is_written(int folder, const char *name, const void *data, size_t length) {
    char digest[SHA256_HEX];
    sha256_hex(data, length, digest);
    return file_matches(folder, name, (long long)length, digest);
}

bool file_write(int folder, const char *name, const void *data, size_t length, const char *state) {
    char part[PART_NAME];
    if (is_written(folder, name, data, length)) {
        if (state != NULL) at(state, "in");
        return true;
    }
    if ((size_t)snprintf(part, sizeof part, "%s.part", name) >= sizeof part)
        return fail(MALFORMED, "the name `%.80s` is too long", name);
    unlinkat(folder, part, 0); /* of a run that was killed, or a link that somebody put there */
    int file = openat(folder, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0) return fail_errno(errno, "write", part);
    bool written = write_all(file, data, length) && fsync(file) == 0;
    int reason = errno;
    close(file);
    if (!written) {
        unlinkat(folder, part, 0);
        return fail_errno(reason, "write", part);
    }
    if (state != NULL) at(state, "in");
    return file_rename(folder, part, name);
}

static bool hash_file(int file, long long length, const EVP_MD *kind, char *out) {
    unsigned char chunk[CHUNK_BYTES], digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    ssize_t got = 0;
    long long seen = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool sound = context != NULL && EVP_DigestInit_ex(context, kind, NULL) == 1;
    while (sound && seen <= length && (got = read_some(file, chunk, sizeof chunk)) > 0) {
        sound = EVP_DigestUpdate(context, chunk, (size_t)got) == 1;
        seen += got;
    }
    sound = sound && got == 0 && seen == length && EVP_DigestFinal_ex(context, digest, &size) == 1;
    EVP_MD_CTX_free(context);
    if (sound) hex_of(digest, size, out);
    return sound;
}

bool file_matches(int folder, const char *name, long long length, const char *digest) {
    char found[2 * EVP_MAX_MD_SIZE + 1] = "";
    const EVP_MD *kind = strlen(digest) == 64 ? EVP_sha256() : EVP_sha512();
    struct stat facts;
    int file = regular_open(folder, name, &facts);
    if (file < 0) return false;
    bool same = facts.st_size == length && hash_file(file, length, kind, found);
    close(file);
    return same && strcmp(found, digest) == 0;
}

bool file_copy(int from, const char *name, int to, const char *goal) {
    char chunk[CHUNK_BYTES];
    struct stat facts;
    int source = regular_open(from, name, &facts);
    if (source < 0) return false;
    unlinkat(to, goal, 0); /* whatever is there */
    int file = openat(to, goal, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    ssize_t got = 0;
    bool copied = file >= 0;
    while (copied && (got = read_some(source, chunk, sizeof chunk)) > 0)
        copied = write_all(file, chunk, (size_t)got);
    copied = copied && got == 0 && fsync(file) == 0;
    close(source);
    if (file >= 0) close(file);
    return copied;
}

int file_append(int folder, const char *name, off_t *size) {
    struct stat facts;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int file = openat(folder, name, flags, 0644);
    bool is_ours = file >= 0 || (errno != ELOOP && errno != ENXIO); /* a link, a pipe */
    if (!is_ours && unlinkat(folder, name, 0) == 0) file = openat(folder, name, flags, 0644);
    if (file < 0) return -1;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        close(file);
        errno = EINVAL;
        return -1;
    }
    *size = facts.st_size;
    return file;
}

void folder_remove(int parent, const char *name, const char *spared) {
    int folder = folder_open(parent, name, false);
    DIR *listing = folder < 0 ? NULL : fdopendir(folder);
    if (listing == NULL) {
        if (folder >= 0) close(folder);
        return;
    }
    const struct dirent *entry;
    for (unsigned int n = 0; n < COLLECT_MOST && (entry = readdir(listing)) != NULL; n++) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, spared) == 0 || unlinkat(folder, entry->d_name, 0) == 0)
            continue;
        folder_remove(folder, entry->d_name, ""); /* of a self-test; as deep as files may be open */
    }
    closedir(listing);
    unlinkat(parent, name, AT_REMOVEDIR);
}
