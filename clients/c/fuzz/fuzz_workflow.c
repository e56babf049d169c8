/* The whole TUF workflow: the input is what the server answers and what the store holds.
 *
 * Records are parted by the byte 0x1e. The first is the given root; then come what the store has
 * of timestamp, snapshot and targets, then the answers in the order of the requests; an empty
 * record is a file that is not there. Signatures and digests are computed and then taken as right
 * (FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION), for mutated files would never come further.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../arena.h"
#include "../fault.h"
#include "../files.h"
#include "../http.h"
#include "../strict_json.h"
#include "../trust.h"

#define RECORDS_MOST 32

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct { const char *bytes; size_t length; } records[RECORDS_MOST];
static size_t record_count, next_record;

static void part_into_records(const char *data, size_t size) {
    const char *end = data + size;
    for (record_count = 0; data <= end && record_count < RECORDS_MOST; record_count++) {
        const char *parted = memchr(data, 0x1e, (size_t)(end - data));
        records[record_count].bytes = data;
        records[record_count].length = (size_t)((parted == NULL ? end : parted) - data);
        data += records[record_count].length + 1;
    }
}

static ssize_t take(size_t record, char *out, size_t most) {
    if (record >= record_count || records[record].length == 0) return -1;
    if (records[record].length > most) return -1;
    memcpy(out, records[record].bytes, records[record].length);
    return (ssize_t)records[record].length;
}

/* In place of http.c. */
bool http_get(const char *url, char *out, size_t most, size_t *length) {
    ssize_t got = take(next_record++, out, most);
    *length = got < 0 ? 0 : (size_t)got;
    return got >= 0 || fail(MISSING, "it is not there: %s", url);
}

long http_status(void) { return 0; }

bool url_quote(char *out, size_t room, const char *text, const char *kept) {
    (void)kept;
    if (strlen(text) >= room) return false;
    strcpy(out, text);
    return true;
}

/* In place of files.c. */
int folder_open(int parent, const char *name, bool make) {
    (void)parent, (void)name, (void)make;
    return 1000000; /* of no use to anything but the functions here */
}

ssize_t file_read(int folder, const char *name, char *out, size_t most) {
    static const char *const names[] = {"timestamp.json", "snapshot.json", "targets.json"};
    (void)folder;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return take(i + 1, out, most);
    return -1;
}

bool file_write(int folder, const char *name, const void *data, size_t length, const char *state) {
    (void)folder, (void)name, (void)data, (void)length, (void)state;
    return true;
}

int LLVMFuzzerInitialize(int *count, char ***words) {
    (void)count, (void)words;
    json_object_seed(1);
    json_in_arena();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct trust trust;
    struct target target;
    char url[URL_MOST_BYTES];
    part_into_records((const char *)data, size);
    next_record = 4;
    memset(&trust, 0, sizeof trust);
    strcpy(trust.url, "http://channel/metadata/");
    trust.clock = (struct clock){.system_s = 1795284000, .now_s = 1795284000}; /* 2026-11-21 18:00 */
    if (records[0].length > ROOT_MOST_BYTES ||
        !trust_refresh(&trust, records[0].bytes, records[0].length))
        return 0;
    static const char *const paths[] = {"street/index.json", "street/2/release.json", "a"};
    size_t found = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (trust_find(&trust, paths[i], &target))
            found += target_url(&trust, &target, "http://channel/targets/", paths[i], url,
                                sizeof url);
    if (getenv("EDGESR_FUZZ_SAY") != NULL) say("targets found: %zu", found);
    return 0;
}
