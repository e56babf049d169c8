/* `init`, `refresh` and `download`, as github.com/theupdateframework/tuf-conformance asks for. */
#include "conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "trust.h"

static struct trust trust;
static char root[ROOT_MOST_BYTES];

static bool with_slash(char *out, size_t room, const char *url) {
    size_t length = strlen(url);
    const char *slash = length > 0 && url[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, room, "%s%s", url, slash);
    return (written > 0 && (size_t)written < room) || fail(USAGE, "the URL is too long");
}

static bool init(const struct options *options, int folder) {
    ssize_t length = file_read(AT_FDCWD, options->argument, root, sizeof root);
    if (length < 0) return fail(BAD_ROOT, "`%s` cannot be read", options->argument);
    return file_write(folder, "root.json", root, (size_t)length, NULL);
}

static bool refresh(const struct options *options, int folder) {
    ssize_t length = file_read(folder, "root.json", root, sizeof root);
    trust.folder = folder;
    trust.clock = clock_read(0); /* static repositories of the suite are older than this source */
    if (length < 0) return fail(BAD_ROOT, "there is no root.json; run init first");
    return with_slash(trust.url, sizeof trust.url, options->metadata_url) &&
           trust_refresh(&trust, root, (size_t)length);
}

/* Under its final name only when it is verified; not fetched where it is there already. */
static bool keep_target(const struct options *options, const struct target *target,
                        const char *url) {
    char name[NAME_MOST_BYTES * 2], part[sizeof name + 8];
    int folder = folder_open(AT_FDCWD, options->target_dir, true);
    if (folder < 0) return fail_errno(errno, "open", options->target_dir);
    bool done = url_quote(name, sizeof name, options->target_name, "");
    snprintf(part, sizeof part, "%s.part", name);
    const char *sha512 = json_string_value(json_object_get(target->info.hashes, "sha512"));
    const char *digest = target->sha256 != NULL ? target->sha256 : sha512;
    if (done && digest == NULL)
        done = fail(MALFORMED, "the target has neither SHA-256 nor SHA-512");
    else if (done && !file_matches(folder, name, target->info.length, digest))
        done = http_download(url, folder, part, target->info.length, digest) &&
               file_rename(folder, part, name);
    close(folder);
    return done;
}

static bool download(const struct options *options, int folder) {
    char base[URL_MOST_BYTES], url[URL_MOST_BYTES];
    struct target target;
    return refresh(options, folder) && trust_find(&trust, options->target_name, &target) &&
           with_slash(base, sizeof base, options->target_base_url) &&
           target_url(&trust, &target, base, options->target_name, url, sizeof url) &&
           keep_target(options, &target, url);
}

static bool run(const struct options *options, int folder) {
    if (strcmp(options->command, "init") == 0)
        return options->argument != NULL ? init(options, folder) : fail(USAGE, "init needs a file");
    if (options->metadata_url == NULL) return fail(USAGE, "--metadata-url is missing");
    if (strcmp(options->command, "refresh") == 0) return refresh(options, folder);
    if (strcmp(options->command, "download") != 0)
        return fail(USAGE, "there is no command `%s`", options->command);
    if (options->target_name == NULL || options->target_base_url == NULL ||
        options->target_dir == NULL)
        return fail(USAGE, "download needs --target-name, --target-base-url and --target-dir");
    return download(options, folder);
}

int conformance(const struct options *options) {
    int folder = options->metadata_dir == NULL
                     ? -1
                     : folder_open(AT_FDCWD, options->metadata_dir, true);
    bool done = folder >= 0 ? run(options, folder) : fail(USAGE, "--metadata-dir cannot be used");
    if (folder >= 0) close(folder);
    if (!done) print_fault("");
    return done ? 0 : 1;
}
