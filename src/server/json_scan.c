#include "server/json_scan.h"

#include <stddef.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

static enum json_scan_state in_string(struct json_scan *scan, char byte) {
    if ((unsigned char)byte < 0x20) return JSON_SCAN_BAD;
    if (scan->is_escaped)
        scan->is_escaped = false;
    else if (byte == '\\')
        scan->is_escaped = true;
    else if (byte == '"')
        scan->in_string = false;
    return JSON_SCAN_MORE;
}

static enum json_scan_state open_container(struct json_scan *scan, bool is_object) {
    if (scan->depth == DEPTH_MAX) return JSON_SCAN_BAD;
    scan->objects &= ~(UINT64_C(1) << scan->depth);
    scan->objects |= (uint64_t)is_object << scan->depth++;
    return JSON_SCAN_MORE;
}

static enum json_scan_state close_container(struct json_scan *scan, bool is_object) {
    scan->depth--;
    if ((scan->objects >> scan->depth & 1) != is_object) return JSON_SCAN_BAD;
    return scan->depth == 0 ? JSON_SCAN_DONE : JSON_SCAN_MORE;
}

enum json_scan_state json_scan_add(struct json_scan *scan, char byte) {
    if (scan->in_string) return in_string(scan, byte);
    if (scan->depth == 0) return byte == '{' ? open_container(scan, true) : JSON_SCAN_BAD;
    if (byte == '{' || byte == '[') return open_container(scan, byte == '{');
    if (byte == '}' || byte == ']') return close_container(scan, byte == '}');
    scan->in_string = byte == '"';
    /* what stands outside strings: white space, punctuation, numbers, true, false, null */
    bool is_known = byte != '\0' && strchr(" \t\n\r\",:+-.0123456789Eaeflnrstu", byte) != NULL;
    return is_known ? JSON_SCAN_MORE : JSON_SCAN_BAD;
}
