/* The command line. */
#ifndef EDGESR_OPTIONS_H
#define EDGESR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "http.h"

struct options {
    const char *channel, *device_id, *root, *store, *family, *compatible;
    const char *runtime, *runtime_version; /* NULL: not stated, not checked */
    const char *self_test;                 /* program; NULL: none */
    long long firmware;
    long self_test_s, self_test_mb, wait_s;
    int64_t time_floor_s;
    bool json, status, return_to_previous;
    struct transfer transfer;
    /* of the TUF conformance suite */
    const char *metadata_dir, *metadata_url, *target_name, *target_base_url, *target_dir;
    const char *command, *argument;
};

/* False with the fault `usage`. Prints the help and exits where it is asked for. */
bool options_read(int count, char **words, struct options *out);

#endif
