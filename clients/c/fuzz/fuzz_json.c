/* Text to parsed JSON to canonical bytes, and back: the same value, the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../arena.h"
#include "../limits.h"
#include "../strict_json.h"

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *count, char ***words) {
    (void)count, (void)words;
    json_object_seed(1); /* runs must repeat */
    json_in_arena();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char first[TEXT_MOST_BYTES], second[TEXT_MOST_BYTES];
    arena_reset();
    if (size > sizeof first) return 0;
    json_t *value = json_parse((const char *)data, size, "input");
    if (value == NULL) return 0;
    size_t length = json_canonical(value, first, sizeof first);
    if (length == 0) abort(); /* it is never longer than the text */
    /* what `\u` escapes stood for is UTF-8 or a control character now, which is not read again */
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)first[i] >= 0x80 || (unsigned char)first[i] < ' ') return 0;
    json_t *again = json_parse(first, length, "canonical");
    if (again == NULL || !json_equal(value, again)) abort();
    if (json_canonical(again, second, sizeof second) != length) abort();
    if (memcmp(first, second, length) != 0) abort();
    return 0;
}
