#include "hub/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "hub/name.h"

enum { MAX_HEADER_BYTES = 256 << 10, MAX_SKIPPED_BYTES = 64 << 10, LOW_SPEED_BYTES = 1024 };

/* Whom a token is for. */
struct origin {
    char scheme[8], host[256], port[8];
};

struct http_client {
    CURL *curl;
    char curl_message[CURL_ERROR_SIZE];
    const volatile sig_atomic_t *interrupt;
    struct origin endpoint;
    char *authorization; /* a header, or NULL */
};

/* ---- origins ---- */

static bool copy_url_part(CURLU *url, CURLUPart part, char *copy, size_t size) {
    char *text = NULL;
    bool fits = curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK && strlen(text) < size;
    if (fits) strcpy(copy, text);
    curl_free(text);
    return fits;
}

/* A host that may stand in a message. */
static bool is_printable(const char *text) {
    while (*text > ' ' && *text <= '~') text++;
    return *text == '\0';
}

/* False unless it is an http or https URL without a user name. */
static bool origin_of(struct origin *origin, const char *text) {
    CURLU *url = curl_url();
    bool is_good = url != NULL && curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK &&
                   copy_url_part(url, CURLUPART_SCHEME, origin->scheme, sizeof origin->scheme) &&
                   copy_url_part(url, CURLUPART_HOST, origin->host, sizeof origin->host) &&
                   copy_url_part(url, CURLUPART_PORT, origin->port, sizeof origin->port);
    curl_url_cleanup(url);
    return is_good && is_printable(origin->host) &&
           (strcasecmp(origin->scheme, "https") == 0 || strcasecmp(origin->scheme, "http") == 0);
}

static bool origin_equals(const struct origin *a, const struct origin *b) {
    return strcasecmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 &&
           strcmp(a->port, b->port) == 0;
}

static bool is_clear(const struct origin *origin) { return strcasecmp(origin->scheme, "http") == 0; }

static bool is_this_machine(const struct origin *origin) {
    const char *host = origin->host;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

/* ---- opening ---- */

int http_handle_open(void **handle, char *message, unsigned timeout_s, long least_bytes_per_second) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return ERR(INTERNAL, "libcurl does not start");
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        curl_global_cleanup();
        return ERR(NO_MEMORY, "libcurl gives no handle");
    }
    *handle = curl;
    const char *certificates = getenv("CURL_CA_BUNDLE");
    if (certificates == NULL || *certificates == '\0') certificates = getenv("SSL_CERT_FILE");
    bool is_set = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)timeout_s) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)timeout_s) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, least_bytes_per_second) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_USERAGENT, "cabinet") == CURLE_OK;
    if (is_set && certificates != NULL && *certificates != '\0')
        is_set = curl_easy_setopt(curl, CURLOPT_CAINFO, certificates) == CURLE_OK;
    if (!is_set) {
        http_handle_close(curl);
        *handle = NULL;
        return http_handle_lacks();
    }
    return 0;
}

int http_handle_lacks(void) {
    return ERR(INTERNAL, "libcurl lacks an option that this program was built with");
}

void http_handle_close(void *handle) {
    if (handle == NULL) return;
    curl_easy_cleanup(handle);
    curl_global_cleanup();
}

int http_bearer(char **line, const char *token, const char *complaint) {
    if (!is_printable(token)) return ERR(INVALID, "%s", complaint);
    struct text text = {0};
    text_printf(&text, "Authorization: Bearer %s", token);
    *line = text.bytes;
    return text.failed ? ERR_NO_MEMORY : 0;
}

static int set_token(struct http_client *client, const char *token) {
    if (token == NULL || *token == '\0') return 0;
    TRY(http_bearer(&client->authorization, token,
                    "HF_TOKEN is no token: it has blanks or other characters that no token has"));
    if (is_clear(&client->endpoint) && !is_this_machine(&client->endpoint))
        return ERR(INVALID, "HF_TOKEN would travel unencrypted to %s; use an https endpoint, or unset it",
                   client->endpoint.host);
    return 0;
}

static int on_progress(void *state, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    return *((const struct http_client *)state)->interrupt != 0;
}

static int set_up(struct http_client *client, const struct http_opts *opts) {
    TRY(http_handle_open(&client->curl, client->curl_message, opts->timeout_s, LOW_SPEED_BYTES));
    CURL *curl = client->curl;
    bool is_set = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10) == CURLE_OK;
    if (!is_set) return http_handle_lacks();
    if (!origin_of(&client->endpoint, opts->endpoint))
        return ERR(INVALID, "the endpoint '%.200s' is no http or https URL", opts->endpoint);
    return set_token(client, opts->token);
}

int http_open(struct http_client **client, const struct http_opts *opts) {
    *client = mem_alloc(1, sizeof **client);
    if (*client == NULL) return ERR_NO_MEMORY;
    (*client)->interrupt = opts->interrupt;
    int result = set_up(*client, opts);
    if (result < 0) {
        http_close(*client);
        *client = NULL;
    }
    return result;
}

void http_close(struct http_client *client) {
    if (client == NULL) return;
    http_handle_close(client->curl);
    mem_free(client->authorization);
    mem_free(client);
}

/* ---- what an answer's head says ---- */

static const char *header(CURL *curl, const char *name) {
    struct curl_header *found;
    return curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : NULL;
}

/* Digits alone, up to the largest file; *text is left behind them. */
static bool read_number(const char **text, uint64_t *number) {
    const char *c = *text;
    for (*number = 0; isdigit((unsigned char)*c); c++) {
        *number = *number * 10 + (uint64_t)(*c - '0');
        if (*number > HUB_MAX_FILE_BYTES) return false;
    }
    bool has_digits = c != *text;
    *text = c;
    return has_digits;
}

/* "bytes FIRST-LAST/TOTAL", or an asterisk for TOTAL (RFC 9110, 14.4). A range that does not reach the end is
 * taken as none. */
static bool read_range(const char *text, struct http_response *response) {
    uint64_t last;
    if (text == NULL || strncasecmp(text, "bytes ", 6) != 0) return false;
    text += 6;
    if (!read_number(&text, &response->range_first) || *text++ != '-' || !read_number(&text, &last) ||
        *text++ != '/')
        return false;
    response->total = HUB_BYTES_UNKNOWN;
    if (strcmp(text, "*") == 0) return response->range_first <= last;
    return read_number(&text, &response->total) && *text == '\0' && response->range_first <= last &&
           last + 1 == response->total;
}

/* The hub says what the file is before it redirects to where it lies. */
static void read_linked(CURL *curl, struct http_response *response) {
    const char *etag = header(curl, "X-Linked-ETag"), *size = header(curl, "X-Linked-Size");
    if (etag != NULL && *etag == '"') etag++;
    if (etag != NULL && *response->sha256 == '\0' && strspn(etag, "0123456789abcdefABCDEF") == SHA256_HEX)
        for (int i = 0; i < SHA256_HEX; i++) response->sha256[i] = (char)tolower((unsigned char)etag[i]);
    uint64_t bytes;
    if (size != NULL && response->linked_bytes == HUB_BYTES_UNKNOWN && read_number(&size, &bytes) &&
        *size == '\0')
        response->linked_bytes = bytes;
}

static void read_head(CURL *curl, struct http_response *response) {
    long status = 0;
    curl_off_t length = -1;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    response->status = (unsigned)status;
    response->is_transient = status == 408 || status == 429 || status >= 500;
    response->length = length >= 0 ? (uint64_t)length : HUB_BYTES_UNKNOWN;
    const char *etag = header(curl, "ETag");
    bool is_strong = etag != NULL && *etag == '"' && strlen(etag) < HTTP_ETAG_LENGTH;
    snprintf(response->etag, sizeof response->etag, "%s", is_strong ? etag : "");
    response->has_range = read_range(header(curl, "Content-Range"), response);
    read_linked(curl, response);
}

/* ---- one hop ---- */

struct hop {
    struct http_client *client;
    const struct http_sink *sink;
    struct http_response *response;
    bool has_head, is_wanted, is_cut; /* cut: the body of an answer that nobody wants was too long */
    size_t n_header_bytes, n_skipped;
    int result; /* the sink's */
};

static int begin_body(struct hop *hop) {
    if (hop->has_head) return 0;
    hop->has_head = true;
    read_head(hop->client->curl, hop->response);
    hop->is_wanted = hop->response->status == 200 || hop->response->status == 206;
    return hop->is_wanted ? hop->sink->begin(hop->sink->state, hop->response) : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *state) {
    struct hop *hop = state;
    size_t n = size * count;
    hop->result = begin_body(hop);
    if (hop->result == 0 && hop->is_wanted) hop->result = hop->sink->take(hop->sink->state, bytes, n);
    if (hop->result < 0) return CURL_WRITEFUNC_ERROR;
    if (!hop->is_wanted) hop->is_cut = (hop->n_skipped += n) > MAX_SKIPPED_BYTES;
    return hop->is_cut ? CURL_WRITEFUNC_ERROR : n;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *state) {
    (void)bytes;
    struct hop *hop = state;
    hop->n_header_bytes += size * count;
    return hop->n_header_bytes <= MAX_HEADER_BYTES ? size * count : 0;
}

static bool is_transient(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return true;
    default: return false;
    }
}

/* libcurl's message may hold what a server said. */
static int transfer_error(struct hop *hop, const struct origin *origin, CURLcode code) {
    if (code == CURLE_ABORTED_BY_CALLBACK) return ERR(CANCELLED, "stopped");
    hop->response->is_transient = is_transient(code);
    const char *message =
        *hop->client->curl_message != '\0' ? hop->client->curl_message : curl_easy_strerror(code);
    char plain[CURL_ERROR_SIZE];
    snprintf(plain, sizeof plain, "%s",
             hop->n_header_bytes > MAX_HEADER_BYTES ? "its headers do not end" : message);
    for (char *c = plain; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') *c = '?';
    return ERR(IO, "%s: %s", origin->host, plain);
}

/* The headers of a hop; NULL and NO_MEMORY if there is no memory. */
static int make_headers(const struct http_client *client, const struct http_request *request,
                        const struct origin *origin, struct curl_slist **headers) {
    char if_range[HTTP_ETAG_LENGTH + 16];
    const char *lines[2];
    size_t n_lines = 0;
    if (client->authorization != NULL && origin_equals(origin, &client->endpoint))
        lines[n_lines++] = client->authorization;
    if (request->offset > 0 && *request->if_range != '\0') {
        snprintf(if_range, sizeof if_range, "If-Range: %s", request->if_range);
        lines[n_lines++] = if_range;
    }
    *headers = NULL;
    for (size_t i = 0; i < n_lines; i++) {
        struct curl_slist *longer = curl_slist_append(*headers, lines[i]);
        if (longer == NULL) return ERR(NO_MEMORY, "no memory for a request");
        *headers = longer;
    }
    return 0;
}

static int perform(struct hop *hop, const char *url, const char *range, const struct origin *origin,
                   const struct curl_slist *headers) {
    CURL *curl = hop->client->curl;
    *hop->client->curl_message = '\0';
    bool is_set = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_RANGE, range) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_HEADERDATA, hop) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_WRITEDATA, hop) == CURLE_OK;
    if (!is_set) return ERR(NO_MEMORY, "no memory for a request");
    CURLcode code = curl_easy_perform(curl);
    if (hop->result < 0) return hop->result;
    if (code != CURLE_OK && !hop->is_cut) return transfer_error(hop, origin, code);
    return begin_body(hop);
}

/* Performs the request at *url. Sets *url, which it frees, to where the answer redirects to, or to NULL; the
 * caller frees it. */
static int get_hop(struct http_client *client, const struct http_request *request,
                   const struct http_sink *sink, struct http_response *response, const struct origin *origin,
                   char **url) {
    struct hop hop = {.client = client, .sink = sink, .response = response};
    struct curl_slist *headers;
    char range[32], *next = NULL;
    snprintf(range, sizeof range, "%" PRIu64 "-", request->offset);
    int result = make_headers(client, request, origin, &headers);
    if (result == 0) result = perform(&hop, *url, request->offset > 0 ? range : NULL, origin, headers);
    curl_slist_free_all(headers);
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    if (result == 0) (void)curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &next);
    char *copy = NULL;
    if (next != NULL && response->status >= 300 && response->status < 400 && (copy = strdup(next)) == NULL)
        result = ERR(NO_MEMORY, "no memory for a redirect");
    free(*url);
    *url = copy;
    return result;
}

int http_get(struct http_client *client, const struct http_request *request, const struct http_sink *sink,
             struct http_response *response) {
    *response = (struct http_response){.linked_bytes = HUB_BYTES_UNKNOWN, .length = HUB_BYTES_UNKNOWN};
    struct origin origin, before = {0};
    char *url = strdup(request->url);
    int result = url == NULL ? ERR(NO_MEMORY, "no memory for a request") : 0;
    for (int n = 0; result == 0 && url != NULL; n++) {
        if (n > HTTP_MAX_REDIRECTS)
            result = ERR(IO, "%s: more than %d redirects", before.host, HTTP_MAX_REDIRECTS);
        else if (!origin_of(&origin, url))
            result = n > 0 ? ERR(IO, "%s redirects to what is no http or https URL", before.host)
                           : ERR(INVALID, "'%.200s' is no http or https URL", url);
        else if (n > 0 && is_clear(&origin) && !is_clear(&before))
            result = ERR(IO, "%s redirects from https to unencrypted http: refused", before.host);
        else
            result = get_hop(client, request, sink, response, &origin, &url);
        before = origin;
    }
    free(url);
    return result;
}
