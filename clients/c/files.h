/* Files below an open folder: no links followed, nothing half-written under a final name. */
#ifndef EDGESR_FILES_H
#define EDGESR_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A folder below `parent`, made where `make` says so. -1 where there is none (errno tells). */
int folder_open(int parent, const char *name, bool make);
bool folder_sync(int folder);

/* A small regular file as a whole. -1 where it is missing, no file, or longer than `most`. */
ssize_t file_read(int folder, const char *name, char *out, size_t most);

/* Replace a file: `<name>.part`, fsync, rename, fsync of the folder. Sets a fault where it fails.
   Nothing is written where the file has these bytes already: flash wears out. The middle of
   `state`, where it is not NULL, is just before the rename. */
bool file_write(int folder, const char *name, const void *data, size_t length, const char *state);
bool file_rename(int folder, const char *from, const char *to); /* with the folder's fsync */

/* Whether a regular file has this length and digest: SHA-256, or SHA-512 where it is that long. */
bool file_matches(int folder, const char *name, long long length, const char *digest);

/* Copy a file's bytes into `goal` of another folder, synced. False without a fault: fetch it. */
bool file_copy(int from, const char *name, int to, const char *goal);

int file_append(int folder, const char *name, off_t *size); /* opened for writing at its end */
bool write_all(int file, const void *data, size_t length);

/* Remove all in a folder but `spared` ("": nothing), then the folder where it is empty. */
void folder_remove(int parent, const char *name, const char *spared);

#endif
