#include "hub/api_client.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "hub/http.h"

enum { MESSAGE_BYTES = 512 };

struct api_client {
    CURL *curl;
    char curl_message[CURL_ERROR_SIZE];
    char *url; /* without a slash at its end */
    char *authorization;
};

/* ---- opening ---- */

static bool is_http_url(const char *text) {
    CURLU *url = curl_url();
    char *scheme = NULL;
    bool is_good = url != NULL && curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK &&
                   curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                   (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_url_cleanup(url);
    return is_good;
}

static int set_url(struct api_client *client, const char *url) {
    size_t length = strlen(url);
    if (!is_http_url(url)) return ERR(INVALID, "'%.200s' is no http or https URL of a server", url);
    while (length > 0 && url[length - 1] == '/') length--;
    client->url = mem_strndup(url, length);
    return client->url == NULL ? ERR_NO_MEMORY : 0;
}

static int set_up(struct api_client *client, const struct api_client_opts *opts) {
    TRY(http_handle_open(&client->curl, client->curl_message, opts->timeout_s, 1));
    if (curl_easy_setopt(client->curl, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK) return http_handle_lacks();
    TRY(set_url(client, opts->url));
    if (opts->key == NULL) return 0;
    return http_bearer(&client->authorization, opts->key,
                       "the API key has characters that no header may hold");
}

int api_client_open(struct api_client **out, const struct api_client_opts *opts) {
    struct api_client *client = mem_alloc(1, sizeof *client);
    if (client == NULL) return ERR_NO_MEMORY;
    int result = set_up(client, opts);
    if (result < 0)
        api_client_close(client);
    else
        *out = client;
    return result;
}

void api_client_close(struct api_client *client) {
    if (client == NULL) return;
    http_handle_close(client->curl);
    mem_free(client->url);
    mem_free(client->authorization);
    mem_free(client);
}

/* ---- a call ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *state) {
    struct text *answer = state;
    size_t n = size * count;
    if (answer->length + n > API_CLIENT_MAX_BYTES) return CURL_WRITEFUNC_ERROR;
    text_append(answer, bytes, n);
    return answer->failed ? CURL_WRITEFUNC_ERROR : n;
}

/* One line of what a stranger says. */
static void make_plain(char *message) {
    for (char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

/* The error object's message, or the status alone. */
static int refused(const struct api_client *client, long status, const struct text *answer) {
    json_t *object =
        answer->bytes == NULL ? NULL : json_loadb(answer->bytes, answer->length, JSON_ALLOW_NUL, NULL);
    const char *told = json_string_value(json_object_get(json_object_get(object, "error"), "message"));
    char message[MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", told != NULL ? told : "it does not say why");
    json_decref(object);
    make_plain(message);
    if (status == 404) return ERR(NOT_FOUND, "%.200s: %s", client->url, message);
    if (status >= 400 && status < 500)
        return ERR(INVALID, "%.200s: %s (status %ld)", client->url, message, status);
    return ERR(IO, "%.200s: %s (status %ld)", client->url, message, status);
}

static int make_headers(const struct api_client *client, bool has_body, struct curl_slist **headers) {
    const char *lines[] = {client->authorization, has_body ? "Content-Type: application/json" : NULL,
                           "Expect:"};
    *headers = NULL;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (lines[i] == NULL) continue;
        struct curl_slist *longer = curl_slist_append(*headers, lines[i]);
        if (longer == NULL) return ERR(NO_MEMORY, "no memory for a request");
        *headers = longer;
    }
    return 0;
}

static int perform(struct api_client *client, const char *method, const char *url, const char *body,
                   const struct curl_slist *headers, struct text *answer) {
    CURL *curl = client->curl;
    *client->curl_message = '\0';
    bool is_set =
        curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, body == NULL ? -1L : (long)strlen(body)) == CURLE_OK &&
        (body != NULL || curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L) == CURLE_OK) &&
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer) == CURLE_OK;
    if (!is_set) return ERR(NO_MEMORY, "no memory for a request");
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        char message[CURL_ERROR_SIZE];
        snprintf(message, sizeof message, "%s",
                 *client->curl_message != '\0' ? client->curl_message : curl_easy_strerror(code));
        make_plain(message);
        return ERR(IO, "%.200s: %s", client->url, message);
    }
    long status = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300 ? 0 : refused(client, status, answer);
}

int api_client_call(struct api_client *client, const char *method, const char *path, const char *body,
                    struct text *answer) {
    struct text url = {0};
    struct curl_slist *headers;
    text_clear(answer);
    text_printf(&url, "%s%s", client->url, path);
    int result = url.failed ? ERR(NO_MEMORY, "no memory for a request") : 0;
    if (result == 0) {
        result = make_headers(client, body != NULL, &headers);
        if (result == 0) result = perform(client, method, url.bytes, body, headers, answer);
        curl_slist_free_all(headers);
        (void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    }
    text_free(&url);
    return result;
}
