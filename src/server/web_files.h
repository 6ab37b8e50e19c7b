/* The page, as web/embed.py puts the files of web/ into the program. */
#ifndef CABINET_SERVER_WEB_FILES_H
#define CABINET_SERVER_WEB_FILES_H

#include <stddef.h>

struct web_file {
    const char *path;         /* "/", "/style.css", ... */
    const char *content_type; /* the value of the header */
    const char *etag;         /* with its quotes; changes with the bytes */
    const unsigned char *bytes;
    size_t length;
};

/* By path, in the order of strcmp. */
extern const struct web_file web_files[];
extern const size_t n_web_files;

#endif
