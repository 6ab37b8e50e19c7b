#include "hub/pull.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "hub/choose.h"
#include "hub/store.h"

/* What the steps of a pull share. */
struct puller {
    const struct hub_name *name;
    const struct pull_opts *opts;
    struct http_client *client;
    struct pull_result *result;
};

static struct retry make_retry(const struct pull_opts *opts) {
    return (struct retry){.n_left = opts->n_retries,
                          .delay_ms = opts->retry_delay_ms,
                          .interrupt = opts->http.interrupt,
                          .listener = opts->listener};
}

/* ---- the listing ---- */

struct text {
    char *bytes;
    size_t length, capacity;
};

static int on_begin(void *state, const struct http_response *response) {
    (void)response;
    ((struct text *)state)->length = 0;
    return 0;
}

static int on_bytes(void *state, const void *bytes, size_t n) {
    struct text *text = state;
    if (n > LISTING_MAX_JSON_BYTES - text->length)
        return ERR(TOO_LARGE, "the hub's listing is longer than %zu MiB", LISTING_MAX_JSON_BYTES >> 20);
    if (n > text->capacity - text->length) {
        size_t capacity = text->capacity * 2 + n;
        char *grown = mem_realloc(text->bytes, capacity, 1);
        if (grown == NULL) return ERR_NO_MEMORY;
        text->bytes = grown;
        text->capacity = capacity;
    }
    memcpy(text->bytes + text->length, bytes, n);
    text->length += n;
    return 0;
}

static int get_text(const struct puller *puller, const char *url, struct text *text) {
    struct retry retry = make_retry(puller->opts);
    struct http_request request = {.url = url, .if_range = ""};
    struct http_sink sink = {on_begin, on_bytes, text};
    for (;;) {
        struct http_response response;
        int result = http_get(puller->client, &request, &sink, &response);
        if (result == 0 && response.status != 200)
            result = download_refused(&response, puller->name->repository);
        if (result == 0 || !response.is_transient || !retry_again(&retry)) return result;
    }
}

static int get_listing(const struct puller *puller, struct listing *listing) {
    char url[NAME_URL_LENGTH];
    TRY(hub_name_listing_url(puller->name, puller->opts->http.endpoint, url, sizeof url));
    struct text text = {0};
    int result = get_text(puller, url, &text);
    if (result == 0) result = listing_parse(listing, text.bytes != NULL ? text.bytes : "", text.length);
    mem_free(text.bytes);
    return result;
}

/* ---- files ---- */

/* Complete, as far as its length tells. */
static bool is_there(const char *path, uint64_t bytes, uint64_t *bytes_there) {
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) return false;
    *bytes_there = (uint64_t)status.st_size;
    return bytes == HUB_BYTES_UNKNOWN || bytes == *bytes_there;
}

static int get_file(const struct puller *puller, const char *url, const char *file, uint64_t bytes,
                    const char *sha256) {
    char folder[STORE_PATH_LENGTH], path[STORE_PATH_LENGTH];
    TRY(store_folder(folder, sizeof folder));
    if ((size_t)snprintf(path, sizeof path, "%s/%s/%s", folder, puller->name->folder, file) >= sizeof path)
        return ERR(TOO_LARGE, "the path of %s in the cache folder is too long", file);
    struct pull_file *pulled = &puller->result->files[puller->result->n_files];
    *pulled = (struct pull_file){.path = mem_strndup(path, strlen(path))};
    if (pulled->path == NULL) return ERR_NO_MEMORY;
    puller->result->n_files++;
    pulled->was_there = is_there(path, bytes, &pulled->result.bytes);
    if (pulled->was_there) return 0;
    struct download wanted = {.url = url, .path = path, .bytes = bytes, .sha256 = sha256};
    return download(puller->client, &wanted, make_retry(puller->opts), &pulled->result);
}

static int make_room(const struct puller *puller, unsigned n_files) {
    puller->result->files = mem_alloc(n_files, sizeof *puller->result->files);
    return puller->result->files == NULL ? ERR_NO_MEMORY : 0;
}

static int get_chosen(const struct puller *puller, const struct listing *listing) {
    struct choice choice;
    TRY(choose(&choice, listing, puller->name->file, puller->name->repository));
    TRY(make_room(puller, choice.n_files));
    for (unsigned i = 0; i < choice.n_files; i++) {
        const struct listing_file *file = choice_file(&choice, listing, i);
        char url[NAME_URL_LENGTH];
        TRY(hub_name_file_url(puller->name, puller->opts->http.endpoint, file->path, url, sizeof url));
        TRY(get_file(puller, url, file->path, file->bytes, file->sha256));
    }
    return 0;
}

static int get_all(const struct puller *puller) {
    if (*puller->name->url != '\0') {
        TRY(make_room(puller, 1));
        return get_file(puller, puller->name->url, puller->name->file, HUB_BYTES_UNKNOWN, "");
    }
    struct listing listing;
    TRY(get_listing(puller, &listing));
    int result = get_chosen(puller, &listing);
    listing_free(&listing);
    return result;
}

int pull(const struct hub_name *name, const struct pull_opts *opts, struct pull_result *result) {
    *result = (struct pull_result){0};
    struct puller puller = {.name = name, .opts = opts, .result = result};
    TRY(http_open(&puller.client, &opts->http));
    int code = get_all(&puller);
    http_close(puller.client);
    if (code < 0) pull_result_free(result);
    return code;
}

void pull_result_free(struct pull_result *result) {
    for (unsigned i = 0; i < result->n_files; i++) mem_free(result->files[i].path);
    mem_free(result->files);
    *result = (struct pull_result){0};
}
