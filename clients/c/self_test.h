/* A new model proves itself in a child process before it is served. */
#ifndef EDGESR_SELF_TEST_H
#define EDGESR_SELF_TEST_H

#include "fault.h"
#include "options.h"

struct verdict {
    enum kind kind; /* KIND_NONE: a good model; GOLDEN, SLOW or CRASH: a bad one */
    char text[120];
};

/* Run `PROGRAM release_folder` with limits. False with the fault `runtime` where that cannot be
   done at all, which says nothing about the model. */
bool self_test(const struct options *options, const char *release_folder, struct verdict *out);

#endif
