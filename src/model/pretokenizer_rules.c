/* The rules, as data. Each is one that a tokenizer.json has (the Split expressions of its pre_tokenizer), and
 * its names are those that llama.cpp's converter writes into GGUF files (tokenizer.ggml.pre). */
#include "model/pretokenizer.h"

#include <string.h>

/* White space as the tokenizers' own regular expressions have it (Unicode's White_Space). PCRE2's \s adds
 * U+180E. */
#define SPACE "\\p{Z}\\t-\\r\\x{85}"
#define OTHER "[^\\p{L}\\p{N}" SPACE "]" /* neither letter nor number nor white space */
#define SPACES "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"
#define LINE_ENDS "[" SPACE "]*[\\r\\n]+"
#define CONTRACTION "(?i:'(?:[stmd]|re|ve|ll))"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define DIGITS_3 "\\p{N}{1,3}"

/* The expression of openai/gpt-2, encoder.py. */
#define GPT2 "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACES
/* The cl100k family; its members differ in how many digits make a word, and in small things. */
#define CL100K(digits) CONTRACTION "|" WORD "|" digits "| ?" OTHER "+[\\r\\n]*|" LINE_ENDS "|" SPACES
/* The o200k family: a word also ends before a capital letter that follows a small one. `ending` goes with it.
 */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K(ending, digits)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" ending \
    "|" digits "| ?" OTHER "+[\\r\\n/]*|" LINE_ENDS "|" SPACES

/* DeepSeek's. CASED is its own list of the letters that have case, in the state of some Unicode version. */
#define CASED                                                                                                \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"          \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}-\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"                   \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}"          \
    "\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"          \
    "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"        \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}"         \
    "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"         \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}"        \
    "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}"          \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"                   \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}-\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"                  \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}-\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"        \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"        \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"                       \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"                   \
    "\\x{1e900}-\\x{1e943}"
#define ASIAN "[\\x{800}-\\x{9fa5}\\x{ac00}-\\x{d7ff}]+"
#define CJK "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+"
#define DEEPSEEK_3                                                                                           \
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "                                \
    "?[\\p{P}\\p{S}]+[\\r\\n]*|" LINE_ENDS "|" SPACES

/* BLOOM's: everything up to white space or one of these signs. */
#define BLOOM " ?[^()|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c}" SPACE "]+"

static const struct pretokenizer_rule rules[] = {
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat", "a.x-4.0",
               "mellum", "exaone4"},
     .patterns = {GPT2}},
    {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
     .patterns = {"\\p{N}", GPT2}},
    {.names = {"default"}, .patterns = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9]{3}"}},
    {.names = {"falcon"}, .patterns = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9]{3}"}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
     .patterns = {CL100K(DIGITS_3)},
     .ignores_merges = true,
     .adds_bos = true},
    {.names = {"smaug-bpe", "dbrx", "chatglm-bpe"}, .patterns = {CL100K(DIGITS_3)}},
    {.names = {"glm4", "glm5"}, .patterns = {CL100K(DIGITS_3)}, .ignores_merges = true},
    {.names = {"qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open",
               "grok-2"},
     .patterns = {CL100K("\\p{N}")}},
    {.names = {"qwen35"},
     .patterns = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\p{L}\\p{M}\\p{N}" SPACE
                              "]+[\\r\\n]*|" LINE_ENDS "|" SPACES}},
    {.names = {"tekken"}, .patterns = {O200K("", "\\p{N}")}, .ignores_merges = true, .adds_bos = true},
    {.names = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"},
     .patterns = {O200K(CONTRACTION "?", DIGITS_3)}},
    {.names = {"deepseek-llm"},
     .patterns = {"[\\r\\n]", "[" SPACE "]?[" CASED "]+",
                  "[" SPACE
                  "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                  "[" SPACE "]+$", ASIAN, "\\p{N}+"}},
    {.names = {"deepseek-coder"},
     .patterns = {"[\\r\\n]", "[" SPACE "]?\\p{L}+", "[" SPACE "]?\\p{P}+", ASIAN, "\\p{N}"}},
    {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
     .patterns = {DIGITS_3, CJK, DEEPSEEK_3}},
    {.names = {"poro-chat", "bloom", "gpt3-finnish"}, .patterns = {BLOOM}},
    {.names = {"viking"}, .patterns = {BLOOM, "\\p{N}"}},
    {.names = {"bailingmoe", "bailingmoe2", "llada-moe"},
     .patterns = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?" OTHER "++[\\r\\n]*|[" SPACE
                              "]*[\\r\\n]|" SPACES}},
    {.names = {"seed-coder"},
     .patterns = {CONTRACTION "|" WORD "|\\p{N}| ?[^\\r\\n\\p{L}\\p{N}" SPACE "]+|" LINE_ENDS "|" SPACES}},
};

const struct pretokenizer_rule *pretokenizer_find(struct gguf_string name, const char **spelling) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        for (const char *const *own = rules[i].names; *own != NULL; own++) {
            if (strlen(*own) != name.length || memcmp(*own, name.bytes, name.length) != 0) continue;
            *spelling = *own;
            return &rules[i];
        }
    }
    return NULL;
}
