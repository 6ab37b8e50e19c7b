#include "cli/cache_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "hub/store.h"

int cache_file(const char *name, char *path, size_t size) {
    char models[STORE_PATH_LENGTH];
    TRY(store_folder(models, sizeof models));
    const char *end = strrchr(models, '/');
    if ((size_t)snprintf(path, size, "%.*s/%s", (int)(end - models), models, name) >= size)
        return ERR(TOO_LARGE, "the cache folder's path is too long");
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdir(path, 0777);
        int error = errno;
        if (made < 0 && error != EEXIST)
            return ERR(IO, "cannot make the folder %s: %s", path, strerror(error));
        *slash = '/';
    }
    return 0;
}
