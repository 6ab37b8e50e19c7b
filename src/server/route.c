#include "server/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "server/generation.h"

typedef void (*route_handler)(struct server *server, struct http_exchange *exchange,
                              const struct caller *caller);

enum route_need { NEED_ANYBODY, NEED_CALLER, NEED_ADMIN, NEED_DEBUG };

struct route {
    const char *method, *path;
    route_handler handler;
    enum route_need need;
    enum metric_route label;
};

static const struct route routes[] = {
#define X(method, path, name, need, label) {#method, path, route_##name, NEED_##need, METRIC_route_##label},
    ROUTE_LIST(X)
#undef X
};

void server_reply_error(struct http_exchange *exchange, const struct api_error *error, bool is_anthropic) {
    struct text body = {0};
    char seconds[16];
    struct http_field fields[2];
    size_t n = 0;
    snprintf(seconds, sizeof seconds, "%u", error->retry_after_seconds);
    if (error->retry_after_seconds > 0) fields[n++] = (struct http_field){"Retry-After", seconds};
    if (error->allow != NULL) fields[n++] = (struct http_field){"Allow", error->allow};
    api_error_write(error, is_anthropic, &body);
    http_reply(exchange, error->status, "application/json", fields, n, body.failed ? NULL : body.bytes,
               body.failed ? 0 : body.length);
    text_free(&body);
}

void server_reply_json(struct http_exchange *exchange, int status, json_t *object) {
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL) {
        const struct api_error error = {.status = 500, .message = "the server is out of memory"};
        server_reply_error(exchange, &error, false);
        return;
    }
    http_reply(exchange, status, "application/json", NULL, 0, text, strlen(text));
    free(text); /* jansson's allocation */
}

static bool is_path(const char *route, const char *path) {
    const char *name = strchr(route, '{');
    if (name == NULL) return strcmp(route, path) == 0;
    size_t length = (size_t)(name - route);
    return strncmp(route, path, length) == 0 && path[length] != '\0';
}

enum { METHODS_LENGTH = 64 };

/* The route, or NULL with *error and, in `allowed`, the methods that the path has; GET routes answer HEAD
 * too. */
static const struct route *find(const char *method, const char *path, char allowed[METHODS_LENGTH],
                                struct api_error *error) {
    size_t length = 0;
    allowed[0] = '\0';
    if (strcmp(method, "HEAD") == 0) method = "GET";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!is_path(routes[i].path, path)) continue;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
        length += (size_t)snprintf(allowed + length, METHODS_LENGTH - length, "%s%s", length > 0 ? ", " : "",
                                   strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
        ASSERT(length < METHODS_LENGTH);
    }
    if (length > 0)
        api_error_set(error, 405, NULL, "method_not_allowed", "this route knows no such method");
    else
        api_error_set(error, 404, NULL, "not_found", "there is no such route (/openapi.json lists them)");
    error->allow = length > 0 ? allowed : NULL;
    return NULL;
}

static bool is_json(const char *content_type) {
    if (content_type == NULL) return false;
    size_t length = strcspn(content_type, "; \t");
    return length == 16 && strncasecmp(content_type, "application/json", 16) == 0;
}

static int check(const struct server *server, const struct route *route, struct http_exchange *exchange,
                 struct caller *caller, struct api_error *error) {
    const struct access_request request = {
        .authorization = http_header(exchange, "Authorization"),
        .x_api_key = http_header(exchange, "X-Api-Key"),
        .host = http_header(exchange, "Host"),
        .origin = http_header(exchange, "Origin"),
    };
    enum access_need need = route == NULL || route->need == NEED_ANYBODY ? ACCESS_ANYBODY : ACCESS_CALLER;
    if (route != NULL && route->need == NEED_ADMIN) need = ACCESS_ADMIN;
    if (route != NULL && route->need == NEED_DEBUG && !server->opts.is_debug) need = ACCESS_ADMIN;
    TRY(access_check(&server->opts.access, need, &request, caller, error));
    size_t length;
    (void)http_body(exchange, &length);
    bool has_body = route != NULL && (strcmp(route->method, "POST") == 0 ||
                                      (strcmp(route->method, "DELETE") == 0 && length > 0));
    if (has_body && !is_json(http_header(exchange, "Content-Type")))
        return api_error_set(error, 415, NULL, NULL, "send Content-Type: application/json");
    return 0;
}

bool route_speaks_anthropic(const struct http_exchange *exchange) {
    return strcmp(http_path(exchange), "/v1/messages") == 0 ||
           http_header(exchange, "Anthropic-Version") != NULL;
}

void route_write_refusal(void *user, const struct http_exchange *exchange, int status, const char *message,
                         struct text *body) {
    (void)user;
    struct api_error error;
    api_error_set(&error, status, NULL, NULL, "%s", message);
    api_error_write(&error, route_speaks_anthropic(exchange), body);
}

void route_dispatch(void *user, struct http_exchange *exchange) {
    struct server *server = user;
    struct caller caller;
    struct api_error error = {0}, unknown = {0};
    char allowed[METHODS_LENGTH];
    const struct route *route = find(http_method(exchange), http_path(exchange), allowed, &unknown);
    http_set_tag(exchange, route == NULL ? METRIC_route_unknown : route->label);
    if (check(server, route, exchange, &caller, &error) < 0)
        server_reply_error(exchange, &error, route_speaks_anthropic(exchange));
    else if (route != NULL)
        route->handler(server, exchange, &caller);
    else if (unknown.status == 405 || !route_page(server, exchange))
        server_reply_error(exchange, &unknown, route_speaks_anthropic(exchange));
}

bool server_takes_body(struct server *server, const struct http_exchange *exchange, struct api_error *error) {
    enum { MOST_BYTES = 256 << 20 };
    size_t length;
    (void)http_body(exchange, &length);
    if (server->body_bytes == 0 || server->body_bytes + length <= MOST_BYTES) return true;
    metrics_add(server->metrics, METRIC_queue_rejected, 1);
    api_error_set(error, 429, NULL, "queue_full", "too many large requests wait to be read");
    error->retry_after_seconds = 1;
    return false;
}

/* ---- text ---- */

static void generate(struct server *server, struct http_exchange *exchange, const struct caller *caller,
                     enum ask_api api) {
    struct api_error error = {0};
    if (server->is_draining) {
        api_error_set(&error, 503, NULL, "draining", "the server stops and takes no more requests");
    } else if (server->n_generations >= server->opts.max_requests) {
        metrics_add(server->metrics, METRIC_queue_rejected, 1);
        api_error_set(&error, 429, NULL, "queue_full", "%u requests are under way, no more are taken now",
                      server->n_generations);
    }
    if (error.status == 0 && server_takes_body(server, exchange, &error)) {
        generation_begin(server, exchange, api, caller);
        return;
    }
    error.retry_after_seconds = 1;
    server_reply_error(exchange, &error, api == ASK_MESSAGES);
}

void route_chat(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    generate(server, exchange, caller, ASK_CHAT);
}
void route_completions(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    generate(server, exchange, caller, ASK_COMPLETIONS);
}
void route_responses(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    generate(server, exchange, caller, ASK_RESPONSES);
}
void route_messages(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    generate(server, exchange, caller, ASK_MESSAGES);
}
