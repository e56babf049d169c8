/* Digests and signatures, all by OpenSSL's EVP. */
#ifndef EDGESR_SIGNATURES_H
#define EDGESR_SIGNATURES_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#define SHA256_HEX 65 /* 64 digits and the end */

void sha256_hex(const void *data, size_t length, char out[SHA256_HEX]);
void hex_of(const unsigned char *bytes, size_t length, char *out); /* 2 * length + 1 bytes */
bool is_hex(const char *text, size_t digits); /* exactly so many, in lower case */

/* Whether every digest in a TUF `hashes` object is of this data; false for unknown algorithms. */
bool hashes_match(json_t *hashes, const void *data, size_t length);

/* Whether `hex` is this TUF key's signature over the data. Unknown kinds of keys verify nothing. */
bool signature_valid(const json_t *key, const char *hex, const void *data, size_t length);

#endif
