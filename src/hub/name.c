#include "hub/name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static const char default_revision[] = "main";

static bool is_word(const char *text, size_t length) {
    if (length == 0 || length >= NAME_PART || !(isalnum((unsigned char)*text) || *text == '_')) return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("._-", text[i]) == NULL) return false;
    return true;
}

/* ---- OWNER/REPO[@REVISION][:FILE] ---- */

static int parse_repository(struct hub_name *name, const char *text) {
    size_t owner = strcspn(text, "/"), repo = 0, revision = 0;
    const char *at = text + owner;
    if (*at == '/') repo = strcspn(++at, "@:");
    bool is_good = is_word(text, owner) && is_word(at, repo);
    const char *end = is_good ? at + repo : text;
    if (is_good && *end == '@') {
        revision = strcspn(end + 1, ":");
        is_good = is_word(end + 1, revision);
        snprintf(name->revision, sizeof name->revision, "%.*s", (int)(is_good ? revision : 0), end + 1);
        end += 1 + revision;
    }
    if (!is_good || (*end == ':' && !file_path_is_safe(end + 1, strlen(end + 1))))
        return ERR(INVALID,
                   "'%.100s' is no name of a model, such as OWNER/REPO, OWNER/REPO:Q4_K_M, "
                   "OWNER/REPO:FILE.gguf or https://HOST/FILE.gguf",
                   text);
    if (*end == ':') snprintf(name->file, sizeof name->file, "%s", end + 1);
    snprintf(name->repository, sizeof name->repository, "%.*s", (int)(owner + 1 + repo), text);
    return 0;
}

static void set_repository_folder(struct hub_name *name) {
    bool is_default = *name->revision == '\0' || strcmp(name->revision, default_revision) == 0;
    if (is_default) strcpy(name->revision, default_revision);
    snprintf(name->folder, sizeof name->folder, "%s%s%s", name->repository, is_default ? "" : "@",
             is_default ? "" : name->revision);
}

/* ---- URLs ---- */

bool hub_url_is_plain(const char *url) {
    size_t length = strlen(url);
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0 || length >= NAME_URL_LENGTH) return false;
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || strchr("\\#\"<>", *c) != NULL) return false;
    /* Only what every parser of URLs reads as the same host. */
    size_t host = strcspn(url + scheme, "/?");
    size_t n_plain =
        strspn(url + scheme, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]");
    return host > 0 && n_plain == host;
}

/* Whether the pieces of "OWNER/REPO/resolve/REVISION/FILE?QUERY" (or /blob/, or the first two alone) make a
 * name: what a browser shows of the hub. */
static bool parse_hub_path(struct hub_name *name, const char *path) {
    char text[NAME_URL_LENGTH], *rest;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(path, "?"), path);
    char *slash = strchr(text, '/');
    if (slash == NULL) return false;
    char *end = strchr(slash + 1, '/');
    if (end == NULL) return parse_repository(name, text) == 0;
    *end = '\0';
    size_t verb = strncmp(end + 1, "resolve/", 8) == 0 ? 8 : strncmp(end + 1, "blob/", 5) == 0 ? 5 : 0;
    if (verb == 0 || (rest = strchr(end + 1 + verb, '/')) == NULL) return false;
    char whole[NAME_URL_LENGTH];
    *rest = '\0';
    int n = snprintf(whole, sizeof whole, "%s@%s:%s", text, end + 1 + verb, rest + 1);
    return (size_t)n < sizeof whole && parse_repository(name, whole) == 0;
}

static int parse_other_url(struct hub_name *name, const char *url) {
    const char *host = strstr(url, "://") + 3;
    char path[NAME_URL_LENGTH];
    snprintf(path, sizeof path, "%.*s@%.*s", (int)(host - url) - 3, url, (int)strcspn(host, "?"), host);
    char *slash = strrchr(path, '/');
    if (slash == NULL || !file_path_is_gguf(path) || !file_path_is_safe(path, strlen(path)))
        return ERR(INVALID, "the path of '%.200s' does not end in the name of a GGUF file", url);
    snprintf(name->url, sizeof name->url, "%s", url);
    snprintf(name->file, sizeof name->file, "%s", slash + 1);
    *slash = '\0';
    snprintf(name->folder, sizeof name->folder, "%s", path);
    return 0;
}

int hub_name_parse(struct hub_name *name, const char *text, const char *endpoint) {
    *name = (struct hub_name){0};
    size_t prefix = strlen(endpoint);
    if (strstr(text, "://") != NULL) {
        if (!hub_url_is_plain(text)) return ERR(INVALID, "'%.200s' is no plain http or https URL", text);
        bool is_hub = strncmp(text, endpoint, prefix) == 0 && text[prefix] == '/';
        if (!is_hub || !parse_hub_path(name, text + prefix + 1)) {
            *name = (struct hub_name){0};
            return parse_other_url(name, text);
        }
    } else {
        TRY(parse_repository(name, text));
    }
    set_repository_folder(name);
    return 0;
}

/* ---- URLs of the hub ---- */

int hub_name_listing_url(const struct hub_name *name, const char *endpoint, char *url, size_t size) {
    int n = snprintf(url, size, "%s/api/models/%s/revision/%s?blobs=true", endpoint, name->repository,
                     name->revision);
    return (size_t)n < size ? 0 : ERR(TOO_LARGE, "the URL of %s is too long", name->repository);
}

int hub_name_file_url(const struct hub_name *name, const char *endpoint, const char *path, char *url,
                      size_t size) {
    int n = snprintf(url, size, "%s/%s/resolve/%s/", endpoint, name->repository, name->revision);
    size_t length = (size_t)n;
    for (const char *c = path; *c != '\0' && length + 4 <= size; c++) {
        bool is_plain = isalnum((unsigned char)*c) || strchr("/-._~", *c) != NULL;
        length +=
            (size_t)snprintf(url + length, size - length, is_plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    return length + 4 <= size ? 0 : ERR(TOO_LARGE, "the URL of '%.200s' is too long", path);
}

void hub_name_of_path(char *text, size_t size, const char *path) {
    const char *slash = strchr(path, '/');
    const char *second = slash == NULL ? NULL : strchr(slash + 1, '/');
    const char *at = strchr(path, '@');
    if (slash != NULL && at != NULL && at < slash)
        snprintf(text, size, "%.*s://%s", (int)(at - path), path, at + 1);
    else if (second != NULL)
        snprintf(text, size, "%.*s:%s", (int)(second - path), path, second + 1);
    else
        snprintf(text, size, "%s", path);
}
