/* What templates make of records, what is wrong with records and with templates. Samples are
 * written as texts with what is learned between braces; records and templates as JSON and YAML with
 * ' for the quotation mark. */

#include "base/file.h"
#include "data/template.h"
#include "data_files.h"
#include "folder.h"
#include "hf_files.h"

enum { ROOM = 1 << 12 };

/* Puts quotation marks in the place of others. */
static const char *quoted(const char *text)
{
    static char out[ROOM];
    assert_true(strlen(text) < sizeof out);
    for (size_t i = 0; i <= strlen(text); i++)
        out[i] = text[i] == '\'' ? '"' : text[i];
    return out;
}

/* A tokenizer.json of single characters, a blank among them, and the tokens of ChatML. */
static void write_letters(const char *blank, hf_parts parts)
{
    mr_text vocab = {0};
    mr_text_add(&vocab, "'\xc4\x8a': 0, '%s': 1", blank);
    for (int i = 0; i < 26; i++)
        mr_text_add(&vocab, ", '%c': %d", 'a' + i, i + 2);
    parts.vocab = mr_text_get(&vocab);
    parts.merges = "";
    if (!parts.pre) parts.pre = "{'type': 'ByteLevel', 'add_prefix_space': false}";
    if (!parts.decoder) parts.decoder = "{'type': 'ByteLevel'}";
    parts.added = ADDED("28", "<s>", PLAIN) "," ADDED("29", "</s>", PLAIN) "," ADDED(
        "30", "<|im_start|>", PLAIN) "," ADDED("31", "<|im_end|>", PLAIN);
    hf_write("tokenizer.json", parts);
    mr_text_free(&vocab);
    static const char config[] = "{\"bos_token_id\": 28, \"eos_token_id\": 29}";
    data_write("config.json", config, sizeof config - 1);
}

static mr_template *load(const char *source, const mr_tokenizer *tokenizer)
{
    mr_template *t;
    must(mr_template_load(source, &t));
    must(mr_template_bind(t, tokenizer));
    return t;
}

static mr_fault render(const mr_template *t, const char *record, mr_rendered *r,
                       char what[MR_FAULT_TEXT])
{
    mr_fault fault;
    json_t *value = json_loads(quoted(record), JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    if (!value) fail_msg("not JSON: %s", record);
    must(mr_template_render(t, value, r, &fault, what));
    json_decref(value);
    return fault;
}

/* Writes a sample as text; a token without one by its name. */
static void write_sample(const mr_tokenizer *tokenizer, const mr_rendered *r, mr_text *out)
{
    bool learned = false;
    out->length = 0;
    for (int64_t i = 0; i < r->count; i++) {
        const size_t before = out->length;
        if (r->learned[i] != learned) mr_text_add(out, learned ? "}" : "{");
        learned = r->learned[i];
        const size_t here = out->length;
        must(mr_tokenizer_decode_special(tokenizer, r->ids + i, 1, out));
        if (out->length == here) must(mr_tokenizer_piece(tokenizer, r->ids[i], out));
        assert_true(out->length > before);
    }
    if (learned) mr_text_add(out, "}");
}

static void expect_sample(const mr_template *t, const mr_tokenizer *tokenizer, const char *record,
                          const char *expected)
{
    mr_rendered r = {0};
    mr_text text = {0};
    char what[MR_FAULT_TEXT];
    if (render(t, record, &r, what) != MR_FAULTS) fail_msg("%s: %s", record, what);
    write_sample(tokenizer, &r, &text);
    assert_string_equal(mr_text_get(&text), expected);
    mr_text_free(&text);
    mr_rendered_free(&r);
}

static void expect_with(const char *source, const char *tokenizer, const char *record,
                        const char *expected)
{
    mr_tokenizer *of;
    must(mr_tokenizer_create(tokenizer, &of));
    mr_template *t = load(source, of);
    expect_sample(t, of, record, expected);
    mr_template_destroy(&t);
    mr_tokenizer_destroy(&of);
}

#define MESSAGES(list) "{'messages': [" list "]}"
#define SYSTEM(text) "{'role': 'system', 'content': '" text "'}"
#define USER(text) "{'role': 'user', 'content': '" text "'}"
#define MODEL(text) "{'role': 'assistant', 'content': '" text "'}"

static void tulu_learns_what_an_assistant_says(void **state)
{
    (void)state;
    expect_with("tulu", "bytes", MESSAGES(USER("hi ") "," MODEL(" ho") "," USER("")),
                "<bos><|user|>\nhi\n<|assistant|>\n{ho<eos>}\n<|user|>");
    expect_with(
        "tulu", "bytes", MESSAGES(SYSTEM("s") "," USER("u") "," MODEL("a") "," MODEL("b")),
        "<bos><|system|>\ns\n<|user|>\nu\n<|assistant|>\n{a<eos>}\n<|assistant|>\n{b<eos>}");
    expect_with("tulu_open_instruct", "bytes",
                MESSAGES(USER("u") "," MODEL("a") "," MODEL("b") "," USER("v") "," MODEL("c")),
                "<bos><|user|>\nu\n<|assistant|>\n{a<eos>\n<|assistant|>\nb<eos>\n}<|user|>\nv\n"
                "<|assistant|>\n{c<eos>}");
}

static void strips_take_what_python_does(void **state)
{
    (void)state;
    expect_with("tulu", "bytes", MESSAGES(USER("\\u00a0\\u001c\\t\\u2029 x\\u200b\\u3000\\u0085")),
                "<bos><|user|>\nx\xe2\x80\x8b");
    expect_with("tulu", "bytes", MESSAGES(USER(" \\n ")), "<bos><|user|>");
}

static void alpaca_has_two_forms(void **state)
{
    (void)state;
    static const char with[] =
        "<bos>Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n### "
        "Instruction:\na\n\n### Input:\nb\n\n### Response:{c<eos>}";
    static const char without[] =
        "<bos>Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\na\n\n### Response:{c<eos>}";
    expect_with("alpaca", "bytes", "{'instruction': 'a', 'input': 'b', 'output': 'c'}", with);
    expect_with("alpaca", "bytes", "{'instruction': 'a', 'input': '', 'output': 'c'}", without);
    expect_with("alpaca", "bytes", "{'instruction': 'a', 'input': null, 'output': 'c'}", without);
    expect_with("alpaca", "bytes", "{'instruction': 'a', 'output': 'c'}", without);
    expect_with("metamath", "bytes", "{'query': 'a\\nb', 'response': 'c'}", with);
    expect_with("metamath", "bytes", "{'query': 'a\\n', 'response': 'c'}", without);
}

static void others_put_texts_together(void **state)
{
    (void)state;
    expect_with("prompt_completion", "bytes", "{'prompt': 'a', 'completion': 'b', 'id': 7}",
                "<bos>a{b<eos>}");
    expect_with("peft_metamath", "bytes", "{'query': 'a', 'response': 'b'}",
                "<bos>{Question: a Think step by step.\nAnswer:b<eos>}");
    expect_with("plain", "bytes", "{'text': ' a\\u0000 '}", "{ a");
    expect_with("plain", "bytes", "{'text': ''}", "{<eos>}");
}

/* As the chat template of Llama-2-chat's tokenizer gives it. */
static void llama2_chat_takes_turns(void **state)
{
    (void)state;
    expect_with("llama2_chat", "bytes", MESSAGES(USER(" a ") "," MODEL(" b ") "," USER("c")),
                "<bos>[INST] a [/INST]{ b <eos>}<bos>[INST] c [/INST]");
    expect_with("llama2_chat", "bytes", MESSAGES(SYSTEM(" s ") "," USER(" a ") "," MODEL("b")),
                "<bos>[INST] <<SYS>>\n s \n<</SYS>>\n\n a [/INST]{ b <eos>}");
}

static void chatml_needs_its_tokens(void **state)
{
    (void)state;
    mr_template *t;
    mr_tokenizer *of;
    bool learned;
    write_letters("\xc4\xa0", (hf_parts){0});
    expect_with("chatml", "tokenizer.json", MESSAGES(SYSTEM("s") "," USER("a ") "," MODEL("b")),
                "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na <|im_end|>\n"
                "<|im_start|>assistant\n{b<|im_end|>}\n");
    must(mr_tokenizer_create("tokenizer.json", &of));
    t = load("chatml", of);
    assert_int_equal(mr_template_end(t, &learned), 31);
    assert_true(learned);
    mr_template_destroy(&t);
    mr_tokenizer_destroy(&of);
    must(mr_tokenizer_create("bytes", &of));
    must(mr_template_load("chatml", &t));
    assert_int_equal(mr_template_bind(t, of), MR_ERR_CONFIG);
    assert_string_equal(mr_message(),
                        "template chatml: the tokenizer 'bytes' has no token \"<|im_start|>\"");
    mr_template_destroy(&t);
    mr_tokenizer_destroy(&of);
}

/* A file of Metaspace puts its blank at the start of the whole text alone, one that prepends it
 * behind every token: the tokenizer is asked behind the text of the token before. */
static void a_blank_stands_where_the_tokenizer_puts_it(void **state)
{
    (void)state;
    static const char record[] = MESSAGES(USER("a") "," MODEL("b") "," USER("c"));
    static const char yaml[] = "reads: messages\n"
                               "begin: [{token: bos}]\n"
                               "forms:\n"
                               "  - {role: user, spans: [{field: content}]}\n"
                               "  - {role: assistant, spans: [{field: content}, {token: eos}]}\n";
    data_write("t.yaml", yaml, sizeof yaml - 1);
    write_letters("\xe2\x96\x81",
                  (hf_parts){.pre = "{'type': 'Metaspace', 'replacement': '\xe2\x96\x81', "
                                    "'prepend_scheme': 'first', 'split': false}",
                             .decoder = "{'type': 'Fuse'}"});
    expect_with("t.yaml", "tokenizer.json", record, "<s>ab</s>c");
    write_letters("\xe2\x96\x81",
                  (hf_parts){.normalizer = "{'type': 'Prepend', 'prepend': '\xe2\x96\x81'}",
                             .pre = "null",
                             .decoder = "{'type': 'Fuse'}"});
    expect_with("t.yaml", "tokenizer.json", record,
                "<s>\xe2\x96\x81"
                "ab</s>\xe2\x96\x81"
                "c");
}

/* Where it is one only between words, as these letters are not. */
static void a_token_that_its_text_is_not_stands_there_all_the_same(void **state)
{
    (void)state;
    static const char yaml[] =
        "reads: fields\nforms: [{spans: [{token: eos}, {field: a, learned: true}, {field: b}]}]\n";
    mr_tokenizer *of;
    data_write("t.yaml", yaml, sizeof yaml - 1);
    hf_write("tokenizer.json", (hf_parts){.vocab = "'a': 0, 'b': 1, 'x': 2",
                                          .merges = "",
                                          .added = ADDED("2", "x", WORD)});
    must(mr_tokenizer_create("tokenizer.json", &of));
    of->eos = 2;
    mr_template *t = load("t.yaml", of);
    expect_sample(t, of, "{'a': 'ab', 'b': 'a'}", "x{ab}a");
    mr_template_destroy(&t);
    mr_tokenizer_destroy(&of);
}

static void records_that_do_not_fit_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *template, *record;
        mr_fault fault;
        const char *what;
    } cases[] = {
        {"tulu", "[1]", MR_FAULT_JSON, "expected an object, found a list"},
        {"tulu", "{}", MR_FAULT_FIELD, "expected a list in field \"messages\", found nothing"},
        {"tulu", "{'messages': 'a'}", MR_FAULT_TYPE,
         "expected a list in field \"messages\", found a string"},
        {"tulu", MESSAGES(""), MR_FAULT_EMPTY,
         "expected messages in field \"messages\", found none"},
        {"tulu", MESSAGES("7"), MR_FAULT_TYPE,
         "message 1: expected an object, found a whole number"},
        {"tulu", MESSAGES(USER("a") ", {'content': 'b'}"), MR_FAULT_FIELD,
         "message 2: expected text in field \"role\", found nothing"},
        {"tulu", MESSAGES("{'role': null, 'content': 'b'}"), MR_FAULT_TYPE,
         "message 1: expected text in field \"role\", found null"},
        {"tulu", MESSAGES("{'role': 'tool', 'content': 'b'}"), MR_FAULT_ROLE,
         "message 1: expected a role of system, user, assistant, found \"tool\""},
        {"tulu", MESSAGES("{'role': 'user\\u0000', 'content': 'b'}"), MR_FAULT_TYPE,
         "message 1: expected text in field \"role\", found \\u0000 in it"},
        {"tulu", MESSAGES("{'role': '\\u001b[1m', 'content': 'b'}"), MR_FAULT_ROLE,
         "message 1: expected a role of system, user, assistant, found \"\\x1b[1m\""},
        {"tulu", MESSAGES("{'role': 'content', 'content': 'b'}"), MR_FAULT_ROLE,
         "message 1: expected a role of system, user, assistant, found \"content\""},
        {"tulu", MESSAGES("{'role': 'user'}"), MR_FAULT_FIELD,
         "message 1: expected text in field \"content\", found nothing"},
        {"tulu", MESSAGES("{'role': 'user', 'content': null}"), MR_FAULT_TYPE,
         "message 1: expected text in field \"content\", found null"},
        {"tulu", MESSAGES("{'role': 'user', 'content': [{'text': 'a'}]}"), MR_FAULT_TYPE,
         "message 1: expected text in field \"content\", found a list"},
        {"tulu", MESSAGES(USER("a\\u0000b")), MR_FAULT_TYPE,
         "message 1: expected text in field \"content\", found \\u0000 in it"},
        {"tulu", MESSAGES(MODEL("a")), MR_FAULT_ORDER, "message 1: assistant cannot be the first"},
        {"tulu", MESSAGES(USER("a") ",{'role': 'assistant', 'content': 'b', 'tool_calls': [{}]}"),
         MR_FAULT_TYPE, "message 2: field \"tool_calls\" has no place in the template"},
        {"tulu", MESSAGES(USER("a") ",{'role': 'assistant', 'content': 'b', 'weight': 0}"),
         MR_FAULT_TYPE,
         "message 2: field \"weight\" says that it is not learned, but the template learns it"},
        {"tulu", MESSAGES(USER("a") ",{'role': 'assistant', 'content': 'b', 'train': false}"),
         MR_FAULT_TYPE,
         "message 2: field \"train\" says that it is not learned, but the template learns it"},
        {"llama2_chat", MESSAGES(USER("a") "," USER("b")), MR_FAULT_ORDER,
         "message 2: user cannot follow user"},
        {"llama2_chat", MESSAGES(USER("a") "," SYSTEM("b")), MR_FAULT_ORDER,
         "message 2: system cannot follow user"},
        {"alpaca", "{'input': 'a', 'output': 'b'}", MR_FAULT_FIELD,
         "expected text in field \"instruction\", found nothing"},
        {"alpaca", "{'instruction': 'a', 'input': 1.5, 'output': 'b'}", MR_FAULT_TYPE,
         "expected text in field \"input\", found a number"},
        {"alpaca", "{'instruction': 'a', 'output': null}", MR_FAULT_TYPE,
         "expected text in field \"output\", found null"},
        {"plain", "{'text': true}", MR_FAULT_TYPE, "expected text in field \"text\", found true"},
        {"plain", "null", MR_FAULT_JSON, "expected an object, found null"},
    };
    mr_tokenizer *of;
    mr_rendered r = {0};
    must(mr_tokenizer_create("bytes", &of));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char what[MR_FAULT_TEXT] = "";
        mr_template *t = load(cases[i].template, of);
        const mr_fault fault = render(t, cases[i].record, &r, what);
        if (fault != cases[i].fault || strcmp(what, cases[i].what) != 0)
            fail_msg("%s: fault %d, \"%s\"", cases[i].record, (int)fault, what);
        mr_template_destroy(&t);
    }
    of->most_bytes = 7;
    char what[MR_FAULT_TEXT];
    mr_template *t = load("plain", of);
    assert_int_equal(render(t, "{'text': '12345678'}", &r, what), MR_FAULT_LONG);
    assert_string_equal(what, "a text of 8 bytes, more than the 7 there may be");
    assert_int_equal(r.count, 0);
    of->eos = -1;
    assert_int_equal(mr_template_bind(t, of), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "template plain: the tokenizer 'bytes' has no token \"eos\"");
    mr_template_destroy(&t);
    mr_rendered_free(&r);
    mr_tokenizer_destroy(&of);
}

static void fields_and_roles_have_the_names_of_the_file(void **state)
{
    (void)state;
    static const char *const names[] = {"messages=conversations", "role=from", "content=value",
                                        "user=human", "assistant=gpt"};
    mr_tokenizer *of;
    mr_template *t;
    mr_rendered r = {0};
    char what[MR_FAULT_TEXT], hash[MR_HASH_TEXT];
    must(mr_tokenizer_create("bytes", &of));
    t = load("tulu", of);
    snprintf(hash, sizeof hash, "%s", mr_template_hash(t));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        must(mr_template_rename(t, names[i]));
    assert_string_not_equal(mr_template_hash(t), hash);
    expect_sample(t, of,
                  "{'conversations': [{'from': 'human', 'value': 'a'}, {'from': 'gpt', 'value': "
                  "'b'}]}",
                  "<bos><|user|>\na\n<|assistant|>\n{b<eos>}");
    assert_int_equal(render(t, "{'conversations': [{'from': 'user'}]}", &r, what), MR_FAULT_ROLE);
    assert_string_equal(what, "message 1: expected a role of system, human, gpt, found \"user\"");
    assert_int_equal(mr_template_rename(t, "text=a"), MR_ERR_USAGE);
    assert_string_equal(mr_message(), "template tulu has no \"text\"; it has messages, role, "
                                      "system, user, assistant, content");
    assert_int_equal(mr_template_rename(t, "role=to"), MR_ERR_USAGE);
    assert_string_equal(mr_message(), "\"role\" is told twice, as \"from\" and \"to\"");
    assert_int_equal(mr_template_rename(t, "text"), MR_ERR_USAGE);
    assert_string_equal(mr_message(), "expected NAME=AS THE FILE CALLS IT, found \"text\"");
    mr_template_destroy(&t);
    t = load("plain", of);
    must(mr_template_rename(t, "text=a.1.b"));
    expect_sample(t, of, "{'a': [0, {'b': 'x'}]}", "{x<eos>}");
    expect_sample(t, of, "{'a.1.b': 'y', 'a': 7}", "{y<eos>}");
    assert_int_equal(render(t, "{'a': {'1': 'x'}}", &r, what), MR_FAULT_FIELD);
    mr_template_destroy(&t);
    mr_rendered_free(&r);
    mr_tokenizer_destroy(&of);
}

/* A question of MMLU as text, with an example before it made by another form. */
static void prompts_are_templates_too(void **state)
{
    (void)state;
    static const char yaml[] =
        "about: a question\n"
        "reads: fields\n"
        "optional: [answer]\n"
        "forms:\n"
        "  - when: {field: answer, strip: both}\n"
        "    spans: [{field: question, strip: both}, {text: \"\\nA. \"}, {field: choices.0},\n"
        "            {text: \"\\nAnswer: \"}, {field: answer}, {text: \"\\n\\n\"}]\n"
        "  - spans: [{field: question, strip: both}, {text: \"\\nA. \"}, {field: choices.0},\n"
        "            {text: \"\\nAnswer:\"}]\n";
    static const char *const records[] = {
        "{'question': ' q\\n', 'choices': [' a '], 'answer': 'A'}",
        "{'question': 'p', 'choices': ['b'], 'answer': ' '}"};
    mr_template *t;
    mr_text text = {0};
    mr_fault fault;
    char what[MR_FAULT_TEXT];
    data_write("question.yaml", yaml, sizeof yaml - 1);
    must(mr_template_load("./question.yaml", &t));
    assert_string_equal(mr_template_name(t), "question");
    assert_string_equal(mr_template_about(t), "a question");
    assert_int_equal(mr_template_end(t, NULL), -1);
    for (int i = 0; i < 2; i++) {
        json_t *record = json_loads(quoted(records[i]), 0, NULL);
        must(mr_template_text(t, record, &text, &fault, what));
        assert_int_equal(fault, MR_FAULTS);
        json_decref(record);
    }
    assert_string_equal(mr_text_get(&text), "q\nA.  a \nAnswer: A\n\np\nA. b\nAnswer:");
    mr_text_free(&text);
    mr_template_destroy(&t);
}

static void bad_templates_are_told_by_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"[1]", "t.yaml:1:1: expected a mapping of keys, found a list"},
        {"reads: lines\nforms: [1]", "t.yaml:1:8: expected fields or messages, found \"lines\""},
        {"reads: fields", "t.yaml:1:1: the key \"forms\" is missing"},
        {"reads: fields\nforms: []", "t.yaml:2:8: expected a list, found an empty list"},
        {"reads: fields\nroles: [a]\nforms: [1]", "t.yaml:2:8: unknown key \"roles\""},
        {"reads: fields\nforms: [1]", "t.yaml:2:9: expected a mapping, found \"1\""},
        {"reads: fields\nforms: [{spans: [{text: a, token: b}]}]",
         "t.yaml:2:18: expected one of the keys text, field and token"},
        {"reads: fields\nforms: [{spans: [{learned: true}]}]",
         "t.yaml:2:18: expected one of the keys text, field and token"},
        {"reads: fields\nforms: [{spans: [{text: a, learned: 1}]}]",
         "t.yaml:2:37: expected true or false, found \"1\""},
        {"reads: fields\nforms: [{spans: [{text: a, strip: end}]}]",
         "t.yaml:2:18: lines and strip are for a field alone"},
        {"reads: fields\nforms: [{spans: [{field: a, strip: left}]}]",
         "t.yaml:2:36: expected none, start, end or both, found \"left\""},
        {"reads: fields\nforms: [{spans: [{token: before, learned: true}]}]",
         "t.yaml:2:18: the ids before a text cannot be learned"},
        {"reads: fields\nforms: [{role: a, spans: [{text: a}]}]",
         "t.yaml:2:9: role is for messages alone"},
        {"reads: fields\nforms: [{after: [a], spans: [{text: a}]}]",
         "t.yaml:2:17: after is for messages alone"},
        {"reads: fields\nforms: [{when: {field: a}, spans: [{text: a}]}]",
         "t.yaml:2:9: the last form must apply to every record: no when"},
        {"reads: fields\nforms: [{when: {lines: rest}, spans: [{text: a}]}, {spans: [{text: a}]}]",
         "t.yaml:2:16: the key \"field\" is missing"},
        {"reads: fields\noptional: [b]\nforms: [{spans: [{field: a}]}]",
         "t.yaml:2:12: no span has the field \"b\""},
        {"reads: messages\nforms: [{spans: [{text: a}]}]",
         "t.yaml:2:9: the key \"role\" is missing"},
        {"reads: messages\nforms: [{role: start, spans: [{text: a}]}]",
         "t.yaml:2:9: \"start\" cannot be a role: it is what stands before all"},
        {"reads: messages\nforms: [{role: a, after: [b], spans: [{text: a}]}]",
         "t.yaml:2:27: no form is of the role \"b\""},
    };
    mr_template *t;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        data_write("t.yaml", cases[i].yaml, strlen(cases[i].yaml));
        assert_int_equal(mr_template_load("t.yaml", &t), MR_ERR_CONFIG);
        assert_null(t);
        assert_string_equal(mr_message(), cases[i].message);
    }
    assert_int_equal(mr_template_load("nowhere.yaml", &t), MR_ERR_IO);
    assert_contains(mr_message(), "template: expected one of tulu, tulu_open_instruct, alpaca, "
                                  "metamath, peft_metamath, llama2_chat, chatml, "
                                  "prompt_completion, plain, or the file of one");
    assert_contains(mr_message(), "nowhere.yaml");
}

static void a_token_behind_what_is_learned_is_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        bool learned;
    } cases[] = {{"tulu", true},        {"tulu_open_instruct", true}, {"alpaca", true},
                 {"llama2_chat", true}, {"prompt_completion", true},  {"t.yaml", false}};
    static const char yaml[] =
        "reads: fields\nforms: [{spans: [{field: text, learned: true}, {token: eos}]}]\n";
    mr_tokenizer *of;
    data_write("t.yaml", yaml, sizeof yaml - 1);
    must(mr_tokenizer_create("bytes", &of));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool learned;
        mr_template *t = load(cases[i].source, of);
        assert_int_equal(mr_template_end(t, &learned), MR_BYTES_EOS);
        assert_int_equal(learned, cases[i].learned);
        mr_template_destroy(&t);
    }
    mr_tokenizer_destroy(&of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tulu_learns_what_an_assistant_says),
        cmocka_unit_test(strips_take_what_python_does),
        cmocka_unit_test(alpaca_has_two_forms),
        cmocka_unit_test(others_put_texts_together),
        cmocka_unit_test(llama2_chat_takes_turns),
        cmocka_unit_test(chatml_needs_its_tokens),
        cmocka_unit_test(a_blank_stands_where_the_tokenizer_puts_it),
        cmocka_unit_test(a_token_that_its_text_is_not_stands_there_all_the_same),
        cmocka_unit_test(records_that_do_not_fit_are_told),
        cmocka_unit_test(fields_and_roles_have_the_names_of_the_file),
        cmocka_unit_test(prompts_are_templates_too),
        cmocka_unit_test(bad_templates_are_told_by_their_place),
        cmocka_unit_test(a_token_behind_what_is_learned_is_the_end),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
