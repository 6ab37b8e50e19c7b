/* What a user types to name a model of the hub or of another server: OWNER/REPO[@REVISION][:FILE or :TAG], or
 * a URL. */
#ifndef CABINET_HUB_NAME_H
#define CABINET_HUB_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "hub/file_path.h"

enum { NAME_PART = 97, NAME_URL_LENGTH = 2048 };

struct hub_name {
    char repository[2 * NAME_PART]; /* "OWNER/REPO"; "" for a URL */
    char revision[NAME_PART];       /* a branch, tag or commit; "main" unless it was named */
    char file[FILE_PATH_LENGTH];    /* a file's path or a tag, or "" if none was named; a URL's file name */
    char url[NAME_URL_LENGTH];      /* "" for a repository */
    /* Where its files lie below the cache folder's models/: "OWNER/REPO", "OWNER/REPO@REVISION", or
     * "https@HOST/PATH". An '@' is in no owner's name, so the kinds never meet. */
    char folder[FILE_PATH_LENGTH];
};

/* A URL that points at a repository or a file of `endpoint`, as copied from a browser, is the repository's
 * name. INVALID says what a name looks like. */
int hub_name_parse(struct hub_name *name, const char *text, const char *endpoint);
/* True for https://HOST[:PORT][/PATH] and http://…: visible ASCII, no user name, no fragment. */
bool hub_url_is_plain(const char *url);

/* The URLs of a repository's listing and of a file in it. TOO_LARGE if `size` bytes are too few. */
int hub_name_listing_url(const struct hub_name *name, const char *endpoint, char *url, size_t size);
int hub_name_file_url(const struct hub_name *name, const char *endpoint, const char *path, char *url,
                      size_t size);

/* How a user would name the file at `path` below models/: the inverse of `folder`. */
void hub_name_of_path(char *text, size_t size, const char *path);

#endif
