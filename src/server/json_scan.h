/* Finds the end of a JSON object in bytes that come one by one, and most of what cannot be JSON. Not a
 * validator: whoever has the whole object parses it. */
#ifndef CABINET_SERVER_JSON_SCAN_H
#define CABINET_SERVER_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

enum json_scan_state { JSON_SCAN_MORE, JSON_SCAN_DONE, JSON_SCAN_BAD };

/* Zero-initialise; the first byte must be '{'. */
struct json_scan {
    uint64_t objects; /* bit d: the container at depth d is an object */
    unsigned depth;
    bool in_string, is_escaped;
};

enum json_scan_state json_scan_add(struct json_scan *scan, char byte);

#endif
