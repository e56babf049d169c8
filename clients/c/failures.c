/* What the store remembers of models that failed: blocked contents, and the count of a trial. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "store.h"

#define LINE_MOST 128u

static char blocked[BLOCKED_MOST_BYTES + LINE_MOST];

/* The list as one text; "" where there is none, or one that cannot be read. */
static size_t read_blocked(const struct store *store) {
    ssize_t length = file_read(store->folder, "blocked", blocked, BLOCKED_MOST_BYTES);
    size_t kept = length < 0 ? 0 : (size_t)length;
    blocked[kept] = '\0';
    return kept;
}

bool store_blocked(const struct store *store, const char *content, char kind[33]) {
    bool found = false;
    read_blocked(store);
    for (char *line = blocked, *end; *line != '\0'; line = end) {
        end = line + strcspn(line, "\n");
        if (*end != '\0') *end++ = '\0';
        size_t word = strlen(line) > 65 ? strspn(line + 65, "abcdefghijklmnopqrstuvwxyz-") : 0;
        if (strncmp(line, content, 64) != 0 || word < 1 || word > 32 || line[64] != ' ' ||
            line[65 + word] != '\0')
            continue;
        snprintf(kind, 33, "%s", line + 65);
        found = true;
    }
    return found;
}

size_t store_blocked_count(const struct store *store) {
    size_t count = 0;
    read_blocked(store);
    for (const char *line = blocked; (line = strchr(line, '\n')) != NULL; line++) count++;
    return count;
}

bool store_block(const struct store *store, const char *content, const char *kind) {
    char known[33];
    if (store_blocked(store, content, known) && strcmp(known, kind) == 0) return true;
    size_t length = read_blocked(store);
    char *start = blocked;
    if (length > 0 && blocked[length - 1] != '\n') blocked[length++] = '\n';
    length += (size_t)snprintf(blocked + length, sizeof blocked - length, "%s %s\n", content, kind);
    while (length > BLOCKED_MOST_BYTES) { /* the oldest lines go */
        size_t line = strcspn(start, "\n") + 1;
        start += line;
        length -= line;
    }
    return file_write(store->folder, "blocked", start, length, NULL);
}

long store_attempts(const struct store *store, const char *id) {
    char line[LINE_MOST + 1];
    ssize_t length = file_read(store->folder, "trial", line, LINE_MOST);
    line[length < 0 ? 0 : length] = '\0';
    if (strncmp(line, id, 64) != 0 || line[64] != ' ') return 0;
    long attempts = strtol(line + 65, NULL, 10);
    return attempts > 0 && attempts < 1000 ? attempts : 0;
}

bool store_begin_trial(const struct store *store, const char *id, long attempt) {
    char line[LINE_MOST];
    int length = snprintf(line, sizeof line, "%s %ld\n", id, attempt);
    return file_write(store->folder, "trial", line, (size_t)length, NULL);
}

void store_end_trial(const struct store *store) {
    unlinkat(store->folder, "trial", 0);
    fsync(store->folder);
}
