#include "plan/nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum { MOST_LETTERS = 96 };

/* Letters and digits in lower case. */
static size_t plain(const char *name, char *letters) {
    size_t n = 0;
    for (; *name != '\0' && n < MOST_LETTERS; name++)
        if (isalnum((unsigned char)*name)) letters[n++] = (char)tolower((unsigned char)*name);
    letters[n] = '\0';
    return n;
}

/* Levenshtein's: insertions, deletions and exchanges from one to the other. */
static size_t edits(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t row[MOST_LETTERS + 1];
    for (size_t j = 0; j <= n_b; j++) row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t exchange = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t least = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = exchange < least ? exchange : least;
        }
    }
    return row[n_b];
}

void nearest_offer(struct nearest *nearest, const char *name, const char *candidate) {
    char a[MOST_LETTERS + 1], b[MOST_LETTERS + 1];
    const size_t n_a = plain(name, a), n_b = plain(candidate, b);
    if (n_a == 0 || n_b == 0) return;
    double distance = (double)edits(a, n_a, b, n_b) / (double)(n_a > n_b ? n_a : n_b);
    /* Who wrote a part of it ("llama3.1", "h100") is near, however much is missing. */
    if (strstr(b, a) != NULL || strstr(a, b) != NULL) distance /= 3;
    size_t at = nearest->n;
    while (at > 0 && distance < nearest->distances[at - 1]) at--;
    if (at == NEAREST_COUNT) return;
    nearest->n += nearest->n < NEAREST_COUNT;
    for (size_t i = nearest->n - 1; i > at; i--) {
        nearest->names[i] = nearest->names[i - 1];
        nearest->distances[i] = nearest->distances[i - 1];
    }
    nearest->names[at] = candidate;
    nearest->distances[at] = distance;
}

int nearest_error(const struct nearest *nearest, const char *thing, const char *name, const char *list) {
    char names[512] = "";
    size_t length = 0;
    for (size_t i = 0; i < nearest->n && length < sizeof names; i++)
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i > 0 ? ", " : "",
                                   nearest->names[i]);
    return ERR(NOT_FOUND, "no %s is called '%.80s'; near: %s (%s shows all)", thing, name, names, list);
}
