/* Which tokenizer a model takes, and special ids that a tokenizer lacks. */

#include "base/log.h"
#include "data/batch.h"
#include "data/model_tokenizer.h"
#include "data_files.h"
#include "folder.h"
#include "logs.h"
#include "program.h"
#include "settings.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A SentencePiece model by hand (its protobuf): unigram, hexadecimal digits and a few letters. */

typedef struct bytes {
    char at[4096];
    size_t count;
} bytes;

static void put(bytes *to, const void *from, size_t count)
{
    assert_true(to->count + count <= sizeof to->at);
    memcpy(to->at + to->count, from, count);
    to->count += count;
}

static void put_field(bytes *to, int number, const char *from, size_t count)
{
    const unsigned char head[] = {(unsigned char)(number << 3 | 2), (unsigned char)count};
    assert_true(count < 128);
    put(to, head, sizeof head);
    put(to, from, count);
}

/* @param type  1 normal, 2 unknown, 3 control */
static void put_piece(bytes *to, const char *text, char type)
{
    const float score = type == 1 ? -6 : 0;
    bytes piece = {.count = 0};
    put_field(&piece, 1, text, strlen(text));
    put(&piece, "\x15", 1);
    put(&piece, &score, sizeof score);
    put(&piece, "\x18", 1);
    put(&piece, &type, 1);
    put_field(to, 1, piece.at, piece.count);
}

static void write_model(const char *path, bool bos, bool eos, bool pad)
{
    bytes model = {.count = 0}, normalizer = {.count = 0};
    put_piece(&model, "<unk>", 2);
    if (bos) put_piece(&model, "<s>", 3);
    if (eos) put_piece(&model, "</s>", 3);
    if (pad) put_piece(&model, "<pad>", 3);
    put_piece(&model, "\xe2\x96\x81", 1);
    put_piece(&model, "\xef\xbf\xbd", 1);
    for (const char *c = "0123456789abcdef=K\n"; *c; c++)
        put_piece(&model, (const char[]){*c, '\0'}, 1);
    put_field(&model, 2, "\x18\x01", 2);
    put_field(&normalizer, 1, "identity", 8);
    put(&normalizer, "\x18\x01\x20\x00\x28\x01", 6);
    put_field(&model, 3, normalizer.at, normalizer.count);
    data_write(path, model.at, model.count);
}

/* The tokenizer of a model folder. */

static mr_config config_of(const char *path, const char *config, const char *tokenizer)
{
    mr_config c = {.model.init = MR_INIT_PRETRAINED};
    if (!path[0]) c.model.init = MR_INIT_RANDOM;
    snprintf(c.model.path, sizeof c.model.path, "%s", path);
    snprintf(c.model.config, sizeof c.model.config, "%s", config);
    snprintf(c.model.tokenizer, sizeof c.model.tokenizer, "%s", tokenizer);
    return c;
}

static void takes(mr_config config, int64_t vocab_size, const char *source, const char *reason)
{
    mr_tokenizer *tokenizer;
    must(mr_model_tokenizer_create(&config, &(mr_hf_config){.vocab_size = vocab_size}, &tokenizer));
    assert_string_equal(tokenizer->source, source);
    assert_string_equal(tokenizer->reason, reason);
    mr_tokenizer_destroy(&tokenizer);
}

static void refuses(mr_config config, int64_t vocab_size, mr_status status, const char *message)
{
    mr_tokenizer *tokenizer;
    assert_int_equal(
        mr_model_tokenizer_create(&config, &(mr_hf_config){.vocab_size = vocab_size}, &tokenizer),
        status);
    assert_null(tokenizer);
    assert_contains(mr_message(), message);
}

/* A tokenizer.json of four pieces. */
static void write_json(const char *path)
{
    static const char text[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, "
                               "\"ab\": 2, \"c\": 3}, \"merges\": [\"a b\"]}}";
    data_write(path, text, sizeof text - 1);
}

static void a_model_takes_its_own_tokenizer_unless_asked_for_another(void **state)
{
    (void)state;
    mkdir("own", 0777);
    write_model("own/tokenizer.model", true, true, true);
    takes(config_of("own", "", ""), 32000, "own/tokenizer.model", "from model.path");
    takes(config_of("own", "", "bytes"), 32000, "bytes", "from model.tokenizer");
    write_json("own/tokenizer.json");
    takes(config_of("own", "", ""), 32000, "own/tokenizer.json",
          "from model.path, before its tokenizer.model, which has no added tokens");
    takes(config_of("own", "", "own/tokenizer.model"), 32000, "own/tokenizer.model",
          "from model.tokenizer");
    data_write("own/tokenizer.json", "{}", 2);
    refuses(config_of("own", "", ""), 32000, MR_ERR_FORMAT,
            "'own/tokenizer.json': model: expected an object, found nothing; model.tokenizer can "
            "name 'own/tokenizer.model' in its place");
    assert_int_equal(unlink("own/tokenizer.model"), 0);
    write_json("own/tokenizer.json");
    takes(config_of("own", "", ""), 32000, "own/tokenizer.json", "from model.path");
    write_model("own/tokenizer.model", true, true, true);
    mkdir("bare", 0777);
    takes(config_of("bare", "", ""), 264, "bytes", "as model.path has no tokenizer");
    takes(config_of("bare", "", ""), 512, "bytes", "as model.path has no tokenizer");
    takes(config_of("bare", "", "own/tokenizer.model"), 512, "own/tokenizer.model",
          "from model.tokenizer");
    takes(config_of("", "bare/config.json", ""), 264, "bytes", "as model.tokenizer is not set");
    takes(config_of("", "config.json", ""), 264, "bytes", "as model.tokenizer is not set");
}

static void expect_ends(const char *tokenizer, int count, const int64_t *ends)
{
    const mr_config config = config_of("ends", "", tokenizer);
    const mr_hf_config arch = {.vocab_size = 300, .eos_count = 1, .eos_token_id = {7}};
    mr_tokenizer *made;
    must(mr_model_tokenizer_create(&config, &arch, &made));
    assert_int_equal(made->ends, count);
    assert_memory_equal(made->end, ends, (size_t)count * sizeof *ends);
    mr_tokenizer_destroy(&made);
}

/* Its eos, then what generation_config.json says, or else config.json; another tokenizer's ids are
 * others. */
static void a_text_ends_at_the_ids_of_its_own_model(void **state)
{
    (void)state;
    program_make_folder("ends");
    write_json("ends/tokenizer.json");
    expect_ends("", 1, (const int64_t[]){7});
    program_write("ends/tokenizer_config.json", "{\"eos_token\": \"b\"}");
    expect_ends("", 2, (const int64_t[]){1, 7});
    program_write("ends/generation_config.json", "{\"eos_token_id\": [9, 1, 8]}");
    expect_ends("", 3, (const int64_t[]){1, 9, 8});
    expect_ends("bytes", 1, (const int64_t[]){MR_BYTES_EOS});
}

static void a_tokenizer_that_is_not_read_is_never_taken_for_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {"merges.txt", "tokenizer_config.json", "vocab.json",
                                        "spiece.model", "special_tokens_map.json"};
    mkdir("other", 0777);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[64], message[256];
        snprintf(path, sizeof path, "other/%s", files[i]);
        data_write(path, "{}", 2);
        snprintf(
            message, sizeof message,
            "model.path: 'other' has neither tokenizer.json nor tokenizer.model, and its tokenizer "
            "(%s) is not one that is read; set model.tokenizer to such a file of the same ids, or "
            "to bytes",
            files[i]);
        refuses(config_of("other", "", ""), 264, MR_ERR_CONFIG, message);
        snprintf(message, sizeof message, "model.config: beside 'other/config.json' stands %s",
                 files[i]);
        refuses(config_of("", "other/config.json", ""), 264, MR_ERR_CONFIG, message);
        takes(config_of("other", "", "bytes"), 264, "bytes", "from model.tokenizer");
        assert_int_equal(unlink(path), 0);
    }
    refuses(
        config_of("other", "", ""), 32000, MR_ERR_CONFIG,
        "model.path: 'other' has neither tokenizer.json nor tokenizer.model, and its vocab_size "
        "32000 is not one of bytes (259 ids)");
    assert_int_equal(symlink("nowhere", "other/tokenizer.model"), 0);
    refuses(config_of("other", "", ""), 264, MR_ERR_IO, "cannot open 'other/tokenizer.model'");
}

static void what_is_no_sentencepiece_model_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *content, *found;
    } cases[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
         "found in 'odd' a pointer of Git LFS"},
        {"\n{\"model\": {}}", "tokenizer: 'odd': model.vocab: expected an object of pieces"},
        {"IQ== 0\nIg== 1\n", "found in 'odd' a table of tiktoken"},
        {"anything", "'odd' is not a SentencePiece model: "},
        {"\xef\xbb\xbf{\"model\": {}}",
         "tokenizer: 'odd': model.vocab: expected an object of pieces"},
        {"", "'odd' is an empty file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_tokenizer *tokenizer;
        data_write("odd", cases[i].content, strlen(cases[i].content));
        assert_int_equal(mr_tokenizer_create("odd", &tokenizer), MR_ERR_FORMAT);
        assert_contains(mr_message(), cases[i].found);
    }
}

static void the_tokenizer_taken_is_told_and_recorded(void **state)
{
    (void)state;
    program_write("told.yaml", "run: {name: told, output: out}\n"
                               "model: {config: tiny.json, init: random}\n"
                               "task: {name: uuid, pairs: 4, prompt: 'K{key}='}\n"
                               "train: {steps: 1, global_batch: 2, lr: 1e-3}\n"
                               "parallel: {threads: 1}\n");
    program_result result = program_succeed((program_setting){0}, "run told.yaml");
    assert_contains(result.err, "told: tokenizer bytes, 259 ids, as model.tokenizer is not set\n");
    program_free(&result);
    log_assert_text("out/told.h5", "tokenizer", "bytes");
    log_assert_text("out/told.h5", "tokenizer_hash", "");
    write_model("hex.model", true, false, false);
    result = program_succeed((program_setting){0}, "run told.yaml --set run.name=hex --set "
                                                   "model.tokenizer=hex.model");
    assert_contains(result.err, "hex: tokenizer hex.model, 23 ids, from model.tokenizer\n");
    program_free(&result);
    log_assert_text("out/hex.h5", "tokenizer", "hex.model");
}

static void warns(const char *arguments, const char *message)
{
    program_result result = program_succeed((program_setting){0}, "%s", arguments);
    assert_contains(result.err, message);
    assert_int_equal(program_lines_with(result.err, "warning"), 1);
    program_free(&result);
}

static void write_beside(const char *path, const char *text)
{
    data_write(path, text, strlen(text));
}

static void what_files_beside_say_otherwise_is_told(void **state)
{
    (void)state;
    static const char run[] = "run told.yaml --set run.name=added --set model.config= --set "
                              "model.path=kept --set model.init=pretrained --resume never";
    static const char inspect[] = "data inspect --text ab --tokenizer two/tokenizer.json";
    program_result made = program_succeed((program_setting){0},
                                          "run told.yaml --set run.name=kept --set "
                                          "model.tokenizer=hex.model --set run.save_model=kept");
    program_free(&made);
    write_beside("kept/added_tokens.json", "{\"<a>\": 22, \"<b>\": 23, \"<c>\": 24}");
    warns(run, "kept/added_tokens.json: adds '<b>' and others to the 23 ids of tokenizer.model: it "
               "is read as any text");
    assert_int_equal(unlink("kept/added_tokens.json"), 0);
    write_beside("kept/tokenizer_config.json",
                 "{\"added_tokens_decoder\": {\"23\": {\"content\": \"<d>\"}}}");
    warns(run, "kept/tokenizer_config.json: adds '<d>' to the 23 ids of tokenizer.model");
    mkdir("two", 0777);
    write_json("two/tokenizer.json");
    write_beside("two/tokenizer_config.json", "{\"eos_token\": \"<x>\"}");
    warns(inspect, "tokenizer_config.json: eos_token: '<x>' is no token of the tokenizer");
    write_beside("two/tokenizer_config.json", "{\"eos_token\": \"b\"}");
    write_beside("two/config.json", "{\"eos_token_id\": [3, 0]}");
    warns(inspect, "eos_token: 'b' is id 1, but 3 is taken, which another file says");
}

/* Special ids. */

static void expect_ids(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= tokenizer->vocabulary)
            fail_msg("id %lld is %d, of a vocabulary of %d", (long long)i, ids[i],
                     tokenizer->vocabulary);
}

static void special_ids_that_are_missing_reach_no_table(void **state)
{
    (void)state;
    enum { ROWS = 8, COLS = 400 };
    static int32_t tokens[ROWS * COLS], targets[ROWS * COLS];
    for (int which = 0; which < 8; which++)
        for (int copy = 0; copy < 2; copy++) {
            const bool eos = which & 2;
            mr_config config;
            mr_tokenizer *tokenizer;
            mr_dataset *dataset;
            int64_t scored, length;
            settings_of_task(&config, copy ? "copy" : "uuid");
            settings_offer(&config, "task.pairs", "20");
            settings_offer(&config, "task.copies", "2");
            settings_offer(&config, "task.prompt", "K{key}=");
            write_model("special.model", which & 1, eos, which & 4);
            must(mr_tokenizer_create("special.model", &tokenizer));
            assert_int_equal(tokenizer->bos >= 0, (which & 1) != 0);
            assert_int_equal(tokenizer->eos >= 0, eos);
            assert_int_equal(tokenizer->pad >= 0, (which & 4) != 0);
            must(mr_dataset_create(&config, tokenizer, &dataset));
            const mr_order order = {.seed = 1, .items = dataset->items};
            must(mr_batch_fill(dataset, &order, 0, ROWS, COLS,
                               (mr_rows){.tokens = tokens, .targets = targets}, &scored));
            expect_ids(tokenizer, tokens, (int64_t)ROWS * COLS);
            assert_true(scored > 0);
            for (int64_t i = 0; i < dataset->items; i++) {
                must(mr_dataset_part_sample(dataset, MR_PART_TRAIN, i, tokens, targets, COLS,
                                            &length));
                assert_true(length <= dataset->longest);
                expect_ids(tokenizer, tokens, length);
                if (!copy) assert_int_equal(tokens[length - 1] == tokenizer->eos, eos);
                must(mr_dataset_prompt(dataset, i, tokens, COLS, &length));
                expect_ids(tokenizer, tokens, length);
            }
            mr_dataset_destroy(&dataset);
            mr_tokenizer_destroy(&tokenizer);
        }
}

/* From end to end: what would read before the table of embeddings ends by a signal, or is found by
 * a sanitizer. */
static void a_run_without_special_ids_trains_and_generates(void **state)
{
    (void)state;
    write_model("none.model", false, false, false);
    program_result result =
        program_succeed((program_setting){0},
                        "run told.yaml --set run.name=none --set model.tokenizer=none.model --set "
                        "eval.at_steps=[1] --set task.prompt=K{key}=");
    program_free(&result);
    const int64_t without = log_int("out/none.h5", "seq_len");
    write_model("none.model", true, true, true);
    result =
        program_succeed((program_setting){0},
                        "run told.yaml --set run.name=all --set model.tokenizer=none.model --set "
                        "eval.at_steps=[1] --set task.prompt=K{key}=");
    program_free(&result);
    assert_int_equal(without + 1, log_int("out/all.h5", "seq_len"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_takes_its_own_tokenizer_unless_asked_for_another),
        cmocka_unit_test(a_text_ends_at_the_ids_of_its_own_model),
        cmocka_unit_test(a_tokenizer_that_is_not_read_is_never_taken_for_bytes),
        cmocka_unit_test(what_is_no_sentencepiece_model_is_told_apart),
        cmocka_unit_test(the_tokenizer_taken_is_told_and_recorded),
        cmocka_unit_test(what_files_beside_say_otherwise_is_told),
        cmocka_unit_test(special_ids_that_are_missing_reach_no_table),
        cmocka_unit_test(a_run_without_special_ids_trains_and_generates),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
