/* What a reader is shown of records: samples with their learned spans, and what is wrong. */

#include "data_files.h"
#include "program.h"

#include <jansson.h>

static const program_setting alone = {.ranks = 0};

/* Two samples, a blank line, and records that do not fit. */
static const char records[] =
    "{\"id\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"caf\\u00e9\"}, "
    "{\"role\": \"assistant\", \"content\": \" \\u001b[1mno\"}]}\n"
    "\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"only\"}]}\n"
    "{\"messages\": [{\"role\": \"assistant\", \"content\": \"first\"}]}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}]}\n"
    "{\"messages\": [7]}\n"
    "not JSON\n"
    "\xff\n";

static void fails(int exit_code, const char *message, const char *arguments)
{
    program_fail(alone, exit_code, message, "%s", arguments);
}

static void samples_are_shown_with_what_is_learned(void **state)
{
    (void)state;
    data_write("r.jsonl", records, sizeof records - 1);
    program_result result =
        program_succeed(alone, "data inspect r.jsonl --template tulu --tokenizer bytes --items 99");
    assert_contains(result.out, "template tulu: Tulu v2, an assistant's content and its EOS are "
                                "learned; SHA-256 ");
    assert_contains(result.out, "tokenizer bytes, 259 ids; what is learned ends with <eos> (257), "
                                "learned too\n");
    assert_contains(result.out, "\nr.jsonl:1: 37 tokens, 7 learned in 1 span, <eos> learned\n"
                                "<bos><|user|>\ncaf\xc3\xa9\n<|assistant|>\n[[\\x1b[1mno<eos>]]\n");
    assert_contains(result.out, "\nr.jsonl:3: 14 tokens, 0 learned in 0 spans, <eos> not learned: "
                                "nothing is learned\n<bos><|user|>\nonly\n");
    assert_contains(result.out,
                    "\nr.jsonl:4: left out (order): message 1: assistant cannot be the first\n");
    assert_contains(result.out, "\nr.jsonl:5: left out (surrogate): half a surrogate pair");
    assert_contains(
        result.out,
        "\nr.jsonl:6: left out (type): message 1: expected an object, found a number\n");
    assert_contains(result.out, "\nr.jsonl:7: left out (json): ");
    assert_contains(result.out, "\nr.jsonl:8: left out (utf8): not UTF-8: byte 1 of the line");
    program_free(&result);
}

static void a_terminal_shows_it_in_colour(void **state)
{
    (void)state;
    data_write("r.jsonl", records, sizeof records - 1);
    program_result result = program_succeed(
        (program_setting){.columns = 80}, "data inspect r.jsonl --template tulu --tokenizer bytes");
    assert_contains(result.err, "\033[30;102m\\x1b[1mno<eos>\033[0m");
    program_free(&result);
}

static void an_array_is_read_with_the_names_of_its_file(void **state)
{
    (void)state;
    static const char array[] =
        "[{\"Q\": \"a\\nb\", \"A\": \"c\"},\n {\"Q\": \"d\", \"A\": \"e\"}]";
    data_write("a.json", array, sizeof array - 1);
    data_pack("a.json", "a.json.gz", DATA_GZ);
    program_result result =
        program_succeed(alone, "data inspect a.json.gz --template prompt_completion --tokenizer "
                               "bytes --field prompt=Q --field completion=A --items 2 --json");
    json_t *root = json_loads(result.out, 0, NULL);
    const json_t *items = json_object_get(root, "items"), *second = json_array_get(items, 1);
    assert_int_equal(json_array_size(items), 2);
    assert_int_equal(json_integer_value(json_object_get(second, "line")), 2);
    assert_string_equal(json_string_value(json_object_get(second, "text")), "<bos>de<eos>");
    assert_int_equal(json_integer_value(json_object_get(second, "learned")), 2);
    assert_true(json_is_true(json_object_get(second, "end_learned")));
    const json_t *ids = json_object_get(second, "ids"), *mask = json_object_get(second, "mask");
    static const int expected[][2] = {{256, 0}, {'d', 0}, {'e', 1}, {257, 1}};
    assert_int_equal(json_array_size(ids), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(json_integer_value(json_array_get(ids, i)), expected[i][0]);
        assert_int_equal(json_integer_value(json_array_get(mask, i)), expected[i][1]);
    }
    json_decref(root);
    program_free(&result);
}

static void without_a_tokenizer_there_is_the_text(void **state)
{
    (void)state;
    static const char yaml[] = "reads: fields\nforms: [{spans: [{text: \"Q: \"}, {field: q}]}]\n";
    static const char line[] = "{\"q\": \"why\\u0007\"}\n";
    data_write("q.yaml", yaml, sizeof yaml - 1);
    data_write("q.jsonl", line, sizeof line - 1);
    program_result result = program_succeed(alone, "data inspect q.jsonl --template q.yaml");
    assert_contains(result.out, "\nq.jsonl:1:\nQ: why\\x07\n");
    program_free(&result);
    result = program_succeed(alone, "data inspect q.jsonl --template q.yaml --tokenizer bytes");
    assert_contains(result.out, "no token ends what is learned");
    program_free(&result);
}

static void a_prepared_folder_shows_what_is_learned(void **state)
{
    (void)state;
    data_write("r.jsonl", records, sizeof records - 1);
    program_result result = program_succeed(
        alone, "data prepare r.jsonl --template tulu --to f --on-error skip --heldout 0");
    program_free(&result);
    result = program_succeed(alone, "data inspect f --items 2");
    assert_contains(result.out, "\ntrain, document 0 of 2: 37 tokens, 7 learned in 1 span, <eos> "
                                "learned\n<bos><|user|>\ncaf\xc3\xa9\n<|assistant|>\n"
                                "[[\\x1b[1mno<eos>]]\n");
    assert_contains(result.out, "\ntrain, document 1 of 2: 14 tokens, 0 learned in 0 spans, <eos> "
                                "not learned: nothing is learned\n");
    program_free(&result);
    result = program_succeed(alone, "data inspect f --seq-len 5 --json");
    json_t *root = json_loads(result.out, 0, NULL);
    const json_t *sample = json_array_get(json_object_get(root, "samples"), 0);
    assert_string_equal(json_string_value(json_object_get(sample, "text")), "<bos><|us");
    assert_int_equal(json_integer_value(json_object_get(sample, "tokens")), 37);
    assert_int_equal(json_integer_value(json_object_get(sample, "learned")), 7);
    json_decref(root);
    program_free(&result);
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    data_write("r.jsonl", records, sizeof records - 1);
    fails(2, "--seq-len is not for records", "data inspect r.jsonl --template tulu --seq-len 7");
    fails(2, "--verify is not for records", "data inspect r.jsonl --template tulu --verify");
    fails(2, "--field is not for a folder; records need --template",
          "data inspect r.jsonl --field text=a");
    fails(2, "--items is not for a text", "data inspect --text a --items 2");
    fails(2, "--template is not for a text", "data inspect --text a --template tulu");
    fails(2, "mora data inspect: --field: template tulu has no \"text\"; it has messages",
          "data inspect r.jsonl --template tulu --field text=a");
    fails(1, "template: expected one of tulu, ", "data inspect r.jsonl --template nowhere");
    fails(1, "template chatml: the tokenizer 'bytes' has no token \"<|im_start|>\"",
          "data inspect r.jsonl --template chatml --tokenizer bytes");
    fails(1, "cannot open 'nowhere.jsonl'", "data inspect nowhere.jsonl --template tulu");
    program_result result = program_succeed(alone, "data inspect --help");
    assert_contains(result.out,
                    "\n  metamath           MetaMathQA (query, response), response and EOS "
                    "are learned\n");
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_shown_with_what_is_learned),
        cmocka_unit_test(a_terminal_shows_it_in_colour),
        cmocka_unit_test(an_array_is_read_with_the_names_of_its_file),
        cmocka_unit_test(without_a_tokenizer_there_is_the_text),
        cmocka_unit_test(a_prepared_folder_shows_what_is_learned),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
