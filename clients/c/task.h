/* What the parts of one poll share: pull.c orders them, obtain.c fetches, decide.c chooses. */
#ifndef EDGESR_TASK_H
#define EDGESR_TASK_H

#include "options.h"
#include "release.h"
#include "result.h"
#include "store.h"
#include "trust.h"

struct task {
    const struct options *options;
    const char *family, *compatible;
    char targets[URL_MOST_BYTES]; /* URL of the channel's targets */
    struct store store;
    struct trust trust;
    struct standing before;
    long long had; /* what `current` named, whether it was whole */
    struct index index;
    struct release release; /* the one at hand */
    char id[SHA256_HEX];    /* of the one at hand */
    char looked_at[ENTRIES_MOST][SHA256_HEX]; /* ids whose manifest was read */
    size_t looked_at_count;
    struct result result;
};

extern struct task task; /* the only one; static, as a camera's stack is small */

bool obtain_index(void);
bool obtain_manifest(const struct entry *entry);
/* Every release goes but the two that are served or were, and `also`. */
void collect_releases(const struct standing *kept, const char *also);
/* Every file of the release at hand, verified once more where it lies. */
bool obtain_release(struct stored *out);

/* A newer release is not taken; always false. */
bool hold_back(long long release, const char *kind, const char *text);
bool index_admits(const struct entry *entry); /* as far as the index tells */
bool manifest_admits(void);                   /* as far as the manifest at hand tells */
/* Nothing was taken: because there is nothing, not yet, or for a reason to act on. */
void explain_kept(void);

#endif
