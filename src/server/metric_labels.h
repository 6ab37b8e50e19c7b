/* The labels of metrics and the values that each can have: X(None, id, "as written"). Every label is an enum:
 * METRIC_<label>_<id>, and METRIC_<label>_COUNT of them. */
#ifndef CABINET_SERVER_METRIC_LABELS_H
#define CABINET_SERVER_METRIC_LABELS_H

#include "server/metric_labels_kv.h"

/* What stands where a metric has no such label. */
#define METRIC_LABEL_none(X) X(none, only, "")

/* vLLM's words for why a request ended. */
#define METRIC_LABEL_finished_reason(X)                                                                      \
    X(finished_reason, stop, "stop")     /* the model ended its answer, or a stop string came */             \
    X(finished_reason, length, "length") /* max_tokens, or the end of the context */                         \
    X(finished_reason, abort, "abort")   /* cancelled */                                                     \
    X(finished_reason, error, "error")

/* Of a step. */
#define METRIC_LABEL_part(X)                                                                                 \
    X(part, forward, "forward")                                                                              \
    X(part, sampling, "sampling")                                                                            \
    X(part, other, "other") /* scheduling, cache bookkeeping, queues */

/* Of a quantity that was predicted. */
#define METRIC_LABEL_source(X) X(source, predicted, "predicted") X(source, measured, "measured")

#define METRIC_LABEL_route(X)                                                                                \
    X(route, chat_completions, "/v1/chat/completions")                                                       \
    X(route, completions, "/v1/completions")                                                                 \
    X(route, responses, "/v1/responses")                                                                     \
    X(route, messages, "/v1/messages")                                                                       \
    X(route, models, "/v1/models")                                                                           \
    X(route, tokenize, "/tokenize")                                                                          \
    X(route, detokenize, "/detokenize")                                                                      \
    X(route, health, "/health")                                                                              \
    X(route, ready, "/ready")                                                                                \
    X(route, version, "/version")                                                                            \
    X(route, metrics, "/metrics")                                                                            \
    X(route, openapi, "/openapi.json")                                                                       \
    X(route, page, "/")          /* the page and its files */                                                \
    X(route, kv, "/v1/kv")       /* its list, pins and drops */                                              \
    X(route, plan, "/v1/plan")   /* the planner and its page's questions */                                  \
    X(route, live, "live")       /* what the page polls */                                                   \
    X(route, debug, "/debug")    /* all of them */                                                           \
    X(route, unknown, "unknown") /* a path that is none of them: paths of strangers make no series */

/* HTTP statuses that the server gives; metric_status() finds one by its number. */
#define METRIC_LABEL_status(X)                                                                               \
    X(status, 200, "200")                                                                                    \
    X(status, 304, "304")                                                                                    \
    X(status, 400, "400")                                                                                    \
    X(status, 401, "401")                                                                                    \
    X(status, 403, "403")                                                                                    \
    X(status, 404, "404")                                                                                    \
    X(status, 405, "405")                                                                                    \
    X(status, 408, "408")                                                                                    \
    X(status, 411, "411")                                                                                    \
    X(status, 413, "413")                                                                                    \
    X(status, 415, "415")                                                                                    \
    X(status, 422, "422")                                                                                    \
    X(status, 429, "429")                                                                                    \
    X(status, 431, "431")                                                                                    \
    X(status, 499, "499") /* the client hung up before there was a status */                                 \
    X(status, 500, "500")                                                                                    \
    X(status, 503, "503")                                                                                    \
    X(status, other, "other")

#endif
