/* What the architectures share when they read their metadata, whose keys begin with "<name>.". */
#ifndef CABINET_MODEL_DESCRIPTION_READ_H
#define CABINET_MODEL_DESCRIPTION_READ_H

#include "model/description.h"

struct description_reader {
    const struct gguf *file;
    const char *name; /* of the architecture */
};

/* The plain transformer: sizes, with defaults where the format has them, one RoPE for all layers, no window,
 * norms before attention and FFN, SiLU. Checks that the sizes fit each other. An architecture then changes
 * what is its own. */
int description_read_common(const struct description_reader *reader, struct description *description);

/* A number > 0 under "<name>.<key>", or default_value if the key is absent. */
int description_read_float(const struct description_reader *reader, const char *key, float default_value,
                           float *value);

/* "<name>.attention.sliding_window", or default_window; 0 if the context is no longer than it. Returns 1 if
 * the file names one, 0 if not. */
int description_read_window(const struct description_reader *reader, const struct description *description,
                            uint32_t default_window, uint32_t *window);
/* Gives layers that window and the RoPE `rope`: those that attention.sliding_window_pattern names, a list of
 * booleans or a period of which the last layer stays full; by default the period default_period. */
int description_set_windows(const struct description_reader *reader, struct description *description,
                            uint32_t window, uint32_t default_period, int rope);

#endif
