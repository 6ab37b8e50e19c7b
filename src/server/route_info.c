/* Routes that tell of the server: models, version, health, figures. */
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "server/generation.h"
#include "server/route.h"
#include "server/web_files.h"

void route_models(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    const struct server_opts *opts = &server->opts;
    json_t *model = json_pack("{s:s, s:s, s:I, s:s, s:I}", "id", opts->model_name, "object", "model",
                              "created", (json_int_t)server->started_s, "owned_by", "cabinet",
                              "max_model_len", (json_int_t)opts->max_tokens);
    server_reply_json(exchange, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", model));
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
    reply_file(exchange, find_file("/openapi.json"));
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
