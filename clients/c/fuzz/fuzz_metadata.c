/* One metadata file: its form, its signatures by the keys it states itself, its patterns. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../arena.h"
#include "../limits.h"
#include "../metadata.h"
#include "../strict_json.h"

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *count, char ***words) {
    (void)count, (void)words;
    json_object_seed(1);
    json_in_arena();
    return 0;
}

/* A root is verified by itself first, so its keys are whatever an attacker wrote. */
static void verify(const struct metadata *metadata, enum role role) {
    const json_t *delegations = json_object_in(metadata->body, "delegations");
    const json_t *roles = json_array_in(delegations, "roles");
    if (role == ROOT)
        metadata_signed_by(metadata, json_object_in(metadata->body, "keys"),
                           root_role(metadata, "root"), "root.json");
    for (size_t i = 0; i < json_array_size(roles); i++) {
        delegation_covers(json_array_get(roles, i), "street/12/model.xml");
        metadata_signed_by(metadata, json_object_in(delegations, "keys"), json_array_get(roles, i),
                           "targets.json");
    }
}

/* The first byte says which role the rest is taken for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct metadata metadata;
    arena_reset();
    if (size < 1) return 0;
    enum role role = (enum role)(data[0] % 4);
    if (size - 1 > role_most_bytes(role)) return 0;
    if (metadata_parse(&metadata, role, (const char *)data + 1, size - 1, "input"))
        verify(&metadata, role);
    return 0;
}
