#include "server/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"

int access_keys_add(struct access_keys *keys, const char *key) {
    size_t length = strlen(key);
    if (length == 0) return ERR(INVALID, "an empty key");
    if (length >= ACCESS_KEY_MAX) return ERR(TOO_LARGE, "a key of more than %d bytes", ACCESS_KEY_MAX - 1);
    for (const char *c = key; *c != '\0'; c++)
        if (*c <= ' ' || *c == 0x7f) return ERR(INVALID, "a key with spaces or control characters");
    if (keys->n == ACCESS_MAX_KEYS) return ERR(TOO_LARGE, "more than %d keys", ACCESS_MAX_KEYS);
    struct access_key *grown = mem_realloc(keys->keys, keys->n + 1, sizeof *grown);
    if (grown == NULL) return ERR_NO_MEMORY;
    keys->keys = grown;
    memset(&grown[keys->n], 0, sizeof *grown);
    memcpy(grown[keys->n++].bytes, key, length);
    return 0;
}

int access_keys_read(struct access_keys *keys, const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return ERR(NOT_FOUND, "cannot read the keys in %s: %s", path, strerror(errno));
    char line[2 * ACCESS_KEY_MAX];
    int result = 0;
    size_t n_before = keys->n;
    for (unsigned number = 1; result == 0 && fgets(line, sizeof line, file) != NULL; number++) {
        line[strcspn(line, "\r\n")] = '\0';
        char *key = line + strspn(line, " \t");
        for (size_t end = strlen(key); end > 0 && (key[end - 1] == ' ' || key[end - 1] == '\t'); end--)
            key[end - 1] = '\0';
        if (*key == '\0' || *key == '#') continue;
        if (access_keys_add(keys, key) < 0)
            result = ERR(INVALID, "%s, line %u: a key has 1 to %d visible characters", path, number,
                         ACCESS_KEY_MAX - 1);
    }
    memset(line, 0, sizeof line);
    if (result == 0 && ferror(file)) result = ERR(IO, "cannot read the keys in %s", path);
    fclose(file);
    if (result == 0 && keys->n == n_before) result = ERR(INVALID, "%s holds no key", path);
    return result;
}

void access_keys_free(struct access_keys *keys) {
    if (keys->keys != NULL) explicit_bzero(keys->keys, keys->n * sizeof *keys->keys);
    mem_free(keys->keys);
    *keys = (struct access_keys){0};
}

/* 1 + the index of the equal key, or 0. Compares all bytes of all keys. */
static uint32_t find_key(const struct access_keys *keys, const struct access_key *offered) {
    uint32_t found = 0;
    for (size_t i = 0; i < keys->n; i++) {
        unsigned difference = 0;
        for (size_t b = 0; b < ACCESS_KEY_MAX; b++)
            difference |= (unsigned char)(keys->keys[i].bytes[b] ^ offered->bytes[b]);
        uint32_t is_equal = (difference - 1) >> 31; /* without a branch: 1 if difference is 0 */
        found |= (uint32_t)(i + 1) & (0u - is_equal) & (0u - (uint32_t)(found == 0));
    }
    return found;
}

/* "", or a colon and digits */
static bool is_port(const char *text) {
    return *text == '\0' || (*text == ':' && text[1 + strspn(text + 1, "0123456789")] == '\0');
}

/* Without a port, and without the brackets of an IPv6 address. False if it is none of that. */
static bool host_name(const char *host, char name[256]) {
    bool is_six = *host == '[';
    size_t length = is_six ? strcspn(++host, "]") : strcspn(host, ":");
    if (length > 255 || (is_six && host[length] != ']')) return false;
    memcpy(name, host, length);
    name[length] = '\0';
    return is_port(host + length + is_six);
}

bool access_is_loopback(const char *host) {
    char name[256];
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET6, host, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    if (!host_name(host, name)) return false;
    if (*host == '[') return inet_pton(AF_INET6, name, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
    if (strcasecmp(name, "localhost") == 0) return true;
    return inet_pton(AF_INET, name, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

/* The host of an Origin header; NULL for "null" and what is none. */
static const char *origin_host(const char *origin) {
    if (strncmp(origin, "http://", 7) == 0) return origin + 7;
    if (strncmp(origin, "https://", 8) == 0) return origin + 8;
    return NULL;
}

static int check_origin(const struct access_policy *policy, const struct access_request *request,
                        struct api_error *error) {
    const char *host = request->host == NULL ? "" : request->host;
    const char *from = request->origin == NULL ? NULL : origin_host(request->origin);
    bool has_keys = policy->keys.n > 0;
    if (!has_keys && !policy->is_open_to_all && !access_is_loopback(host))
        return api_error_set(error, 403, NULL, "host_not_allowed",
                             "without keys only loopback names are accepted as Host");
    if (request->origin == NULL || has_keys) return 0;
    bool is_same = from != NULL && strcasecmp(from, host) == 0;
    if (is_same || (!policy->is_open_to_all && from != NULL && access_is_loopback(from))) return 0;
    return api_error_set(error, 403, NULL, "origin_not_allowed",
                         "this server answers no page of another origin");
}

int access_check(const struct access_policy *policy, enum access_need need,
                 const struct access_request *request, struct caller *caller, struct api_error *error) {
    *caller = (struct caller){0};
    int result = check_origin(policy, request, error);
    if (result < 0 || need == ACCESS_ANYBODY) return result;
    struct access_key offered = {0};
    const char *text = request->x_api_key;
    if (request->authorization != NULL && strncasecmp(request->authorization, "Bearer ", 7) == 0)
        text = request->authorization + 7;
    bool is_offered = text != NULL && *text != '\0' && strlen(text) < ACCESS_KEY_MAX;
    if (is_offered) memcpy(offered.bytes, text, strlen(text));
    uint32_t key = find_key(&policy->keys, &offered), admin = find_key(&policy->admin_keys, &offered);
    explicit_bzero(&offered, sizeof offered);
    caller->is_admin = admin != 0 || (policy->admin_keys.n == 0 && policy->keys.n == 0);
    caller->key = admin != 0 ? (uint32_t)policy->keys.n + admin : key;
    if (policy->keys.n > 0 && caller->key == 0)
        return api_error_set(error, 401, NULL, "invalid_api_key",
                             is_offered ? "this API key is not known here"
                                        : "an API key is needed: Authorization: Bearer KEY");
    if (need == ACCESS_ADMIN && !caller->is_admin)
        return api_error_set(error, 403, NULL, "admin_key_needed", "this route needs an admin key");
    return 0;
}
