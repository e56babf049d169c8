/* An index, and a release that it names; parted by the byte 0x1e. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../arena.h"
#include "../release.h"
#include "../strict_json.h"

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *count, char ***words) {
    (void)count, (void)words;
    json_object_seed(1);
    json_in_arena();
    return 0;
}

static void check_names(const struct release *release) {
    for (size_t i = 0; i < release->count; i++)
        if (strchr(release->files[i].name, '/') != NULL || release->files[i].name[0] == '.')
            abort(); /* it would leave the folder, or hide in it */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct index index;
    static struct release release;
    const char *text = (const char *)data, *parted = memchr(data, 0x1e, size);
    size_t first = parted == NULL ? size : (size_t)(parted - text);
    arena_reset();
    json_t *value = first > INDEX_MOST_BYTES ? NULL : json_parse(text, first, "index.json");
    bool listed = value != NULL && index_read(value, "street", &index);
    for (size_t i = 0; listed && i < index.count; i++) rollout_admits(&index.entries[i], "camera-1");
    if (parted == NULL || size - first - 1 > MANIFEST_MOST_BYTES) return 0;
    value = json_parse(parted + 1, size - first - 1, "release.json");
    if (value != NULL && release_read(value, NULL, NULL, &release)) {
        check_names(&release);
        version_is_older("1.20.1", release.runtime_least);
        if (listed && index.count > 0) release_read(value, &index.entries[0], "street", &release);
    }
    return 0;
}
