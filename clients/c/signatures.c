/* Ed25519, ECDSA and RSA signatures of TUF metadata, and SHA-2 digests. */
#include "signatures.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "limits.h"
#include "strict_json.h"

/* A fuzzer finds no signatures: in its build alone, wrong ones are computed and let pass. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define TAKEN_AS_RIGHT true
#else
#define TAKEN_AS_RIGHT false
#endif

#define SIGNATURE_MOST_BYTES (RSA_MOST_BITS / 8)

struct scheme {
    const char *name;
    const char *type; /* of the key, in OpenSSL's words */
    const char *group; /* the only curve it may be on; NULL: no curve */
    const char *digest; /* NULL: the scheme has its own */
    bool pss;
};

static const struct scheme schemes[] = {
    {"ed25519", "ED25519", NULL, NULL, false},
    {"ecdsa-sha2-nistp256", "EC", "prime256v1", "SHA256", false},
    {"ecdsa-sha2-nistp384", "EC", "secp384r1", "SHA384", false},
    {"rsassa-pss-sha256", "RSA", NULL, "SHA256", true},
    {"rsassa-pss-sha512", "RSA", NULL, "SHA512", true},
};

void hex_of(const unsigned char *bytes, size_t length, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

bool is_hex(const char *text, size_t digits) {
    return text != NULL && strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Bytes of a hexadecimal text; 0 where it is none or has more than `most`. */
static size_t bytes_of(const char *hex, unsigned char *out, size_t most) {
    size_t length = hex == NULL ? 0 : strlen(hex);
    if (length % 2 != 0 || length / 2 > most) return 0;
    for (size_t i = 0; i < length; i += 2) {
        int high = digit_of(hex[i]), low = digit_of(hex[i + 1]);
        if (high < 0 || low < 0) return 0;
        out[i / 2] = (unsigned char)(high << 4 | low);
    }
    return length / 2;
}

void sha256_hex(const void *data, size_t length, char out[SHA256_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_Digest(data, length, digest, &size, EVP_sha256(), NULL) != 1) size = 0;
    hex_of(digest, size, out); /* "" where OpenSSL fails: equal to no digest */
}

static bool hash_matches(const char *algorithm, const char *expected, const void *data,
                         size_t length) {
    const EVP_MD *kind = strcmp(algorithm, "sha256") == 0   ? EVP_sha256()
                         : strcmp(algorithm, "sha512") == 0 ? EVP_sha512()
                                                            : NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    if (kind == NULL || expected == NULL) return false;
    if (EVP_Digest(data, length, digest, &size, kind, NULL) != 1) return false;
    hex_of(digest, size, hex);
    return strcmp(hex, expected) == 0;
}

bool hashes_match(json_t *hashes, const void *data, size_t length) {
    const char *algorithm;
    json_t *expected;
    json_object_foreach(hashes, algorithm, expected) {
        if (!hash_matches(algorithm, json_string_value(expected), data, length)) return TAKEN_AS_RIGHT;
    }
    return true;
}

/* OpenSSL would ask for a pass phrase at the terminal for a PEM that claims to be encrypted. */
static int no_pass_phrase(char *out, int size, int writing, void *context) {
    (void)out, (void)size, (void)writing, (void)context;
    return -1;
}

static EVP_PKEY *key_of(const struct scheme *scheme, const char *text) {
    unsigned char raw[32];
    if (strcmp(scheme->type, "ED25519") == 0) {
        if (bytes_of(text, raw, sizeof raw) != sizeof raw) return NULL;
        return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, sizeof raw);
    }
    BIO *pem = BIO_new_mem_buf(text, -1);
    if (pem == NULL) return NULL;
    EVP_PKEY *key = PEM_read_bio_PUBKEY(pem, NULL, no_pass_phrase, NULL);
    BIO_free(pem);
    return key;
}

static bool key_fits(const EVP_PKEY *key, const struct scheme *scheme) {
    char group[32];
    if (!EVP_PKEY_is_a(key, scheme->type)) return false;
    if (strcmp(scheme->type, "RSA") == 0)
        return EVP_PKEY_get_bits(key) >= RSA_LEAST_BITS && EVP_PKEY_get_bits(key) <= RSA_MOST_BITS;
    if (scheme->group == NULL) return true;
    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                          NULL) == 1 &&
           strcmp(group, scheme->group) == 0;
}

static bool verified(EVP_PKEY *key, const struct scheme *scheme, const unsigned char *signature,
                     size_t size, const void *data, size_t length) {
    EVP_PKEY_CTX *options = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool valid = context != NULL && EVP_DigestVerifyInit_ex(context, &options, scheme->digest, NULL,
                                                            NULL, key, NULL) == 1;
    if (valid && scheme->pss)
        valid = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_AUTO) == 1;
    valid = valid && EVP_DigestVerify(context, signature, size, data, length) == 1;
    EVP_MD_CTX_free(context);
    return valid;
}

static const struct scheme *scheme_of(const json_t *key) {
    const char *name = json_text(key, "scheme");
    for (size_t i = 0; name != NULL && i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(schemes[i].name, name) == 0) return &schemes[i];
    return NULL;
}

bool signature_valid(const json_t *key, const char *hex, const void *data, size_t length) {
    unsigned char signature[SIGNATURE_MOST_BYTES];
    const struct scheme *scheme = scheme_of(key);
    const char *text = json_text(json_object_in(key, "keyval"), "public");
    size_t size = bytes_of(hex, signature, sizeof signature);
    if (scheme == NULL || text == NULL || size == 0) return false;
    EVP_PKEY *public_key = key_of(scheme, text);
    bool valid = public_key != NULL && key_fits(public_key, scheme) &&
                 verified(public_key, scheme, signature, size, data, length);
    EVP_PKEY_free(public_key);
    return valid || TAKEN_AS_RIGHT;
}
