/* Every limit of the client in one place; README.md lists the same numbers. */
#ifndef EDGESR_LIMITS_H
#define EDGESR_LIMITS_H

/* Metadata and manifests: more bytes are refused before they are parsed. */
#define ROOT_MOST_BYTES (128u << 10)
#define TIMESTAMP_MOST_BYTES (16u << 10)
#define SNAPSHOT_MOST_BYTES (128u << 10)
#define TARGETS_MOST_BYTES (256u << 10) /* about 1,000 targets of 220 bytes */
#define INDEX_MOST_BYTES (64u << 10)    /* as toolkit/release.py */
#define MANIFEST_MOST_BYTES (64u << 10)
#define TEXT_MOST_BYTES TARGETS_MOST_BYTES /* the largest of the above: the static buffers */

#define JSON_MOST_DEPTH 32u
#define ARENA_BYTES (8u << 20) /* all parsed JSON of one run; pages that are not used cost nothing */

#define ROOT_ROTATIONS_MOST 256 /* of one run */
#define DELEGATIONS_MOST 32     /* roles visited in the search for one target */
#define DELEGATIONS_PENDING 64
#define PATTERN_MOST_BYTES 256u /* of a delegated path pattern, with at most ... */
#define PATTERN_MOST_STARS 8u   /* ... so many wildcards: matching takes time for each */
#define KEYS_MOST 64u           /* of one role */
#define RSA_MOST_BITS 8192
#define RSA_LEAST_BITS 2048

#define FILE_MOST_BYTES (512ll << 20) /* of one file of a release */
#define FILES_MOST 64u
#define NAME_MOST_BYTES 100u
#define URL_MOST_BYTES 2048u
#define COUNT_MOST (1ll << 40)
#define BASIS_POINTS_ALL 10000

#define BLOCKED_MOST_BYTES (32u << 10) /* holds the other client's 256 lines; the oldest go first */
#define TRIAL_ATTEMPTS_MOST 5
#define ENTRIES_MOST (INDEX_MOST_BYTES / 128u) /* of an index: the shortest takes more than 128 */
#define COLLECT_MOST 256u /* folders and files looked at by one run of `collect` */

#define CONNECT_S 10l
#define STALL_BYTES_PER_S 64l /* slower than this for --stall-s seconds counts as a stall */
#define REDIRECTS_MOST 3l
#define RETRY_MOST_S 60.0

#define TEST_FILE_BYTES (16ull << 20) /* of any file that the self-test's program writes */
#define TEST_FILES_MOST 128ull        /* that it has open */

#define CLOCK_APART_S (365ll * 86400) /* a channel this much older than our time: our clock is wrong */

#endif
