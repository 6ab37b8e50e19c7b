#include "plan/point.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *key;
    size_t offset;
} texts[] = {
    {"id", offsetof(struct plan_point, id)},
    {"category", offsetof(struct plan_point, category)},
    {"model", offsetof(struct plan_point, model)},
    {"hardware", offsetof(struct plan_point, hardware)},
    {"engine", offsetof(struct plan_point, engine)},
    {"weight_format", offsetof(struct plan_point, weight_format)},
    {"kv_dtype", offsetof(struct plan_point, kv_dtype)},
    {"metric", offsetof(struct plan_point, metric)},
    {"date", offsetof(struct plan_point, date)},
};

static const struct {
    const char *key;
    size_t offset;
    double low, high;
    bool is_whole;
} numbers[] = {
    {"n_devices", offsetof(struct plan_point, n_devices), 1, 1e6, true},
    {"tp", offsetof(struct plan_point, tp), 1, 1e5, true},
    {"pp", offsetof(struct plan_point, pp), 1, 1e5, true},
    {"ep", offsetof(struct plan_point, ep), 1, 1e5, true},
    {"dp", offsetof(struct plan_point, dp), 1, 1e5, true},
    {"weight_bytes", offsetof(struct plan_point, weight_bytes), 1, 1e16, false},
    {"batch", offsetof(struct plan_point, batch), 1, 1e8, true},
    {"input_tokens", offsetof(struct plan_point, input_tokens), 0, 1e9, false},
    {"output_tokens", offsetof(struct plan_point, output_tokens), 0, 1e9, false},
    {"context_tokens", offsetof(struct plan_point, context_tokens), 0, 1e9, false},
};

int plan_point_read(struct plan_point *point, const json_t *line) {
    *point = (struct plan_point){0};
    if (!json_is_object(line)) return ERR(INVALID, "a line must be a JSON object");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const json_t *value = json_object_get(line, texts[i].key);
        if (value != NULL && !json_is_null(value) && !json_is_string(value))
            return ERR(INVALID, "%s must be a string or null", texts[i].key);
        *(const char **)((char *)point + texts[i].offset) = json_string_value(value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const json_t *value = json_object_get(line, numbers[i].key);
        double number = NAN;
        if (value != NULL && !json_is_null(value)) {
            number = json_is_number(value) ? json_number_value(value) : -1;
            if (!(number >= numbers[i].low && number <= numbers[i].high))
                return ERR(INVALID, "%s must be null or a number from %g to %g", numbers[i].key,
                           numbers[i].low, numbers[i].high);
            if (numbers[i].is_whole && number != floor(number))
                return ERR(INVALID, "%s must be a whole number", numbers[i].key);
        }
        *(double *)((char *)point + numbers[i].offset) = number;
    }
    if (point->metric == NULL) return ERR(INVALID, "metric is missing");
    if (point->model == NULL) return ERR(INVALID, "model is missing");
    return 0;
}
