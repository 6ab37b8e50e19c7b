#include "codec/kv_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* A piece of the text: bytes [begin, end). */
struct piece {
    const char *begin, *end;
};

static struct piece piece_until(const char *begin, char separator) {
    const char *end = strchr(begin, separator);
    return (struct piece){begin, end != NULL ? end : begin + strlen(begin)};
}

static bool is_word(struct piece piece, const char *word) {
    size_t length = (size_t)(piece.end - piece.begin);
    return strlen(word) == length && memcmp(piece.begin, word, length) == 0;
}

static bool starts_with(struct piece piece, const char *start) {
    size_t length = strlen(start);
    return (size_t)(piece.end - piece.begin) >= length && memcmp(piece.begin, start, length) == 0;
}

static int codec_of(struct piece piece) {
    for (int id = 0; id < CODEC_COUNT; id++)
        if (is_word(piece, codec_get((enum codec_id)id)->name)) return id;
    return -1;
}

const char *kv_format_names(void) {
#define X(name) ", " #name
    static const char names[] = CODEC_LIST(X) ", k8v4, auto";
#undef X
    return names + 2;
}

static bool format_of(struct piece piece, struct kv_codecs *codecs) {
    int codec = codec_of(piece);
    bool is_mixed = is_word(piece, "k8v4"), is_auto = is_word(piece, "auto");
    if (codec >= 0) *codecs = kv_codecs_both((enum codec_id)codec);
    if (is_mixed) *codecs = (struct kv_codecs){.k = CODEC_q8, .v = CODEC_q4};
    if (is_auto)
        *codecs = (struct kv_codecs){.k = CODEC_f16, .v = CODEC_f16, .demotes_k = true, .demotes_v = true};
    return codec >= 0 || is_mixed || is_auto;
}

static int refuse_format(struct piece piece) {
    int length = (int)(piece.end - piece.begin < 40 ? piece.end - piece.begin : 40);
    return ERR(INVALID, "KV format '%.*s' does not exist; these do: %s", length, piece.begin,
               kv_format_names());
}

static int parse_setting(struct piece piece, struct kv_rule *rule) {
    rule->sets_k = rule->sets_v = true;
    if (format_of(piece, &rule->codecs)) return 0;
    bool is_k = starts_with(piece, "k="), is_v = starts_with(piece, "v=");
    if (!is_k && !is_v) return refuse_format(piece);
    piece.begin += 2;
    int codec = codec_of(piece);
    if (codec < 0) return refuse_format(piece);
    rule->codecs = kv_codecs_both((enum codec_id)codec);
    rule->sets_k = is_k;
    rule->sets_v = is_v;
    return 0;
}

static bool parse_number(const char **at, const char *end, uint16_t *number) {
    unsigned value = 0;
    const char *begin = *at;
    for (; *at < end && isdigit((unsigned char)**at) && value < KV_MAX_LAYERS; ++*at)
        value = value * 10 + (unsigned)(**at - '0');
    *number = (uint16_t)value;
    return *at > begin && value < KV_MAX_LAYERS;
}

static bool parse_layers(struct piece piece, struct kv_rule *rule) {
    const char *at = piece.begin + strlen("layers=");
    if (!parse_number(&at, piece.end, &rule->first_layer)) return false;
    rule->last_layer = rule->first_layer;
    if (at < piece.end && *at == '-') {
        at++;
        if (!parse_number(&at, piece.end, &rule->last_layer)) return false;
    }
    return at == piece.end && rule->first_layer <= rule->last_layer;
}

static int parse_selector(struct piece piece, struct kv_rule *rule) {
    bool is_full = is_word(piece, "full"), is_window = is_word(piece, "window");
    rule->selects_full = !is_window;
    rule->selects_window = !is_full;
    rule->last_layer = KV_MAX_LAYERS;
    if (is_full || is_window) return 0;
    if (starts_with(piece, "layers=") && parse_layers(piece, rule)) return 0;
    int length = (int)(piece.end - piece.begin < 40 ? piece.end - piece.begin : 40);
    return ERR(INVALID, "KV rule '%.*s' selects no layers; these do: layers=0-1, layers=3, full, window",
               length, piece.begin);
}

/* "selector:setting" */
static int parse_rule(struct piece piece, struct kv_rule *rule) {
    struct piece selector = piece_until(piece.begin, ':');
    if (selector.end >= piece.end)
        return ERR(INVALID,
                   "KV rule '%.*s' sets nothing; write SELECTOR:FORMAT, as in q4,layers=0-1:q8,full:v=q8",
                   (int)(piece.end - piece.begin < 40 ? piece.end - piece.begin : 40), piece.begin);
    TRY(parse_selector(selector, rule));
    return parse_setting((struct piece){selector.end + 1, piece.end}, rule);
}

static const struct kv_rule rule_for_all = {.selects_full = true,
                                            .selects_window = true,
                                            .sets_k = true,
                                            .sets_v = true,
                                            .last_layer = KV_MAX_LAYERS};

int kv_rules_parse(struct kv_rules *rules, const char *text) {
    *rules = (struct kv_rules){0};
    if (text == NULL) text = "f16";
    if (strlen(text) >= KV_RULES_LENGTH)
        return ERR(INVALID, "KV rules of %zu bytes; they have at most %d", strlen(text), KV_RULES_LENGTH - 1);
    snprintf(rules->text, sizeof rules->text, "%s", text);
    struct piece piece = piece_until(text, ',');
    rules->n = 1;
    rules->rules[0] = rule_for_all;
    if (!format_of(piece, &rules->rules[0].codecs)) return refuse_format(piece);
    while (*piece.end == ',') {
        piece = piece_until(piece.end + 1, ',');
        if (rules->n == KV_MAX_RULES) return ERR(INVALID, "more than %d KV rules", KV_MAX_RULES);
        TRY(parse_rule(piece, &rules->rules[rules->n]));
        rules->n++;
    }
    return 0;
}

struct kv_rules kv_rules_of(enum codec_id codec) {
    struct kv_rules rules = {.n = 1, .rules = {rule_for_all}};
    snprintf(rules.text, sizeof rules.text, "%s", codec_get(codec)->name);
    rules.rules[0].codecs = kv_codecs_both(codec);
    return rules;
}

bool kv_rules_demote(const struct kv_rules *rules) {
    for (uint32_t i = 0; i < rules->n; i++)
        if (rules->rules[i].codecs.demotes_k || rules->rules[i].codecs.demotes_v) return true;
    return false;
}

struct kv_codecs kv_rules_codecs(const struct kv_rules *rules, uint32_t layer, uint32_t window) {
    struct kv_codecs codecs = {0};
    for (uint32_t i = 0; i < rules->n; i++) {
        const struct kv_rule *rule = &rules->rules[i];
        bool selects = window == 0 ? rule->selects_full : rule->selects_window;
        if (!selects || layer < rule->first_layer || layer > rule->last_layer) continue;
        if (rule->sets_k) {
            codecs.k = rule->codecs.k;
            codecs.demotes_k = rule->codecs.demotes_k;
        }
        if (rule->sets_v) {
            codecs.v = rule->codecs.v;
            codecs.demotes_v = rule->codecs.demotes_v;
        }
    }
    return codecs;
}
