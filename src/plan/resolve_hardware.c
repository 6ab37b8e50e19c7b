/* Names of machines. */
#include <stdio.h>
#include <string.h>

#include "plan/resolve.h"
#include "plan/words.h"

/* Whether the asked word is one of the candidate's: the same, or without what makes, pins and revisions add
 * ("4090" of "rtx4090", "sxm" of "sxm5"). */
static bool is_word_of(const char *word, const struct words *candidate) {
    const size_t length = strlen(word);
    for (size_t i = 0; i < candidate->n; i++) {
        const char *other = candidate->words[i];
        const size_t n = strlen(other);
        if (strcmp(word, other) == 0) return true;
        if (word_has_digit(word) && length >= 3 && n > length && strcmp(other + n - length, word) == 0 &&
            !word_has_digit((char[2]){other[n - length - 1], '\0'}))
            return true;
        if (n == length + 1 && strncmp(word, other, length) == 0 && !word_has_digit(other + length))
            return true;
        if (!word_has_digit(word) && length >= 3 && strncmp(word, other, length) == 0) return true;
        if (!word_has_digit(other) && n >= 3 && strncmp(word, other, n) == 0) return true;
    }
    return false;
}

/* A word that names one product: letters and digits, or at least three digits; no size of memory. */
static bool is_product(const char *word) {
    const size_t length = strlen(word);
    if (!word_has_digit(word) || (length > 2 && strcmp(word + length - 2, "gb") == 0)) return false;
    if (strncmp(word, "sxm", 3) == 0 || strncmp(word, "hbm", 3) == 0 || strncmp(word, "gddr", 4) == 0)
        return false;
    return strpbrk(word, "abcdefghijklmnopqrstuvwxyz") != NULL || length >= 3;
}

static bool is_named_family(const char *word) {
    static const char *const words[] = {"spark", "strix",    "trillium", "ironwood",
                                        "gb10",  "cerebras", "groq",     "raspberry"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], word) == 0) return true;
    return false;
}

static double likeness(const struct words *asked, const struct words *candidate) {
    double score = 0;
    bool is_named = false;
    for (size_t i = 0; i < asked->n; i++) {
        const char *word = asked->words[i];
        const bool is_there = is_word_of(word, candidate);
        if (is_product(word) && !is_there) return 0;
        if (!is_there) continue;
        is_named |= is_product(word) || is_named_family(word);
        score += (double)strlen(word);
    }
    if (!is_named) return 0;
    for (size_t i = 0; i < candidate->n; i++)
        if (!is_word_of(candidate->words[i], asked)) score -= 0.1;
    return score + (words_have(candidate, "sxm") ? 0.05 : 0);
}

static const struct plan_hardware *most_alike(const struct plan_catalog *catalog, const struct words *asked) {
    const struct plan_hardware *best = NULL;
    double most = 0;
    for (size_t i = 0; i < catalog->n_hardware; i++) {
        const struct plan_hardware *hardware = &catalog->hardware[i];
        char text[2 * PLAN_HARDWARE_NAME];
        snprintf(text, sizeof text, "%s %s", hardware->id, hardware->name);
        const struct words words = words_of(text, false);
        const double score = likeness(asked, &words);
        if (score > most || (score > 0 && score == most && hardware->memory_bytes > best->memory_bytes))
            most = score, best = hardware;
    }
    return best;
}

/* Machines of which only the kind is known. Bandwidths are ordinary ones of the kind; a cloud's virtual
 * machine with some 30 threads gets its share of a twelve-channel host. */
static const struct {
    const char *word;
    const char *name;
    enum plan_device device;
    const char *memory_type;
    double bandwidth, memory_bytes, scaleout_bandwidth;
} kinds[] = {
    {"vm", "a cloud's virtual machine", PLAN_DEVICE_cpu, "DDR5", 77e9, 64e9, 2.5e9},
    {"vcpu", "a cloud's virtual machine", PLAN_DEVICE_cpu, "DDR5", 77e9, 64e9, 2.5e9},
    {"epyc", "a server's processor", PLAN_DEVICE_cpu, "DDR5", 400e9, 512e9, 2.5e9},
    {"xeon", "a server's processor", PLAN_DEVICE_cpu, "DDR5", 300e9, 512e9, 2.5e9},
    {"threadripper", "a workstation's processor", PLAN_DEVICE_cpu, "DDR5", 200e9, 256e9, 1.25e8},
    {"ryzen", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 80e9, 64e9, 1.25e8},
    {"core", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 80e9, 64e9, 1.25e8},
    {"i5", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 70e9, 64e9, 1.25e8},
    {"i7", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 70e9, 64e9, 1.25e8},
    {"i9", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 90e9, 64e9, 1.25e8},
    {"cpu", "a desktop's processor", PLAN_DEVICE_cpu, "DDR5", 80e9, 64e9, 1.25e8},
    {"raspberry", "a small board", PLAN_DEVICE_cpu, "LPDDR4", 15e9, 8e9, 1.18e8},
    {"rtx", "a graphics card", PLAN_DEVICE_gpu, "GDDR6", 600e9, 16e9, 0},
    {"geforce", "a graphics card", PLAN_DEVICE_gpu, "GDDR6", 600e9, 16e9, 0},
    {"radeon", "a graphics card", PLAN_DEVICE_gpu, "GDDR6", 600e9, 16e9, 0},
    {"gpu", "a graphics card", PLAN_DEVICE_gpu, "GDDR6", 600e9, 16e9, 0},
};

static int ordinary(const struct words *asked, const char *name, struct plan_hardware *hardware,
                    struct plan_assumptions *assumptions) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!words_have(asked, kinds[i].word)) continue;
        *hardware = (struct plan_hardware){.device = kinds[i].device,
                                           .memory_bytes = kinds[i].memory_bytes,
                                           .bandwidth = kinds[i].bandwidth,
                                           .scaleout_bandwidth = kinds[i].scaleout_bandwidth};
        snprintf(hardware->id, sizeof hardware->id, "%s", name);
        snprintf(hardware->name, sizeof hardware->name, "%s", name);
        snprintf(hardware->memory_type, sizeof hardware->memory_type, "%s", kinds[i].memory_type);
        plan_assume(assumptions, "'%.60s' is not in the catalog: taken as %s with %.0f GB/s", name,
                    kinds[i].name, kinds[i].bandwidth / 1e9);
        return 0;
    }
    return ERR_NOT_FOUND;
}

int plan_resolve_hardware(const struct plan_catalog *catalog, const char *name,
                          struct plan_hardware *hardware, struct plan_assumptions *assumptions) {
    const struct plan_hardware *found = plan_catalog_hardware(catalog, name);
    if (found != NULL) {
        *hardware = *found;
        return 0;
    }
    const struct words asked = words_of(name, false);
    found = most_alike(catalog, &asked);
    if (found == NULL) return ordinary(&asked, name, hardware, assumptions);
    plan_assume(assumptions, "'%.80s' is taken as %s", name, found->name);
    *hardware = *found;
    return 0;
}
