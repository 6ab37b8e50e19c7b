#include "cli/bill.h"

#include <inttypes.h>
#include <math.h>

#include "cli/cli.h"
#include "kv/kv_usage.h"
#include "model/cost.h"

static double seconds_between(uint64_t from_ns, uint64_t to_ns) { return (double)(to_ns - from_ns) * 1e-9; }

struct bill bill_of(const struct session *session, const struct request *request) {
    const struct kv_layout *layout = engine_kv_layout(session->engine);
    struct bill bill = {
        .prompt_tokens = request->n_prompt,
        .cached_tokens = request->n_cached,
        .output_tokens = request->n_output,
        .ttft_seconds = seconds_between(request->submitted_ns, request->first_token_ns),
        .kv_bytes = kv_held_bytes(engine_kv(session->engine), &request->sequence->kv),
        .kv_bytes_per_token = kv_layout_bytes_per_token(layout),
        .layout = layout,
        .kv = request->bill,
        .price = NAN,
    };
    if (kv_price_is_set(&session->price))
        bill.price =
            kv_price_of(&session->price, bill.kv.held, kv_usage(engine_kv(session->engine)).arena_bytes);
    for (unsigned g = 0; g < layout->n_groups; g++)
        bill.group_bytes[g] = kv_group_held_bytes(engine_kv(session->engine), &request->sequence->kv, g);
    double decode_seconds = seconds_between(request->first_token_ns, request->last_token_ns);
    if (bill.ttft_seconds > 0)
        bill.prefill_tokens_per_second = (bill.prompt_tokens - bill.cached_tokens) / bill.ttft_seconds;
    if (request->n_output > 1 && decode_seconds > 0)
        bill.decode_tokens_per_second = (request->n_output - 1) / decode_seconds;
    uint32_t n_computed = request->sequence->kv.n_computed;
    struct cost_batch last = cost_batch_decode(1, n_computed > 0 ? n_computed - 1 : 0);
    struct cost cost = model_cost(&session->model, layout, &last);
    bill.kv_read_share = (double)cost.kv_read_bytes / (double)(cost.kv_read_bytes + cost.weight_bytes);
    return bill;
}

/* "(3 full layers 12.0 MiB, 15 of window 512 7.5 MiB)", where there is more than one kind of layer. */
static void print_groups(const struct bill *bill, FILE *stream) {
    char held[CLI_BYTES_LENGTH];
    for (unsigned g = 0; g < bill->layout->n_groups && bill->layout->n_groups > 1; g++) {
        const struct kv_group *group = &bill->layout->groups[g];
        fprintf(stream, "%s%" PRIu32, g == 0 ? " (" : ", ", group->n_layers);
        if (group->window == 0)
            fprintf(stream, " full layers");
        else
            fprintf(stream, " of window %" PRIu32, group->window);
        fprintf(stream, " %s%s", cli_format_bytes(held, (double)bill->group_bytes[g]),
                g + 1 == bill->layout->n_groups ? ")" : "");
    }
}

/* "; wrote 2.1 MiB, read 120 MiB, peak 2.1 MiB, 0.6 MiB s; costs 1.2e-09" */
static void print_traffic(const struct bill *bill, FILE *stream) {
    char written[CLI_BYTES_LENGTH], read[CLI_BYTES_LENGTH], peak[CLI_BYTES_LENGTH], held[CLI_BYTES_LENGTH];
    fprintf(stream, "; wrote %s, read %s, peak %s, %s s",
            cli_format_bytes(written, (double)bill->kv.written_bytes),
            cli_format_bytes(read, (double)bill->kv.read_bytes),
            cli_format_bytes(peak, (double)bill->kv.peak_bytes),
            cli_format_bytes(held, byte_seconds(bill->kv.held)));
    if (bill->kv.saved_by_codec > 0)
        fprintf(stream, ", %s less than f16", cli_format_bytes(held, (double)bill->kv.saved_by_codec));
    if (!isnan(bill->price)) fprintf(stream, "; costs %.3g", bill->price);
}

void bill_print(const struct bill *bill, FILE *stream) {
    char held[CLI_BYTES_LENGTH], per_token[CLI_BYTES_LENGTH];
    fprintf(
        stream,
        "KV bill: prompt %u tokens (%u reused), output %u; TTFT %.0f ms, prefill %.0f tokens/s, decode %.1f "
        "tokens/s; KV held %s",
        bill->prompt_tokens, bill->cached_tokens, bill->output_tokens, bill->ttft_seconds * 1e3,
        bill->prefill_tokens_per_second, bill->decode_tokens_per_second,
        cli_format_bytes(held, (double)bill->kv_bytes));
    print_groups(bill, stream);
    fprintf(stream, ", %s B/token, %.0f %% of the last token's reads",
            cli_format_count(per_token, bill->kv_bytes_per_token), bill->kv_read_share * 100);
    print_traffic(bill, stream);
    fputc('\n', stream);
}

void bill_add_json(const struct bill *bill, json_t *object) {
    json_object_set_new(object, "prompt_tokens", json_integer(bill->prompt_tokens));
    json_object_set_new(object, "cached_tokens", json_integer(bill->cached_tokens));
    json_object_set_new(object, "output_tokens", json_integer(bill->output_tokens));
    json_object_set_new(object, "ttft_ms", json_real(bill->ttft_seconds * 1e3));
    json_object_set_new(object, "prefill_tokens_per_second", json_real(bill->prefill_tokens_per_second));
    json_object_set_new(object, "decode_tokens_per_second", json_real(bill->decode_tokens_per_second));
    json_object_set_new(object, "kv_bytes", json_integer((json_int_t)bill->kv_bytes));
    json_t *groups = json_array();
    for (unsigned g = 0; g < bill->layout->n_groups; g++) {
        const struct kv_group *group = &bill->layout->groups[g];
        json_array_append_new(groups,
                              json_pack("{s:s, s:I, s:I, s:I}", "kind", group->kind, "layers",
                                        (json_int_t)group->n_layers, "window", (json_int_t)group->window,
                                        "kv_bytes", (json_int_t)bill->group_bytes[g]));
    }
    json_object_set_new(object, "kv_groups", groups);
    const struct kv_bill *kv = &bill->kv;
    json_t *details = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I}", "computed_tokens", (json_int_t)kv->computed_tokens,
        "reused_tokens", (json_int_t)bill->cached_tokens, "written_bytes", (json_int_t)kv->written_bytes,
        "read_bytes", (json_int_t)kv->read_bytes, "peak_bytes", (json_int_t)kv->peak_bytes, "byte_seconds",
        byte_seconds(kv->held), "saved_by_sharing_bytes", (json_int_t)kv->saved_by_sharing,
        "saved_by_codec_bytes", (json_int_t)kv->saved_by_codec);
    if (!isnan(bill->price)) json_object_set_new(details, "price", json_real(bill->price));
    json_object_set_new(object, "kv", details);
    json_object_set_new(object, "kv_bytes_per_token", json_integer((json_int_t)bill->kv_bytes_per_token));
    json_object_set_new(object, "kv_read_share", json_real(bill->kv_read_share));
}
