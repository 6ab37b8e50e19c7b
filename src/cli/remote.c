#include "cli/remote.h"

#include <stdlib.h>

#include "base/err.h"
#include "server/access.h"

int remote_open(struct api_client **client, const char *url, const char *key_path, unsigned timeout_s) {
    struct access_keys keys = {0};
    const char *key = getenv("CABINET_API_KEY");
    int result = key_path == NULL ? 0 : access_keys_read(&keys, key_path);
    if (keys.n > 0) key = keys.keys[0].bytes;
    const struct api_client_opts opts = {
        .url = url, .key = key != NULL && *key != '\0' ? key : NULL, .timeout_s = timeout_s};
    if (result == 0) result = api_client_open(client, &opts);
    access_keys_free(&keys);
    return result;
}
