/* Every metric, once: X(kind, id, "name", first label, second label, borders, "help"). docs/metrics.md tells
 * what each means. Names, labels and borders are vLLM's where vLLM has the metric; its own begin with
 * cabinet_ (colons are for recording rules). The order is that of the output. */
#ifndef CABINET_SERVER_METRIC_LIST_H
#define CABINET_SERVER_METRIC_LIST_H

#include "server/metric_list_kv.h"

#define METRIC_LIST_VLLM(X)                                                                                  \
    X(GAUGE, num_requests_running, "vllm:num_requests_running", none, none, none,                            \
      "Requests that are being computed.")                                                                   \
    X(GAUGE, num_requests_waiting, "vllm:num_requests_waiting", none, none, none,                            \
      "Requests that wait for their first step, or again after preemption.")                                 \
    X(GAUGE, kv_cache_usage, "vllm:kv_cache_usage_perc", none, none, none,                                   \
      "Share of the KV cache that sequences hold, 0 to 1.")                                                  \
    X(COUNTER, prefix_cache_queries, "vllm:prefix_cache_queries_total", none, none, none,                    \
      "Prompt tokens looked up in the prefix cache.")                                                        \
    X(COUNTER, prefix_cache_hits, "vllm:prefix_cache_hits_total", none, none, none,                          \
      "Prompt tokens found in the prefix cache.")                                                            \
    X(COUNTER, preemptions, "vllm:num_preemptions_total", none, none, none,                                  \
      "Requests put back because others needed their memory.")                                               \
    X(COUNTER, prompt_tokens, "vllm:prompt_tokens_total", none, none, none,                                  \
      "Prompt tokens, cached ones included.")                                                                \
    X(COUNTER, prompt_tokens_cached, "vllm:prompt_tokens_cached_total", none, none, none,                    \
      "Prompt tokens that were not computed again.")                                                         \
    X(COUNTER, generation_tokens, "vllm:generation_tokens_total", none, none, none, "Tokens generated.")     \
    X(COUNTER, request_success, "vllm:request_success_total", finished_reason, none, none,                   \
      "Requests that ended, by why.")                                                                        \
    X(HISTOGRAM, request_prompt_tokens, "vllm:request_prompt_tokens", none, none, context,                   \
      "Prompt tokens of a request.")                                                                         \
    X(HISTOGRAM, request_generation_tokens, "vllm:request_generation_tokens", none, none, context,           \
      "Tokens generated for a request.")                                                                     \
    X(HISTOGRAM, iteration_tokens, "vllm:iteration_tokens_total", none, none, rows,                          \
      "Rows computed in an engine step.")                                                                    \
    X(HISTOGRAM, time_to_first_token, "vllm:time_to_first_token_seconds", none, none, first_token,           \
      "Seconds from a request's arrival to its first token.")                                                \
    X(HISTOGRAM, inter_token_latency, "vllm:inter_token_latency_seconds", none, none, token,                 \
      "Seconds between a token and the one before it.")                                                      \
    X(HISTOGRAM, time_per_output_token, "vllm:request_time_per_output_token_seconds", none, none, token,     \
      "Mean seconds a token after a request's first one.")                                                   \
    X(HISTOGRAM, e2e_request_latency, "vllm:e2e_request_latency_seconds", none, none, request,               \
      "Seconds from a request's arrival to its last token.")                                                 \
    X(HISTOGRAM, queue_time, "vllm:request_queue_time_seconds", none, none, request,                         \
      "Seconds from a request's arrival to its first step.")                                                 \
    X(HISTOGRAM, prefill_time, "vllm:request_prefill_time_seconds", none, none, request,                     \
      "Seconds from a request's first step to its first token.")                                             \
    X(HISTOGRAM, decode_time, "vllm:request_decode_time_seconds", none, none, request,                       \
      "Seconds from a request's first token to its last.")                                                   \
    X(HISTOGRAM, inference_time, "vllm:request_inference_time_seconds", none, none, request,                 \
      "Seconds from a request's first step to its last token.")

#define METRIC_LIST_CABINET(X)                                                                               \
    X(HISTOGRAM, step_seconds, "cabinet_step_seconds", part, none, step,                                     \
      "Seconds of an engine step, by what they went into.")                                                  \
    X(HISTOGRAM, step_prediction, "cabinet_step_prediction_seconds", source, none, step,                     \
      "Seconds of an engine step without sampling, as predicted from earlier ones and as measured.")         \
    X(HISTOGRAM, step_prediction_error, "cabinet_step_prediction_error_ratio", none, none, ratio,            \
      "How far off the prediction of a step was, as a share of what it took.")                               \
    X(HISTOGRAM, ttft_prediction, "cabinet_ttft_prediction_seconds", source, none, first_token,              \
      "Seconds to a request's first token, as predicted when it came and as measured.")                      \
    X(COUNTER, kv_prediction, "cabinet_kv_prediction_bytes_total", source, none, none,                       \
      "Most bytes of KV that finished requests had: predicted from their tokens, and measured.")             \
    X(COUNTER, engine_errors, "cabinet_engine_errors_total", none, none, none,                               \
      "Requests that the engine could not go on with.")                                                      \
    X(COUNTER, http_requests, "cabinet_http_requests_total", route, status, none,                            \
      "HTTP requests by route and status.")                                                                  \
    X(GAUGE, http_connections, "cabinet_http_connections", none, none, none, "Open connections.")            \
    X(COUNTER, requests_cancelled, "cabinet_requests_cancelled_total", none, none, none,                     \
      "Requests whose client hung up or asked for their end.")                                               \
    X(COUNTER, slow_readers, "cabinet_slow_readers_cancelled_total", none, none, none,                       \
      "Requests cancelled because their client stopped reading.")                                            \
    X(COUNTER, queue_rejected, "cabinet_queue_rejected_total", none, none, none,                             \
      "Requests refused because the queue was full (status 429).")

#define METRIC_LIST(X) METRIC_LIST_VLLM(X) METRIC_LIST_KV(X) METRIC_LIST_CABINET(X)

#endif
