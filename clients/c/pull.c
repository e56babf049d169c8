/* The order in which things happen, so that a kill at any point leaves a valid model served. */
#include "pull.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "self_test.h"
#include "strict_json.h"
#include "task.h"

struct task task;

/* ---- metadata ---- */

static bool read_root(const struct options *options, char *out, size_t *length) {
    int file = open(options->root, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = file < 0 ? -1 : read(file, out, ROOT_MOST_BYTES);
    if (file >= 0) close(file);
    *length = got < 0 ? 0 : (size_t)got;
    return got > 0 || fail(BAD_ROOT, "the root metadata `%s` cannot be read", options->root);
}

static bool channel_urls(void) {
    const char *channel = task.options->channel;
    size_t length = strlen(channel);
    while (length > 0 && channel[length - 1] == '/') length--;
    int written = snprintf(task.trust.url, sizeof task.trust.url, "%.*s/metadata/", (int)length,
                           channel);
    snprintf(task.targets, sizeof task.targets, "%.*s/targets/", (int)length, channel);
    return written < (int)sizeof task.trust.url || fail(USAGE, "the channel's URL is too long");
}

static bool refresh(const char *root, size_t length) {
    at("clock", "before");
    task.trust.folder = task.store.metadata;
    task.trust.clock = clock_read(task.options->time_floor_s);
    task.result.clock_known = true;
    at("clock", "in");
    at("clock", "after");
    return trust_refresh(&task.trust, root, length);
}

/* The one that is asked for; else that of the model that is served, so that a second one on a
 * channel stops no camera; else the only one that the channel delegates to. NULL and a fault where
 * there is none or several. */
static const char *found_family(const char *asked) {
    const struct stored *served = &task.before.current;
    const char *wanted = asked != NULL ? asked : served->there ? served->family : "";
    const json_t *delegations = json_object_in(task.trust.targets.body, "delegations");
    const json_t *roles = json_array_in(delegations, "roles");
    const char *only = NULL;
    char names[200] = "";
    size_t count = 0, length = 0;
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const char *name = json_text(json_array_get(roles, i), "name");
        if (!family_is_sound(name)) continue; /* a role of something else */
        if (strcmp(name, wanted) == 0) return name;
        only = count++ == 0 ? name : NULL;
        if (length < sizeof names)
            length += (size_t)snprintf(names + length, sizeof names - length, " %s", name);
    }
    if (count == 0) fail(MISSING, "the channel has no family");
    else if (asked != NULL) fail(MISSING, "the channel has no family `%s`, but:%s", asked, names);
    else if (count > 1) fail(USAGE, "the channel has %zu families; name one with --family:%s", count, names);
    return asked == NULL ? only : NULL;
}

/* Which family, and which kind of camera, where the command line does not say. */
static bool choose_family(void) {
    task.family = found_family(task.options->family);
    if (task.family == NULL) return false;
    task.compatible = task.options->compatible == NULL ? task.family : task.options->compatible;
    return compatible_is_sound(task.compatible) ||
           fail(USAGE, "`%.40s` is no compatibility word", task.compatible);
}

/* ---- self-test and activation ---- */

static bool run_trial(const struct stored *stored, struct verdict *verdict) {
    char folder[4096];
    long attempts = store_attempts(&task.store, stored->id);
    if (attempts >= TRIAL_ATTEMPTS_MOST) {
        verdict->kind = CRASH;
        snprintf(verdict->text, sizeof verdict->text, "%d self-tests never came to an end",
                 TRIAL_ATTEMPTS_MOST);
        return true;
    }
    if (!store_begin_trial(&task.store, stored->id, attempts + 1)) return false;
    say("release %lld: self-test, attempt %ld", stored->release, attempts + 1);
    at("test", "in");
    snprintf(folder, sizeof folder, "%s/releases/%s", task.store.path, stored->id);
    bool judged = self_test(task.options, folder, verdict);
    if (!judged) store_end_trial(&task.store);
    return judged;
}

/* False with the fault of the machine, or without one where the model was found bad. */
static bool prove(const struct stored *stored) {
    struct verdict verdict = {.kind = KIND_NONE};
    if (task.options->self_test == NULL) {
        say("release %lld is not tested on this camera: there is no --self-test", stored->release);
        at("test", "in");
        return true;
    }
    if (!run_trial(stored, &verdict)) return false;
    if (verdict.kind != KIND_NONE &&
        !store_block(&task.store, stored->content, kind_word(verdict.kind)))
        return false;
    store_end_trial(&task.store);
    return verdict.kind == KIND_NONE ||
           hold_back(stored->release, kind_word(verdict.kind), verdict.text);
}

static bool activate(const struct stored *stored) {
    at("activate", "before");
    if (task.before.current.there &&
        !store_point(&task.store, "previous", &task.before.current))
        return false;
    at("activate", "in");
    if (!store_point(&task.store, "current", stored)) return false;
    at("activate", "after");
    return true;
}

/* No pointer leads to a release: a stored one is served once it has proved itself (again). */
static bool serve_stored(void) {
    struct stored *found = &task.before.current;
    while (store_newest(&task.store, found)) {
        say("release %lld is stored: it is tried", found->release);
        if (prove(found)) return store_point(&task.store, "current", found);
        if (fault_kind() != KIND_NONE) break;
    }
    *found = (struct stored){.there = false}; /* a fresh one is fetched */
    task.result.held_back_count = 0;
    return fault_kind() == KIND_NONE;
}

/* The same where the channel gave nothing; what it gave instead is still to be told. */
static void serve_stored_anyway(void) {
    struct fault saved = fault_save();
    size_t held_back = task.result.held_back_count;
    forget_fault();
    if (!task.before.current.there) serve_stored();
    task.result.held_back_count = held_back;
    fault_restore(&saved);
}

static bool lock_and_heal(void) {
    bool lost;
    at("lock", "before");
    if (!store_open(&task.store, task.options->store, true) ||
        !store_lock(&task.store, task.options->wait_s))
        return false;
    at("lock", "in");
    task.had = store_had(&task.store);
    if (!store_heal(&task.store, &task.before, &lost) || (lost && !serve_stored())) return false;
    at("lock", "after");
    return true;
}

/* Fetch, test and activate. False with a fault, or without one where it is held back. */
static bool take_release(const struct entry *entry) {
    struct stored stored;
    forget_fault();
    if (!index_admits(entry) || !obtain_manifest(entry) || !manifest_admits()) return false;
    if (!obtain_release(&stored)) return false;
    at("test", "before");
    if (!prove(&stored)) return false;
    at("test", "after");
    return activate(&stored);
}

static void collect(const struct standing *kept) {
    at("collect", "before");
    at("collect", "in");
    collect_releases(kept, "");
    at("collect", "after");
}

/* ---- the whole ---- */

/* The newest release first; true where one is served now. */
static bool take_newest(void) {
    const struct stored *now = &task.before.current;
    bool same = now->there && strcmp(now->family, task.family) == 0 &&
                strcmp(now->compatible, task.compatible) == 0; /* else its number is no measure */
    long long above = same ? now->release : 0;
    for (size_t i = 0; i < task.index.count && task.index.entries[i].release > above; i++) {
        if (take_release(&task.index.entries[i])) return true;
        if (fault_kind() != KIND_NONE) return false;
    }
    return false;
}

static void poll_once(void) {
    static char root[ROOT_MOST_BYTES];
    size_t length = 0;
    if (!read_root(task.options, root, &length) || !channel_urls() || !lock_and_heal()) return;
    bool updated = refresh(root, length) && choose_family() && obtain_index() && take_newest();
    if (!updated) serve_stored_anyway();
    if (fault_kind() != KIND_NONE) return;
    task.result.standing = updated ? store_standing(&task.store) : task.before;
    collect(&task.result.standing);
    task.result.outcome = "updated";
    if (!updated) explain_kept();
}

/* A store that is not there yet is an answer, no fault. */
static void show_status(void) {
    struct standing *found = &task.result.standing;
    char previous[48] = "none";
    task.result.outcome = "current";
    if (access(task.options->store, F_OK) != 0 && errno == ENOENT) {
        say("no model in %s", task.options->store);
        return;
    }
    if (!store_open(&task.store, task.options->store, false)) return;
    *found = store_standing(&task.store);
    if (found->previous.there)
        snprintf(previous, sizeof previous, "release %lld", found->previous.release);
    if (found->current.there)
        say("release %lld of %s is served", found->current.release, found->current.family);
    else if (faccessat(task.store.folder, "current", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        say("no model in %s", task.options->store);
    else if (store_had(&task.store) > 0)
        say("`current` names release %lld, which is damaged: the next pull repairs it",
            store_had(&task.store));
    else
        say("`current` is damaged: the next pull repairs it");
    say("previous: %s; blocked: %zu", previous, store_blocked_count(&task.store));
}

static void send_back(void) {
    if (!store_open(&task.store, task.options->store, true) ||
        !store_lock(&task.store, task.options->wait_s) ||
        !store_return_to_previous(&task.store, &task.result.standing))
        return;
    task.result.outcome = "updated";
    say("release %lld is served again", task.result.standing.current.release);
}

/* What a hint says of the model; nothing where the store could not be looked at. */
static const char *served_words(void) {
    if (task.result.standing.current.there) return "the present model stays; ";
    return task.store.releases >= 0 ? "no model is served yet; " : "";
}

int pull(const struct options *options) {
    bool asks = !options->status && !options->return_to_previous;
    task.options = options;
    task.store = (struct store){options->store, -1, -1, -1, -1};
    if (options->status)
        show_status();
    else if (options->return_to_previous)
        send_back();
    else
        poll_once();
    task.result.clock = task.trust.clock;
    if (task.result.outcome == NULL) { /* it was stopped by a fault, which is told below */
        struct standing now = task.store.releases >= 0 ? store_standing(&task.store) : task.before;
        task.result.standing = now;
        task.result.outcome = kind_exit_code(fault_kind()) == 5 ? "refused" : "failed";
    }
    if (fault_kind() != KIND_NONE) print_fault(served_words());
    if (asks && !options->json) result_say(&task.result);
    result_print(&task.result, options->store, options->json);
    return kind_exit_code(fault_kind());
}
