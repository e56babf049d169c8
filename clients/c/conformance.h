/* The command line of the TUF conformance suite. */
#ifndef EDGESR_CONFORMANCE_H
#define EDGESR_CONFORMANCE_H

#include "options.h"

int conformance(const struct options *options); /* exit code: 0 or 1 */

#endif
