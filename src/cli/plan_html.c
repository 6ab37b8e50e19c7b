/* web/plan.html, line by line: what it refers to is put in its place, what only a server answers is left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/plan_html.h"
#include "server/web_files.h"

/* The modules of the stand-alone page, each before those that import it. */
static const char *const modules[] = {"/colours.js", "/dom.js", "/format.js", "/plan_draw.js",
                                      "/plan_file.js"};

static const struct web_file *file_at(const char *path, size_t length) {
    for (size_t i = 0; i < n_web_files; i++)
        if (strlen(web_files[i].path) == length && strncmp(web_files[i].path, path, length) == 0)
            return &web_files[i];
    return NULL;
}

static bool starts(const char *line, const char *end, const char *prefix) {
    size_t length = strlen(prefix);
    return (size_t)(end - line) >= length && memcmp(line, prefix, length) == 0;
}

/* Its lines but the imports: all modules stand in one. */
static void write_module(FILE *out, const struct web_file *file) {
    const char *at = (const char *)file->bytes, *last = at + file->length;
    while (at < last) {
        const char *end = memchr(at, '\n', (size_t)(last - at));
        end = end != NULL ? end + 1 : last;
        if (!starts(at, end, "import ")) fwrite(at, 1, (size_t)(end - at), out);
        at = end;
    }
}

static void write_file(FILE *out, const char *name, size_t length, const char *tag) {
    char path[64];
    snprintf(path, sizeof path, "/%.*s", (int)length, name);
    const struct web_file *file = file_at(path, strlen(path));
    ASSERT(file != NULL); /* web/plan.html names it, web/meson.build builds it in */
    fprintf(out, "<%s>\n", tag);
    fwrite(file->bytes, 1, file->length, out);
    fprintf(out, "\n</%s>\n", tag);
}

static void write_program(FILE *out, const char *data) {
    fputs("<script type=\"application/json\" id=\"plan-data\">", out);
    /* A '<' within strings could end the element. */
    for (const char *c = data; *c != '\0'; c++)
        if (*c == '<')
            fputs("\\u003c", out);
        else
            putc(*c, out);
    fputs("</script>\n<script type=\"module\">\n", out);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        const struct web_file *file = file_at(modules[i], strlen(modules[i]));
        ASSERT(file != NULL);
        write_module(out, file);
    }
    fputs("</script>\n", out);
}

/* Up to the quote that ends an attribute, or the line. */
static size_t name_length(const char *name, const char *end) {
    const char *quote = memchr(name, '"', (size_t)(end - name));
    return (size_t)((quote != NULL ? quote : end) - name);
}

static void write_page(FILE *out, const char *data) {
    static const char style[] = "<link rel=\"stylesheet\" href=\"", icon[] = "<link rel=\"icon\"";
    static const char theme[] = "<script src=\"theme_first.js\"", plot[] = "<script src=\"uplot.js\"";
    const struct web_file *page = file_at("/plan", 5);
    ASSERT(page != NULL);
    const char *at = (const char *)page->bytes, *last = at + page->length;
    bool is_live = false;
    while (at < last) {
        const char *end = memchr(at, '\n', (size_t)(last - at));
        end = end != NULL ? end + 1 : last;
        if (starts(at, end, "<!-- live"))
            is_live = true;
        else if (starts(at, end, "<!-- /live"))
            is_live = false;
        else if (is_live || starts(at, end, icon) || starts(at, end, theme))
            (void)0;
        else if (starts(at, end, style))
            write_file(out, at + strlen(style), name_length(at + strlen(style), end), "style");
        else if (starts(at, end, plot))
            write_file(out, "uplot.js", 8, "script");
        else if (starts(at, end, "<script src=\"plan.js\""))
            write_program(out, data);
        else
            fwrite(at, 1, (size_t)(end - at), out);
        at = end;
    }
}

int plan_html_write(const struct plan_curves *curves, const struct plan_what_if *table, const char *path) {
    json_t *json = plan_curves_json(curves, table);
    char *data = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (data == NULL) return ERR(NO_MEMORY, "no memory for the page's figures");
    FILE *out = fopen(path, "we");
    int result = out == NULL ? ERR(IO, "%s: %s", path, strerror(errno)) : 0;
    if (out != NULL) {
        write_page(out, data);
        bool failed = ferror(out) != 0;
        if ((fclose(out) != 0 || failed)) {
            result = ERR(IO, "%s: %s", path, strerror(errno));
            unlink(path);
        }
    }
    free(data);
    return result;
}
