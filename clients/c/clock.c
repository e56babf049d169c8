/* Reads the clock, and UTC times as TUF writes them. */
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(time_t) >= 8, "dates after 2038 need glibc 2.34 or musl 1.2 on 32 bits");

bool time_parse(const char *text, int64_t *seconds) {
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    struct tm parts = {0};
    if (text == NULL || strlen(text) != sizeof form - 1) return false;
    for (size_t i = 0; form[i] != '\0'; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (form[i] == 'd' ? !digit : text[i] != form[i]) return false;
    }
    int found = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &parts.tm_year, &parts.tm_mon,
                       &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec);
    if (found != 6 || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    *seconds = (int64_t)timegm(&parts);
    return true;
}

void time_text(int64_t seconds, char out[TIME_TEXT]) {
    struct tm parts;
    time_t when = (time_t)seconds;
    if (gmtime_r(&when, &parts) == NULL || strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        strcpy(out, "unknown");
}

static int64_t system_now(void) {
#ifdef EDGESR_TEST_HOOKS
    int64_t asked;
    if (time_parse(getenv("EDGESR_NOW"), &asked)) return asked;
#endif
    return (int64_t)time(NULL);
}

struct clock clock_read(int64_t floor_s) {
    struct clock clock = {.system_s = system_now(), .floor_s = floor_s};
    clock.now_s = clock.system_s;
    clock_raise_now(&clock, floor_s);
    return clock;
}

void clock_raise_now(struct clock *clock, int64_t known_s) {
    if (known_s > clock->now_s) clock->now_s = known_s;
}
