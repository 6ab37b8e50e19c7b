/* The KV bill: what an answer cost to compute and to remember. */
#ifndef CABINET_CLI_BILL_H
#define CABINET_CLI_BILL_H

#include <jansson.h>
#include <stdio.h>

#include "cli/session.h"

struct bill {
    uint32_t prompt_tokens, cached_tokens, output_tokens;
    double ttft_seconds;
    double prefill_tokens_per_second;    /* computed prompt tokens over TTFT */
    double decode_tokens_per_second;     /* of the tokens after the first; 0 with fewer than two */
    uint64_t kv_bytes;                   /* payloads that the sequence holds now */
    const struct kv_layout *layout;      /* borrowed from the session's engine */
    uint64_t group_bytes[KV_MAX_GROUPS]; /* kv_bytes by group of layers */
    uint64_t kv_bytes_per_token;
    struct kv_bill kv;
    double price;         /* NAN: there is none */
    double kv_read_share; /* of the bytes read for the last token: KV / (KV + weights) */
};

/* Of a finished request whose sequence is still open. */
struct bill bill_of(const struct session *session, const struct request *request);
/* One line. */
void bill_print(const struct bill *bill, FILE *stream);
/* Adds its fields to a JSON object (docs/json.md). */
void bill_add_json(const struct bill *bill, json_t *object);

#endif
