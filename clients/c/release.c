/* Reads verified bytes nevertheless strictly: whoever signs may err, and names become files. */
#include "release.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fault.h"
#include "signatures.h"
#include "strict_json.h"

#define SCHEMA 1
#define MANIFEST "release.json"
#define TEXT_MOST 200u /* of texts for people */
#define FIGURE_MOST ((1ll << 53) - 1)

static const char family_characters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
static const char alphanumeric[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char name_characters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

static bool printable(const char *text, char least, size_t most) {
    if (text == NULL || strlen(text) > most) return false;
    for (; *text != '\0'; text++)
        if (*text < least || *text > '~') return false;
    return true;
}

bool family_is_sound(const char *family) {
    static const char *const reserved[] = {"root", "targets", "snapshot", "timestamp"};
    size_t length = family == NULL ? 0 : strlen(family);
    for (size_t i = 0; length > 0 && i < sizeof reserved / sizeof *reserved; i++)
        if (strcmp(family, reserved[i]) == 0) return false;
    return length > 0 && length <= 32 && family[0] != '-' &&
           strspn(family, family_characters) == length;
}

bool compatible_is_sound(const char *compatible) {
    return printable(compatible, '!', 100) && compatible[0] != '\0';
}

/* A name as a camera stores it: no folders, nothing that is ours. */
static bool name_is_sound(const char *name) {
    size_t length = name == NULL ? 0 : strlen(name);
    if (length == 0 || length > NAME_MOST_BYTES || strchr(alphanumeric, name[0]) == NULL ||
        strspn(name, name_characters) != length)
        return false;
    bool ours = strcasecmp(name, MANIFEST) == 0 || strcasecmp(name, "index.json") == 0;
    return !ours && (length < 5 || strcasecmp(name + length - 5, ".part") != 0); /* one on FAT */
}

static bool malformed(const char *file, const char *found) {
    return fail(MALFORMED, "`%s` is not what a channel publishes: %s", file, found);
}

static bool read_schema(const json_t *value, const char *file) {
    long long schema;
    if (!json_count(value, "schema", 0, FIGURE_MOST, &schema))
        return malformed(file, "it states no schema");
    if (schema > SCHEMA)
        return fail(NEWER_SCHEMA, "`%s` has schema %lld, this client reads %d", file, schema,
                    SCHEMA);
    return schema == SCHEMA || malformed(file, "its schema is not known");
}

static bool entry_read(const json_t *value, const char *family, struct entry *out) {
    const json_t *rollout = json_object_in(value, "rollout");
    char manifest[80];
    out->compatible = json_text(value, "compatible");
    out->manifest = json_text(value, "manifest");
    out->salt = json_text(rollout, "salt");
    if (!json_count(value, "release", 1, COUNT_MOST, &out->release) ||
        !json_count(value, "min_firmware", 0, COUNT_MOST, &out->min_firmware) ||
        !json_count(rollout, "basis_points", 0, BASIS_POINTS_ALL, &out->basis_points) ||
        !is_hex(out->salt, 16) || !compatible_is_sound(out->compatible) || out->manifest == NULL)
        return malformed("index.json", "an entry lacks what it must have");
    snprintf(manifest, sizeof manifest, "%s/%lld/" MANIFEST, family, out->release);
    return strcmp(manifest, out->manifest) == 0 ||
           malformed("index.json", "a manifest lies elsewhere");
}

static int newest_first(const void *left, const void *right) {
    long long a = ((const struct entry *)left)->release, b = ((const struct entry *)right)->release;
    return (a < b) - (a > b);
}

bool index_read(json_t *value, const char *family, struct index *out) {
    const json_t *releases = json_array_in(value, "releases");
    const char *own = json_text(value, "family");
    out->count = 0;
    if (!read_schema(value, "index.json")) return false;
    if (releases == NULL || own == NULL || strcmp(own, family) != 0 ||
        json_array_size(releases) > ENTRIES_MOST)
        return malformed("index.json", "it is of another family, or lists no releases");
    for (size_t i = 0; i < json_array_size(releases); i++)
        if (!entry_read(json_array_get(releases, i), family, &out->entries[out->count++]))
            return false;
    qsort(out->entries, out->count, sizeof *out->entries, newest_first);
    for (size_t i = 1; i < out->count; i++)
        if (out->entries[i].release == out->entries[i - 1].release)
            return malformed("index.json", "a release is listed twice");
    return true;
}

static bool one_of(const char *word, const char *const *words, size_t count) {
    for (size_t i = 0; word != NULL && i < count; i++)
        if (strcmp(words[i], word) == 0) return true;
    return false;
}

static bool file_entry_read(const json_t *value, struct release_file *out) {
    static const char *const roles[] = {"model", "part", "golden", "contract", "report",
                                        "lock", "provenance", "sbom", "licence", "extra"};
    out->name = json_text(value, "name");
    out->role = json_text(value, "role");
    out->sha256 = json_text(value, "sha256");
    out->is_fetched = one_of(out->role, roles, 4);
    return name_is_sound(out->name) && one_of(out->role, roles, sizeof roles / sizeof *roles) &&
           is_hex(out->sha256, 64) &&
           json_count(value, "length", 0, FILE_MOST_BYTES, &out->length);
}

/* FAT does not tell cases apart, so names must differ in more than that. */
static bool is_another(const struct release *release, const char *name) {
    for (size_t i = 0; i < release->count; i++)
        if (strcasecmp(release->files[i].name, name) == 0) return false;
    return true;
}

static bool files_read(const json_t *list, struct release *out) {
    out->count = 0;
    out->model = NULL;
    if (json_array_size(list) == 0 || json_array_size(list) > FILES_MOST)
        return malformed(MANIFEST, "it has no files, or too many");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct release_file *file = &out->files[out->count];
        if (!file_entry_read(json_array_get(list, i), file) || !is_another(out, file->name))
            return malformed(MANIFEST, "a file is not described as it must be, or twice");
        bool is_model = strcmp(file->role, "model") == 0;
        if (is_model && out->model != NULL) return malformed(MANIFEST, "it has two models");
        if (is_model) out->model = file->name;
        out->count++;
    }
    return out->model != NULL || malformed(MANIFEST, "it has no model");
}

static int by_name(const void *left, const void *right) {
    return strcmp((*(const struct release_file *const *)left)->name,
                  (*(const struct release_file *const *)right)->name);
}

/* `content`: SHA-256 of [["name","digest"],...] of what cameras fetch, sorted. */
static bool content_fits(const struct release *release) {
    static char text[FILES_MOST * (NAME_MOST_BYTES + SHA256_HEX + 8) + 3];
    const struct release_file *fetched[FILES_MOST];
    char digest[SHA256_HEX];
    size_t count = 0, length = 0;
    for (size_t i = 0; i < release->count; i++)
        if (release->files[i].is_fetched) fetched[count++] = &release->files[i];
    qsort(fetched, count, sizeof *fetched, by_name);
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s[\"%s\",\"%s\"]",
                                   i == 0 ? "[" : ",", fetched[i]->name, fetched[i]->sha256);
    length += (size_t)snprintf(text + length, sizeof text - length, "]");
    sha256_hex(text, length, digest);
    return release->content != NULL && strcmp(digest, release->content) == 0;
}

static bool is_golden(const struct release *release, const char *name) {
    for (size_t i = 0; name != NULL && i < release->count; i++)
        if (strcmp(release->files[i].name, name) == 0)
            return strcmp(release->files[i].role, "golden") == 0;
    return false;
}

static bool golden_are_sound(const json_t *list, const struct release *release) {
    long long number;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (!is_golden(release, json_text(one, "input")) ||
            !is_golden(release, json_text(one, "output")) ||
            !json_count(one, "tolerance_micro", 0, COUNT_MOST, &number) ||
            !json_count(one, "least_share_ppm", 1, 1000000, &number))
            return false;
    }
    return list != NULL;
}

static bool figures_are_sound(json_t *figures) {
    const char *name;
    json_t *figure;
    long long number;
    json_object_foreach(figures, name, figure) {
        if (!printable(name, ' ', TEXT_MOST) ||
            !json_count(figures, name, -FIGURE_MOST, FIGURE_MOST, &number))
            return false;
    }
    return figures != NULL;
}

static bool texts_are_sound(const json_t *value) {
    static const char *const keys[] = {"family", "created", "content", "recipe", "backend",
                                       "precision", "licence", "toolkit", "compatible", "runtime",
                                       "runtime_least"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!printable(json_text(value, keys[i]), ' ', TEXT_MOST)) return false;
    return true;
}

static bool facts_read(json_t *value, struct release *out) {
    long long number;
    const json_t *limit = json_object_get(value, "latency_limit_us");
    out->family = json_text(value, "family");
    out->compatible = json_text(value, "compatible");
    out->content = json_text(value, "content");
    out->runtime = json_text(value, "runtime");
    out->runtime_least = json_text(value, "runtime_least");
    return texts_are_sound(value) &&
           json_count(value, "min_firmware", 0, COUNT_MOST, &out->min_firmware) &&
           json_count(value, "scale", 1, 16, &number) &&
           (json_is_null(limit) || json_count(value, "latency_limit_us", 1, COUNT_MOST, &number)) &&
           figures_are_sound(json_object_in(value, "figures"));
}

bool release_read(json_t *value, const struct entry *entry, const char *family,
                  struct release *out) {
    if (!read_schema(value, MANIFEST)) return false;
    if (!facts_read(value, out) || !json_count(value, "release", 1, COUNT_MOST, &out->number))
        return malformed(MANIFEST, "a key is missing, or its value is of another type");
    if (entry != NULL && (out->number != entry->release || strcmp(out->family, family) != 0 ||
                          strcmp(out->compatible, entry->compatible) != 0))
        return malformed(MANIFEST, "it is not the release that the index lists");
    if (!files_read(json_array_in(value, "files"), out)) return false;
    if (!golden_are_sound(json_array_in(value, "golden"), out))
        return malformed(MANIFEST, "a golden vector is not among its files");
    return content_fits(out) || malformed(MANIFEST, "`content` is not of its files");
}

bool rollout_admits(const struct entry *entry, const char *device_id) {
    char seed[16 + 1 + 200 + 1], hex[SHA256_HEX], first[17];
    int length = snprintf(seed, sizeof seed, "%s:%s", entry->salt, device_id);
    if (length < 0 || (size_t)length >= sizeof seed) return false;
    sha256_hex(seed, (size_t)length, hex);
    snprintf(first, sizeof first, "%.16s", hex); /* 8 bytes, big-endian */
    return strtoull(first, NULL, 16) % BASIS_POINTS_ALL < (unsigned long long)entry->basis_points;
}

/* The next number of a version, and where it ends; 0 where there is none: 1.20 and 1.20.0 are one. */
static long next_number(const char **at) {
    long number = 0;
    int digits = 0;
    for (; **at >= '0' && **at <= '9' && digits < 9; (*at)++, digits++)
        number = number * 10 + (**at - '0');
    bool more = digits > 0 && **at == '.' && (*at)[1] >= '0' && (*at)[1] <= '9';
    *at = more ? *at + 1 : "";
    return number;
}

bool version_is_older(const char *version, const char *least) {
    while (*version != '\0' || *least != '\0') {
        long ours = next_number(&version), theirs = next_number(&least);
        if (ours != theirs) return ours < theirs;
    }
    return false;
}
