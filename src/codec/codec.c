#include "codec/codec.h"

#include <string.h>

#define X(name) extern const struct codec codec_##name;
CODEC_LIST(X)
#undef X

static const struct codec *const codecs[CODEC_COUNT] = {
#define X(name) [CODEC_##name] = &codec_##name,
    CODEC_LIST(X)
#undef X
};

const struct codec *codec_get(enum codec_id id) { return codecs[id]; }

int codec_find(const char *name) {
    for (int id = 0; id < CODEC_COUNT; id++)
        if (strcmp(codecs[id]->name, name) == 0) return id;
    return -1;
}

const char *codec_names(void) {
#define X(name) ", " #name
    static const char names[] = CODEC_LIST(X);
#undef X
    return names + 2;
}
