#include "hub/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

struct sha256 {
    EVP_MD_CTX *state;
};

static int failed(void) { return ERR(INTERNAL, "libcrypto cannot compute a SHA-256"); }

int sha256_open(struct sha256 **digest) {
    *digest = mem_alloc(1, sizeof **digest);
    if (*digest == NULL) return ERR_NO_MEMORY;
    (*digest)->state = EVP_MD_CTX_new();
    int result = (*digest)->state == NULL ? failed() : sha256_restart(*digest);
    if (result < 0) {
        sha256_close(*digest);
        *digest = NULL;
    }
    return result;
}

void sha256_close(struct sha256 *digest) {
    if (digest == NULL) return;
    EVP_MD_CTX_free(digest->state);
    mem_free(digest);
}

int sha256_restart(struct sha256 *digest) {
    return EVP_DigestInit_ex(digest->state, EVP_sha256(), NULL) == 1 ? 0 : failed();
}

int sha256_add(struct sha256 *digest, const void *bytes, size_t n) {
    return EVP_DigestUpdate(digest->state, bytes, n) == 1 ? 0 : failed();
}

int sha256_finish(struct sha256 *digest, char *hex) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(digest->state, bytes, &n) != 1) return failed();
    for (unsigned i = 0; i < n; i++) (void)sprintf(hex + (size_t)2 * i, "%02x", bytes[i]);
    return 0;
}
