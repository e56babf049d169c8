/* Bytes of a channel by HTTP, HTTPS or from a folder, with limits; nothing here is trusted yet. */
#ifndef EDGESR_HTTP_H
#define EDGESR_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct transfer {
    long stall_s;       /* no byte for so long ends a try */
    int tries;          /* of one file */
    double retry_s;     /* pause before the second try; doubles with each */
    const char *ca;     /* PEM file of the authorities to trust for https; NULL: the system's */
};

struct counters {
    long long requests, bytes_fetched, bytes_resumed;
};

bool http_open(const struct transfer *settings); /* one connection for the whole run */
void http_close(void);
const struct counters *http_counters(void);
long http_status(void); /* of the last answer; 0: there was none, or it was a file */

/* A whole small file of at most `most` bytes into `out`. */
bool http_get(const char *url, char *out, size_t most, size_t *length);

/* A file of `length` bytes with this digest (as `file_matches`) as `part` of a folder: resumed,
   verified, synced. */
bool http_download(const char *url, int folder, const char *part, long long length,
                   const char *digest);

/* Escape all but unreserved characters and those in `kept`. False where it does not fit. */
bool url_quote(char *out, size_t room, const char *text, const char *kept);

#endif
