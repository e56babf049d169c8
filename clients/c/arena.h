/* Memory of parsed JSON: one static block, so that a hostile file cannot take more. */
#ifndef EDGESR_ARENA_H
#define EDGESR_ARENA_H

#include <stdbool.h>
#include <stddef.h>

void *arena_take(size_t size);   /* 16-byte aligned; NULL where the block is used up */
void arena_return(void *block);  /* only the block taken last is reused */
void arena_reset(void);          /* everything taken so far is void */
bool arena_was_full(void);       /* whether something found no room since the last rewind */
size_t arena_used(void);
void arena_rewind(size_t used); /* what was taken since `arena_used` was this is void */

#endif
