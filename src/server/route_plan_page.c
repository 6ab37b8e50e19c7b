/* What the planner's page asks: names that can be planned, and curves of a model on a machine. Some
 * milliseconds of arithmetic without a model, so on the event thread. */
#include <string.h>

#include "base/mem.h"
#include "plan/catalog.h"
#include "plan/curves.h"
#include "server/ask_fields.h"
#include "server/route.h"

/* The names in the page's lists for what is here. */
static const char served[] = "the model served here", here[] = "this machine";
static const char usual_model[] = "Llama 3.1 8B", usual_hardware[] = "h100-sxm";

enum { MOST_CONTEXT = 1 << 28, MOST_USERS = 1 << 20 };

static json_t *model_names(const struct server *server) {
    json_t *names = json_array();
    if (server->opts.plan_model != NULL) json_array_append_new(names, json_string(served));
    for (size_t i = 0; i < server->catalog.n_models; i++)
        json_array_append_new(names, json_string(server->catalog.models[i].name));
    return names;
}

static json_t *hardware_names(const struct server *server) {
    json_t *names = json_array();
    if (server->opts.plan_hardware != NULL) json_array_append_new(names, json_string(here));
    for (size_t i = 0; i < server->catalog.n_hardware; i++)
        json_array_append_new(names, json_string(server->catalog.hardware[i].id));
    return names;
}

static json_t *format_names(void) {
    json_t *names = json_array();
    static const char *const formats[] = {"f16", "bf16", "f8", "q8", "k8v4", "q4", "q3"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        json_array_append_new(names, json_string(formats[i]));
    return names;
}

void route_plan_names(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    const char *model = server->opts.plan_model != NULL ? served : usual_model;
    const char *hardware = server->opts.plan_hardware != NULL ? here : usual_hardware;
    server_reply_json(exchange, 200,
                      json_pack("{s:o, s:o, s:o, s:s, s:s}", "models", model_names(server), "hardware",
                                hardware_names(server), "kv", format_names(), "model", model, "machine",
                                hardware));
}

/* What a body asks to draw. Borrowed from the server and its catalog. */
struct plan_page_ask {
    const struct plan_model *model;
    const struct plan_hardware *hardware;
    struct plan_load load;
};

static int find_subjects(const struct server *server, const json_t *body, struct plan_page_ask *ask,
                         const struct place *place) {
    const char *model, *hardware;
    int result = field_required_string(body, "model", &model, place);
    if (result >= 0) result = field_required_string(body, "hardware", &hardware, place);
    if (result < 0) return result;
    ask->model =
        strcmp(model, served) == 0 ? server->opts.plan_model : plan_catalog_model(&server->catalog, model);
    if (ask->model == NULL) return place_refuse(place, "model", "is not known: %s", err_message());
    ask->hardware = strcmp(hardware, here) == 0 ? server->opts.plan_hardware
                                                : plan_catalog_hardware(&server->catalog, hardware);
    if (ask->hardware == NULL) return place_refuse(place, "hardware", "is not known: %s", err_message());
    return 0;
}

static int read_load(const json_t *body, struct plan_page_ask *ask, const struct place *place) {
    const char *kv = "f16";
    uint32_t context = 8192, users = 1, output = 512;
    int result = field_uint32(body, "context_tokens", 1, MOST_CONTEXT, &context, place);
    if (result >= 0) result = field_uint32(body, "users", 1, MOST_USERS, &users, place);
    if (result >= 0) result = field_uint32(body, "output_tokens", 1, MOST_CONTEXT, &output, place);
    if (result >= 0) result = field_string(body, "kv", &kv, place);
    if (result < 0) return result;
    ask->load = plan_load_default();
    ask->load.kv = plan_kv_format_find(kv);
    if (ask->load.kv == NULL) return place_refuse(place, "kv", "is none of %s", plan_kv_format_names());
    ask->load.context_tokens = context;
    ask->load.users = users;
    ask->load.output_tokens = output < context ? output : context;
    ask->load.prompt_tokens = context - ask->load.output_tokens;
    if (ask->model->file_bytes > 0) ask->load.weights = NULL; /* as its file stores them */
    if (plan_load_check(&ask->load, ask->model) < 0)
        return place_refuse(place, "model", "and load: %s", err_message());
    return 0;
}

static json_t *draw(const struct server *server, const struct plan_page_ask *ask) {
    struct plan_curves *curves = mem_alloc(1, sizeof *curves);
    struct plan_what_if *table = mem_alloc(1, sizeof *table);
    json_t *object = NULL;
    if (curves != NULL && table != NULL) {
        const struct plan_remedy_opts opts = plan_remedy_opts_default();
        plan_curves_of(curves, ask->model, ask->hardware, &ask->load);
        plan_what_if_of(table, ask->model, ask->hardware, &ask->load, &opts, &server->catalog);
        object = plan_curves_json(curves, table);
    }
    mem_free(table);
    mem_free(curves);
    return object;
}

void route_plan_curves(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    size_t length;
    const char *text = http_body(exchange, &length);
    struct api_error error = {0};
    const struct place place = {.error = &error};
    json_error_t where;
    json_t *body = json_loadb(text == NULL ? "" : text, length, 0, &where);
    struct plan_page_ask ask;
    int result =
        json_is_object(body) ? 0 : api_error_set(&error, 400, NULL, NULL, "the body is no JSON object");
    if (result == 0) result = find_subjects(server, body, &ask, &place);
    if (result == 0) result = read_load(body, &ask, &place);
    if (result == 0)
        server_reply_json(exchange, 200, draw(server, &ask));
    else
        server_reply_error(exchange, &error, false);
    json_decref(body);
}
