/* Limits first, then the firmware's program; nothing that a model does there reaches the puller. */
#include "self_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

#define OPEN_MOST 1024 /* descriptors that may be ours */

enum { TIMED_OUT_CODE = 124, CANNOT_RUN = 126, NOT_FOUND = 127 };

#ifdef __GLIBC__
typedef __rlimit_resource_t resource;
#else
typedef int resource;
#endif

static void limit(resource which, unsigned long long most) {
    struct rlimit now;
    if (getrlimit(which, &now) != 0) return;
    rlim_t least = now.rlim_max == RLIM_INFINITY || most < now.rlim_max ? (rlim_t)most : now.rlim_max;
    now.rlim_cur = now.rlim_max = least;
    setrlimit(which, &now);
}

/* In the child: a group of its own, that is killed as a whole and dies with us. */
static void confine(const struct options *options, pid_t parent) {
    sigset_t none;
    struct stat talk;
    bool logged = fstat(STDERR_FILENO, &talk) == 0 && S_ISREG(talk.st_mode);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(CANNOT_RUN); /* it has gone meanwhile */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_AS, (unsigned long long)options->self_test_mb << 20);
    /* its talk goes to the end of a log, which may be long already */
    limit(RLIMIT_FSIZE, TEST_FILE_BYTES + (logged ? (unsigned long long)talk.st_size : 0));
    limit(RLIMIT_NOFILE, TEST_FILES_MOST);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long cpu_s = options->self_test_s * (cores < 1 ? 1 : cores) + 10;
    limit(RLIMIT_CPU, (unsigned long long)cpu_s);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
}

/* Little of our environment: no proxies, no tokens. Stdout carries the result, so it is not theirs. */
static _Noreturn void become(const struct options *options, const char *folder, pid_t parent) {
    static const char *const kept[] = {"PATH", "LD_LIBRARY_PATH", "LANG", "TZ", "TMPDIR"};
    char settings[6][4200], *environment[7] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const char *value = getenv(kept[i]);
        if (value == NULL || strlen(value) > 4096) continue;
        snprintf(settings[count], sizeof settings[count], "%s=%s", kept[i], value);
        environment[count] = settings[count];
        count++;
    }
    snprintf(settings[count], sizeof settings[count], "EDGESR_HOME=%s", folder);
    environment[count] = settings[count];
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    for (int file = STDERR_FILENO + 1; file < OPEN_MOST; file++) close(file); /* libcurl's too */
    confine(options, parent);
    char program_word[4096], folder_word[4096];
    snprintf(program_word, sizeof program_word, "%s", options->self_test);
    snprintf(folder_word, sizeof folder_word, "%s", folder);
    execve(options->self_test, (char *[]){program_word, folder_word, NULL}, environment);
    _exit(errno == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

/* Wait for the child, at most until the limit; not reaped, so that its number stays its own.
   False: it was still running. */
static bool ended(pid_t child, long limit_s, const sigset_t *ending) {
    struct timespec now, until, left;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += limit_s;
    for (;;) {
        siginfo_t found = {.si_pid = 0};
        if (waitid(P_PID, (id_t)child, &found, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            found.si_pid == child)
            return true;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left.tv_sec = until.tv_sec - now.tv_sec;
        left.tv_nsec = until.tv_nsec - now.tv_nsec;
        if (left.tv_nsec < 0) left.tv_sec--, left.tv_nsec += 1000000000l;
        if (left.tv_sec < 0) return false;
        sigtimedwait(ending, NULL, &left);
    }
}

static bool judge(int status, const char *program, struct verdict *out) {
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (code == CANNOT_RUN || code == NOT_FOUND)
        return fail(OLD_RUNTIME, "this camera cannot run the self-test `%s` (exit %d)", program,
                    code);
    if (code == 0) return true;
    if (code == TIMED_OUT_CODE) {
        out->kind = SLOW;
        snprintf(out->text, sizeof out->text, "the self-test program found it too slow");
    } else if (code >= 128) {
        out->kind = CRASH;
        snprintf(out->text, sizeof out->text, "it ended by signal %d", code - 128);
    } else {
        out->kind = GOLDEN;
        snprintf(out->text, sizeof out->text, "the self-test program exits with %d", code);
    }
    return true;
}

bool self_test(const struct options *options, const char *release_folder, struct verdict *out) {
    sigset_t ending, before;
    int status = 0;
    *out = (struct verdict){.kind = KIND_NONE};
    sigemptyset(&ending);
    sigaddset(&ending, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ending, &before);
    pid_t parent = getpid(), child = fork();
    if (child == 0) become(options, release_folder, parent);
    if (child > 0) setpgid(child, child); /* as the child does: whoever comes first */
    bool done = child > 0 && ended(child, options->self_test_s, &ending);
    if (child > 0) {
        kill(-child, SIGKILL); /* what it started must not run on */
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (child < 0)
        return fail(OLD_RUNTIME, "this camera cannot run the self-test: %s", strerror(errno));
    if (done) return judge(status, options->self_test, out);
    out->kind = SLOW;
    snprintf(out->text, sizeof out->text, "not done after %ld s", options->self_test_s);
    return true;
}
