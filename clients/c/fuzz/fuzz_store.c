/* The small files of a store, which a power cut or an attacker left in any state. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../files.h"
#include "../store.h"
#include "../strict_json.h"

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t input_size;

/* In place of files.c: every file has the input for its content. */
ssize_t file_read(int folder, const char *name, char *out, size_t most) {
    (void)folder, (void)name;
    if (input_size > most) return -1;
    memcpy(out, input, input_size);
    return (ssize_t)input_size;
}

bool file_write(int folder, const char *name, const void *data, size_t length, const char *state) {
    static char copy[BLOCKED_MOST_BYTES];
    (void)folder, (void)name, (void)state;
    if (length > sizeof copy) abort(); /* it would not be read again */
    memcpy(copy, data, length);
    return true;
}

int LLVMFuzzerInitialize(int *count, char ***words) {
    (void)count, (void)words;
    json_in_arena();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const struct store store = {"", -1, -1, -1, -1};
    char kind[33];
    input = data;
    input_size = size;
    store_attempts(&store, id);
    store_blocked(&store, id, kind);
    store_block(&store, id, "golden");
    return 0;
}
