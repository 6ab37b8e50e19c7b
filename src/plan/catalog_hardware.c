/* Entries of catalog/hardware.json; also one alone in a file. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "plan/catalog_parts.h"
#include "plan/json_file.h"

#define HARDWARE struct plan_hardware
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const struct json_field hardware_fields[] = {
    JSON_TEXT("id", HARDWARE, id, true),
    JSON_TEXT("name", HARDWARE, name, true),
    JSON_TEXT("vendor", HARDWARE, vendor, false),
    JSON_OTHER("kind"),
    JSON_COUNT("year", HARDWARE, year, false, 3000),
    JSON_NUMBER("mem_bytes", HARDWARE, memory_bytes, false, 1, 1e18),
    JSON_TEXT("mem_type", HARDWARE, memory_type, false),
    JSON_NUMBER("mem_bw_Bps", HARDWARE, bandwidth, false, 1, 1e18),
    JSON_OTHER("flops_dense"),
    JSON_OTHER("scaleup"),
    JSON_OTHER("host_link"),
    JSON_NUMBER("scaleout_Bps_unidir", HARDWARE, scaleout_bandwidth, false, 1, 1e18),
    JSON_NUMBER("tdp_w", HARDWARE, watts, false, 0, 1e9),
    JSON_OTHER("price_usd"),
    JSON_OTHER("cloud_usd_per_hour"),
    JSON_OTHER("tiers"),
    JSON_OTHER("measured"),
    JSON_OTHER("confidence"),
    JSON_OTHER("sources"),
    JSON_TEXT("notes", HARDWARE, notes, false),
};
static const struct json_field flops_fields[] = {
    JSON_NUMBER("bf16", HARDWARE, bf16_flops, false, 1, 1e21),
    JSON_NUMBER("fp8", HARDWARE, fp8_flops, false, 1, 1e21),
    JSON_NUMBER("int8", HARDWARE, int8_ops, false, 1, 1e21),
    JSON_NUMBER("fp4", HARDWARE, fp4_flops, false, 1, 1e21),
};
static const struct json_field scaleup_fields[] = {
    JSON_OTHER("name"),
    JSON_NUMBER("Bps_unidir", HARDWARE, scaleup_bandwidth, false, 1, 1e18),
    JSON_COUNT("domain", HARDWARE, scaleup_domain, false, 1 << 20),
};
static const struct json_field host_fields[] = {
    JSON_OTHER("name"),
    JSON_NUMBER("Bps_unidir", HARDWARE, host_bandwidth, false, 1, 1e18),
};
static const struct json_field price_fields[] = {
    JSON_NUMBER("value", HARDWARE, price_usd, true, 0, 1e12),
    JSON_OTHER("kind"),
    JSON_OTHER("date"),
    JSON_OTHER("source"),
};
static const struct json_field measured_fields[] = {
    JSON_NUMBER("mem_bw_Bps", HARDWARE, measured_bandwidth, false, 1, 1e18),
    JSON_NUMBER("bf16_gemm_flops", HARDWARE, measured_bf16_flops, false, 1, 1e21),
    JSON_NUMBER("fp8_gemm_flops", HARDWARE, measured_fp8_flops, false, 1, 1e21),
    JSON_OTHER("rdma_Bps_dual"),
    JSON_OTHER("decode_effective_Bps"),
    JSON_OTHER("source"),
};
static const struct json_field tier_fields[] = {
    JSON_TEXT("name", struct plan_tier, name, true),
    JSON_NUMBER("bytes", struct plan_tier, bytes, false, 1, 1e18),
    JSON_NUMBER("bw_Bps", struct plan_tier, bandwidth, false, 1, 1e18),
};

static int read_device(const struct json_place *place, const json_t *entry, struct plan_hardware *hardware) {
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    static const char *const names[] = {
#define X(name, meaning) #name,
        PLAN_DEVICE_LIST(X)
#undef X
    };
    for (size_t i = 0; kind != NULL && i < COUNT_OF(names); i++)
        if (strcmp(kind, names[i]) == 0) {
            hardware->device = (enum plan_device)i;
            return 0;
        }
    return json_place_error(place, NULL, "kind", "must be gpu, apu, cpu, accelerator, tpu or concept");
}

/* The lowest price: offers differ by what comes with them, and a plan should say what is possible. */
static int read_offers(const struct json_place *place, const json_t *offers, struct plan_hardware *hardware) {
    size_t i;
    const json_t *offer;
    json_array_foreach(offers, i, offer) {
        const json_t *value = json_object_get(offer, "value");
        const char *provider = json_string_value(json_object_get(offer, "provider")),
                   *date = json_string_value(json_object_get(offer, "date"));
        if (!json_is_number(value) || json_number_value(value) <= 0 || provider == NULL || date == NULL)
            return json_place_error(place, "cloud_usd_per_hour", "value",
                                    "must be a price, with provider and date");
        if (hardware->usd_per_hour > 0 && json_number_value(value) >= hardware->usd_per_hour) continue;
        hardware->usd_per_hour = json_number_value(value);
        snprintf(hardware->price_source, sizeof hardware->price_source, "%s, %s", provider, date);
    }
    return 0;
}

static int read_tiers(const struct json_place *place, const json_t *tiers, struct plan_hardware *hardware) {
    size_t i;
    const json_t *tier;
    if (json_array_size(tiers) > PLAN_MAX_TIERS)
        return json_place_error(place, NULL, "tiers", "are too many");
    json_array_foreach(tiers, i, tier)
        TRY(json_fields_read(place, "tiers", tier, tier_fields, COUNT_OF(tier_fields),
                             &hardware->tiers[hardware->n_tiers++], true));
    return 0;
}

static int read_sources(const struct json_place *place, const json_t *sources,
                        struct plan_hardware *hardware) {
    size_t i, length = 0;
    const json_t *source;
    json_array_foreach(sources, i, source) {
        const char *text = json_string_value(source);
        if (text == NULL) return json_place_error(place, NULL, "sources", "must be strings");
        int n = snprintf(hardware->source + length, sizeof hardware->source - length, "%s%s",
                         i > 0 ? "; " : "", text);
        length += (size_t)n;
        if (length >= sizeof hardware->source)
            return json_place_error(place, NULL, "sources", "are too long");
    }
    if (length == 0) return json_place_error(place, NULL, "sources", "are missing: no number without one");
    return 0;
}

int catalog_read_hardware(struct json_place *place, const json_t *entry, struct plan_hardware *hardware,
                          bool is_strict) {
    const struct {
        const char *key;
        const struct json_field *fields;
        size_t n;
    } parts[] = {
        {"flops_dense", flops_fields, COUNT_OF(flops_fields)},
        {"scaleup", scaleup_fields, COUNT_OF(scaleup_fields)},
        {"host_link", host_fields, COUNT_OF(host_fields)},
        {"price_usd", price_fields, COUNT_OF(price_fields)},
        {"measured", measured_fields, COUNT_OF(measured_fields)},
    };
    memset(hardware, 0, sizeof *hardware);
    place->name = json_string_value(json_object_get(entry, "id"));
    TRY(json_fields_read(place, NULL, entry, hardware_fields, COUNT_OF(hardware_fields), hardware,
                         is_strict));
    TRY(read_device(place, entry, hardware));
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const json_t *part = json_object_get(entry, parts[i].key);
        if (part != NULL && !json_is_null(part))
            TRY(json_fields_read(place, parts[i].key, part, parts[i].fields, parts[i].n, hardware,
                                 is_strict));
    }
    TRY(read_offers(place, json_object_get(entry, "cloud_usd_per_hour"), hardware));
    TRY(read_tiers(place, json_object_get(entry, "tiers"), hardware));
    return read_sources(place, json_object_get(entry, "sources"), hardware);
}

int plan_hardware_read(struct plan_hardware *hardware, const char *path) {
    json_t *entry;
    char *text;
    size_t length;
    TRY(json_file_text(&text, &length, path));
    int result = json_text_parse(&entry, text, length, path);
    struct json_place place = {.file = path, .text = text};
    if (result == 0) result = catalog_read_hardware(&place, entry, hardware, false);
    json_decref(entry);
    mem_free(text);
    return result;
}
