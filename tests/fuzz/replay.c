/* Runs a fuzz target over every file of the folders that are named: the corpus as a regression test, in any
 * build. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* False if the file cannot be read. The block has exactly the file's length, so that the address sanitizer
 * sees a read past its end. */
static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (file == NULL || fstat(fileno(file), &status) != 0) {
        perror(path);
        if (file != NULL) (void)fclose(file);
        return 0;
    }
    size_t length = (size_t)status.st_size;
    uint8_t *bytes = malloc(length > 0 ? length : 1);
    int is_read = bytes != NULL && fread(bytes, 1, length, file) == length;
    (void)fclose(file);
    if (is_read)
        (void)LLVMFuzzerTestOneInput(bytes, length);
    else
        perror(path);
    free(bytes);
    return is_read;
}

/* The number of files, or -1. */
static int replay_folder(const char *path) {
    struct dirent **entries;
    int n_entries = scandir(path, &entries, NULL, alphasort), n_files = 0;
    if (n_entries < 0) perror(path);
    for (int i = 0; i < n_entries; i++) {
        char file[4096];
        (void)snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && n_files >= 0) {
            (void)fprintf(stderr, "%s\n", file); /* the last one named is the one that crashed */
            n_files = replay_file(file) ? n_files + 1 : -1;
        }
        free(entries[i]);
    }
    if (n_entries >= 0) free(entries);
    return n_entries < 0 ? -1 : n_files;
}

int main(int argc, char **argv) {
    int n_files = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay_folder(argv[i]);
        if (n < 0) return 1;
        n_files += n;
    }
    printf("%d files\n", n_files);
    return n_files > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
