/* Constrained answers: random walks over the tokens that are allowed must end in what the source demands, as
 * jansson reads it and hand-written checks say; ends are allowed exactly where that is so. Sources that are
 * refused are in test_constraint_errors.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "base/rng.h"

#include "constraint_case.h"

static int set_up(void **state) {
    (void)state;
    open_vocabulary(&(struct tiny_vocabulary){0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close_vocabulary();
    return 0;
}

/* --- what schemas demand --- */

static bool is_string_of(const json_t *value, size_t min, size_t max) {
    if (!json_is_string(value)) return false;
    size_t n = 0; /* characters */
    for (const char *c = json_string_value(value); *c != '\0'; c++) n += (*c & 0xc0) != 0x80;
    return n >= min && n <= max;
}

static bool is_integer_of(const json_t *value, json_int_t min, json_int_t max) {
    return json_is_integer(value) && json_integer_value(value) >= min && json_integer_value(value) <= max;
}

static bool is_any_object(const json_t *value) { return json_is_object(value); }
static bool is_anything(const json_t *value) { return value != NULL; }

static bool is_person(const json_t *value) {
    static const char *const colours[] = {"red", "green", "blue \"sky\""};
    const json_t *tags = json_object_get(value, "tags");
    size_t n = 2 + (tags != NULL);
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        bool is_known = false;
        for (size_t k = 0; k < 3 && tag != NULL; k++) is_known |= strcmp(tag, colours[k]) == 0;
        if (!is_known) return false;
    }
    return is_string_of(json_object_get(value, "name"), 1, 4) &&
           is_integer_of(json_object_get(value, "age"), -5, 130) &&
           (tags == NULL || (json_is_array(tags) && json_array_size(tags) <= 2)) &&
           json_object_size(value) == n;
}

static bool is_tree(const json_t *value) {
    const json_t *children = json_object_get(value, "children");
    for (size_t i = 0; i < json_array_size(children); i++)
        if (!is_tree(json_array_get(children, i))) return false;
    return json_is_boolean(json_object_get(value, "leaf")) && (children == NULL || json_is_array(children)) &&
           json_object_size(value) == 1u + (children != NULL);
}

static bool is_plate(const json_t *value) {
    const char *text = json_string_value(value);
    static const char shape[] = "AA-ddd";
    if (text == NULL || strlen(text) != strlen(shape)) return false;
    for (size_t i = 0; shape[i] != '\0'; i++) {
        bool fits = shape[i] == 'A'   ? text[i] >= 'A' && text[i] <= 'Z'
                    : shape[i] == 'd' ? text[i] >= '0' && text[i] <= '9'
                                      : text[i] == shape[i];
        if (!fits) return false;
    }
    return true;
}

static bool is_one_of_several(const json_t *value) {
    return json_is_null(value) || is_integer_of(value, 7, 7) || json_is_true(value) ||
           (json_is_string(value) && strcmp(json_string_value(value), "\xe2\x82\xac") == 0) ||
           (json_array_size(value) == 1 && is_integer_of(json_array_get(value, 0), 1, 1));
}

static bool is_merged(const json_t *value) {
    return is_integer_of(json_object_get(value, "a"), 3, 6) &&
           is_string_of(json_object_get(value, "b"), 2, 2) && json_object_size(value) == 2;
}

static bool is_counted(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item) || json_number_value(item) < 0.5 || json_number_value(item) > 2)
            return false;
    }
    return json_array_size(value) >= 2 && json_array_size(value) <= 3;
}

static const struct schema_case {
    const char *schema; /* NULL: any object */
    bool (*fits)(const json_t *value);
} schema_cases[] = {
    {NULL, is_any_object},
    {"true", is_anything},
    {"{}", is_anything},
    {"{\"type\": \"object\"}", is_any_object},
    {"{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"minLength\": 1, "
     "\"maxLength\": 4},"
     " \"age\": {\"type\": \"integer\", \"minimum\": -5, \"maximum\": 130}, \"tags\": {\"type\": \"array\","
     " \"maxItems\": 2, \"items\": {\"enum\": [\"red\", \"green\", \"blue \\\"sky\\\"\"]}}},"
     " \"required\": [\"name\", \"age\"], \"additionalProperties\": false}",
     is_person},
    {"{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"type\": \"object\", \"properties\": {\"leaf\":"
     " {\"type\": \"boolean\"}, \"children\": {\"type\": \"array\", \"maxItems\": 2, \"items\": {\"$ref\":"
     " \"#/$defs/tree\"}}}, \"required\": [\"leaf\"], \"additionalProperties\": false}}}",
     is_tree},
    {"{\"type\": \"string\", \"pattern\": \"^[A-Z]{2}-[0-9]{3}$\"}", is_plate},
    {"{\"enum\": [null, 7, true, \"\xe2\x82\xac\", [1]]}", is_one_of_several},
    {"{\"allOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\", \"minimum\": 3}},"
     " \"required\": [\"a\"]}, {\"properties\": {\"a\": {\"maximum\": 6}, \"b\": {\"type\": \"string\","
     " \"minLength\": 2, \"maxLength\": 2}}, \"required\": [\"b\"], \"additionalProperties\": false}],"
     " \"additionalProperties\": false, \"properties\": {\"a\": true, \"b\": true}}",
     is_merged},
    {"{\"type\": \"array\", \"minItems\": 2, \"maxItems\": 3, \"items\": {\"type\": \"number\","
     " \"minimum\": 0.5, \"maximum\": 2}}",
     is_counted},
    /* what a stranger says of white space does not count */
    {"{\"type\": \"object\", \"x-guidance\": {\"whitespace_pattern\": \"[ \\n]*\"}}", is_any_object},
};

/* --- walks --- */

static struct walk {
    char text[4096];
    size_t length;
    unsigned n_number; /* bytes of a number at the end */
} walk;

static void walk_append(token_id id) {
    struct gguf_string bytes = tokenizer_bytes(tokenizer, id);
    assert_true(walk.length + bytes.length < sizeof walk.text);
    memcpy(walk.text + walk.length, bytes.bytes, bytes.length);
    walk.length += bytes.length;
    for (size_t i = 0; i < bytes.length; i++)
        walk.n_number = strchr("0123456789+-.eE", bytes.bytes[i]) != NULL ? walk.n_number + 1 : 0;
}

static bool is_part_of_number(token_id id) {
    return id > 0 && id < 128 && strchr("0123456789+-.eE", id) != NULL;
}

/* One of the allowed tokens. Long strings and long numbers, which few parsers read, are ended where they can
 * be. */
static token_id draw(const uint32_t *mask, uint64_t seed, uint64_t n_drawn) {
    token_id all[TINY_N], closing[TINY_N];
    size_t n_all = 0, n_closing = 0;
    bool ends_number = walk.n_number >= 3;
    for (token_id id = 0; id < TINY_N; id++) {
        if (!mask_has(mask, id)) continue;
        all[n_all++] = id;
        bool is_end = id == TINY_EOS || id == TINY_IM_END;
        bool closes = ends_number ? !is_part_of_number(id)
                                  : is_end || (id < 128 && id > 0 && strchr("\"]}", id) != NULL);
        if (closes) closing[n_closing++] = id;
    }
    assert_true(n_all > 0);
    uint64_t random = rng_u64(seed, 2 * n_drawn);
    bool close = n_closing > 0 && (ends_number || rng_u64(seed, 2 * n_drawn + 1) % 4 == 0);
    return close ? closing[random % n_closing] : all[random % n_all];
}

/* Does what was written so far satisfy the schema? */
static bool is_complete(bool (*fits)(const json_t *value)) {
    json_t *value = json_loadb(walk.text, walk.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool is = value != NULL && fits(value);
    json_decref(value);
    return is;
}

/* White space is one space behind a comma or colon, or in a string. */
static void assert_compact(void) {
    bool in_string = false;
    for (size_t i = 0; i < walk.length; i++) {
        char c = walk.text[i];
        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string) {
            assert_null(c == '\0' ? NULL : strchr("\t\r\n", c));
            if (c == ' ') assert_true(i > 0 && strchr(",:", walk.text[i - 1]) != NULL);
        }
    }
}

/* A token that is not allowed is refused, and nothing changes. */
static void assert_refuses(struct constraint *constraint, const uint32_t *mask, uint64_t random) {
    token_id id = (token_id)(random % TINY_N);
    for (int i = 0; i < TINY_N && mask_has(mask, id); i++) id = (id + 1) % TINY_N;
    if (mask_has(mask, id)) return;
    uint32_t again[N_WORDS];
    assert_int_equal(constraint_accept(constraint, id), ERR_INVALID);
    take_mask(constraint, again);
    assert_memory_equal(mask, again, sizeof again);
}

static void walk_once(struct constraint *constraint, bool (*fits)(const json_t *value), uint64_t seed) {
    memset(&walk, 0, sizeof walk);
    for (uint64_t n = 0;; n++) {
        uint32_t mask[N_WORDS];
        take_mask(constraint, mask);
        if (mask_has(mask, TINY_EOS) != is_complete(fits))
            fail_msg("seed %u: an end %s allowed behind: %.*s", (unsigned)seed,
                     mask_has(mask, TINY_EOS) ? "is" : "is not", (int)walk.length, walk.text);
        if (n % 8 == 3) assert_refuses(constraint, mask, rng_u64(~seed, n));
        token_id id = draw(mask, seed, n);
        if (constraint_accept(constraint, id) < 0) fail_msg("%s", err_message());
        if (id == TINY_EOS || id == TINY_IM_END) break;
        walk_append(id);
    }
    assert_true(constraint_is_finished(constraint));
    assert_compact();
}

static void walks_end_in_what_the_schema_demands(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof schema_cases / sizeof schema_cases[0]; i++) {
        const struct schema_case *schema = &schema_cases[i];
        struct constraint *fresh =
            open_source(schema->schema == NULL ? CONSTRAINT_JSON_OBJECT : CONSTRAINT_JSON_SCHEMA,
                        schema->schema == NULL ? "" : schema->schema);
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct constraint *constraint;
            assert_int_equal(constraint_fork(&constraint, fresh), 0);
            walk_once(constraint, schema->fits, 100 * i + seed);
            constraint_close(constraint);
        }
        constraint_close(fresh);
    }
}

/* --- one by one --- */

static void only_ends_may_follow_what_is_finished(void **state) {
    (void)state;
    struct constraint *constraint = open_source(CONSTRAINT_REGEX, "ab+|x");
    uint32_t mask[N_WORDS];
    take_mask(constraint, mask);
    assert_true(mask_has(mask, 'a') && mask_has(mask, 'x') && mask_has(mask, TINY_AB));
    assert_false(mask_has(mask, 'b') || mask_has(mask, TINY_EOS) || mask_has(mask, TINY_AA));
    struct constraint *other;
    assert_int_equal(constraint_fork(&other, constraint), 0);

    accept_text(constraint, "ab");
    assert_false(constraint_is_finished(constraint)); /* more of them may come */
    take_mask(constraint, mask);
    assert_true(mask_has(mask, 'b') && mask_has(mask, TINY_EOS));
    assert_int_equal(constraint_accept(constraint, TINY_IM_END), 0);
    assert_true(constraint_is_finished(constraint));
    constraint_close(constraint);

    accept_text(other, "x");
    assert_true(constraint_is_finished(other));
    take_mask(other, mask);
    for (token_id id = 0; id < TINY_N; id++)
        assert_int_equal(mask_has(mask, id), id == TINY_EOS || id == TINY_IM_END);
    assert_int_equal(constraint_accept(other, 'x'), ERR_INVALID);
    assert_int_equal(constraint_accept(other, TINY_EOS), 0);
    assert_true(constraint_is_finished(other));
    constraint_close(other);
}

static void forks_go_their_own_way(void **state) {
    (void)state;
    struct constraint *first = open_source(CONSTRAINT_JSON_SCHEMA, "{\"enum\": [\"abc\", \"abd\"]}"), *second;
    accept_text(first, "\"ab");
    assert_int_equal(constraint_fork(&second, first), 0);
    accept_text(first, "c\"");
    assert_true(constraint_is_finished(first));
    constraint_close(first);
    assert_false(constraint_is_finished(second));
    accept_text(second, "d\"");
    assert_true(constraint_is_finished(second));
    constraint_close(second);
}

static void tokens_that_do_not_exist_are_refused(void **state) {
    (void)state;
    struct constraint *constraint = open_source(CONSTRAINT_REGEX, "a*");
    assert_int_equal(constraint_accept(constraint, -1), ERR_INVALID);
    assert_int_equal(constraint_accept(constraint, TINY_N), ERR_INVALID);
    accept_text(constraint, "aa");
    constraint_close(constraint);
}

static void grammars_hold_schemas_and_control_tokens(void **state) {
    (void)state;
    struct constraint *constraint = open_source(
        CONSTRAINT_LARK,
        "start: \"<tool_call>\\n\" call \"\\n</tool_call>\"\n"
        "call: %json {\"x-guidance\": {\"whitespace_flexible\": false, \"item_separator\": \", \","
        " \"key_separator\": \": \"}, \"type\": \"object\", \"properties\": {\"name\": {\"const\": \"f\"},"
        " \"n\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"n\"], \"additionalProperties\": "
        "false}\n");
    accept_text(constraint, "<tool_call>\n{\"name\": \"f\", \"n\": 12");
    uint32_t mask[N_WORDS];
    take_mask(constraint, mask);
    assert_true(mask_has(mask, '}') && mask_has(mask, '3'));
    assert_false(mask_has(mask, ' ') || mask_has(mask, '\n') || mask_has(mask, ',') ||
                 mask_has(mask, TINY_EOS));
    accept_text(constraint, "}\n</tool_call>");
    assert_true(constraint_is_finished(constraint));
    constraint_close(constraint);

    char source[64];
    snprintf(source, sizeof source, "start: <[%d]> \"a\"", TINY_IM);
    constraint = open_source(CONSTRAINT_LARK, source);
    assert_int_equal(constraint_mask(constraint, mask), 0);
    for (token_id id = 0; id < TINY_N; id++) assert_int_equal(mask_has(mask, id), id == TINY_IM);
    assert_int_equal(constraint_accept(constraint, TINY_IM), 0);
    accept_text(constraint, "a");
    assert_true(constraint_is_finished(constraint));
    constraint_close(constraint);
}

static void text_never_becomes_a_control_token(void **state) {
    (void)state;
    struct constraint *constraint = open_source(CONSTRAINT_REGEX, "(?s:.*)");
    uint32_t mask[N_WORDS];
    accept_text(constraint, "<s></s><|im_end|>"); /* take_mask looks */
    take_mask(constraint, mask);
    assert_true(mask_has(mask, TINY_TOOL) && mask_has(mask, TINY_PLAIN)); /* these are text */
    assert_false(mask_has(mask, 0xff) || mask_has(mask, 0x80));           /* no UTF-8 */
    assert_false(constraint_is_finished(constraint));
    constraint_close(constraint);
}

/* Half of a token longer than llguidance takes must not stand for the whole. */
static void overlong_tokens_never_come(void **state) {
    (void)state;
    char long_piece[301];
    memset(long_piece, 'a', 300);
    long_piece[300] = '\0';
    tear_down(NULL);
    open_vocabulary(&(struct tiny_vocabulary){.piece_of_hole = long_piece, .kind_of_hole = TOKEN_NORMAL});
    assert_int_equal(tokenizer_bytes(tokenizer, TINY_HOLE).length, 300);
    struct constraint *constraint = open_source(CONSTRAINT_REGEX, "a{0,260}");
    accept_text(constraint, "aaaa"); /* take_mask looks */
    constraint_close(constraint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_end_in_what_the_schema_demands),
        cmocka_unit_test(only_ends_may_follow_what_is_finished),
        cmocka_unit_test(forks_go_their_own_way),
        cmocka_unit_test(tokens_that_do_not_exist_are_refused),
        cmocka_unit_test(grammars_hold_schemas_and_control_tokens),
        cmocka_unit_test(text_never_becomes_a_control_token),
        cmocka_unit_test(overlong_tokens_never_come),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
