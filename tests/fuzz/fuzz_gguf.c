/* Arbitrary bytes as a GGUF file: refused with one printable line, or every value and tensor of it can be
 * used. */
#include "gguf_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct gguf *file;
    if (gguf_open_bytes(&file, bytes, length, "fuzz.gguf") < 0)
        check_refusal(file);
    else
        use_and_close(file);
    return 0;
}
