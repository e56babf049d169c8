/* One poll, from the lock to the pointer. */
#ifndef EDGESR_PULL_H
#define EDGESR_PULL_H

#include "options.h"

int pull(const struct options *options); /* exit code */

#endif
