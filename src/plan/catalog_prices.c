/* Entries of catalog/prices.json: what others ask for tokens. */
#include <string.h>

#include "plan/catalog_parts.h"

#define PRICE struct plan_price
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const struct json_field price_fields[] = {
    JSON_TEXT("provider", PRICE, provider, true),
    JSON_TEXT("model", PRICE, model, true),
    JSON_TEXT("date", PRICE, date, true),
    JSON_OTHER("usd_per_mtok"),
    JSON_OTHER("tiers"),
    JSON_OTHER("max_input_tokens"),
    JSON_OTHER("status"),
    JSON_TEXT("source", PRICE, source, true),
    JSON_OTHER("note"),
    JSON_OTHER("cache_read_ratio"),
    JSON_OTHER("long_context_input_multiplier"),
    JSON_OTHER("long_context_output_multiplier"),
};
static const struct json_field token_fields[] = {
    JSON_NUMBER("input", PRICE, input, true, 0, 1e6),
    JSON_NUMBER("output", PRICE, output, true, 0, 1e6),
    JSON_NUMBER("cache_read", PRICE, cache_read, false, 0, 1e6),
    JSON_NUMBER("cache_write", PRICE, cache_write, false, 0, 1e6),
    JSON_OTHER("cache_write_long"),
};
static const struct json_field tier_fields[] = {
    JSON_NUMBER("above_input_tokens", struct plan_price_tier, above_input_tokens, true, 1, 1e9),
    JSON_NUMBER("input", struct plan_price_tier, input, true, 0, 1e6),
    JSON_NUMBER("output", struct plan_price_tier, output, true, 0, 1e6),
    JSON_NUMBER("cache_read", struct plan_price_tier, cache_read, false, 0, 1e6),
    JSON_OTHER("cache_write"),
};

int catalog_read_price(struct json_place *place, const json_t *entry, struct plan_price *price) {
    memset(price, 0, sizeof *price);
    place->name = json_string_value(json_object_get(entry, "model"));
    TRY(json_fields_read(place, NULL, entry, price_fields, COUNT_OF(price_fields), price, true));
    TRY(json_fields_read(place, "usd_per_mtok", json_object_get(entry, "usd_per_mtok"), token_fields,
                         COUNT_OF(token_fields), price, true));
    const json_t *tiers = json_object_get(entry, "tiers"), *tier;
    size_t i;
    if (json_array_size(tiers) > PLAN_MAX_PRICE_TIERS)
        return json_place_error(place, NULL, "tiers", "are too many");
    json_array_foreach(tiers, i, tier) {
        struct plan_price_tier *into = &price->tiers[price->n_tiers++];
        TRY(json_fields_read(place, "tiers", tier, tier_fields, COUNT_OF(tier_fields), into, true));
        if (i > 0 && into->above_input_tokens <= into[-1].above_input_tokens)
            return json_place_error(place, NULL, "tiers", "must ascend");
    }
    return 0;
}
