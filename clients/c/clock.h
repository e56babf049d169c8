/* The time that expiries are judged by: never before what the client has proof of. */
#ifndef EDGESR_CLOCK_H
#define EDGESR_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define TIME_TEXT 21 /* "2026-11-21T18:00:00Z" and the end */

struct clock {
    int64_t system_s; /* what the machine says, seconds since 1970 */
    int64_t floor_s;  /* build time or --time-floor */
    int64_t now_s;    /* the latest of both and of what the channel's keys signed */
};

bool time_parse(const char *text, int64_t *seconds); /* exactly TIME_TEXT - 1 characters, UTC */
void time_text(int64_t seconds, char out[TIME_TEXT]);
struct clock clock_read(int64_t floor_s);
void clock_raise_now(struct clock *clock, int64_t known_s); /* this moment has passed */

#endif
