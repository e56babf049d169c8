/* libcurl with every limit set; resumes files, and starts afresh where a server's ranges are wrong. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "hooks.h"
#include "limits.h"

/* One answer of a server while it arrives. */
struct answer {
    bool http;              /* false: a folder's file, which has no status */
    char *memory;           /* where it goes: into memory, ... */
    int file;               /* ... or else to the end of a file */
    long long length, most; /* so far; more than `most` is refused */
    long long resumed_at;   /* the range that was asked for begins here; 0: none was asked for */
    long long range_first, range_total; /* of Content-Range; -1: none or garbled */
    bool judged;                        /* status and range fit; done before the first byte */
    long long thrown_away;              /* of the page that comes with an error */
};

#define ERROR_PAGE_MOST (64 << 10) /* read to keep the connection; beyond it is cheaper to close */

static CURL *handle;
static struct curl_slist *headers;
static struct transfer settings;
static struct counters counters;
static long last_status;

const struct counters *http_counters(void) { return &counters; }

long http_status(void) { return last_status; }

/* Content-Range: bytes FIRST-LAST/TOTAL; anything else is as if there were none. */
static void take_range(struct answer *answer, const char *value) {
    long long first, last, total;
    char after;
    int found = sscanf(value, " bytes %18lld-%18lld/%18lld %c", &first, &last, &total, &after);
    bool sound = found == 3 && first >= 0 && last >= first && total == last + 1;
    answer->range_first = sound ? first : -1;
    answer->range_total = sound ? total : -1;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context) {
    static const char range[] = "content-range:";
    struct answer *answer = context;
    char line[160];
    size_t length = size * count, kept = length < sizeof line - 1 ? length : sizeof line - 1;
    memcpy(line, bytes, kept);
    line[kept] = '\0';
    if (strncmp(line, "HTTP/", 5) == 0) answer->range_first = answer->range_total = -1;
    if (strncasecmp(line, range, sizeof range - 1) == 0) take_range(answer, line + sizeof range - 1);
    return length;
}

static bool restart(struct answer *answer) {
    answer->length = answer->resumed_at = 0;
    return ftruncate(answer->file, 0) == 0 || fail_errno(errno, "empty", "the file that arrives");
}

/* Before the first byte is kept: is this the part of the file that was asked for? */
static bool answer_fits(struct answer *answer) {
    if (answer->judged || !answer->http) return true;
    answer->judged = true;
    if (last_status == 200) /* a server without ranges sends all of it */
        return answer->resumed_at == 0 || restart(answer);
    if (answer->resumed_at > 0 && answer->range_first == answer->resumed_at &&
        answer->range_total == answer->most)
        return true;
    return fail(BAD_RANGE, "the server sent another part of the file than was asked for");
}

static bool keep(struct answer *answer, const char *bytes, size_t length) {
    if ((long long)length > answer->most - answer->length)
        return fail(ENDLESS_DATA, "more than %lld bytes came", answer->most);
    if (answer->memory != NULL)
        memcpy(answer->memory + answer->length, bytes, length);
    else if (!write_all(answer->file, bytes, length))
        return fail_errno(errno, "write", "the file that arrives");
    bool first_half = answer->length <= answer->most / 2;
    answer->length += (long long)length;
    if (answer->memory == NULL && first_half && answer->length > answer->most / 2)
        at("fetch", "in");
    return true;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context) {
    struct answer *answer = context;
    size_t length = size * count;
    last_status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &last_status);
    if (answer->http && last_status != 200 && last_status != 206) {
        answer->thrown_away += (long long)length;
        return answer->thrown_away > ERROR_PAGE_MOST ? 0 : length;
    }
    counters.bytes_fetched += (long long)length;
    return answer_fits(answer) && keep(answer, bytes, length) ? length : 0;
}

static bool fail_status(void) {
    if (last_status == 404) return fail(MISSING, "it is not there");
    if (last_status == 416) return fail(TRUNCATED, "the server has less of it than was signed");
    return fail(HTTP_STATUS, "the server answered %ld", last_status);
}

static bool fail_transfer(CURLcode code) {
    const char *told = curl_easy_strerror(code);
    switch (code) {
    case CURLE_FILESIZE_EXCEEDED: return fail(ENDLESS_DATA, "more bytes than signed");
    case CURLE_OPERATION_TIMEDOUT: return fail(TIMED_OUT, "nothing came for too long");
    case CURLE_FILE_COULDNT_READ_FILE: return fail(MISSING, "it is not there");
    case CURLE_BAD_DOWNLOAD_RESUME:
    case CURLE_RANGE_ERROR: return fail(BAD_RANGE, "the range is not there");
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION: return fail(TLS, "%s", told);
    default: break;
    }
    if (last_status == 200 || last_status == 206)
        return fail(TRUNCATED, "the answer was cut short");
    return fail(NETWORK, "%s", told);
}

/* One request; the body goes where `answer` says. */
static bool ask(const char *url, struct answer *answer) {
    char range[40];
    long redirects = 0;
    snprintf(range, sizeof range, "%lld-", answer->resumed_at);
    answer->http = strncasecmp(url, "http", 4) == 0;
    answer->range_first = answer->range_total = -1;
    curl_easy_setopt(handle, CURLOPT_URL, url);
    /* a redirect from https to http would let anyone on the way read and stall */
    curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR,
                     strncasecmp(url, "https", 5) == 0 ? "https" : "http");
    curl_easy_setopt(handle, CURLOPT_RANGE, answer->resumed_at > 0 ? range : NULL);
    curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)answer->most);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, answer);
    forget_fault();
    fault_place(url);
    CURLcode code = curl_easy_perform(handle);
    last_status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &last_status);
    curl_easy_getinfo(handle, CURLINFO_REDIRECT_COUNT, &redirects);
    counters.requests += 1 + redirects;
    if (fault_kind() != KIND_NONE) return false; /* set by what took the body */
    if (last_status != 0 && last_status != 200 && last_status != 206) return fail_status();
    if (code != CURLE_OK) return fail_transfer(code);
    return answer_fits(answer); /* a body of no bytes was not judged yet */
}

/* What may go away by itself: not a missing file, and nothing that was refused. */
static bool worth_another_try(void) {
    switch (fault_kind()) {
    case NETWORK:
    case TIMED_OUT:
    case TRUNCATED:
    case BAD_RANGE: return true;
    case HTTP_STATUS: return last_status >= 500 || last_status == 429;
    default: return false;
    }
}

/* Doubles with each try; the random part keeps a street of cameras from asking all at once. */
static void pause_before_try(int attempt) {
    struct timespec now;
    double pause_s = settings.retry_s;
    for (int i = 0; i < attempt && pause_s < RETRY_MOST_S; i++) pause_s *= 2;
    if (pause_s > RETRY_MOST_S) pause_s = RETRY_MOST_S;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pause_s *= 0.5 + (double)(now.tv_nsec % 1000) / 2000.0;
    now.tv_sec = (time_t)pause_s;
    now.tv_nsec = (long)((pause_s - (double)now.tv_sec) * 1e9);
    nanosleep(&now, NULL);
}

bool http_get(const char *url, char *out, size_t most, size_t *length) {
    for (int attempt = 0;; attempt++) {
        struct answer answer = {.memory = out, .file = -1, .most = (long long)most};
        if (ask(url, &answer)) {
            *length = (size_t)answer.length;
            return true;
        }
        if (attempt + 1 >= settings.tries || !worth_another_try()) return false;
        pause_before_try(attempt);
    }
}

/* One try at a file: what a try before, or a run before, has kept is not fetched again. */
static bool try_download(const char *url, int file, long long kept, long long length) {
    struct answer answer = {.file = file, .length = kept, .resumed_at = kept, .most = length};
    bool whole = kept == length || ask(url, &answer);
    if (whole && answer.length < length)
        whole = fail(TRUNCATED, "%lld of %lld bytes came", answer.length, length);
    bool begin_again = !whole && (fault_kind() == BAD_RANGE || last_status == 416);
    if (begin_again && ftruncate(file, 0) != 0)
        return fail_errno(errno, "empty", "the file that arrives");
    if (whole && fsync(file) != 0) return fail_errno(errno, "sync", "the file that arrived");
    return whole;
}

/* Fetch until it is whole or the tries are used up. `*found`: bytes that an earlier run has left;
   `*resumed`: it was put together from more than one answer. */
static bool download_whole(const char *url, int folder, const char *part, long long length,
                           long long *found, bool *resumed) {
    for (int attempt = 0;; attempt++) {
        off_t size = 0;
        int file = file_append(folder, part, &size);
        if (file < 0) return fail_errno(errno, "write", part);
        bool sound = size <= length || ftruncate(file, 0) == 0;
        if (size > length) size = 0;
        if (attempt == 0) *found = size;
        *resumed = *resumed || size > 0;
        bool whole = sound && try_download(url, file, size, length);
        if (close(file) != 0 && whole) whole = fail_errno(errno, "write", part);
        if (whole) return true;
        if (attempt + 1 >= settings.tries || !worth_another_try()) return false;
        pause_before_try(attempt);
    }
}

bool http_download(const char *url, int folder, const char *part, long long length,
                   const char *digest) {
    for (int round = 0; round < 2; round++) {
        long long found = 0;
        bool resumed = false;
        if (!download_whole(url, folder, part, length, &found, &resumed)) {
            if (fault_kind() == ENDLESS_DATA) unlinkat(folder, part, 0);
            return false;
        }
        if (file_matches(folder, part, length, digest)) {
            counters.bytes_resumed += found;
            return true;
        }
        unlinkat(folder, part, 0);
        if (!resumed) break; /* else the pieces may not belong together: once more, in one */
    }
    return fail(ARBITRARY_FILE, "the file is not what was signed");
}

bool url_quote(char *out, size_t room, const char *text, const char *kept) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     strchr("-._~", c) != NULL || strchr(kept, c) != NULL;
        int length = snprintf(out, room, plain ? "%c" : "%%%02X", c);
        if (length < 0 || (size_t)length >= room) return false;
        out += length;
        room -= (size_t)length;
    }
    return room > 0;
}

bool http_open(const struct transfer *chosen) {
    settings = *chosen;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (handle = curl_easy_init()) == NULL)
        return fail(NETWORK, "libcurl cannot start");
    headers = curl_slist_append(NULL, "Accept-Encoding: identity");
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_USERAGENT, "edgesr-pull");
    curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(handle, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https,file");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(handle, CURLOPT_MAXREDIRS, REDIRECTS_MOST);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT,
                     settings.stall_s < CONNECT_S ? settings.stall_s : CONNECT_S);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_PER_S);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, settings.stall_s);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    if (settings.ca != NULL) curl_easy_setopt(handle, CURLOPT_CAINFO, settings.ca);
    return true;
}

void http_close(void) {
    curl_easy_cleanup(handle);
    curl_slist_free_all(headers);
    curl_global_cleanup();
    handle = NULL;
    headers = NULL;
}
