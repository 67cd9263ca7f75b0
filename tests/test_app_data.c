#include "base/file.h"
#include "data/token_shards.h"
#include "data_files.h"
#include "program.h"

#include <jansson.h>

#include <stdlib.h>
#include <unistd.h>

static const program_setting alone = {.ranks = 0};

static void fails(int exit_code, const char *message, const char *arguments)
{
    program_fail(alone, exit_code, message, "%s", arguments);
}

static void succeeds(int ranks, const char *arguments)
{
    program_result result = program_succeed((program_setting){.ranks = ranks}, "%s", arguments);
    program_free(&result);
}

/* Lines "document 0" to "document 999". */
static void write_documents(const char *path)
{
    data_write(path, "", 0);
    for (int i = 0; i < 1000; i++) {
        char line[32];
        int length = snprintf(line, sizeof line, "document %d\n", i);
        data_append(path, line, (size_t)length);
    }
}

static void the_command_line_is_checked(void **state)
{
    (void)state;
    fails(2, "mora data: expected prepare or inspect", "data");
    fails(2, "mora data: expected prepare or inspect, found \"eat\"", "data eat");
    fails(2, "mora data prepare: expected files and --to DIR", "data prepare");
    fails(2, "mora data prepare: expected files and --to DIR", "data prepare a.txt");
    fails(2, "mora data prepare: expected files and --to DIR", "data prepare --to here");
    fails(2, "--heldout: expected a share of 0 to below 1, found \"1\"",
          "data prepare a.txt --to here --heldout 1");
    fails(2, "--heldout: expected a share of 0 to below 1, found \"nan\"",
          "data prepare a.txt --to here --heldout nan");
    fails(2, "--heldout: expected a share of 0 to below 1, found \"0x1p-3\"",
          "data prepare a.txt --to here --heldout 0x1p-3");
    fails(2, "--documents: expected lines or file, found \"words\"",
          "data prepare a.txt --to here --documents words");
    fails(2, "--on-error: expected error or skip, found \"panic\"",
          "data prepare a.txt --to here --on-error panic");
    fails(2, "mora data inspect: expected a folder, a file or --text", "data inspect");
    fails(2, "mora data inspect: expected a folder, a file or --text",
          "data inspect here --text a");
    fails(2, "--seq-len: expected 1..", "data inspect here --seq-len 0");
    fails(1, "cannot open 'here/manifest.json'", "data inspect here");
    write_documents("file.txt");
    fails(1, "'file.txt' is a file; expected a folder that", "data inspect file.txt");
}

static void help_tells_both_verbs(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "data --help");
    assert_contains(result.out, "mora data prepare FILE...");
    assert_contains(result.out, "mora data inspect DIR");
    program_free(&result);
    result = program_succeed(alone, "data prepare --help");
    assert_contains(result.out, "--on-error error|skip");
    assert_contains(result.out, "half a surrogate pair, a field twice or \\u0000 in its name");
    assert_contains(result.out, "what is left over at its end is dropped");
    program_free(&result);
}

static void prepare_tells_what_it_made(void **state)
{
    (void)state;
    write_documents("made.txt");
    program_result result =
        program_succeed((program_setting){.ranks = 2}, "data prepare made.txt --to made");
    assert_contains(result.out,
                    "split          documents           tokens          learned      bytes of "
                    "text\n");
    assert_contains(result.out, "made: 1000 documents, 12890 tokens, 11890 bytes in ");
    assert_contains(result.out, " MB/s per core\n");
    assert_int_equal(program_lines_with(result.out, "made: "), 1);
    program_free(&result);
    result = program_succeed(alone, "data prepare made.txt --to made");
    assert_contains(result.out, "made: prepared already, 1000 documents, 12890 tokens\n");
    program_free(&result);
}

static void progress_is_shown_from_the_first_look_on(void **state)
{
    (void)state;
    enum { LONG = 2500000 };
    static char text[LONG];
    memset(text, 'x', LONG);
    data_write("progress.txt", text, LONG);
    program_result result = program_succeed(alone, "data prepare progress.txt --to progress");
    assert_contains(result.err, "mora: looking at inputs 1/2 MB\n");
    assert_contains(result.err, "mora: prepare 2/2 MB, ");
    program_free(&result);
}

static void what_is_prepared_already_is_verified(void **state)
{
    (void)state;
    size_t size;
    write_documents("again.txt");
    program_result result = program_succeed(alone, "data prepare again.txt --to again");
    program_free(&result);
    data_shell("sed -i 's/\"version\": 2/\"version\": 1/' again/manifest.json");
    result = program_succeed(alone, "data prepare again.txt --to again");
    assert_contains(result.out, "again: prepared already, ");
    assert_contains(result.err,
                    "warning: 'again' is of an older version, which does not tell where "
                    "documents end; remove it to have it made anew\n");
    program_free(&result);
    char *tokens = program_read("again/train-00000-000000.bin", &size);
    tokens[20] ^= 1;
    data_write("again/train-00000-000000.bin", tokens, size);
    mr_free(tokens);
    result = program_run(alone, "data prepare again.txt --to again");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "'again' exists, but is damaged: "
                                "again/train-00000-000000.bin: damaged: its SHA-256 is ");
    program_free(&result);
}

static void json_tells_the_same(void **state)
{
    (void)state;
    write_documents("json.txt");
    program_result result =
        program_succeed(alone, "data prepare json.txt --to json --heldout 0.1 --json");
    json_t *root = json_loads(result.out, 0, NULL);
    int held, trained, already;
    double rate;
    assert_int_equal(json_unpack(root, "{s:{s:i}, s:{s:i}, s:b, s:f}", "train", "documents",
                                 &trained, "heldout", "documents", &held, "already", &already,
                                 "mb_per_second_per_rank", &rate),
                     0);
    assert_int_equal(trained + held, 1000);
    assert_true(held > 60 && held < 140);
    assert_false(already);
    assert_true(rate > 0);
    json_decref(root);
    program_free(&result);
}

static void documents_left_out_are_told_once_and_counted(void **state)
{
    (void)state;
    data_write("faulty.jsonl", "", 0);
    for (int i = 1; i <= 60; i++) {
        const char *line = i % 3 == 0   ? "{\"text\": \xff}\n"
                           : i % 3 == 1 ? "{\"text\": \"fine\"}\n"
                                        : "{\"body\": \"no\"}\n";
        data_append("faulty.jsonl", line, strlen(line));
    }
    for (int ranks = 1; ranks <= 4; ranks += 3) {
        program_result result =
            program_succeed((program_setting){.ranks = ranks},
                            "data prepare faulty.jsonl --to faulty-%d --on-error skip", ranks);
        assert_int_equal(program_lines_with(result.err, "; left out"), 20);
        assert_contains(result.err, "mora: warning: faulty.jsonl:2: expected text in field "
                                    "\"text\", found nothing; left out\n");
        assert_contains(result.err, "mora: warning: faulty.jsonl:3: not UTF-8: byte 10 of the line "
                                    "is 0xff; left out\n");
        assert_contains(result.err, "faulty.jsonl:30: not UTF-8");
        assert_contains(result.err, "faulty.jsonl:29: expected text");
        assert_contains(result.err, "mora: warning: 40 documents left out: utf8 20, field 20\n");
        program_free(&result);
    }
}

static void a_fault_ends_all_ranks_with_one_message(void **state)
{
    (void)state;
    write_documents("bad.txt");
    data_append("bad.txt", "caf\xe9\n", 5);
    for (int ranks = 1; ranks <= 4; ranks += 3) {
        program_result result = program_run((program_setting){.ranks = ranks},
                                            "data prepare bad.txt --to bad-%d", ranks);
        assert_int_equal(result.exit_code, 1);
        assert_contains(result.err, "bad.txt:1001: not UTF-8: byte 4 of the line is 0xe9\n");
        assert_int_equal(program_lines_with(result.err, "error:"), 1);
        program_free(&result);
    }
    assert_int_not_equal(access("bad-4", F_OK), 0);
    assert_int_not_equal(access("bad-4.tmp", F_OK), 0);
}

static void inspect_shows_decoded_samples(void **state)
{
    (void)state;
    write_documents("shown.txt");
    data_append("shown.txt", "bell \x07 \xc2\x9b here\xc2\xa0\n", 17);
    succeeds(0, "data prepare shown.txt --to shown --heldout 0");
    program_result result = program_succeed(alone, "data inspect shown --items 2 --seq-len 25");
    assert_contains(result.out, "shown: 1 shards of 2-byte tokens from 1 files\n");
    assert_contains(result.out, "tokenizer bytes, 259 ids, EOS 257\n");
    assert_contains(result.out, "train, sequence 0 of 516:\ndocument 0<eos>document 1<eos>doc\n");
    assert_contains(result.out, "train, sequence 258 of 516:\n");
    program_free(&result);
    result = program_succeed(alone, "data inspect shown --seq-len 12907 --verify");
    assert_contains(result.out, "every SHA-256 as stated");
    assert_contains(result.out, "<eos>bell \\x07 \\xc2\\x9b here\xc2\xa0<eos>");
    program_free(&result);
}

static void samples_of_which_nothing_is_learned_are_told(void **state)
{
    (void)state;
    static const char records[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, "
                                  "{\"role\": \"assistant\", \"content\": \"Y\\u00e9\\u001b\"}]}\n"
                                  "{\"messages\": [{\"role\": \"user\", \"content\": \"?\"}]}\n"
                                  "{\"messages\": []}\n";
    data_write("talk.jsonl", records, sizeof records - 1);
    program_result result = program_succeed(
        alone, "data prepare talk.jsonl --to talk --template tulu --heldout 0 --on-error skip");
    assert_contains(result.out, "template tulu, SHA-256 ");
    assert_contains(result.out, "; what is learned ends with EOS 257, learned too\n");
    assert_contains(result.err, "warning: talk.jsonl:3: expected messages in field \"messages\", "
                                "found none; left out\n");
    assert_contains(result.err, "warning: 1 documents left out: empty 1\n");
    assert_contains(result.err,
                    "warning: nothing is learned of 1 of 2 documents, the first at talk.jsonl:2\n");
    program_free(&result);
    result = program_succeed(alone, "data inspect talk --items 0");
    assert_contains(result.out, "left out 1, empty 1\n"
                                "nothing is learned of 1 documents, every token of 0\n");
    program_free(&result);
}

static void inspect_shows_how_a_text_is_cut(void **state)
{
    (void)state;
    static const char file[] =
        "{\"added_tokens\": [{\"id\": 4, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": "
        "false, \"rstrip\": false, \"normalized\": false, \"special\": true}], \"model\": "
        "{\"vocab\": "
        "{\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u001b\": 3}, \"merges\": [\"a b\"]}, "
        "\"post_processor\": "
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", "
        "\"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"special_tokens\": "
        "{\"<s>\": {\"ids\": [4]}}}}";
    data_write("cuts.json", file, sizeof file - 1);
    program_result result =
        program_succeed(alone, "data inspect --text aabb\x1b<s> --tokenizer cuts.json");
    assert_contains(result.out, "tokenizer cuts.json, 5 ids: 5 tokens of 8 bytes\n"
                                "|a|ab|b|\\x1b|<s>|\n");
    assert_contains(result.out,
                    "\nbefore        4  <s>\n              0  a\n              2  ab\n");
    program_free(&result);
    result = program_succeed(alone, "data inspect --text abc --json");
    assert_contains(result.out, "97,");
    assert_contains(result.out, "\"c\"");
    program_free(&result);
}

static void inspect_names_a_damaged_shard(void **state)
{
    (void)state;
    size_t size;
    write_documents("hurt.txt");
    succeeds(2, "data prepare hurt.txt --to hurt --heldout 0");
    char *data = program_read("hurt/train-00000-000000.bin", &size);
    data[100] ^= 1;
    data_write("hurt/train-00000-000000.bin", data, size);
    mr_free(data);
    succeeds(0, "data inspect hurt --items 0");
    fails(1, "hurt/train-00000-000000.bin: damaged: its SHA-256 is ", "data inspect hurt --verify");
}

/* Prepares the hard text with a model, and compares with what spm_encode prints. */
static void check_against_spm_encode(const char *model)
{
    enum { REPEAT = 20 };
    size_t bytes, size;
    const char *text = data_hard_text(&bytes);
    data_write("spm.txt", "", 0);
    for (int i = 0; i < REPEAT; i++) {
        data_append("spm.txt", text, bytes);
        if (i + 1 < REPEAT) data_append("spm.txt", "\n", 1);
    }
    /* spm_encode knows lines that end in a newline only. */
    data_shell("rm -rf spm && sed 's/\\r$//' spm.txt | tr '\\r' '\\n' | spm_encode --model=%s "
               "--extra_options=eos --output_format=id > spm.ids 2> /dev/null",
               model);
    program_result result =
        program_succeed((program_setting){.ranks = 2},
                        "data prepare spm.txt --to spm --heldout 0 --tokenizer %s", model);
    program_free(&result);
    mr_token_shards *shards = NULL;
    assert_int_equal(mr_token_shards_open("spm", 1, &shards), MR_OK);
    char *printed = program_read("spm.ids", &size), *at = printed;
    for (int64_t i = 0; i < mr_token_shards_sequences(shards, MR_SPLIT_TRAIN); i++) {
        int32_t id;
        char *after;
        long wanted = strtol(at, &after, 10);
        assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, i, 0, 1, &id), MR_OK);
        if (after == at || wanted != id)
            fail_msg("%s: token %lld is %d, spm_encode has %ld", model, (long long)i, id, wanted);
        at = after;
    }
    assert_string_equal(at, "\n");
    mr_free(printed);
    mr_token_shards_close(&shards);
}

static void prepared_tokens_are_those_of_spm_encode_with_llama(void **state)
{
    (void)state;
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama.model");
    data_need_encoder(true);
    check_against_spm_encode("llama.model");
}

static void prepared_tokens_are_those_of_spm_encode_with_t5(void **state)
{
    (void)state;
    data_unpack_shared("data/tokenizer/t5_spiece_torchtune.model.xz", "t5.model");
    data_need_encoder(true);
    check_against_spm_encode("t5.model");
}

static void prepared_tokens_are_those_of_spm_encode_with_a_model_made_here(void **state)
{
    (void)state;
    data_need_program("spm_train");
    data_need_encoder(false);
    write_documents("training.txt");
    data_shell("spm_train --input=training.txt --model_prefix=own --vocab_size=60 "
               "--hard_vocab_limit=false > own.log 2>&1");
    check_against_spm_encode("own.model");
    program_result result = program_succeed(alone, "data inspect spm --tokenizer own.model");
    assert_contains(result.out, "tokenizer own.model, ");
    assert_contains(result.out, "</s>");
    program_free(&result);
    result = program_succeed(alone, "data inspect spm --seq-len 3");
    assert_contains(result.out, "train, sequence 0 of ");
    program_free(&result);
    fails(1, "'spm' was prepared with tokenizer own.model (", "data inspect spm --tokenizer bytes");
}

static void a_character_cut_in_two_is_shown_in_json(void **state)
{
    (void)state;
    data_write("cut.txt", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\n", 9);
    program_result result = program_succeed(alone, "data prepare cut.txt --heldout 0 --to cut");
    program_free(&result);
    result = program_succeed(alone, "data inspect cut --seq-len 3 --items 2 --json");
    assert_contains(result.out, "\"text\": \"\xc3\xa9\\\\xc3\"");
    assert_contains(result.out, "\"text\": \"\\\\xa9\xc3\xa9\"");
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_is_checked),
        cmocka_unit_test(help_tells_both_verbs),
        cmocka_unit_test(prepare_tells_what_it_made),
        cmocka_unit_test(progress_is_shown_from_the_first_look_on),
        cmocka_unit_test(what_is_prepared_already_is_verified),
        cmocka_unit_test(json_tells_the_same),
        cmocka_unit_test(a_character_cut_in_two_is_shown_in_json),
        cmocka_unit_test(documents_left_out_are_told_once_and_counted),
        cmocka_unit_test(a_fault_ends_all_ranks_with_one_message),
        cmocka_unit_test(inspect_shows_decoded_samples),
        cmocka_unit_test(samples_of_which_nothing_is_learned_are_told),
        cmocka_unit_test(inspect_shows_how_a_text_is_cut),
        cmocka_unit_test(inspect_names_a_damaged_shard),
        cmocka_unit_test(prepared_tokens_are_those_of_spm_encode_with_llama),
        cmocka_unit_test(prepared_tokens_are_those_of_spm_encode_with_t5),
        cmocka_unit_test(prepared_tokens_are_those_of_spm_encode_with_a_model_made_here),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
