#include "server/cache_salt.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/text.h"

int salt_by_named(const char *name) {
#define X(id, meaning)                                                                                       \
    if (strcmp(name, #id) == 0) return SALT_BY_##id;
    SALT_BY_LIST(X)
#undef X
    return -1;
}

int cache_salts_open(struct cache_salts *salts, enum salt_by by, size_t n_keys) {
    *salts = (struct cache_salts){.by = by};
    if (by == SALT_BY_default) salts->by = n_keys > 1 ? SALT_BY_key : SALT_BY_request;
    if (getrandom(salts->secret, sizeof salts->secret, 0) != (ssize_t)sizeof salts->secret)
        return ERR(IO, "the system gives no random numbers: %s", strerror(errno));
    return 0;
}

void cache_salts_close(struct cache_salts *salts) { explicit_bzero(salts, sizeof *salts); }

/* 64 bits of the HMAC of a message. */
static int hash(const struct cache_salts *salts, const struct text *message, uint64_t *bits) {
    unsigned char code[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (message->failed ||
        HMAC(EVP_sha256(), salts->secret, sizeof salts->secret, (const unsigned char *)message->bytes,
             message->length, code, &n) == NULL ||
        n < sizeof *bits)
        return ERR(NO_MEMORY, "no memory for the salt of a request");
    memcpy(bits, code, sizeof *bits);
    return 0;
}

/* A message begins with a word that says which kind it is, and only its last part has no fixed length. */
int cache_salt_of(const struct cache_salts *salts, uint32_t key, const char *cache_salt, uint64_t *salt) {
    *salt = 0;
    if (salts->by == SALT_BY_none) return 0;
    if (salts->by == SALT_BY_request) key = 0;
    struct text message = {0};
    text_printf(&message, "salt of key %" PRIu32 " %s", key, cache_salt == NULL ? "without" : "and ");
    if (cache_salt != NULL) text_append_string(&message, cache_salt);
    int result = hash(salts, &message, salt);
    text_free(&message);
    return result;
}

int cache_salt_label(const struct cache_salts *salts, uint64_t salt, char label[CACHE_SALT_LABEL]) {
    struct text message = {0};
    uint64_t bits = 0;
    text_printf(&message, "label of %" PRIu64, salt);
    int result = hash(salts, &message, &bits);
    text_free(&message);
    snprintf(label, CACHE_SALT_LABEL, "%016" PRIx64, bits);
    return result;
}
