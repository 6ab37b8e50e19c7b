/* A server that a verb calls over its API. */
#ifndef CABINET_CLI_REMOTE_H
#define CABINET_CLI_REMOTE_H

#include "hub/api_client.h"

/* What an --api-key-file of such a verb is for. */
#define REMOTE_KEY_HELP "its first key is sent (or the one in CABINET_API_KEY)"

/* Opens a client of the server at `url`, with the first key of the file, or where key_path is NULL, the one
 * in CABINET_API_KEY, if there is any. Fails as reading the file and api_client_open do. */
int remote_open(struct api_client **client, const char *url, const char *key_path, unsigned timeout_s);

#endif
