#include "hub/download.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "hub/part.h"

/* A download under way. */
struct transfer {
    const struct download *wanted;
    struct download_result *result;
    const struct retry *retry;
    struct part part;
    uint64_t total;              /* as far as it is known */
    char sha256[SHA256_HEX + 1]; /* that it must have, or "" */
    bool must_restart;           /* the part at hand is of another version */
    bool is_wrong;               /* the bytes themselves are: of no use to a later run */
};

int download_refused(const struct http_response *response, const char *what) {
    switch (response->status) {
    case 401:
    case 403:
        return ERR(
            INVALID,
            "%.200s: access denied (HTTP %u); check the name, or set HF_TOKEN to a token that may read it",
            what, response->status);
    case 404:
    case 410: return ERR(NOT_FOUND, "%.200s: not there (HTTP %u); check the name", what, response->status);
    case 429: return ERR(IO, "%.200s: the server has had too many requests (HTTP 429); wait a little", what);
    default: return ERR(IO, "%.200s: the server answers with HTTP %u", what, response->status);
    }
}

/* ---- the head of an answer ---- */

static const char *name_of(const struct transfer *transfer) { return file_path_base(transfer->wanted->path); }

/* All that is known of the length has to agree. */
static int learn_total(struct transfer *transfer, uint64_t bytes, const char *who) {
    if (bytes == HUB_BYTES_UNKNOWN) return 0;
    if (bytes > HUB_MAX_FILE_BYTES)
        return ERR(TOO_LARGE, "%s: %s %" PRIu64 " bytes", name_of(transfer), who, bytes);
    if (transfer->total != HUB_BYTES_UNKNOWN && transfer->total != bytes)
        return ERR(CORRUPT, "%s: %s %" PRIu64 " bytes, but it should have %" PRIu64, name_of(transfer), who,
                   bytes, transfer->total);
    transfer->total = bytes;
    return 0;
}

static void describe_origin(const struct transfer *transfer, const struct http_response *response,
                            char *origin) {
    if (*transfer->sha256 != '\0')
        snprintf(origin, PART_ORIGIN_LENGTH, "sha256:%s", transfer->sha256);
    else
        snprintf(origin, PART_ORIGIN_LENGTH, "%s%s", *response->etag != '\0' ? "etag:" : "", response->etag);
}

static int begin_whole(struct transfer *transfer, const struct http_response *response) {
    char origin[PART_ORIGIN_LENGTH];
    describe_origin(transfer, response, origin);
    TRY(learn_total(transfer, response->length, "the server offers"));
    transfer->result->resumed_bytes = 0;
    return part_restart(&transfer->part, origin);
}

static int begin_rest(struct transfer *transfer, const struct http_response *response) {
    char origin[PART_ORIGIN_LENGTH];
    const char *path = name_of(transfer);
    uint64_t first = transfer->part.bytes;
    if (first == 0 || !response->has_range || response->range_first != first)
        return ERR(CORRUPT, "%s: asked for the bytes from %" PRIu64 " on, the server sends others", path,
                   first);
    describe_origin(transfer, response, origin);
    if (*origin != '\0' && strcmp(origin, transfer->part.origin) != 0) {
        transfer->must_restart = true;
        return ERR(IO, "%s: the file has changed on the server", path);
    }
    TRY(learn_total(transfer, response->total, "the server has"));
    return learn_total(transfer,
                       response->length == HUB_BYTES_UNKNOWN ? HUB_BYTES_UNKNOWN : first + response->length,
                       "the server offers");
}

static int on_begin(void *state, const struct http_response *response) {
    struct transfer *transfer = state;
    if (*transfer->sha256 == '\0') strcpy(transfer->sha256, response->sha256);
    TRY(learn_total(transfer, response->linked_bytes, "the hub promises"));
    TRY(response->status == 206 ? begin_rest(transfer, response) : begin_whole(transfer, response));
    if (transfer->total == HUB_BYTES_UNKNOWN) return 0;
    return part_check_room(&transfer->part, transfer->total - transfer->part.bytes);
}

static int on_bytes(void *state, const void *bytes, size_t n) {
    struct transfer *transfer = state;
    uint64_t most = transfer->total == HUB_BYTES_UNKNOWN ? HUB_MAX_FILE_BYTES : transfer->total;
    transfer->is_wrong = n > most - transfer->part.bytes;
    if (transfer->is_wrong)
        return ERR(CORRUPT, "%.200s: the server sends more than the %" PRIu64 " bytes that it should have",
                   name_of(transfer), most);
    int result = part_append(&transfer->part, bytes, n);
    transfer->is_wrong = result == ERR_CORRUPT;
    TRY(result);
    transfer->result->downloaded_bytes += n;
    const struct pull_listener *listener = transfer->retry->listener;
    if (listener != NULL && listener->progress != NULL)
        listener->progress(listener->state, name_of(transfer), transfer->part.bytes, transfer->total);
    return 0;
}

/* ---- attempts ---- */

/* What an earlier run left is of use if it is a beginning of the same version. */
static int check_part(struct transfer *transfer) {
    struct part *part = &transfer->part;
    char origin[PART_ORIGIN_LENGTH];
    snprintf(origin, sizeof origin, "sha256:%s", transfer->sha256);
    bool is_other = *transfer->sha256 != '\0' && strcmp(origin, part->origin) != 0;
    bool is_long = transfer->total != HUB_BYTES_UNKNOWN && part->bytes > transfer->total;
    if (part->bytes > 0 && (is_other || is_long)) TRY(part_restart(part, ""));
    transfer->result->resumed_bytes = part->bytes;
    return 0;
}

/* One request, unless all of it is there already. *is_transient: another one may go better. */
static int attempt(struct transfer *transfer, struct http_client *client, bool *is_transient) {
    struct part *part = &transfer->part;
    *is_transient = false;
    /* Bytes of which nobody can say whether the server still has them are asked for anew. */
    if (part->bytes > 0 && (transfer->must_restart || *part->origin == '\0')) {
        transfer->result->resumed_bytes = 0;
        TRY(part_restart(part, ""));
    }
    if (part->bytes > 0 && part->bytes == transfer->total) return 0;
    const char *etag = strncmp(part->origin, "etag:", 5) == 0 ? part->origin + 5 : "";
    struct http_request request = {.url = transfer->wanted->url, .offset = part->bytes, .if_range = etag};
    struct http_sink sink = {on_begin, on_bytes, transfer};
    struct http_response response;
    transfer->must_restart = false;
    int result = http_get(client, &request, &sink, &response);
    if (result == 0 && response.status == 416 && part->bytes > 0) {
        transfer->must_restart = true;
        result = ERR(IO, "%.200s: the server has nothing to resume", name_of(transfer));
    } else if (result == 0 && response.status != 200 && response.status != 206) {
        result = download_refused(&response, transfer->wanted->url);
    } else if (result == 0 && transfer->total != HUB_BYTES_UNKNOWN && part->bytes < transfer->total) {
        response.is_transient = true;
        result = ERR(IO, "%s: %" PRIu64 " of %" PRIu64 " bytes came", name_of(transfer), part->bytes,
                     transfer->total);
    }
    *is_transient = response.is_transient || transfer->must_restart;
    return result;
}

static int fetch(struct transfer *transfer, struct http_client *client, struct retry *retry) {
    bool is_transient;
    for (;;) {
        int result = attempt(transfer, client, &is_transient);
        if (result == 0 || !is_transient || !retry_again(retry)) return result;
    }
}

/* The latest error, and what becomes of the bytes at hand. */
static int fail(struct transfer *transfer, int code) {
    struct part *part = &transfer->part;
    char text[400];
    snprintf(text, sizeof text, "%s", err_message());
    if (!transfer->is_wrong && part->bytes > 0 && *part->origin != '\0')
        (void)err_set(code, __FILE__, __LINE__, "%s; the first %.1f MiB are kept, pull again to go on", text,
                      (double)part->bytes / 1048576);
    if (transfer->is_wrong)
        part_discard(part);
    else
        part_close(part);
    return code;
}

int download(struct http_client *client, const struct download *wanted, struct retry retry,
             struct download_result *result) {
    *result = (struct download_result){0};
    struct transfer transfer = {.wanted = wanted, .result = result, .retry = &retry, .total = wanted->bytes};
    snprintf(transfer.sha256, sizeof transfer.sha256, "%s", wanted->sha256);
    TRY(part_open(&transfer.part, wanted->path, retry.interrupt));
    int code = check_part(&transfer);
    if (code == 0) code = fetch(&transfer, client, &retry);
    if (code == 0) {
        code = part_finish(&transfer.part, transfer.sha256, result->sha256);
        transfer.is_wrong = code == ERR_CORRUPT;
    }
    if (code < 0) return fail(&transfer, code);
    result->bytes = transfer.part.bytes;
    result->is_checked = *transfer.sha256 != '\0';
    part_close(&transfer.part);
    return 0;
}
