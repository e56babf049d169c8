/* Which releases this camera takes, and what to say of those that it does not. */
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "task.h"

bool hold_back(long long release, const char *kind, const char *text) {
    struct held_back *slot = &task.result.held_back[task.result.held_back_count];
    say("release %lld is held back [%s]: %s", release, kind, text);
    if (task.result.held_back_count == ENTRIES_MOST) return false;
    task.result.held_back_count++;
    slot->release = release;
    snprintf(slot->kind, sizeof slot->kind, "%s", kind);
    snprintf(slot->text, sizeof slot->text, "%s", text);
    return false;
}

bool index_admits(const struct entry *entry) {
    char text[sizeof task.result.held_back->text];
    if (strcmp(entry->compatible, task.compatible) != 0) {
        snprintf(text, sizeof text, "it is for `%.60s`, this is `%.60s`", entry->compatible,
                 task.compatible);
        return hold_back(entry->release, "compatible", text);
    }
    if (entry->min_firmware > task.options->firmware) {
        snprintf(text, sizeof text, "it needs firmware %lld, this is %lld", entry->min_firmware,
                 task.options->firmware);
        return hold_back(entry->release, "firmware", text);
    }
    /* a release that was served here and is damaged comes back whatever its share is */
    if (entry->release == task.had || rollout_admits(entry, task.options->device_id)) return true;
    if (entry->basis_points == 0)
        snprintf(text, sizeof text, "it is for no camera");
    else
        snprintf(text, sizeof text, "%g %% of the cameras take it, not yet this one",
                 (double)entry->basis_points / 100.0);
    return hold_back(entry->release, "rollout", text);
}

bool manifest_admits(void) {
    char kind[33], text[sizeof task.result.held_back->text];
    const struct options *own = task.options;
    const struct release *release = &task.release;
    if (store_blocked(&task.store, release->content, kind))
        return hold_back(release->number, kind, "this content failed here before and is blocked");
    if (own->runtime == NULL || (strcmp(own->runtime, release->runtime) == 0 &&
                                 !version_is_older(own->runtime_version, release->runtime_least)))
        return true;
    bool other = strcmp(own->runtime, release->runtime) != 0;
    snprintf(text, sizeof text, "it needs %.32s %.32s or newer, this camera has %s%.32s",
             release->runtime, release->runtime_least, other ? "no " : "",
             other ? release->runtime : own->runtime_version);
    return hold_back(release->number, "runtime", text);
}

static bool any_is_meant(void) {
    for (size_t i = 0; i < task.index.count; i++)
        if (strcmp(task.index.entries[i].compatible, task.compatible) == 0) return true;
    return false;
}

/* The words that the index has, each once, as options. */
static void other_words(char *out, size_t room) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < task.index.count && length < room; i++) {
        const char *word = task.index.entries[i].compatible;
        size_t first = 0;
        while (strcmp(task.index.entries[first].compatible, word) != 0) first++;
        if (first == i)
            length += (size_t)snprintf(out + length, room - length, " --compatible %s", word);
    }
}

void explain_kept(void) {
    struct result *result = &task.result;
    result->outcome = "current";
    for (size_t i = 0; i < result->held_back_count; i++) {
        const struct held_back *one = &result->held_back[i];
        if (strcmp(one->kind, "compatible") == 0) continue;
        result->outcome = "waiting";
        if (strcmp(one->kind, "rollout") == 0) continue;
        result->outcome = "kept";
        fail_held_back(one->kind, "release %lld is not taken: %s", one->release, one->text);
        return;
    }
    if (any_is_meant()) return;
    result->outcome = task.before.current.there ? "kept" : "failed";
    char words[300];
    other_words(words, sizeof words);
    fail(OTHER_COMPATIBLE, "the channel has no release for `%s`, but for:%s", task.compatible,
         words[0] == '\0' ? " none" : words);
}
