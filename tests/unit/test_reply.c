/* Replies of four APIs: whole ones against hand-written JSON, streams put together again by a naive reader
 * against whole ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "server/json_text.h"
#include "server/reply.h"
#include "server/reply_shapes.h"
#include "server/tool_format.h"

#include "reply_script.h"

/* --- streams put together --- */

static void take_delta(json_t *message, const json_t *delta) {
    json_t *call = at(delta, "tool_calls.0"), *calls = json_object_get(message, "tool_calls");
    if (text_at(delta, "role") != NULL) json_object_set(message, "role", at(delta, "role"));
    if (text_at(delta, "content") != NULL) join(message, "content", text_at(delta, "content"));
    if (call == NULL) return;
    size_t index = (size_t)json_integer_value(at(call, "index"));
    if (text_at(call, "id") != NULL) {
        if (calls == NULL) json_object_set_new(message, "tool_calls", calls = json_array());
        assert_int_equal(json_array_size(calls), index);
        json_object_del(call, "index");
        json_array_append(calls, call);
        return;
    }
    join(at(json_array_get(calls, index), "function"), "arguments", text_at(call, "function.arguments"));
}

/* The choices of a chat's stream as a whole answer would have them. */
static json_t *chat_choices(const struct script *script) {
    json_t *choices = json_array();
    for (uint32_t i = 0; i < script->n_choices; i++)
        json_array_append_new(choices, json_pack("{s:i, s:{s:n}, s:n, s:n}", "index", i, "message", "refusal",
                                                 "logprobs", "finish_reason"));
    for (size_t i = 0; i + 1 < n_events; i++) {
        const json_t *from = at(events[i].data, "choices.0");
        if (from == NULL) continue;
        json_t *choice = json_array_get(choices, (size_t)json_integer_value(at(from, "index")));
        assert_true(json_is_null(at(choice, "finish_reason")));
        take_delta(at(choice, "message"), at(from, "delta"));
        json_object_set(choice, "finish_reason", at(from, "finish_reason"));
        json_t *entries = at(from, "logprobs.content");
        if (entries == NULL) continue;
        if (json_is_null(at(choice, "logprobs")))
            json_object_set_new(choice, "logprobs", json_pack("{s:[], s:n}", "content", "refusal"));
        json_array_extend(at(choice, "logprobs.content"), entries);
    }
    for (uint32_t i = 0; i < script->n_choices; i++) {
        json_t *message = at(json_array_get(choices, i), "message");
        if (at(message, "tool_calls") != NULL && text_at(message, "content")[0] == '\0')
            json_object_set_new(message, "content", json_null());
    }
    return choices;
}

static json_t *completion_choices(const struct script *script) {
    json_t *choices = json_array();
    for (uint32_t i = 0; i < script->n_choices; i++)
        json_array_append_new(
            choices, json_pack("{s:i, s:s, s:n, s:n}", "index", i, "text", "", "logprobs", "finish_reason"));
    for (size_t i = 0; i + 1 < n_events; i++) {
        const char *column;
        const json_t *from = at(events[i].data, "choices.0");
        json_t *more;
        if (from == NULL) continue;
        json_t *choice = json_array_get(choices, (size_t)json_integer_value(at(from, "index")));
        join(choice, "text", text_at(from, "text"));
        json_object_set(choice, "finish_reason", at(from, "finish_reason"));
        if (json_is_null(at(from, "logprobs"))) continue;
        if (json_is_null(at(choice, "logprobs"))) {
            json_object_set(choice, "logprobs", at(from, "logprobs"));
            continue;
        }
        json_object_foreach(at(from, "logprobs"), column, more)
            json_array_extend(json_object_get(at(choice, "logprobs"), column), more);
    }
    return choices;
}

/* Streamed and whole say the same. */
static void assert_same_choices(const struct script *script) {
    json_t *whole = whole_of(script);
    stream(script);
    assert_null(events[n_events - 1].data); /* [DONE] */
    json_t *joined = script->api == ASK_CHAT ? chat_choices(script) : completion_choices(script);
    if (!json_equal(joined, at(whole, "choices")))
        fail_msg("%s\nis not\n%s", json_dumps(joined, 0), json_dumps(at(whole, "choices"), 0));
    json_decref(joined);
    json_decref(whole);
    close_events();
}

/* --- chat --- */

#define USAGE                                                                                                \
    "'usage':{'prompt_tokens':7,'completion_tokens':5,'total_tokens':12,'prompt_tokens_details':"            \
    "{'cached_tokens':3},'completion_tokens_details':{'reasoning_tokens':0}}"
#define CHAT_HEAD                                                                                            \
    "'id':'chatcmpl-0000000000001234','object':'chat.completion','created':99,'model':'tiny',"               \
    "'system_fingerprint':'fp_1',"
#define TOOLS "'tools':[{'type':'function','function':{'name':'f'}}]"
#define CALL "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\xc3\xa9\\n\"}}\n</tool_call>"

static const struct script chat_plain = {.fields = "", .texts = {"a\"\xc3\xa9\n"}, .n_choices = 1};
static const struct script chat_two = {
    .fields = "'n':2,'stop':['zz']", .texts = {"xyzzy", "ab"}, .n_choices = 2, .finish = REPLY_STOP};
static const struct script chat_calls = {
    .fields = TOOLS, .texts = {"I call.\n" CALL "\n" CALL}, .n_choices = 1, .parses_tools = true};
static const struct script chat_logprobs = {.fields = "'logprobs':true,'top_logprobs':2,'stop':'yz'",
                                            .texts = {"\xc3\xa9xyz"},
                                            .n_choices = 1,
                                            .logprobs = {-0.5f}};

static void chat_whole(void **state) {
    (void)state;
    assert_whole(&chat_plain,
                 "{" CHAT_HEAD "'choices':[{'index':0,'message':{'role':'assistant','content':"
                 "'a\\\'\\u00e9\\n','refusal':null},'logprobs':null,'finish_reason':'stop'}]," USAGE "}");
    assert_whole(&chat_two,
                 "{" CHAT_HEAD "'choices':[{'index':0,'message':{'role':'assistant','content':'xy',"
                 "'refusal':null},'logprobs':null,'finish_reason':'stop'},{'index':1,'message':"
                 "{'role':'assistant','content':'ab','refusal':null},'logprobs':null,"
                 "'finish_reason':'stop'}]," USAGE "}");
    assert_whole(
        &chat_calls,
        "{" CHAT_HEAD "'choices':[{'index':0,'message':{'role':'assistant','content':'I call.',"
        "'refusal':null,'tool_calls':[{'id':'call_','type':'function','function':{'name':'f',"
        "'arguments':'{\\\'a\\\':\\\'\\u00e9\\\\n\\\'}'}},{'id':'call_','type':'function','function':"
        "{'name':'f','arguments':'{\\\'a\\\':\\\'\\u00e9\\\\n\\\'}'}}]},'logprobs':null,"
        "'finish_reason':'tool_calls'}]," USAGE "}");
    /* y and z are of the stop string, so not of the answer */
    assert_whole(
        &chat_logprobs,
        "{" CHAT_HEAD
        "'choices':[{'index':0,'message':{'role':'assistant','content':'\\u00e9x','refusal':null},"
        "'logprobs':{'content':["
        "{'token':'bytes:\\\\xc3','bytes':[195],'logprob':-0.5,'top_logprobs':[{'token':'t','bytes':[116],"
        "'logprob':-0.25},{'token':'bytes:\\\\xc3','bytes':[195],'logprob':-0.5}]},"
        "{'token':'bytes:\\\\xa9','bytes':[169],'logprob':-0.5,'top_logprobs':[{'token':'t','bytes':[116],"
        "'logprob':-0.25},{'token':'bytes:\\\\xa9','bytes':[169],'logprob':-0.5}]},"
        "{'token':'x','bytes':[120],'logprob':-0.5,'top_logprobs':[{'token':'t','bytes':[116],"
        "'logprob':-0.25},{'token':'x','bytes':[120],'logprob':-0.5}]}],'refusal':null},"
        "'finish_reason':'stop'}]," USAGE "}");
}

static void chat_streams_the_same(void **state) {
    (void)state;
    assert_same_choices(&chat_plain);
    assert_same_choices(&chat_two);
    assert_same_choices(&chat_calls);
    assert_same_choices(&chat_logprobs);
    struct script script = chat_calls;
    script.finish = REPLY_LENGTH;
    script.texts[0] = "so " CALL "<tool_call>{\"na";
    assert_same_choices(&script);
    script.fields = TOOLS ",'tool_choice':'required'";
    script.texts[0] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2";
    assert_same_choices(&script);
    script.finish = REPLY_STOP;
    script.texts[0] = CALL;
    assert_same_choices(&script);
}

static void chat_stream_frames(void **state) {
    (void)state;
    struct script script = chat_plain;
    script.fields = "'stream_options':{'include_usage':true}";
    script.texts[0] = "a";
    /* include_usage is refused without a stream: no whole answer to compare with */
    stream(&script);
    assert_int_equal(n_events, 5);
#define CHUNK                                                                                                \
    "'id':'chatcmpl-0000000000001234','object':'chat.completion.chunk','created':99,'model':'tiny',"         \
    "'system_fingerprint':'fp_1',"
    assert_json(events[0].data, "{" CHUNK "'choices':[{'index':0,'delta':{'role':'assistant','content':'',"
                                "'refusal':null},'logprobs':null,'finish_reason':null}],'usage':null}");
    assert_json(events[1].data, "{" CHUNK "'choices':[{'index':0,'delta':{'content':'a'},'logprobs':null,"
                                "'finish_reason':null}],'usage':null}");
    assert_json(events[2].data, "{" CHUNK "'choices':[{'index':0,'delta':{},'logprobs':null,"
                                "'finish_reason':'stop'}],'usage':null}");
    assert_json(events[3].data, "{" CHUNK "'choices':[]," USAGE "}");
    assert_null(events[4].data);
    close_events();
    script.fields = "";
    script.finish = REPLY_LENGTH;
    stream(&script);
    assert_int_equal(n_events, 4);
    assert_null(at(events[0].data, "usage"));
    assert_string_equal(text_at(events[2].data, "choices.0.finish_reason"), "length");
    close_events();
}

/* A mark that is a control token has no text of its own; a held beginning of a stop string comes before it.
 */
static void marks_as_control_tokens(void **state) {
    (void)state;
    const struct script script = {.fields = TOOLS ",'stop':'s.<'",
                                  .texts = {"yes.~{\"name\":\"f\",\"arguments\":{}}</tool_call>"},
                                  .n_choices = 1,
                                  .parses_tools = true};
    json_t *whole = whole_of(&script);
    assert_string_equal(text_at(whole, "choices.0.message.content"), "yes.");
    assert_string_equal(text_at(whole, "choices.0.message.tool_calls.0.function.name"), "f");
    json_decref(whole);
    assert_same_choices(&script);
    struct script none = script;
    none.parses_tools = false;
    whole = whole_of(&none);
    assert_string_equal(text_at(whole, "choices.0.message.content"),
                        "yes.{\"name\":\"f\",\"arguments\":{}}</tool_call>");
    json_decref(whole);
}

static void mistral_gets_ids_that_its_templates_take(void **state) {
    (void)state;
    const struct script script = {
        .fields = TOOLS,
        .texts = {"[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}},{\"name\":\"f\"}]"},
        .n_choices = 1,
        .parses_tools = true,
        .format = TOOL_FORMAT_MISTRAL};
    json_t *whole = whole_of(&script);
    const char *first = text_at(whole, "choices.0.message.tool_calls.0.id");
    assert_int_equal(strlen(first), 9);
    assert_int_equal(strspn(first, "0123456789abcdef"), 9);
    assert_string_not_equal(first, text_at(whole, "choices.0.message.tool_calls.1.id"));
    json_decref(whole);
}

static void chat_repeats_what_it_continues(void **state) {
    (void)state;
    const struct script script = {
        .fields = "'continue_final_message':true,'echo':true,'stop':'ox'", .texts = {"x on"}, .n_choices = 1};
    json_t *whole = whole_of(&script);
    assert_string_equal(text_at(whole, "choices.0.message.content"), "sox on");
    json_decref(whole);
    assert_same_choices(&script);
}

/* --- completions --- */

#define COMPLETION_HEAD                                                                                      \
    "'id':'cmpl-0000000000001234','object':'text_completion','created':99,'model':'tiny',"                   \
    "'system_fingerprint':'fp_1',"

static const struct script echoed = {.api = ASK_COMPLETIONS,
                                     .fields = "'echo':true,'logprobs':1,'stop':'q'",
                                     .texts = {"bcdab"},
                                     .prompt = "\xc3\xa9!",
                                     .n_choices = 1,
                                     .finish = REPLY_LENGTH,
                                     .logprobs = {-0.125f}};

static void completions_whole(void **state) {
    (void)state;
    assert_whole(&echoed, "{" COMPLETION_HEAD "'choices':[{'index':0,'text':'\\u00e9!bcdab','logprobs':{"
                          "'tokens':['bytes:\\\\xc3','bytes:\\\\xa9','!','bcd','ab'],"
                          "'token_logprobs':[null,-2,-2,-0.125,-0.125],"
                          "'top_logprobs':[null,{'t':-0.25,'bytes:\\\\xa9':-2},{'t':-0.25,'!':-2},"
                          "{'t':-0.25,'bcd':-0.125},{'t':-0.25,'ab':-0.125}],"
                          "'text_offset':[0,0,1,2,5]},'finish_reason':'length'}]," USAGE "}");
    const struct script plain = {
        .api = ASK_COMPLETIONS, .fields = "'logprobs':0", .texts = {"t"}, .n_choices = 1, .logprobs = {-1}};
    assert_whole(&plain, "{" COMPLETION_HEAD "'choices':[{'index':0,'text':'t','logprobs':{'tokens':['t'],"
                         "'token_logprobs':[-1],'top_logprobs':[{'t':-1}],'text_offset':[0]},"
                         "'finish_reason':'stop'}]," USAGE "}");
}

static void completions_stream_the_same(void **state) {
    (void)state;
    assert_same_choices(&echoed);
    const struct script two = {.api = ASK_COMPLETIONS,
                               .fields = "'n':2,'stop':['cdx','bc!']",
                               .texts = {"abcdx", "aabc"},
                               .n_choices = 2};
    assert_same_choices(&two);
}

static void best_of_gives_the_most_likely(void **state) {
    (void)state;
    const struct script script = {.api = ASK_COMPLETIONS,
                                  .fields = "'n':2,'best_of':4",
                                  .texts = {"w", "x", "y", "z"},
                                  .n_choices = 4,
                                  .logprobs = {-3, -1, -2, -1}};
    json_t *whole = whole_of(&script);
    assert_int_equal(json_array_size(at(whole, "choices")), 2);
    assert_string_equal(text_at(whole, "choices.0.text"), "x");
    assert_string_equal(text_at(whole, "choices.1.text"), "z");
    assert_int_equal(json_integer_value(at(whole, "choices.1.index")), 1);
    json_decref(whole);
    struct script prompts = script;
    prompts.fields = "'prompt':['a','b'],'best_of':2";
    whole = whole_of(&prompts);
    assert_int_equal(json_array_size(at(whole, "choices")), 2);
    assert_string_equal(text_at(whole, "choices.0.text"), "x");
    assert_string_equal(text_at(whole, "choices.1.text"), "z");
    json_decref(whole);
}

/* --- responses --- */

static const struct script response_calls = {
    .api = ASK_RESPONSES,
    .fields =
        "'instructions':'be','metadata':{'k':'v'},'tools':[{'type':'function','name':'f','strict':true}],"
        "'include':['message.output_text.logprobs']",
    .texts = {"ab " CALL},
    .n_choices = 1,
    .parses_tools = true,
    .logprobs = {-1}};

#define RESPONSE_REST                                                                                        \
    "'background':false,'previous_response_id':null,'reasoning':{'effort':null,'summary':null},"             \
    "'store':false,'truncation':'disabled','top_logprobs':0,'user':null,'usage':{'input_tokens':7,"          \
    "'input_tokens_details':{'cached_tokens':3},'output_tokens':5,'output_tokens_details':"                  \
    "{'reasoning_tokens':0},'total_tokens':12}"

static void responses_whole(void **state) {
    (void)state;
    json_t *whole = whole_of(&response_calls);
    mask_ids(whole);
    json_t *logprobs = at(whole, "output.0.content.0.logprobs");
    assert_string_equal(text_at(logprobs, "0.token"), "ab");
    json_object_set_new(at(whole, "output.0.content.0"), "logprobs", json_array());
    assert_json(
        whole, "{'id':'resp_0000000000001234','object':'response','created_at':99,'status':'completed',"
               "'model':'tiny','error':null,'incomplete_details':null,'instructions':'be',"
               "'max_output_tokens':null,'metadata':{'k':'v'},'parallel_tool_calls':true,'temperature':1,"
               "'top_p':1,'text':{'format':{'type':'text'}},'tool_choice':'auto','tools':[{'type':'function',"
               "'name':'f','description':null,'parameters':{'type':'object','properties':{}},'strict':true}],"
               "'output':[{'type':'message','id':'msg_','status':'completed','role':'assistant','content':"
               "[{'type':'output_text','text':'ab','annotations':[],'logprobs':[]}]},"
               "{'type':'function_call','id':'fc_call_','status':'completed','call_id':'call_','name':'f',"
               "'arguments':'{\\\'a\\\':\\\'\\u00e9\\\\n\\\'}'}]," RESPONSE_REST "}");
    json_decref(whole);
    const struct script cut = {.api = ASK_RESPONSES,
                               .fields = "'text':{'format':{'type':'json_schema','name':'n','schema':{}}},"
                                         "'max_output_tokens':4,'user':'u'",
                               .texts = {"{"},
                               .n_choices = 1,
                               .finish = REPLY_LENGTH};
    whole = whole_of(&cut);
    assert_string_equal(text_at(whole, "status"), "incomplete");
    assert_string_equal(text_at(whole, "incomplete_details.reason"), "max_output_tokens");
    assert_string_equal(text_at(whole, "output.0.status"), "incomplete");
    assert_json(at(whole, "text.format"), "{'type':'json_schema','name':'n','schema':{},'strict':true}");
    assert_int_equal(json_integer_value(at(whole, "max_output_tokens")), 4);
    json_decref(whole);
}

/* The order of events, that deltas make up what is done, and that the last event has the whole answer. */
static void responses_stream(void **state) {
    (void)state;
    static const char *const order[] = {"response.created",
                                        "response.in_progress",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.output_text.delta",
                                        "response.output_text.done",
                                        "response.content_part.done",
                                        "response.output_item.done",
                                        "response.output_item.added",
                                        "response.function_call_arguments.delta",
                                        "response.function_call_arguments.done",
                                        "response.output_item.done",
                                        "response.completed"};
    json_t *whole = whole_of(&response_calls), *joined = json_object();
    stream(&response_calls);
    assert_int_equal(n_events, sizeof order / sizeof *order);
    for (size_t i = 0; i < n_events; i++) {
        const json_t *data = events[i].data;
        assert_string_equal(events[i].name, order[i]);
        assert_int_equal(json_integer_value(at(data, "sequence_number")), i);
        if (i > 1 && i + 1 < n_events) assert_int_equal(json_integer_value(at(data, "output_index")), i > 7);
        if (at(data, "delta") != NULL) join(joined, text_at(data, "item_id"), text_at(data, "delta"));
        const char *sum = text_at(joined, text_at(data, "item_id") != NULL ? text_at(data, "item_id") : "");
        if (at(data, "text") != NULL) assert_string_equal(text_at(data, "text"), sum);
        if (at(data, "arguments") != NULL) assert_string_equal(text_at(data, "arguments"), sum);
        if (strcmp(events[i].name, "response.output_item.done") == 0)
            assert_true(json_equal(at(data, "item"), at(whole, i > 7 ? "output.1" : "output.0")));
    }
    assert_json(at(events[0].data, "response.output"), "[]");
    assert_string_equal(text_at(events[1].data, "response.status"), "in_progress");
    assert_string_equal(text_at(events[2].data, "item.status"), "in_progress");
    assert_int_equal(json_array_size(at(events[4].data, "logprobs")), 1);
    assert_true(json_equal(at(events[n_events - 1].data, "response"), whole));
    json_decref(joined);
    json_decref(whole);
    close_events();
}

/* --- messages --- */

static const struct script message_calls = {.api = ASK_MESSAGES,
                                            .fields = "'tools':[{'name':'f','input_schema':{}}]",
                                            .texts = {"ab " CALL},
                                            .n_choices = 1,
                                            .parses_tools = true};

#define MESSAGE_HEAD "'id':'msg_0000000000001234','type':'message','role':'assistant','model':'tiny',"
#define MESSAGE_USAGE(input, read, output)                                                                   \
    "'usage':{'input_tokens':" #input ",'cache_creation_input_tokens':0,'cache_read_input_tokens':" #read    \
    ",'output_tokens':" #output "}"

static void messages_whole(void **state) {
    (void)state;
    assert_whole(&message_calls, "{" MESSAGE_HEAD "'content':[{'type':'text','text':'ab'},{'type':'tool_use',"
                                 "'id':'toolu_','name':'f','input':{'a':'\\u00e9\\n'}}],"
                                 "'stop_reason':'tool_use','stop_sequence':null," MESSAGE_USAGE(4, 3, 5) "}");
    struct script script = {
        .api = ASK_MESSAGES, .fields = "'stop_sequences':['q','zz']", .texts = {"azz"}, .n_choices = 1};
    assert_whole(&script, "{" MESSAGE_HEAD "'content':[{'type':'text','text':'a'}],'stop_reason':"
                          "'stop_sequence','stop_sequence':'zz'," MESSAGE_USAGE(4, 3, 5) "}");
    script.texts[0] = "";
    assert_whole(&script,
                 "{" MESSAGE_HEAD
                 "'content':[],'stop_reason':'end_turn','stop_sequence':null," MESSAGE_USAGE(4, 3, 5) "}");
    script.finish = REPLY_LENGTH;
    script.fields = "'tools':[{'name':'f'}],'tool_choice':{'type':'any'}";
    script.parses_tools = true;
    script.texts[0] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a";
    assert_whole(&script,
                 "{" MESSAGE_HEAD "'content':[{'type':'tool_use','id':'toolu_','name':'f','input':{}}],"
                 "'stop_reason':'max_tokens','stop_sequence':null," MESSAGE_USAGE(4, 3, 5) "}");
}

static void messages_stream(void **state) {
    (void)state;
    static const char *const expected[] = {
        "{'type':'message_start','message':{" MESSAGE_HEAD "'content':[],'stop_reason':null,"
        "'stop_sequence':null," MESSAGE_USAGE(7, 0, 0) "}}",
        "{'type':'content_block_start','index':0,'content_block':{'type':'text','text':''}}",
        "{'type':'content_block_delta','index':0,'delta':{'type':'text_delta','text':'ab'}}",
        "{'type':'content_block_stop','index':0}",
        "{'type':'content_block_start','index':1,'content_block':{'type':'tool_use','id':'toolu_','name':'f',"
        "'input':{}}}",
        "{'type':'content_block_delta','index':1,'delta':{'type':'input_json_delta','partial_json':"
        "'{\\\'a\\\':\\\'\\u00e9\\\\n\\\'}'}}",
        "{'type':'content_block_stop','index':1}",
        "{'type':'message_delta','delta':{'stop_reason':'tool_use','stop_sequence':null}," MESSAGE_USAGE(
            4, 3, 5) "}",
        "{'type':'message_stop'}"};
    stream(&message_calls);
    assert_int_equal(n_events, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < n_events; i++) {
        mask_ids(events[i].data);
        assert_json(events[i].data, expected[i]);
    }
    close_events();
}

/* --- failures --- */

static void failures_end_a_stream(void **state) {
    (void)state;
    static const char *const expected[] = {
        [ASK_CHAT] =
            "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\",\"param\":null,\"code\":null}}"
            "\n\ndata: [DONE]\n\n",
        [ASK_COMPLETIONS] = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\",\"param\":null,"
                            "\"code\":null}}\n\ndata: [DONE]\n\n",
        [ASK_RESPONSES] =
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":2,",
        [ASK_MESSAGES] =
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"no\"}}"
            "\n\n"};
    const struct api_error error = {.status = 500, .message = "no"};
    for (size_t api = ASK_CHAT; api <= ASK_MESSAGES; api++)
        for (int is_streamed = 0; is_streamed < 2; is_streamed++) {
            const struct script script = {.api = (enum ask_api)api, .fields = "", .n_choices = 1};
            struct ask *ask = ask_for(&script, is_streamed);
            struct reply *reply = reply_for(&script, ask);
            struct text out = {0};
            reply_start(reply, &started, &out);
            text_clear(&out);
            reply_fail(reply, &error, &out);
            if (is_streamed)
                assert_memory_equal(out.bytes, expected[api], strlen(expected[api]));
            else
                assert_non_null(strstr(out.bytes, "\"message\":\"no\""));
            text_free(&out);
            reply_close(reply);
            ask_free(ask);
        }
}

/* No memory at the n-th time: either reply_open says so, or the output has failed, or nothing was needed. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    const struct script *const scripts[] = {&chat_logprobs, &response_calls, &message_calls, &echoed};
    for (size_t i = 0; i < 4; i++)
        for (uint64_t n = 1, done = 0; !done; n++) {
            struct ask *ask = ask_for(scripts[i], true);
            const struct reply_opts opts = {.ask = ask,
                                            .tokenizer = tokenizer,
                                            .model = "m",
                                            .fingerprint = "f",
                                            .parses_tools = scripts[i]->parses_tools,
                                            .n_choices = 1};
            struct reply *reply;
            struct text out = {0};
            struct token_logprob top[2];
            fault_arm(FAULT_ONCE, n);
            int result = reply_open(&reply, &opts);
            if (result == 0) {
                reply_start(reply, &started, &out);
                for (const char *left = scripts[i]->texts[0]; *left != '\0';) {
                    struct reply_token token = token_of(next_token(&left), -1, top);
                    reply_token(reply, 0, &token, &out);
                }
                reply_finish(reply, 0, REPLY_STOP, &out);
                reply_end(reply, &usage, &out);
            }
            done = !fault_delivered();
            fault_disarm();
            if (!done) assert_true(result == ERR_NO_MEMORY || out.failed);
            assert_true(n < 1000);
            text_free(&out);
            reply_close(reply);
            ask_free(ask);
        }
}

/* The one place that escapes: what comes out is JSON of what went in, in one line. */
static void escapes(void **state) {
    (void)state;
    char all[256];
    struct text out = {0};
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    json_text_bytes(&out, all + 1, 127);
    json_t *back = json_loadb(out.bytes, out.length, JSON_DECODE_ANY, NULL);
    assert_memory_equal(json_string_value(back), all + 1, 127);
    assert_null(strpbrk(out.bytes, "\n\r"));
    json_decref(back);
    text_clear(&out);
    json_text_bytes(&out, "\xe2\x82\xac\xe2\x82\xc3\xa9\xff\0x", 10);
    assert_string_equal(out.bytes, "\"\xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\\u0000x\"");
    text_clear(&out);
    json_text_float(&out, NAN);
    json_text_float(&out, -INFINITY);
    json_text_float(&out, 0.1f);
    assert_string_equal(out.bytes, "null-99990.100000001");
    text_free(&out);
}

static int open_tiny(void **state) {
    (void)state;
    put_tiny_vocabulary(&written,
                        &(struct tiny_vocabulary){.piece_of_hole = "<tool_call>", .kind_of_hole = 3});
    open_written();
    return 0;
}

static int close_all(void **state) {
    (void)state;
    close_tiny();
    return 0;
}

/* --- the KV bill --- */

static void a_bill_is_told_where_it_is_known(void **state) {
    (void)state;
    struct reply_usage with_bill = usage;
    struct text out = {0};
    reply_write_kv(&with_bill, &out);
    assert_int_equal(out.length, 0);
    with_bill.kv = (struct reply_kv){.is_known = true,
                                     .computed_tokens = 8,
                                     .written_bytes = UINT64_C(1) << 40,
                                     .read_bytes = 3,
                                     .peak_bytes = 4,
                                     .saved_by_sharing = 5,
                                     .saved_by_codec = -6,
                                     .byte_seconds = 1e15 + 0.5,
                                     .price = NAN};
    reply_write_kv(&with_bill, &out);
    text_append(&out, "", 1);
    assert_string_equal(out.bytes, ",\"kv\":{\"computed_tokens\":8,\"reused_tokens\":3,\"written_bytes\":"
                                   "1099511627776,\"read_bytes\":3,\"peak_bytes\":4,\"byte_seconds\":1e+15,"
                                   "\"saved_by_sharing_bytes\":5,\"saved_by_codec_bytes\":-6}");
    with_bill.kv.price = 1.5e-7;
    text_clear(&out);
    reply_write_kv(&with_bill, &out);
    text_append(&out, "", 1);
    assert_non_null(strstr(out.bytes, "\"saved_by_codec_bytes\":-6,\"price\":1.5e-07}"));
    text_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_whole),
        cmocka_unit_test(chat_streams_the_same),
        cmocka_unit_test(chat_stream_frames),
        cmocka_unit_test(marks_as_control_tokens),
        cmocka_unit_test(mistral_gets_ids_that_its_templates_take),
        cmocka_unit_test(chat_repeats_what_it_continues),
        cmocka_unit_test(completions_whole),
        cmocka_unit_test(completions_stream_the_same),
        cmocka_unit_test(best_of_gives_the_most_likely),
        cmocka_unit_test(responses_whole),
        cmocka_unit_test(responses_stream),
        cmocka_unit_test(messages_whole),
        cmocka_unit_test(messages_stream),
        cmocka_unit_test(failures_end_a_stream),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(escapes),
        cmocka_unit_test(a_bill_is_told_where_it_is_known),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_all);
}
