/* The files of catalog/, linked into the program: written by catalog/embed.py. */
#ifndef CABINET_PLAN_CATALOG_FILES_H
#define CABINET_PLAN_CATALOG_FILES_H

#include <stddef.h>

struct catalog_file {
    const char *name; /* "models.json" */
    const char *text; /* ends with a NUL behind `length` bytes */
    size_t length;
};

extern const struct catalog_file catalog_files[];
extern const size_t n_catalog_files;

#endif
