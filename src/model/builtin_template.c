#include "model/builtin_template.h"

#include <string.h>

#define IF_PROMPT "{% if add_generation_prompt %}"
#define END_PROMPT "{% endif %}"

/* For formats without a system turn: its text leads the first user turn. */
#define IF_SYSTEM "{% set first = namespace(lead='') %}{% for m in messages %}{% if m.role == 'system' %}"
#define LEAD "{% set first.lead = m.content|trim ~ '\\n\\n' %}"
#define LEAD_AND_TURN "{{ first.lead ~ m.content|trim }}{% set first.lead = '' %}"

static const char chatml[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" IF_PROMPT
    "<|im_start|>assistant\n" END_PROMPT;

static const char gemma[] =
    "{{ bos_token }}" IF_SYSTEM LEAD
    "{% else %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n" LEAD_AND_TURN
    "<end_of_turn>\n{% endif %}{% endfor %}" IF_PROMPT "<start_of_turn>model\n" END_PROMPT;

static const char phi3[] =
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}" IF_PROMPT
    "<|assistant|>\n" END_PROMPT;

static const char granite[] = "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>"
                              "{{ m.content }}<|end_of_text|>\n{% endfor %}" IF_PROMPT
                              "<|start_of_role|>assistant<|end_of_role|>" END_PROMPT;

static const char olmo2[] =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}\n{% endfor %}" IF_PROMPT "<|assistant|>\n" END_PROMPT;

static const char llama3[] =
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content|trim }}<|eot_id|>{% endfor %}" IF_PROMPT
    "<|start_header_id|>assistant<|end_header_id|>\n\n" END_PROMPT;

/* The brackets ask for an answer by themselves. A byte-level vocabulary (tekken) wants no blanks around them.
 */
#define MISTRAL(blank)                                                                                       \
    "{{ bos_token }}" IF_SYSTEM LEAD "{% elif m.role == 'assistant' %}" blank                                \
    "{{ m.content|trim }}{{ eos_token }}{% else %}[INST]" blank LEAD_AND_TURN                                \
    "[/INST]{% endif %}{% endfor %}"
static const char mistral[] = MISTRAL(" ");
static const char mistral_tekken[] = MISTRAL("");

static const char llama2[] =
    IF_SYSTEM "{% set first.lead = '<<SYS>>\\n' ~ m.content|trim ~ '\\n<</SYS>>\\n\\n' %}"
              "{% elif m.role == 'assistant' %} {{ m.content|trim }} {{ eos_token }}"
              "{% else %}{{ bos_token }}[INST] " LEAD_AND_TURN " [/INST]{% endif %}{% endfor %}";

/* olmo2's vocabulary also holds ChatML's tokens, which it was not trained on; fine-tuned Llama 3 that holds
 * them was. A llama vocabulary with byte tokens and nothing else is that of Llama 2. */
const struct builtin_template builtin_templates[BUILTIN_TEMPLATES] = {
    {"gemma", {"gemma", "gemma2", "gemma3"}, {"<start_of_turn>", "<end_of_turn>"}, gemma},
    {"phi3", {"phi3"}, {"<|user|>", "<|assistant|>", "<|end|>"}, phi3},
    {"granite", {"granite"}, {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"}, granite},
    {"olmo2", {"olmo2"}, {"<|endoftext|>"}, olmo2},
    {"chatml", {NULL}, {"<|im_start|>", "<|im_end|>"}, chatml},
    {"llama3", {"llama"}, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, llama3},
    {"mistral", {"llama"}, {"[INST]", "[/INST]", "<0x0A>"}, mistral},
    {"mistral-tekken", {"llama"}, {"[INST]", "[/INST]"}, mistral_tekken},
    {"llama2", {"llama"}, {"<s>", "</s>", "<0x0A>"}, llama2},
};

static bool is_for(const struct builtin_template *template, const char *architecture) {
    if (template->architectures[0] == NULL) return true;
    for (int i = 0; i < BUILTIN_LIST_MAX && template->architectures[i] != NULL; i++)
        if (strcmp(template->architectures[i], architecture) == 0) return true;
    return false;
}

static bool has_markers(const struct builtin_template *template, const struct tokenizer *tokenizer) {
    for (int i = 0; i < BUILTIN_LIST_MAX && template->markers[i] != NULL; i++) {
        token_id id = tokenizer_find(tokenizer, template->markers[i]);
        if (id < 0 || tokenizer_kind(tokenizer, id) == TOKEN_NORMAL) return false;
    }
    return true;
}

const struct builtin_template *builtin_template_for(const char *architecture,
                                                    const struct tokenizer *tokenizer) {
    for (int i = 0; i < BUILTIN_TEMPLATES; i++)
        if (is_for(&builtin_templates[i], architecture) && has_markers(&builtin_templates[i], tokenizer))
            return &builtin_templates[i];
    return NULL;
}
