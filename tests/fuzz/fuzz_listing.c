/* Arbitrary bytes as the hub's listing: refused, or files whose paths are safe and among which the choice is
 * sound. Line one, if the bytes have more than one, is what the user wants. */
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "hub/choose.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_error(int code) {
    ASSERT(code == ERR_CORRUPT || code == ERR_TOO_LARGE || code == ERR_NOT_FOUND);
    for (const char *c = err_message(); *c != '\0'; c++) ASSERT(*c >= ' ' && *c <= '~');
}

static void check_files(const struct listing *listing) {
    for (size_t i = 0; i < listing->n_files; i++) {
        const struct listing_file *file = &listing->files[i];
        ASSERT(file_path_is_safe(file->path, strlen(file->path)) && file_path_is_gguf(file->path));
        ASSERT(strstr(file->path, "..") == NULL || strstr(file->path, "/..") == NULL);
        ASSERT(file->bytes <= HUB_MAX_FILE_BYTES || file->bytes == HUB_BYTES_UNKNOWN);
        ASSERT(*file->sha256 == '\0' || strspn(file->sha256, "0123456789abcdef") == SHA256_HEX);
        ASSERT(listing_find(listing, file->path) == file);
    }
}

static void check_choice(const struct listing *listing, const char *wanted) {
    struct choice choice;
    int code = choose(&choice, listing, wanted, "o/r");
    if (code < 0) {
        check_error(code);
        return;
    }
    ASSERT(choice.n_files >= 1 && choice.n_files <= listing->n_files);
    for (unsigned i = 0; i < choice.n_files; i++) {
        const struct listing_file *file = choice_file(&choice, listing, i);
        ASSERT(file >= listing->files && file < listing->files + listing->n_files);
        ASSERT(i > 0 || file == choice.first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    char wanted[FILE_PATH_LENGTH] = "";
    const uint8_t *end = length > 0 ? memchr(bytes, '\n', length) : NULL;
    size_t n = end != NULL ? (size_t)(end - bytes) : 0;
    /* What the user wants has been checked by hub_name_parse. */
    if (end != NULL && file_path_is_safe((const char *)bytes, n)) {
        memcpy(wanted, bytes, n);
        bytes += n + 1;
        length -= n + 1;
    }
    struct listing listing;
    int code = listing_parse(&listing, (const char *)bytes, length);
    if (code < 0) {
        check_error(code);
        ASSERT(listing.n_files == 0 && listing.files == NULL);
        return 0;
    }
    check_files(&listing);
    check_choice(&listing, "");
    check_choice(&listing, wanted);
    if (listing.n_files > 0) check_choice(&listing, listing.files[listing.n_files / 2].path);
    listing_free(&listing);
    return 0;
}
