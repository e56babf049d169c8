/* One poll, from the lock to the pointer. */
#include "pull.h"
#include "fault.h"
int pull(const struct options *options) { (void)options; fail(USAGE, "not yet"); print_fault(); return 2; }
