/* The tables of cabinet quality, for eyes and as JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/quality.h"

/* ---- retrieval ---- */

static bool counts(const struct quality *quality, const struct quality_recall *recall) {
    for (unsigned i = 0; i < quality->n_recalls; i++) {
        const struct quality_recall *other = &quality->recalls[i];
        if (other->setting == quality->reference && other->task == recall->task &&
            other->n_tokens == recall->n_tokens)
            return quality_accuracy(other) >= QUALITY_MIN_RECALL;
    }
    return false;
}

/* Over the tasks that count in contexts of n_tokens; NAN if none does. */
static double mean_accuracy(const struct quality *quality, unsigned setting, uint32_t n_tokens) {
    struct recall_score sum = {0};
    for (unsigned i = 0; i < quality->n_recalls; i++) {
        const struct quality_recall *recall = &quality->recalls[i];
        if (recall->setting != setting || recall->n_tokens != n_tokens || !counts(quality, recall)) continue;
        sum.n_right += recall->score.n_right;
        sum.n_questions += recall->score.n_questions;
    }
    return sum.n_questions > 0 ? (double)sum.n_right / sum.n_questions : NAN;
}

static void print_recalls(const struct quality *quality) {
    if (quality->n_recalls == 0) return;
    printf("\nRetrieval: right answers of 1 in %d choices; asked of all settings where f16 has %.0f %%\n",
           RECALL_CHOICES, 100 * QUALITY_MIN_RECALL);
    printf("%-9s %7s  %-18s %10s %9s\n", "task", "tokens", "setting", "questions", "right");
    for (unsigned i = 0; i < quality->n_recalls; i++) {
        const struct quality_recall *recall = &quality->recalls[i];
        printf("%-9s %7" PRIu32 "  %-18s %10" PRIu32 " %7.1f %%%s\n", recall_task_name(recall->task),
               recall->n_tokens, quality->lineup->settings[recall->setting].name, recall->score.n_questions,
               100 * quality_accuracy(recall), counts(quality, recall) ? "" : "   (does not count)");
    }
}

/* ---- text ---- */

static void print_bytes(const struct quality *quality) {
    char a[CLI_BYTES_LENGTH], b[CLI_BYTES_LENGTH];
    printf("%-18s %12s   %s\n", "setting", "bytes/token",
           "all in: sealed, sink and open blocks, slabs' waste");
    for (unsigned i = 0; i < quality->lineup->n; i++) {
        const struct setting *setting = &quality->lineup->settings[i];
        printf("%-18s %12s   ", setting->name, cli_format_count(a, setting->bytes_per_token));
        if (setting->all_in_tokens > 0)
            printf("%s bytes for %" PRIu64 " tokens, %.0f a token",
                   cli_format_count(b, setting->all_in_bytes), setting->all_in_tokens,
                   (double)setting->all_in_bytes / (double)setting->all_in_tokens);
        putchar('\n');
    }
}

void quality_print_text(const struct quality *quality) {
    print_bytes(quality);
    for (unsigned i = 0; i < quality->n_rows; i++) {
        const struct quality_row *row = &quality->rows[i];
        const struct comparison_figures *f = &row->figures;
        const struct setting *setting = &quality->lineup->settings[row->setting];
        if (i == 0 || row->text != row[-1].text || row->depth != row[-1].depth)
            printf("\n%s, second half of %" PRIu32 " tokens (%" PRIu64
                   " scored)\n%-18s %9s %9s %9s %9s %9s   %s\n",
                   quality->texts[row->text].name, row->depth, f->n, "setting", "KL mean", "median", "99 %",
                   "largest", "same top", "delta ln PPL");
        printf("%-18s %9.2g %9.2g %9.2g %9.2g %7.2f %%   %+.5f +/- %.5f%s%s\n", setting->name, f->kl_mean,
               f->kl_median, f->kl_p99, f->kl_max, 100 * f->top1_agreement, f->delta_ln_ppl,
               f->delta_ln_ppl_stderr, setting->reference != (int)quality->reference ? "   against " : "",
               setting->reference != (int)quality->reference
                   ? quality->lineup->settings[setting->reference].name
                   : "");
    }
    print_recalls(quality);
}

/* ---- JSON ---- */

static json_t *row_json(const struct quality *quality, const struct quality_row *row) {
    const struct comparison_figures *f = &row->figures;
    const struct setting *setting = &quality->lineup->settings[row->setting];
    double accuracy = mean_accuracy(quality, row->setting, row->depth);
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "setting",
                     setting->name, "reference", quality->lineup->settings[setting->reference].name, "text",
                     quality->texts[row->text].name, "depth", (int)row->depth, "scored_tokens",
                     (json_int_t)f->n, "bytes_per_token", (json_int_t)setting->bytes_per_token, "kl_mean",
                     f->kl_mean, "kl_median", f->kl_median, "kl_p99", f->kl_p99, "kl_max", f->kl_max,
                     "top1_agreement", f->top1_agreement, "delta_ln_ppl", f->delta_ln_ppl,
                     "delta_ln_ppl_stderr", f->delta_ln_ppl_stderr, "retrieval_accuracy",
                     isnan(accuracy) ? json_null() : json_real(accuracy));
}

static json_t *settings_json(const struct quality *quality) {
    json_t *settings = json_array();
    for (unsigned i = 0; i < quality->lineup->n; i++) {
        const struct setting *setting = &quality->lineup->settings[i];
        json_array_append_new(settings, json_pack("{s:s, s:s, s:I, s:I, s:I}", "setting", setting->name, "kv",
                                                  setting->kv.text, "bytes_per_token",
                                                  (json_int_t)setting->bytes_per_token, "all_in_bytes",
                                                  (json_int_t)setting->all_in_bytes, "all_in_tokens",
                                                  (json_int_t)setting->all_in_tokens));
    }
    return settings;
}

static json_t *recall_json(const struct quality *quality, const struct quality_recall *recall) {
    return json_pack("{s:s, s:s, s:i, s:i, s:f, s:b}", "setting",
                     quality->lineup->settings[recall->setting].name, "task", recall_task_name(recall->task),
                     "tokens", (int)recall->n_tokens, "questions", (int)recall->score.n_questions, "accuracy",
                     quality_accuracy(recall), "counts", counts(quality, recall));
}

void quality_print_json(const struct quality *quality) {
    json_t *rows = json_array(), *recalls = json_array(), *texts = json_array();
    for (unsigned i = 0; i < quality->n_texts; i++)
        json_array_append_new(texts, json_pack("{s:s, s:I, s:i}", "text", quality->texts[i].name, "tokens",
                                               (json_int_t)quality->texts[i].n_tokens, "windows",
                                               (int)quality->texts[i].n_windows));
    for (unsigned i = 0; i < quality->n_rows; i++)
        json_array_append_new(rows, row_json(quality, &quality->rows[i]));
    for (unsigned i = 0; i < quality->n_recalls; i++)
        json_array_append_new(recalls, recall_json(quality, &quality->recalls[i]));
    json_t *object =
        json_pack("{s:s, s:i, s:i, s:o, s:o, s:o, s:o}", "model", quality->model, "context_tokens",
                  (int)quality->n_context, "threads", (int)quality->n_threads, "texts", texts, "settings",
                  settings_json(quality), "rows", rows, "retrieval", recalls);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}
