/* Request bodies of four APIs: what they become, and which field is named when they are refused. Bodies are
 * written with ' for ". */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "server/ask.h"

#include "quoted_json.h"

static const struct ask_limits limits = {
    .max_choices = 8, .max_stops = 16, .max_top_logprobs = 20, .n_vocab = 1000};
static struct api_error error;

static struct ask *parse(enum ask_api api, const char *body) {
    struct ask *ask = NULL;
    char *copy = quoted(body);
    int result = ask_parse(api, copy, strlen(copy), &limits, &ask, &error);
    free(copy);
    assert_true((result == 0) == (ask != NULL));
    return ask;
}

static struct ask *accepted(enum ask_api api, const char *body) {
    struct ask *ask = parse(api, body);
    if (ask == NULL) fail_msg("%s\nrefused: %s", body, error.message);
    return ask;
}

static void assert_accepted(enum ask_api api, const char *body) { ask_free(accepted(api, body)); }

/* 400, with this param (NULL: none) and a message that holds `words`. */
static void assert_refused(enum ask_api api, const char *body, const char *param, const char *words) {
    struct ask *ask = parse(api, body);
    if (ask != NULL) fail_msg("accepted: %s", body);
    assert_int_equal(error.status, 400);
    const char *named = error.param != NULL ? error.param : "(none)";
    const char *wanted = param != NULL ? param : "(none)";
    if (strcmp(named, wanted) != 0) fail_msg("%s\nparam %s, not %s: %s", body, named, wanted, error.message);
    if (strstr(error.message, words) == NULL) fail_msg("%s\nsays: %s", body, error.message);
}

#define HI "'messages':[{'role':'user','content':'hi'}]"
#define CHAT(fields) "{" HI "," fields "}"
#define COMPLETION(fields) "{'prompt':'x'," fields "}"
#define RESPONSE(fields) "{'input':'x'," fields "}"
#define MESSAGE(fields) "{'max_tokens':9," HI "," fields "}"

static void chat_has_defaults(void **state) {
    (void)state;
    struct ask *ask = accepted(ASK_CHAT, "{" HI "}");
    assert_int_equal(ask->api, ASK_CHAT);
    assert_string_equal(ask->model, "");
    assert_string_equal(ask->user, "");
    assert_json(ask->messages, "[{'role':'user','content':'hi'}]");
    assert_true(ask->adds_generation_prompt && !ask->continues_final_message && ask->parallel_tool_calls);
    assert_null(ask->tools);
    assert_int_equal(ask->tool_choice, ASK_TOOLS_NONE);
    assert_int_equal(ask->n, 1);
    assert_int_equal(ask->best_of, 1);
    assert_true(ask->max_tokens == UINT32_MAX && ask->min_tokens == 0);
    assert_false(ask->is_streamed || ask->includes_usage || ask->wants_logprobs || ask->ignores_end);
    assert_int_equal(ask->n_stops, 0);
    assert_int_equal(ask->format, ASK_TEXT);
    assert_true(ask->sampling.temperature == 1 && ask->sampling.top_p == 1 && ask->sampling.min_p == 0);
    assert_true(ask->sampling.repeat_penalty == 1 && ask->sampling.n_biases == 0 && !ask->has_seed);
    ask_free(ask);
}

static void chat_reads_every_option(void **state) {
    (void)state;
    struct ask *ask = accepted(
        ASK_CHAT,
        CHAT("'model':'m','stream':true,'stream_options':{'include_usage':true},'max_tokens':5,"
             "'max_completion_tokens':7,'temperature':0.5,'top_p':0.25,'top_k':40,'min_p':0.125,'n':2,"
             "'best_of':2,'stop':['a','bc'],'seed':-1,'presence_penalty':-2,'frequency_penalty':1.5,"
             "'repetition_penalty':1.25,'logit_bias':{'7':-100,'0':1.5},'logprobs':true,'top_logprobs':20,"
             "'user':'u','response_format':{'type':'json_schema','json_schema':{'name':'s','schema':"
             "{'type':'object'}}},'ignore_eos':true,'min_tokens':3,'priority':-4,'cache_salt':'s','unknown':{"
             "'x':[1]}"));
    assert_string_equal(ask->cache_salt, "s");
    assert_string_equal(ask->model, "m");
    assert_true(ask->is_streamed && ask->includes_usage && ask->wants_logprobs && ask->ignores_end);
    assert_int_equal(ask->max_tokens, 7);
    assert_true(ask->sampling.temperature == 0.5f && ask->sampling.top_p == 0.25f);
    assert_true(ask->sampling.top_k == 40 && ask->sampling.min_p == 0.125f);
    assert_true(ask->n == 2 && ask->best_of == 2 && ask->n_stops == 2);
    assert_string_equal(ask->stops[0], "a");
    assert_string_equal(ask->stops[1], "bc");
    assert_true(ask->has_seed && ask->sampling.seed == UINT64_MAX);
    assert_true(ask->sampling.presence_penalty == -2 && ask->sampling.frequency_penalty == 1.5f);
    assert_true(ask->sampling.repeat_penalty == 1.25f);
    assert_true(ask->sampling.n_biases == 2 && ask->sampling.biases == ask->biases);
    for (int i = 0; i < 2; i++)
        assert_true(ask->biases[i].token == 7 ? ask->biases[i].bias == -100
                                              : ask->biases[i].token == 0 && ask->biases[i].bias == 1.5f);
    assert_int_equal(ask->n_top_logprobs, 20);
    assert_string_equal(ask->user, "u");
    assert_int_equal(ask->format, ASK_JSON_SCHEMA);
    assert_string_equal(ask->schema, "{\"type\":\"object\"}");
    assert_string_equal(ask->schema_name, "s");
    assert_true(ask->min_tokens == 3 && ask->priority == -4);
    ask_free(ask);
    ask = accepted(ASK_CHAT, CHAT("'stop':'x','top_k':-1,'response_format':{'type':'json_object'},"
                                  "'temperature':0,'temperature':2,'seed':null,'tools':[]"));
    assert_true(ask->n_stops == 1 && ask->sampling.top_k == 0 && ask->sampling.temperature == 2);
    assert_true(ask->format == ASK_JSON_OBJECT && !ask->has_seed && ask->tools == NULL);
    ask_free(ask);
}

static void chat_brings_messages_into_one_form(void **state) {
    (void)state;
    struct ask *ask = accepted(
        ASK_CHAT,
        "{'messages':[{'role':'developer','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]},"
        "{'role':'user','content':'hi','name':'Ann'},"
        "{'role':'assistant','content':null,'tool_calls':[{'id':'c1','type':'function','function':"
        "{'name':'f','arguments':'{\\'x\\':[1,{}]}'}},{'id':'c2','function':{'name':'g','arguments':''}}]},"
        "{'role':'tool','tool_call_id':'c2','content':[{'type':'text','text':'r'}]},"
        "{'role':'tool','tool_call_id':'zz','content':''},"
        "{'role':'assistant'}]}");
    assert_json(ask->messages,
                "[{'role':'system','content':'a\\nb'},{'role':'user','content':'hi','name':'Ann'},"
                "{'role':'assistant','content':'','tool_calls':[{'id':'c1','type':'function','function':"
                "{'name':'f','arguments':{'x':[1,{}]}}},{'id':'c2','type':'function','function':{'name':'g',"
                "'arguments':{}}}]},"
                "{'role':'tool','tool_call_id':'c2','name':'g','content':'r'},"
                "{'role':'tool','tool_call_id':'zz','content':''},"
                "{'role':'assistant','content':''}]");
    ask_free(ask);
}

static void chat_continues_an_answer(void **state) {
    (void)state;
    const char *talk = "{'messages':[{'role':'user','content':'x'},{'role':'assistant','content':'y'}],"
                       "'continue_final_message':true,'add_generation_prompt':false,'echo':true}";
    struct ask *ask = accepted(ASK_CHAT, talk);
    assert_true(ask->continues_final_message && ask->repeats_final_message && !ask->adds_generation_prompt);
    ask_free(ask);
    ask = accepted(ASK_CHAT, CHAT("'add_generation_prompt':false"));
    assert_true(!ask->adds_generation_prompt && !ask->continues_final_message);
    ask_free(ask);
    assert_refused(ASK_CHAT, CHAT("'continue_final_message':true"), "continue_final_message", "assistant");
    assert_refused(ASK_CHAT, CHAT("'continue_final_message':true,'add_generation_prompt':true"),
                   "add_generation_prompt", "exclude");
}

#define TOOL(name) "{'type':'function','function':{'name':'" name "'}}"
#define TOOLS "'tools':[" TOOL("f") "," TOOL("g") "],"

static void chat_reads_tools(void **state) {
    (void)state;
    struct ask *ask =
        accepted(ASK_CHAT, CHAT("'tools':[{'type':'function','function':{'name':'f','description':'d',"
                                "'parameters':{'type':'object'},'strict':true,'x':1}}," TOOL("g") "]"));
    assert_json(ask->tools, "[{'type':'function','function':{'name':'f','description':'d','parameters':"
                            "{'type':'object'},'strict':true}},{'type':'function','function':{'name':'g',"
                            "'parameters':{'type':'object','properties':{}}}}]");
    assert_int_equal(ask->tool_choice, ASK_TOOLS_AUTO);
    ask_free(ask);
    static const struct {
        const char *body;
        enum ask_tool_choice choice;
    } choices[] = {
        {CHAT(TOOLS "'tool_choice':'none'"), ASK_TOOLS_NONE},
        {CHAT(TOOLS "'tool_choice':'auto'"), ASK_TOOLS_AUTO},
        {CHAT(TOOLS "'tool_choice':'required'"), ASK_TOOLS_REQUIRED},
        {CHAT("'tool_choice':'auto'"), ASK_TOOLS_NONE},
        {CHAT(TOOLS "'tool_choice':{'type':'function','function':{'name':'g'}}"), ASK_TOOLS_NAMED}};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        ask = accepted(ASK_CHAT, choices[i].body);
        assert_int_equal(ask->tool_choice, choices[i].choice);
        if (ask->tool_choice == ASK_TOOLS_NAMED) assert_string_equal(ask->tool_name, "g");
        ask_free(ask);
    }
    ask = accepted(ASK_CHAT, CHAT(TOOLS "'parallel_tool_calls':false"));
    assert_false(ask->parallel_tool_calls);
    ask_free(ask);
}

static void chat_refuses_bad_tools(void **state) {
    (void)state;
    static const char *const bad[][3] = {
        {CHAT("'tools':{}"), "tools", "array"},
        {CHAT("'tools':[1]"), "tools", "tools[0] must be an object"},
        {CHAT("'tools':[{'type':'web_search'}]"), "tools", "tools[0].type"},
        {CHAT("'tools':[{'type':'function'}]"), "tools", "tools[0].function is missing"},
        {CHAT("'tools':[" TOOL("a b") "]"), "tools", "characters"},
        {CHAT("'tools':[" TOOL("") "]"), "tools", "characters"},
        {CHAT("'tools':[" TOOL("f") "," TOOL("f") "]"), "tools", "twice"},
        {CHAT("'tools':[{'type':'function','function':{'name':'f','parameters':[]}}]"), "tools", "an object"},
        {CHAT("'tool_choice':'required'"), "tool_choice", "no tools"},
        {CHAT(TOOLS "'tool_choice':'maybe'"), "tool_choice", "required"},
        {CHAT(TOOLS "'tool_choice':7"), "tool_choice", "string or an object"},
        {CHAT(TOOLS "'tool_choice':{'type':'function','function':{'name':'h'}}"), "tool_choice", "one of"},
        {CHAT(TOOLS "'tool_choice':{'type':'function','name':'g'}"), "tool_choice", "function is missing"},
        {CHAT("'functions':[]"), "functions", "tools"},
        {CHAT("'function_call':'auto'"), "function_call", "tool_choice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(ASK_CHAT, bad[i][0], bad[i][1], bad[i][2]);
}

static void chat_names_the_field_at_fault(void **state) {
    (void)state;
    static const char *const bad[][3] = {
        {CHAT("'model':5"), "model", "must be a string, not an integer"},
        {CHAT("'stream':'yes'"), "stream", "a boolean"},
        {CHAT("'stream_options':{'include_usage':true}"), "stream_options", "stream"},
        {CHAT("'stream':true,'stream_options':{'include_usage':1}"), "stream_options", "include_usage"},
        {CHAT("'max_tokens':0"), "max_tokens", "outside 1"},
        {CHAT("'max_tokens':-5"), "max_tokens", "outside"},
        {CHAT("'max_tokens':1.5"), "max_tokens", "an integer"},
        {CHAT("'max_tokens':4294967296"), "max_tokens", "outside"},
        {CHAT("'max_completion_tokens':'7'"), "max_completion_tokens", "an integer"},
        {CHAT("'temperature':2.1"), "temperature", "outside 0 .. 2"},
        {CHAT("'temperature':-0.1"), "temperature", "outside"},
        {CHAT("'temperature':'hot'"), "temperature", "a number"},
        {CHAT("'top_p':1.01"), "top_p", "outside"},
        {CHAT("'top_k':-2"), "top_k", "outside"},
        {CHAT("'min_p':2"), "min_p", "outside"},
        {CHAT("'n':0"), "n", "outside 1 .. 8"},
        {CHAT("'n':9"), "n", "outside 1 .. 8"},
        {CHAT("'n':2,'best_of':1"), "best_of", "less than n"},
        {CHAT("'best_of':2,'stream':true"), "best_of", "stream"},
        {CHAT("'stop':''"), "stop", "0 bytes"},
        {CHAT("'stop':[1]"), "stop", "string"},
        {CHAT("'stop':{}"), "stop", "string"},
        {CHAT("'stop':['1','2','3','4','5','6','7','8','9','a','b','c','d','e','f','g','h']"), "stop", "17"},
        {CHAT("'seed':1.5"), "seed", "an integer"},
        {CHAT("'presence_penalty':3"), "presence_penalty", "outside"},
        {CHAT("'repetition_penalty':0"), "repetition_penalty", "outside"},
        {CHAT("'logit_bias':[]"), "logit_bias", "an object"},
        {CHAT("'logit_bias':{'1000':1}"), "logit_bias", "between 0 and 999"},
        {CHAT("'logit_bias':{'01':1}"), "logit_bias", "no token id"},
        {CHAT("'logit_bias':{'-1':1}"), "logit_bias", "no token id"},
        {CHAT("'logit_bias':{'1':101}"), "logit_bias", "numbers"},
        {CHAT("'logit_bias':{'1':'x'}"), "logit_bias", "numbers"},
        {CHAT("'logprobs':1"), "logprobs", "a boolean"},
        {CHAT("'top_logprobs':1"), "top_logprobs", "logprobs"},
        {CHAT("'logprobs':true,'top_logprobs':21"), "top_logprobs", "0 .. 20"},
        {CHAT("'user':[]"), "user", "a string, not an array"},
        {CHAT("'response_format':'json'"), "response_format", "an object"},
        {CHAT("'response_format':{}"), "response_format", "response_format.type is missing"},
        {CHAT("'response_format':{'type':'xml'}"), "response_format", "json_schema"},
        {CHAT("'response_format':{'type':'json_schema'}"), "response_format", "json_schema is missing"},
        {CHAT("'response_format':{'type':'json_schema','json_schema':{}}"), "response_format",
         "response_format.json_schema.schema is missing"},
        {CHAT("'min_tokens':8,'max_tokens':7"), "min_tokens", "more than"},
        {CHAT("'priority':3000000000"), "priority", "outside"},
        {CHAT("'cache_salt':7"), "cache_salt", "must be a string"},
        {CHAT("'cache_salt':''"), "cache_salt", "0 bytes"},
        {CHAT("'audio':{}"), "audio", "text"},
        {"{}", "messages", "is missing"},
        {"{'messages':[]}", "messages", "is empty"},
        {"{'messages':'x'}", "messages", "an array"},
        {"{'messages':[1]}", "messages", "messages[0] must"},
        {"{'messages':[{'content':'x'}]}", "messages", "messages[0].role is missing"},
        {"{'messages':[{'role':'user'}]}", "messages", "messages[0].content is missing"},
        {"{'messages':[{'role':'user','content':7}]}", "messages", "messages[0].content"},
        {"{'messages':[{'role':'king','content':'x'}]}", "messages", "'king'"},
        {"{'messages':[{'role':'user','content':[{'type':'image_url','image_url':{'url':'x'}}]}]}",
         "messages", "vision"},
        {"{'messages':[{'role':'user','content':[{'text':'x'}]}]}", "messages",
         "messages[0].content[0].type is missing"},
        {"{'messages':[{'role':'tool','content':'x'}]}", "messages", "tool_call_id"},
        {"{'messages':[{'role':'assistant','tool_calls':[{'id':'c','function':{'name':'f','arguments':'[]'}}]"
         "}]}",
         "messages", "messages[0].tool_calls[0].function.arguments is not the text of a JSON object"},
        {"{'messages':[{'role':'assistant','tool_calls':[{'function':{'name':'f','arguments':'{}'}}]}]}",
         "messages", "tool_calls[0].id is missing"},
        {"{'messages':[{'role':'assistant','function_call':{}}]}", "messages", "tool_calls"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(ASK_CHAT, bad[i][0], bad[i][1], bad[i][2]);
}

static void bodies_that_are_not_json(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "early"},
        {"{", "early"},
        {"{}x", "follows"},
        {"{'a':'\xff'}", "UTF-8"},
        {"{'a':'\xed\xa0\x80'}", "UTF-8"},
        {"{'a':'\\u0000'}", "NUL"},
        {"{'\\u0000':1}", "NUL"},
        {"{'a':1e999}", "too large"},
        {"{'a':99999999999999999999}", "too large"},
        {"{'a':NaN}", "syntax"},
        {"[]", "must be a JSON object"},
        {"'x'", "syntax"},
    };
    for (size_t api = ASK_CHAT; api <= ASK_MESSAGES; api++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            assert_refused((enum ask_api)api, bad[i][0], NULL, bad[i][1]);
    struct ask *ask;
    assert_true(ask_parse(ASK_CHAT, "{\"a\":1\0}", 8, &limits, &ask, &error) < 0);
}

/* 10,000 levels of the body, of a string's JSON, and depth at its limit. */
static void deep_nesting_is_refused(void **state) {
    (void)state;
    enum { LEVELS = 10000 };
    static char body[5 * LEVELS + 400];
    for (int is_object = 0; is_object < 2; is_object++) {
        char *end = body + sprintf(body, "{" HI ",'x':");
        for (int i = 0; i < LEVELS; i++) end += sprintf(end, "%s", is_object ? "{'':" : "[");
        assert_refused(ASK_CHAT, body, NULL, "nested deeper");
    }
    char *at = body + sprintf(body, "{'messages':[{'role':'assistant','tool_calls':[{'id':'c','function':"
                                    "{'name':'f','arguments':'");
    for (int i = 0; i < LEVELS; i++) *at++ = '[';
    (void)sprintf(at, "'}}]}]}");
    assert_refused(ASK_CHAT, body, "messages", "nested deeper");
    for (int levels = 127; levels <= 128; levels++) {
        at = body + sprintf(body, "{" HI ",'x':");
        for (int i = 0; i < levels; i++) *at++ = '[';
        for (int i = 0; i < levels; i++) *at++ = ']';
        (void)sprintf(at, ",'y':'[[{\\\\{'}");
        if (levels < 128)
            assert_accepted(ASK_CHAT, body);
        else
            assert_refused(ASK_CHAT, body, NULL, "nested deeper");
    }
}

static void completions_read_prompts(void **state) {
    (void)state;
    struct ask *ask = accepted(ASK_COMPLETIONS, "{'prompt':'x'}");
    assert_true(ask->n_prompts == 1 && ask->max_tokens == 16 && !ask->echo && ask->messages == NULL);
    assert_string_equal(ask->prompts[0].text, "x");
    ask_free(ask);
    ask = accepted(ASK_COMPLETIONS, "{'prompt':['a',[1,2],'b'],'n':2,'best_of':2,'echo':true,'max_tokens':0,"
                                    "'logprobs':0,'suffix':''}");
    assert_true(ask->n_prompts == 3 && ask->prompts[1].n_ids == 2 && ask->prompts[1].text == NULL);
    assert_true(ask->prompts[1].ids[0] == 1 && ask->prompts[1].ids[1] == 2);
    assert_string_equal(ask->prompts[2].text, "b");
    assert_true(ask->echo && ask->max_tokens == 0 && ask->wants_logprobs && ask->n_top_logprobs == 0);
    ask_free(ask);
    ask = accepted(ASK_COMPLETIONS, "{'prompt':[0,999],'logprobs':5,'best_of':3}");
    assert_true(ask->n_prompts == 1 && ask->prompts[0].n_ids == 2 && ask->prompts[0].ids[1] == 999);
    assert_true(ask->wants_logprobs && ask->n_top_logprobs == 5 && ask->n == 1 && ask->best_of == 3);
    ask_free(ask);
    static const char *const bad[][3] = {
        {"{}", "prompt", "is missing"},
        {"{'prompt':[]}", "prompt", "is empty"},
        {"{'prompt':7}", "prompt", "must be"},
        {"{'prompt':[[]]}", "prompt", "empty array"},
        {"{'prompt':[1,'x']}", "prompt", "mix"},
        {"{'prompt':['x',1]}", "prompt", "must be"},
        {"{'prompt':[1000]}", "prompt", "between 0 and 999"},
        {"{'prompt':[-1]}", "prompt", "no token id"},
        {"{'prompt':['','','','','','','','','']}", "prompt", "9 prompts"},
        {"{'prompt':['','',''],'n':3}", "prompt", "9 answers"},
        {COMPLETION("'best_of':9"), "best_of", "outside"},
        {COMPLETION("'max_tokens':0"), "max_tokens", "outside"},
        {COMPLETION("'suffix':'y'"), "suffix", "not there"},
        {COMPLETION("'logprobs':true"), "logprobs", "an integer"},
        {COMPLETION("'logprobs':21"), "logprobs", "0 .. 20"},
        {COMPLETION("'echo':'x'"), "echo", "a boolean"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(ASK_COMPLETIONS, bad[i][0], bad[i][1], bad[i][2]);
}

static void responses_bring_items_into_messages(void **state) {
    (void)state;
    struct ask *ask = accepted(
        ASK_RESPONSES,
        "{'instructions':'be','input':[{'role':'developer','content':'brief'},"
        "{'role':'user','content':[{'type':'input_text','text':'hi'}]},"
        "{'type':'reasoning','summary':[]},"
        "{'type':'message','role':'assistant','content':[{'type':'output_text','text':'let me see'}]},"
        "{'type':'function_call','call_id':'c1','name':'f','arguments':'{\\'a\\':1}'},"
        "{'type':'function_call','call_id':'c2','name':'g','arguments':'{}'},"
        "{'type':'function_call_output','call_id':'c1','output':'r1'},"
        "{'type':'function_call_output','call_id':'c2','output':[{'type':'input_text','text':'r2'}]}],"
        "'max_output_tokens':5,'text':{'format':{'type':'json_schema','name':'n','schema':{'a':1}}},"
        "'tools':[{'type':'function','name':'f','parameters':{}}],'tool_choice':{'type':'function','name':'f'"
        "},"
        "'store':true,'metadata':{'k':'v'},'include':['message.output_text.logprobs'],'top_logprobs':2}");
    assert_json(ask->messages, "[{'role':'system','content':'be\\n\\nbrief'},{'role':'user','content':'hi'},"
                               "{'role':'assistant','content':'let me see','tool_calls':["
                               "{'id':'c1','type':'function','function':{'name':'f','arguments':{'a':1}}},"
                               "{'id':'c2','type':'function','function':{'name':'g','arguments':{}}}]},"
                               "{'role':'tool','tool_call_id':'c1','name':'f','content':'r1'},"
                               "{'role':'tool','tool_call_id':'c2','name':'g','content':'r2'}]");
    assert_json(ask->tools, "[{'type':'function','function':{'name':'f','parameters':{}}}]");
    assert_json(ask->metadata, "{'k':'v'}");
    assert_json(ask->instructions, "'be'");
    assert_true(ask->tool_choice == ASK_TOOLS_NAMED && ask->max_tokens == 5);
    assert_true(ask->format == ASK_JSON_SCHEMA && ask->wants_logprobs && ask->n_top_logprobs == 2);
    assert_string_equal(ask->schema, "{\"a\":1}");
    ask_free(ask);
    ask = accepted(ASK_RESPONSES, RESPONSE("'temperature':0.5,'stream':true,'previous_response_id':null"));
    assert_json(ask->messages, "[{'role':'user','content':'x'}]");
    assert_true(ask->is_streamed && ask->max_tokens == UINT32_MAX && ask->instructions == NULL);
    ask_free(ask);
    static const char *const bad[][3] = {
        {"{}", "input", "is missing"},
        {"{'input':[]}", "input", "is empty"},
        {"{'input':3}", "input", "must be"},
        {"{'input':[{'type':'item_reference','id':'x'}]}", "input", "input[0].type"},
        {"{'input':[{'role':'user','content':[{'type':'input_image'}]}]}", "input", "vision"},
        {"{'input':[{'type':'function_call','name':'f','arguments':'{}'}]}", "input", "call_id"},
        {"{'input':[{'type':'function_call_output','call_id':'c'}]}", "input", "input[0].output is missing"},
        {RESPONSE("'previous_response_id':'resp_1'"), "previous_response_id", "not stored"},
        {RESPONSE("'conversation':'c'"), "conversation", "not stored"},
        {RESPONSE("'background':true"), "background", "not stored"},
        {RESPONSE("'truncation':'auto'"), "truncation", "disabled"},
        {RESPONSE("'tools':[{'type':'web_search'}]"), "tools", "built-in"},
        {RESPONSE("'text':{'format':{'type':'json_schema'}}"), "text", "text.format.schema is missing"},
        {RESPONSE("'max_output_tokens':0"), "max_output_tokens", "outside"},
        {RESPONSE("'include':[1]"), "include", "strings"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(ASK_RESPONSES, bad[i][0], bad[i][1], bad[i][2]);
}

static void messages_bring_blocks_into_messages(void **state) {
    (void)state;
    struct ask *ask = accepted(
        ASK_MESSAGES,
        "{'model':'m','max_tokens':9,'system':[{'type':'text','text':'s1'},{'type':'text','text':'s2'}],"
        "'messages':[{'role':'user','content':'hi'},"
        "{'role':'assistant','content':[{'type':'thinking','thinking':'?'},{'type':'text','text':'so'},"
        "{'type':'tool_use','id':'t1','name':'f','input':{'a':1}},{'type':'text','text':'and'},"
        "{'type':'tool_use','id':'t2','name':'g','input':{}}]},"
        "{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1','content':'r1','is_error':false},"
        "{'type':'tool_result','tool_use_id':'t2','content':[{'type':'text','text':'r2'}]},"
        "{'type':'tool_result','tool_use_id':'t3'},{'type':'text','text':'well?'}]}],"
        "'stop_sequences':['x'],'top_k':3,'metadata':{'user_id':'u'},"
        "'tools':[{'name':'f','description':'d','input_schema':{'type':'object'}}],"
        "'tool_choice':{'type':'any','disable_parallel_tool_use':true}}");
    assert_json(ask->messages, "[{'role':'system','content':'s1\\ns2'},{'role':'user','content':'hi'},"
                               "{'role':'assistant','content':'so\\nand','tool_calls':["
                               "{'id':'t1','type':'function','function':{'name':'f','arguments':{'a':1}}},"
                               "{'id':'t2','type':'function','function':{'name':'g','arguments':{}}}]},"
                               "{'role':'tool','tool_call_id':'t1','name':'f','content':'r1'},"
                               "{'role':'tool','tool_call_id':'t2','name':'g','content':'r2'},"
                               "{'role':'tool','tool_call_id':'t3','content':''},"
                               "{'role':'user','content':'well?'}]");
    assert_json(ask->tools, "[{'type':'function','function':{'name':'f','description':'d','parameters':"
                            "{'type':'object'}}}]");
    assert_true(ask->tool_choice == ASK_TOOLS_REQUIRED && !ask->parallel_tool_calls);
    assert_true(ask->max_tokens == 9 && ask->n_stops == 1 && ask->sampling.top_k == 3);
    assert_string_equal(ask->user, "u");
    assert_false(ask->continues_final_message);
    ask_free(ask);
    ask = accepted(ASK_MESSAGES, "{'max_tokens':1,'system':'s','messages':[{'role':'user','content':'a'},"
                                 "{'role':'assistant','content':'{'}]}");
    assert_true(ask->continues_final_message && !ask->adds_generation_prompt);
    ask_free(ask);
    static const char *const bad[][3] = {
        {"{" HI "}", "max_tokens", "is missing"},
        {"{'max_tokens':1}", "messages", "is missing"},
        {"{'max_tokens':1,'messages':[{'role':'system','content':'x'}]}", "messages", "'system'"},
        {"{'max_tokens':1,'messages':[{'role':'user','content':[{'type':'image','source':{}}]}]}", "messages",
         "vision"},
        {"{'max_tokens':1,'messages':[{'role':'user','content':[{'type':'tool_use'}]}]}", "messages",
         "assistant"},
        {"{'max_tokens':1,'messages':[{'role':'assistant','content':[{'type':'tool_result'}]}]}", "messages",
         "user"},
        {MESSAGE("'system':4"), "system", "must be"},
        {MESSAGE("'tools':[{'type':'bash_20250124','name':'bash'}]"), "tools", "built-in"},
        {MESSAGE("'tool_choice':{'type':'any'}"), "tool_choice", "no tools"},
        {MESSAGE("'tool_choice':{'type':'tool','name':'f'}"), "tool_choice", "one of"},
        {MESSAGE("'tool_choice':'auto'"), "tool_choice", "an object"},
        {MESSAGE("'stop_sequences':['']"), "stop_sequences", "0 bytes"},
        {MESSAGE("'metadata':{'user_id':3}"), "metadata", "metadata.user_id"},
        {MESSAGE("'max_tokens':0"), "max_tokens", "outside"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(ASK_MESSAGES, bad[i][0], bad[i][1], bad[i][2]);
}

static void errors_are_written_for_both_kinds_of_clients(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *openai, *anthropic;
    } types[] = {
        {400, "invalid_request_error", "invalid_request_error"},
        {401, "authentication_error", "authentication_error"},
        {404, "invalid_request_error", "not_found_error"},
        {408, "invalid_request_error", "invalid_request_error"},
        {413, "invalid_request_error", "request_too_large"},
        {422, "invalid_request_error", "invalid_request_error"},
        {429, "rate_limit_error", "rate_limit_error"},
        {500, "server_error", "api_error"},
        {503, "server_error", "overloaded_error"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char expected[400];
        struct text openai = {0}, anthropic = {0};
        assert_true(api_error_set(&error, types[i].status, "n", NULL, "a \"b\" %s", "c\nd") < 0);
        api_error_write(&error, false, &openai);
        api_error_write(&error, true, &anthropic);
        json_t *first = json_loads(openai.bytes, 0, NULL), *second = json_loads(anthropic.bytes, 0, NULL);
        (void)snprintf(expected, sizeof expected,
                       "{'error':{'type':'%s','message':'a \\\"b\\\" c d','param':'n','code':null}}",
                       types[i].openai);
        assert_json(first, expected);
        (void)snprintf(expected, sizeof expected,
                       "{'type':'error','error':{'type':'%s','message':'a \\\"b\\\" c d'}}",
                       types[i].anthropic);
        assert_json(second, expected);
        json_decref(first);
        json_decref(second);
        text_free(&openai);
        text_free(&anthropic);
    }
}

/* A message that is cut within a character, or quotes bytes that are none, is still UTF-8. */
static void error_messages_are_utf8(void **state) {
    (void)state;
    char text[500];
    for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xc3\xa9", 3);
    for (int shift = 0; shift < 2; shift++) {
        struct text out = {0};
        (void)api_error_set(&error, 400, NULL, "x", "%s\xff%s", shift ? "a" : "", text);
        api_error_write(&error, false, &out);
        json_t *parsed = json_loads(out.bytes, 0, NULL);
        assert_non_null(parsed);
        const char *message = json_string_value(json_object_get(json_object_get(parsed, "error"), "message"));
        assert_null(strstr(message, "\xef\xbf\xbd"));
        assert_string_equal(message, error.message);
        json_decref(parsed);
        text_free(&out);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char *const bodies[] = {
        [ASK_CHAT] =
            CHAT(TOOLS "'stop':['a','b'],'logit_bias':{'1':1},'response_format':{'type':'json_schema',"
                       "'json_schema':{'schema':{}}},'tool_choice':{'type':'function','function':{'name':"
                       "'f'}}"),
        [ASK_COMPLETIONS] = "{'prompt':['a',[1],'b']}",
        [ASK_RESPONSES] = RESPONSE("'user':'u','model':'m'"),
        [ASK_MESSAGES] = MESSAGE("'system':[{'type':'text','text':'a'}]"),
    };
    for (size_t api = ASK_CHAT; api <= ASK_MESSAGES; api++)
        for (uint64_t n = 1;; n++) {
            assert_true(n < 100);
            fault_arm(FAULT_ONCE, n);
            struct ask *ask = parse((enum ask_api)api, bodies[api]);
            fault_disarm();
            if (ask != NULL) {
                ask_free(ask);
                break;
            }
            assert_int_equal(error.status, 503);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_has_defaults),
        cmocka_unit_test(chat_reads_every_option),
        cmocka_unit_test(chat_brings_messages_into_one_form),
        cmocka_unit_test(chat_continues_an_answer),
        cmocka_unit_test(chat_reads_tools),
        cmocka_unit_test(chat_refuses_bad_tools),
        cmocka_unit_test(chat_names_the_field_at_fault),
        cmocka_unit_test(bodies_that_are_not_json),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(completions_read_prompts),
        cmocka_unit_test(responses_bring_items_into_messages),
        cmocka_unit_test(messages_bring_blocks_into_messages),
        cmocka_unit_test(errors_are_written_for_both_kinds_of_clients),
        cmocka_unit_test(error_messages_are_utf8),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
