/* Names of models. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/geometry.h"
#include "plan/resolve.h"
#include "plan/words.h"

/* Words that say how a model was tuned, stored or published, not which it is. */
static bool is_decoration(const char *word) {
    static const char *const words[] = {"instruct", "chat", "base", "hf",      "it",     "gguf",
                                        "fp8",      "bf16", "awq",  "gptq",    "nvfp4",  "meta",
                                        "the",      "int4", "text", "preview", "nvidia", "model"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], word) == 0) return true;
    return false;
}

/* A count of active parameters: "a3b". */
static bool is_active_size(const char *word) { return word[0] == 'a' && word_size(word + 1) > 0; }

static double size_of(const struct words *words) {
    for (size_t i = 0; i < words->n; i++)
        if (word_size(words->words[i]) > 0) return word_size(words->words[i]);
    return 0;
}

/* What a word of the candidate that was not asked for costs: another version the more the farther it is. */
static double strangeness(const struct words *asked, const char *word) {
    if (!word_has_digit(word)) return 0.9;
    double farthest = 0;
    for (size_t i = 0; i < asked->n && word_size(word) == 0; i++)
        if (word_has_digit(asked->words[i]) && word_size(asked->words[i]) == 0)
            farthest = fmax(farthest, fmin(1, fabs(atof(word) - atof(asked->words[i])) / 4));
    return 0.5 + 0.4 * farthest;
}

/* How alike, 0: not the same kind. Family and size must agree; versions count less. */
static double likeness(const struct words *asked, const struct words *candidate) {
    const double size = size_of(asked), other = size_of(candidate);
    double family = 0, score = 0;
    if (size > 0 && other > 0 && fabs(log(size / other)) > 0.08) return 0;
    for (size_t i = 0; i < asked->n; i++) {
        const char *word = asked->words[i];
        if (is_decoration(word)) continue;
        const bool is_there = words_have(candidate, word), is_size = word_size(word) > 0;
        if (is_active_size(word) && !is_there) return 0;
        if (is_there && !is_size && !word_has_digit(word) && strlen(word) > 1) family++;
        score += is_there ? 2 : is_size && other > 0 ? 2 : -0.5;
    }
    for (size_t i = 0; i < candidate->n; i++)
        if (!words_have(asked, candidate->words[i])) score -= strangeness(asked, candidate->words[i]);
    if (family == 0 || (other > 0 && size == 0) || (size > 0 && other == 0)) return 0;
    return score;
}

static const struct plan_model *most_alike(const struct plan_catalog *catalog, const struct words *asked) {
    const struct plan_model *best = NULL;
    double most = 0.8;
    for (size_t i = 0; i < catalog->n_models; i++) {
        const struct words name = words_of(catalog->models[i].name, true);
        const double score = likeness(asked, &name);
        if (score > most) most = score, best = &catalog->models[i];
    }
    return best;
}

/* Dense, attention over everything: what a model of which only the size is known is taken for. */
static bool is_plain(const struct plan_model *model) {
    return model->experts.n == 0 && plan_model_count(model, "F") == model->n_layers;
}

static int scale_nearest(const struct plan_catalog *catalog, const char *name, double size,
                         struct plan_model *model, struct plan_assumptions *assumptions) {
    const struct plan_model *nearest = NULL;
    for (size_t i = 0; i < catalog->n_models; i++) {
        const struct plan_model *other = &catalog->models[i];
        if (!is_plain(other)) continue;
        if (nearest == NULL || fabs(log(other->parameters / size)) < fabs(log(nearest->parameters / size)))
            nearest = other;
    }
    if (nearest == NULL || fabs(log(nearest->parameters / size)) > log(2))
        return ERR(NOT_FOUND, "no model is called '%.80s', and none is near its size", name);
    *model = *nearest;
    const double factor = size / nearest->parameters;
    model->parameters *= factor;
    model->parameters_read *= factor;
    model->parameters_embedding *= factor;
    model->parameters_active *= factor;
    plan_assume(assumptions,
                "'%.60s' is not in the catalog: taken as a dense model of %.3g B parameters with the "
                "cache of %s",
                name, size / 1e9, nearest->name);
    return 0;
}

int plan_resolve_model(const struct plan_catalog *catalog, const char *name, struct plan_model *model,
                       struct plan_assumptions *assumptions) {
    const struct plan_model *found = plan_catalog_model(catalog, name);
    if (found != NULL) {
        *model = *found;
        return 0;
    }
    const struct words asked = words_of(name, true);
    found = most_alike(catalog, &asked);
    if (found != NULL) {
        plan_assume(assumptions, "'%.80s' is taken as %s", name, found->name);
        *model = *found;
        return 0;
    }
    for (size_t i = 0; i < asked.n; i++)
        if (is_active_size(asked.words[i]) || strchr(asked.words[i], 'x') != NULL) return ERR_NOT_FOUND;
    const double size = size_of(&asked);
    return size > 0 ? scale_nearest(catalog, name, size, model, assumptions) : ERR_NOT_FOUND;
}
