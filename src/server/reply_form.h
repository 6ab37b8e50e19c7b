/* What the forms of a reply share: reply.c turns tokens into parts (text and calls) and tells them to the
 * form of the API, which writes bytes. */
#ifndef CABINET_SERVER_REPLY_FORM_H
#define CABINET_SERVER_REPLY_FORM_H

#include "server/output_text.h"
#include "server/reply.h"
#include "server/tool_parser.h"

/* A token of which the client wants the logprob. */
struct reply_entry {
    token_id token;
    float logprob;
    uint32_t n_top;
    size_t top_at;                  /* in the choice's tops */
    size_t start, start_characters; /* of its text in the choice's: bytes, code points */
};

struct reply_range {
    size_t begin, end; /* of a choice's entries */
};

/* A run of text, or a call. */
struct reply_part {
    bool is_call;
    char id[40];      /* of the call, or of the message as a part of its own */
    char *name;       /* of the call's function */
    struct text text; /* or the call's arguments; empty where it is streamed and the form keeps none */
    struct reply_range range; /* the entries of its text */
    bool is_cut;              /* the answer ended within it */
};

struct reply_choice {
    struct reply *reply;
    uint32_t index;
    struct output_text *output;
    struct tool_parser *parser; /* NULL: calls are not looked for */
    struct tokenizer_stream prompt_stream;
    struct reply_part *parts; /* (n_parts) */
    uint32_t n_parts, parts_capacity;
    bool is_open; /* the last part may go on */
    struct reply_entry *entries;
    size_t n_entries, entries_capacity, n_given; /* given: told to the form */
    struct token_logprob *tops;
    size_t n_tops, tops_capacity;
    size_t n_bytes, n_characters; /* text so far that is certain */
    struct text piece;            /* the text of one token */
    double logprob_sum;
    uint32_t n_tokens;
    enum reply_finish finish;
};

/* One API's shapes. All but `whole` are called only for a stream. */
struct reply_form {
    const char *name;
    bool keeps_text; /* its last events repeat the whole text */
    void (*start)(struct reply *reply, struct text *out);
    /* More text of a part, with the entries that are due; `is_new` when it is the part's first. */
    void (*text)(struct reply_choice *choice, struct reply_part *part, bool is_new, const char *bytes,
                 size_t length, struct reply_range due, struct text *out);
    void (*call)(struct reply_choice *choice, struct reply_part *part, struct text *out);
    void (*arguments)(struct reply_choice *choice, struct reply_part *part, const char *bytes, size_t length,
                      struct text *out);
    void (*part_end)(struct reply_choice *choice, struct reply_part *part, struct text *out);
    void (*finish)(struct reply_choice *choice, struct reply_range due, struct text *out);
    void (*end)(struct reply *reply, const struct reply_usage *usage, struct text *out);
    void (*fail)(struct reply *reply, const struct api_error *error, struct text *out);
    /* The body of an answer that is not streamed: of these choices, in this order. */
    void (*whole)(struct reply *reply, const struct reply_usage *usage, const uint32_t *given,
                  uint32_t n_given, struct text *out);
};

extern const struct reply_form reply_form_chat, reply_form_completions, reply_form_responses,
    reply_form_messages;

struct reply {
    struct reply_opts opts; /* its strings are the two below */
    char *model, *fingerprint;
    const struct ask *ask;
    const struct reply_form *form;
    struct tool_marks marks;
    struct reply_choice *choices; /* (opts.n_choices) */
    uint32_t *given;              /* (opts.n_choices) */
    struct reply_usage started;
    uint64_t n_events; /* for forms that count them */
    uint64_t n_ids;
    struct text head; /* what every event of a stream begins with, for forms that repeat it */
    struct text *out; /* of the call that runs */
};

/* The index of a part among those of its choice. */
static inline uint32_t reply_part_index(const struct reply_choice *choice, const struct reply_part *part) {
    return (uint32_t)(part - choice->parts);
}
/* And among the calls alone. */
uint32_t reply_call_index(const struct reply_choice *choice, const struct reply_part *part);
bool reply_has_calls(const struct reply_choice *choice);
bool reply_has_text(const struct reply_choice *choice);

#endif
