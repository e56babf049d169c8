/* How a poll ended, as people and programs read it. */
#ifndef EDGESR_RESULT_H
#define EDGESR_RESULT_H

#include <stdbool.h>

#include "clock.h"
#include "limits.h"
#include "store.h"

struct held_back { /* a newer release that this camera does not take now */
    long long release;
    char kind[33];
    char text[160];
};

struct result {
    const char *outcome; /* updated, current, waiting, kept, refused or failed */
    struct standing standing;
    struct held_back held_back[ENTRIES_MOST]; /* newest first */
    size_t held_back_count;
    struct clock clock;
    bool clock_known;
};

void result_say(const struct result *result); /* a poll's end, in one line to stderr */

/* On stdout one JSON document, the fault in it, or the path of the model that is served. */
void result_print(const struct result *result, const char *store_path, bool json);

#endif
