/* A bump allocator over one static block; under AddressSanitizer what is not taken is poisoned. */
#include "arena.h"

#include <stdint.h>

#include "limits.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(POISONED)
#include <sanitizer/asan_interface.h>
#define FORBID(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define ALLOW(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#define RED_ZONE 16u /* an overrun by one must not land in the next block */
#else
#define FORBID(at, size) ((void)(at), (void)(size))
#define ALLOW(at, size) ((void)(at), (void)(size))
#define RED_ZONE 0u
#endif

static _Alignas(16) unsigned char block[ARENA_BYTES];
static size_t used, last;
static bool was_full;

void *arena_take(size_t size) {
    size_t rounded = size > ARENA_BYTES ? size : ((size + 15u) & ~(size_t)15u) + RED_ZONE;
    if (rounded > ARENA_BYTES - used) {
        was_full = true;
        return NULL;
    }
    last = used;
    used += rounded;
    ALLOW(block + last, size);
    return block + last;
}

void arena_return(void *taken) {
    if (taken == NULL || used == 0 || taken != block + last) return;
    FORBID(block + last, used - last);
    used = last;
}

void arena_rewind(size_t mark) {
    if (mark > used) return;
    FORBID(block + mark, used - mark);
    used = last = mark;
    was_full = false;
}

void arena_reset(void) {
    static bool begun;
    if (!begun) used = ARENA_BYTES; /* the first time, all of it is forbidden ground */
    begun = true;
    arena_rewind(0);
}

bool arena_was_full(void) { return was_full; }

size_t arena_used(void) { return used; }
