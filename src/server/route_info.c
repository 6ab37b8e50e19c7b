/* Routes that tell of the server: models, version, health, figures. */
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "server/generation.h"
#include "server/route.h"
#include "server/web_files.h"

/* OpenAI's object and Anthropic's in one: their names do not collide. */
static json_t *model_json(const struct server *server) {
    const struct server_opts *opts = &server->opts;
    char created_at[32];
    struct tm broken_down;
    const time_t started = (time_t)server->started_s;
    strftime(created_at, sizeof created_at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&started, &broken_down));
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:s, s:s, s:s}", "id", opts->model_name, "object", "model",
                     "created", (json_int_t)server->started_s, "owned_by", "cabinet", "max_model_len",
                     (json_int_t)opts->max_tokens, "type", "model", "display_name", opts->model_name,
                     "created_at", created_at);
}

void route_models(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    const char *name = server->opts.model_name;
    server_reply_json(exchange, 200,
                      json_pack("{s:s, s:[o], s:b, s:s, s:s}", "object", "list", "data", model_json(server),
                                "has_more", 0, "first_id", name, "last_id", name));
}

static int hex_digit(char digit) {
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *found = digit == '\0' ? NULL : strchr(digits, digit);
    if (found == NULL) return -1;
    return found - digits < 16 ? (int)(found - digits) : (int)(found - digits) - 6;
}

/* The next byte of a path, %41 being A; moves *path behind it. */
static char path_byte(const char **path) {
    const char *at = *path;
    int high = *at == '%' ? hex_digit(at[1]) : -1, low = high < 0 ? -1 : hex_digit(at[2]);
    *path += low < 0 ? 1 : 3;
    return low < 0 ? *at : (char)(high << 4 | low);
}

static bool is_named(const char *path, const char *name) {
    while (*path != '\0')
        if (*name == '\0' || path_byte(&path) != *name++) return false;
    return *name == '\0';
}

void route_model(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    const char *path = http_path(exchange) + strlen("/v1/models/"), *name = server->opts.model_name;
    if (is_named(path, name)) {
        server_reply_json(exchange, 200, model_json(server));
        return;
    }
    struct api_error error;
    api_error_set(&error, 404, "model", "model_not_found",
                  "the model '%.200s' is not served here; '%.100s' is", path, name);
    server_reply_error(exchange, &error, route_speaks_anthropic(exchange));
}

void route_version(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)server, (void)caller;
    server_reply_json(exchange, 200, json_pack("{s:s}", "version", CABINET_VERSION));
}

/* The process answers. */
void route_health(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)server, (void)caller;
    server_reply_json(exchange, 200, json_pack("{s:s}", "status", "ok"));
}

/* It takes requests. */
void route_ready(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    bool is_ready = !server->is_draining;
    server_reply_json(exchange, is_ready ? 200 : 503,
                      json_pack("{s:s}", "status", is_ready ? "ready" : "draining"));
}

void route_metrics(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    struct text out = {0};
    metrics_set(server->metrics, METRIC_http_connections, http_n_connections(server->http));
    metrics_write_prometheus(server->metrics, &out);
    if (out.failed) {
        const struct api_error error = {.status = 500, .message = "the server is out of memory"};
        server_reply_error(exchange, &error, false);
    } else {
        http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, 0, out.bytes, out.length);
    }
    text_free(&out);
}

static const struct web_file *find_file(const char *path) {
    for (size_t i = 0; i < n_web_files; i++)
        if (strcmp(web_files[i].path, path) == 0) return &web_files[i];
    return NULL;
}

static void reply_file(struct http_exchange *exchange, const struct web_file *file) {
    const struct http_field fields[] = {
        {"ETag", file->etag},
        {"Cache-Control", "no-cache"},
        {"Content-Security-Policy",
         "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; "
         "form-action 'none'; frame-ancestors 'none'"},
        {"Referrer-Policy", "no-referrer"},
    };
    const char *known = http_header(exchange, "If-None-Match");
    bool is_known = known != NULL && strstr(known, file->etag) != NULL;
    http_reply(exchange, is_known ? 304 : 200, file->content_type, fields, sizeof fields / sizeof *fields,
               is_known ? NULL : (const char *)file->bytes, is_known ? 0 : file->length);
}

void route_openapi(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)server, (void)caller;
    const struct web_file *file = find_file("/openapi.json");
    ASSERT(file != NULL); /* it is built in */
    reply_file(exchange, file);
}

bool route_page(struct server *server, struct http_exchange *exchange) {
    (void)server;
    const char *method = http_method(exchange), *path = http_path(exchange);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) return false;
    const struct web_file *file = find_file(path);
    if (file == NULL) return false;
    http_set_tag(exchange, METRIC_route_page);
    reply_file(exchange, file);
    return true;
}
