#include "base/file.h"
#include "base/random.h"
#include "data/sentencepiece.h"
#include "data/sentencepiece_model.h"
#include "data/tokenizer.h"
#include "data_files.h"
#include "program.h"

#include <jansson.h>

#include <stdlib.h>
#include <unistd.h>

enum { ROOM = 1 << 16 };

/* The models of the paper, and three made here where the library's tools are installed: LLAMA and
 * CUTTABLE are encoded word by word. */
static const char *const models[] = {"llama.model", "t5.model", "bpe.model", "words.model",
                                     "unigram.model"};

enum { LLAMA, T5, BPE, CUTTABLE, UNIGRAM, MODELS };

#define KEEPS_TEXT "--normalization_rule_name=identity --remove_extra_whitespaces=false "

static const char *packed(int model)
{
    return model == LLAMA ? "data/tokenizer/llama_tokenizer.model.xz"
                          : "data/tokenizer/t5_spiece_torchtune.model.xz";
}

/* Text of a small world, in a few hundred words: enough for a model of a few hundred pieces. */
static void write_training_text(const char *path)
{
    static const char *const words[] = {
        "river", "stone", "walking", "walked", "nine",   "the",   "and",  "caf\xc3\xa9", "under",
        "over",  "lamps", "light",   "slow",   "slower", "never", "1984", "green",       "sea"};
    enum { WORDS = sizeof words / sizeof words[0], LINES = 400 };
    data_write(path, "", 0);
    for (int line = 0; line < LINES; line++) {
        char text[512];
        int length = 0;
        for (int w = 0; w < 12; w++)
            length += snprintf(text + length, sizeof text - (size_t)length, "%s%s",
                               words[(line * 7 + w * (line % 5 + 3)) % WORDS], w < 11 ? " " : "\n");
        data_append(path, text, (size_t)length);
    }
}

/* Skips the test where the library's tools are not there. */
static void train(const char *name, const char *settings)
{
    data_need_program("spm_train");
    write_training_text("training.txt");
    data_shell("spm_train --input=training.txt --model_prefix=%s %s > %s.log 2>&1", name, settings,
               name);
}

/* Tells whether a model can be had. */
static bool have(int model)
{
    return model == LLAMA || model == T5 ? test_has_shared() : data_has_program("spm_train");
}

/* Makes the file of a model, or skips the test. */
static void need(int model)
{
    if (access(models[model], R_OK) == 0) return;
    if (model == BPE)
        train("bpe", "--model_type=bpe --byte_fallback=true --vocab_size=320");
    else if (model == CUTTABLE)
        train("words", "--model_type=bpe --byte_fallback=true --vocab_size=320 " KEEPS_TEXT);
    else if (model == UNIGRAM)
        train("unigram", "--vocab_size=60 --hard_vocab_limit=false");
    else
        data_unpack_shared(packed(model), models[model]);
}

static mr_tokenizer *open_model(int model)
{
    mr_tokenizer *tokenizer = NULL;
    need(model);
    must(mr_tokenizer_create(models[model], &tokenizer));
    return tokenizer;
}

/* Any model that can be had. */
static mr_tokenizer *open_any(void)
{
    for (int model = MODELS - 1; model > 0; model--)
        if (have(model)) return open_model(model);
    return open_model(LLAMA);
}

/* Compares with lines of the golden file, of one tokenizer. */
static void check_vectors(int model, const char *name)
{
    char path[TEST_PATH];
    size_t size;
    char *file;
    test_shared("golden/tokens.jsonl", path);
    mr_tokenizer *tokenizer = open_model(model);
    must(mr_file_read(path, MR_MEM_OTHER, &file, &size));
    static int32_t ids[ROOM];
    int checked = 0, number = 0;
    for (char *line = strtok(file, "\n"); line; line = strtok(NULL, "\n")) {
        const char *of, *decoded, *text;
        size_t bytes;
        json_t *list;
        int64_t count = 0;
        mr_text back = {0};
        number++;
        json_t *root = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_int_equal(json_unpack(root, "{s:s, s:s%, s:o, s:s}", "tokenizer", &of, "text", &text,
                                     &bytes, "ids", &list, "decoded", &decoded),
                         0);
        if (strcmp(of, name) == 0) {
            assert_int_equal(mr_tokenizer_encode(tokenizer, text, bytes, ids, ROOM, &count), MR_OK);
            if (count != (int64_t)json_array_size(list))
                fail_msg("line %d: %lld ids, expected %zu", number, (long long)count,
                         json_array_size(list));
            for (int64_t i = 0; i < count; i++)
                if (ids[i] != json_integer_value(json_array_get(list, (size_t)i)))
                    fail_msg("line %d: id %lld is %d", number, (long long)i, ids[i]);
            assert_int_equal(mr_tokenizer_decode(tokenizer, ids, count, &back), MR_OK);
            assert_string_equal(mr_text_get(&back), decoded);
            mr_text_free(&back);
            checked++;
        }
        json_decref(root);
    }
    mr_free(file);
    mr_tokenizer_destroy(&tokenizer);
    assert_true(checked > 100);
}

static void llama_gives_the_golden_tokens(void **state)
{
    (void)state;
    check_vectors(LLAMA, "llama");
}

static void t5_gives_the_golden_tokens(void **state)
{
    (void)state;
    check_vectors(T5, "t5");
}

/* Each line of the hard text against the ids that spm_encode prints for it. */
static void check_spm_encode(int model)
{
    static int32_t ids[ROOM];
    size_t bytes, size;
    const char *text = data_hard_text(&bytes), *end = text + bytes;
    char *printed;
    need(model);
    data_need_encoder(model == LLAMA || model == T5);
    mr_tokenizer *tokenizer = open_model(model);
    data_write("hard.txt", text, bytes);
    data_shell("spm_encode --model=%s --output_format=id < hard.txt > hard.ids 2> /dev/null",
               models[model]);
    assert_int_equal(mr_file_read("hard.ids", MR_MEM_OTHER, &printed, &size), MR_OK);
    const char *at = printed;
    int line = 0;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        int64_t count = 0;
        line++;
        assert_int_equal(
            mr_tokenizer_encode(tokenizer, text, (size_t)(stop - text), ids, ROOM, &count), MR_OK);
        for (int64_t i = 0; i < count; i++) {
            char *after;
            long expected = strtol(at, &after, 10);
            if (after == at || expected != ids[i])
                fail_msg("%s, line %d: id %lld is %d, spm_encode has %ld", models[model], line,
                         (long long)i, ids[i], expected);
            at = after;
        }
        if (*at != '\n') fail_msg("%s, line %d: spm_encode has more ids", models[model], line);
        at++;
        text = stop + 1;
    }
    assert_int_equal(*at, '\0');
    mr_free(printed);
    mr_tokenizer_destroy(&tokenizer);
}

static void llama_encodes_hard_text_as_spm_encode(void **state)
{
    (void)state;
    check_spm_encode(LLAMA);
}

static void t5_encodes_hard_text_as_spm_encode(void **state)
{
    (void)state;
    check_spm_encode(T5);
}

static void a_bpe_model_encodes_hard_text_as_spm_encode(void **state)
{
    (void)state;
    check_spm_encode(BPE);
}

static void a_unigram_model_encodes_hard_text_as_spm_encode(void **state)
{
    (void)state;
    check_spm_encode(UNIGRAM);
}

static void a_model_of_words_encodes_hard_text_as_spm_encode(void **state)
{
    (void)state;
    check_spm_encode(CUTTABLE);
}

/* Words. */

static mr_sentencepiece_facts facts_of(const char *path)
{
    size_t size;
    char *file;
    must(mr_file_read(path, MR_MEM_OTHER, &file, &size));
    const mr_sentencepiece_facts facts = mr_sentencepiece_read_facts(file, size);
    mr_free(file);
    return facts;
}

static mr_sentencepiece *load(const char *path)
{
    char problem[MR_SENTENCEPIECE_PROBLEM];
    size_t size;
    char *file;
    mr_sentencepiece *model = NULL;
    must(mr_file_read(path, MR_MEM_OTHER, &file, &size));
    const char *failure = mr_sentencepiece_create(file, size, &model, problem);
    mr_free(file);
    if (failure) fail_msg("%s: %s", path, failure);
    return model;
}

static int64_t encode(const mr_sentencepiece *model, const char *text, size_t bytes, int32_t *ids)
{
    char problem[MR_SENTENCEPIECE_PROBLEM];
    int64_t count = 0;
    const char *failure = mr_sentencepiece_encode(model, text, bytes, ids, ROOM, &count, problem);
    if (failure) fail_msg("%s", failure);
    assert_true(count <= ROOM);
    return count;
}

/* Makes a text of what is hard about borders of words: up to 60 parts, some of which repeat. */
static size_t draw_text(uint64_t number, char *out)
{
    static const char *const parts[] = {
        " ",
        " ",
        " ",
        " ",
        "  ",
        "   ",
        "a",
        "the",
        "walk",
        "walking",
        "sea",
        "1984",
        ".",
        ",",
        "\t",
        "\n",
        "\r",
        "\x01",
        "\x7f",
        "caf\xc3\xa9",
        "\xc2\xa0",
        "\xe3\x80\x80",
        "\xe2\x80\x89",
        "\xe2\x80\x8b",
        "\xe6\x97\xa5\xe6\x9c\xac",
        "\xf0\x9f\x98\x80",
        "\xf0\x9d\x94\x98",
        "<s>",
        "</s>",
        "<unk>",
        "<0x0A>",
        "_",
        "ing",
        "er",
        "stones",
        "\xcc\x81",
        "\xef\xbf\xbd",
        "\xe2\x96",
        "\xff",
        "a-word-of-more-than-sixty-four-bytes-that-nobody-would-want-to-remember-for-long"};
    enum { PARTS = sizeof parts / sizeof parts[0], MOST = 60 };
    size_t bytes = 0;
    const mr_random random = mr_random_stream(42, MR_RANDOM_DATA, number);
    const uint64_t count = mr_random_below(&random, 0, MOST + 1);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t draw = mr_random_below(&random, 2 * i + 1, 1000);
        if (draw < 2) bytes += (size_t)sprintf(out + bytes, "\xe2\x96\x81");
        if (draw == 3) out[bytes++] = '\0';
        bytes +=
            (size_t)sprintf(out + bytes, "%s", parts[mr_random_below(&random, 2 * i + 2, PARTS)]);
    }
    return bytes;
}

static void check_words(int model)
{
    enum { TEXTS = 4000 };
    static int32_t whole_ids[ROOM], word_ids[ROOM];
    static char text[60 * 100];
    need(model);
    assert_true(facts_of(models[model]).words);
    mr_sentencepiece *whole = load(models[model]), *words = load(models[model]);
    mr_sentencepiece_set_words(words, 1);
    for (int i = 0; i < TEXTS; i++) {
        const size_t bytes = draw_text((uint64_t)i, text);
        const int64_t count = encode(whole, text, bytes, whole_ids);
        if (encode(words, text, bytes, word_ids) != count ||
            memcmp(whole_ids, word_ids, (size_t)count * sizeof *word_ids) != 0)
            fail_msg("text %d, \"%.*s\": other ids by words", i, (int)bytes, text);
    }
    mr_sentencepiece_destroy(&words);
    mr_sentencepiece_destroy(&whole);
}

static void llama_gives_by_words_the_ids_of_whole_texts(void **state)
{
    (void)state;
    check_words(LLAMA);
}

static void a_model_of_words_gives_the_ids_of_whole_texts(void **state)
{
    (void)state;
    check_words(CUTTABLE);
}

static void blanks_alone_have_the_ids_of_whole_texts(void **state)
{
    (void)state;
    static int32_t whole_ids[ROOM], word_ids[ROOM];
    char text[300];
    need(CUTTABLE);
    mr_sentencepiece *whole = load(models[CUTTABLE]), *words = load(models[CUTTABLE]);
    mr_sentencepiece_set_words(words, 1);
    memset(text, ' ', sizeof text);
    for (size_t before = 0; before < 100; before++)
        for (size_t after = 0; after < 3; after++) {
            text[before] = after > 0 ? 'a' : ' ';
            const size_t bytes = before + (after > 0 ? 2 * after - 1 : 0);
            const int64_t count = encode(whole, text, bytes, whole_ids);
            assert_int_equal(encode(words, text, bytes, word_ids), count);
            assert_memory_equal(word_ids, whole_ids, (size_t)count * sizeof *word_ids);
            text[before] = ' ';
        }
    mr_sentencepiece_destroy(&words);
    mr_sentencepiece_destroy(&whole);
}

static void more_words_than_are_remembered_keep_their_ids(void **state)
{
    (void)state;
    int32_t first[64], again[64];
    char text[64];
    need(CUTTABLE);
    mr_sentencepiece *words = load(models[CUTTABLE]);
    mr_sentencepiece_set_words(words, 1);
    const int64_t count = encode(words, "walking under 1984", 18, first);
    for (int i = 0; i < 250000; i++) {
        const int length = snprintf(text, sizeof text, "n%d", i);
        encode(words, text, (size_t)length, again);
    }
    assert_int_equal(encode(words, "walking under 1984", 18, again), count);
    assert_memory_equal(again, first, (size_t)count * sizeof *first);
    mr_sentencepiece_destroy(&words);
}

/* One setting each that lets ids depend on more than a word. */
static void models_that_need_whole_texts_are_told(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "--vocab_size=60 --hard_vocab_limit=false " KEEPS_TEXT,
        "--model_type=bpe --vocab_size=60",
        "--model_type=bpe --vocab_size=60 --normalization_rule_name=identity",
        "--model_type=bpe --vocab_size=60 --add_dummy_prefix=false " KEEPS_TEXT,
        "--model_type=bpe --vocab_size=60 --user_defined_symbols=sea " KEEPS_TEXT,
        "--model_type=bpe --vocab_size=200 --split_by_whitespace=false " KEEPS_TEXT,
        "--model_type=bpe --vocab_size=60 --treat_whitespace_as_suffix=true " KEEPS_TEXT,
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        train("whole", settings[i]);
        if (facts_of("whole.model").words) fail_msg("words with %s", settings[i]);
    }
    train("whole", "--model_type=bpe --vocab_size=60 " KEEPS_TEXT);
    assert_true(facts_of("whole.model").words);
    assert_false(facts_of("whole.model").maps);
    need(UNIGRAM);
    assert_true(facts_of(models[UNIGRAM]).maps);
}

static void a_model_names_its_special_ids(void **state)
{
    (void)state;
    mr_tokenizer *llama = open_model(LLAMA), *t5 = open_model(T5);
    assert_int_equal(llama->vocabulary, 32000);
    assert_int_equal(llama->bos, 1);
    assert_int_equal(llama->eos, 2);
    assert_int_equal(llama->pad, -1);
    assert_int_equal(t5->bos, -1);
    assert_int_equal(t5->eos, 1);
    assert_int_equal(t5->pad, 0);
    mr_tokenizer_destroy(&t5);
    mr_tokenizer_destroy(&llama);
}

static void a_model_is_known_by_file_name_and_hash(void **state)
{
    (void)state;
    char expected[MR_HASH_TEXT];
    mr_tokenizer *any = open_any(), *moved = NULL;
    size_t size;
    char *file;
    assert_int_equal(mr_file_read(any->name, MR_MEM_OTHER, &file, &size), MR_OK);
    program_make_folder("folder");
    data_write("folder/other.model", file, size);
    mr_free(file);
    assert_int_equal(mr_tokenizer_create("folder/other.model", &moved), MR_OK);
    assert_int_equal(mr_hash_file("folder/other.model", expected, NULL), MR_OK);
    assert_string_equal(moved->name, "other.model");
    assert_string_equal(moved->hash, expected);
    assert_string_equal(any->hash, expected);
    mr_tokenizer_destroy(&moved);
    mr_tokenizer_destroy(&any);
}

static void ids_without_room_are_counted_and_not_written(void **state)
{
    (void)state;
    const char text[] = "walking under the slow green sea";
    mr_tokenizer *any = open_any();
    int32_t all[64], some[64];
    int64_t count = 0, again = 0;
    assert_int_equal(mr_tokenizer_encode(any, text, strlen(text), all, 64, &count), MR_OK);
    assert_true(count > 3 && count <= 64);
    memset(some, 0x55, sizeof some);
    assert_int_equal(mr_tokenizer_encode(any, text, strlen(text), some, 3, &again), MR_OK);
    assert_int_equal(again, count);
    assert_memory_equal(some, all, 3 * sizeof *all);
    assert_int_equal(some[3], 0x55555555);
    assert_int_equal(mr_tokenizer_encode(any, text, strlen(text), NULL, 0, &again), MR_OK);
    assert_int_equal(again, count);
    mr_tokenizer_destroy(&any);
}

static void no_text_has_no_tokens(void **state)
{
    (void)state;
    mr_tokenizer *any = open_any();
    int64_t count = 7;
    assert_int_equal(mr_tokenizer_encode(any, "", 0, NULL, 0, &count), MR_OK);
    assert_int_equal(count, 0);
    mr_tokenizer_destroy(&any);
}

static void special_and_unknown_ids_have_no_text(void **state)
{
    (void)state;
    mr_tokenizer *any = open_any();
    const char text[] = "slow green sea";
    int32_t ids[64];
    int64_t count = 0;
    mr_text back = {0};
    assert_int_equal(mr_tokenizer_encode(any, text, strlen(text), ids + 1, 60, &count), MR_OK);
    ids[0] = any->vocabulary + 5;
    ids[count + 1] = any->eos;
    ids[count + 2] = any->vocabulary;
    assert_int_equal(mr_tokenizer_decode(any, ids, count + 3, &back), MR_OK);
    assert_string_equal(mr_text_get(&back), text);
    mr_text_free(&back);
    mr_tokenizer_destroy(&any);
}

static void a_negative_id_is_refused(void **state)
{
    (void)state;
    const int32_t ids[] = {5, -1};
    mr_text back = {0};
    mr_tokenizer *any = open_any();
    assert_int_equal(mr_tokenizer_decode(any, ids, 2, &back), MR_ERR_ARG);
    assert_contains(mr_message(), "token 1 to decode is -1, expected an id of 0 or more");
    mr_text_free(&back);
    mr_tokenizer_destroy(&any);
}

/* U+FDFA is the character that NFKC makes most of. */
static void no_text_is_longer_than_the_longest(void **state)
{
    (void)state;
    for (int model = 0; model < MODELS; model++) {
        if (!have(model)) continue;
        mr_tokenizer *tokenizer = open_model(model);
        size_t bytes;
        const char *text = data_hard_text(&bytes);
        static const char *const hard[] = {"\xef\xb7\xba\xef\xb7\xba\xef\xb7\xba",
                                           "\xff\xfe\xfd",
                                           " ",
                                           "\xf0\x9f\x98\x80",
                                           "      ",
                                           "\x01\x02\x03"};
        int64_t count = 0;
        assert_int_equal(mr_tokenizer_encode(tokenizer, text, bytes, NULL, 0, &count), MR_OK);
        assert_true(count <= mr_tokenizer_longest(tokenizer, bytes));
        for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
            bytes = strlen(hard[i]);
            assert_int_equal(mr_tokenizer_encode(tokenizer, hard[i], bytes, NULL, 0, &count),
                             MR_OK);
            assert_true(count <= mr_tokenizer_longest(tokenizer, bytes));
        }
        mr_tokenizer_destroy(&tokenizer);
    }
}

static void a_model_that_changes_no_characters_has_a_close_bound(void **state)
{
    (void)state;
    mr_tokenizer *llama = open_model(LLAMA), *t5 = open_model(T5);
    assert_int_equal(mr_tokenizer_longest(llama, 100), 103);
    assert_int_equal(mr_tokenizer_longest(t5, 100), 1103);
    mr_tokenizer_destroy(&t5);
    mr_tokenizer_destroy(&llama);
}

static void refused(const char *path, mr_status status, const char *message)
{
    mr_tokenizer *tokenizer = NULL;
    assert_int_equal(mr_tokenizer_create(path, &tokenizer), status);
    assert_contains(mr_message(), message);
    assert_null(tokenizer);
}

static void a_missing_model_is_named(void **state)
{
    (void)state;
    refused("nowhere/x.model", MR_ERR_IO,
            "tokenizer: expected bytes, or the file of a tokenizer.json or a SentencePiece model: "
            "cannot open "
            "'nowhere/x.model': No such file or directory");
}

static void a_folder_is_no_model(void **state)
{
    (void)state;
    refused(".", MR_ERR_IO, "cannot read '.': not a regular file");
}

static void text_is_no_model(void **state)
{
    (void)state;
    data_write("text.model", "This is text.\n", 14);
    refused("text.model", MR_ERR_FORMAT, "'text.model' is not a SentencePiece model: ");
}

static void an_empty_file_is_no_model(void **state)
{
    (void)state;
    data_write("empty.model", "", 0);
    refused("empty.model", MR_ERR_FORMAT, "'empty.model' is an empty file");
}

static void half_a_model_is_no_model(void **state)
{
    (void)state;
    mr_tokenizer *any = open_any();
    size_t size;
    char *file;
    assert_int_equal(mr_file_read(any->name, MR_MEM_OTHER, &file, &size), MR_OK);
    mr_tokenizer_destroy(&any);
    data_write("half.model", file, size / 2);
    mr_free(file);
    refused("half.model", MR_ERR_FORMAT, "'half.model' is not a SentencePiece model: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_gives_the_golden_tokens),
        cmocka_unit_test(t5_gives_the_golden_tokens),
        cmocka_unit_test(llama_encodes_hard_text_as_spm_encode),
        cmocka_unit_test(t5_encodes_hard_text_as_spm_encode),
        cmocka_unit_test(a_bpe_model_encodes_hard_text_as_spm_encode),
        cmocka_unit_test(a_unigram_model_encodes_hard_text_as_spm_encode),
        cmocka_unit_test(a_model_of_words_encodes_hard_text_as_spm_encode),
        cmocka_unit_test(llama_gives_by_words_the_ids_of_whole_texts),
        cmocka_unit_test(a_model_of_words_gives_the_ids_of_whole_texts),
        cmocka_unit_test(blanks_alone_have_the_ids_of_whole_texts),
        cmocka_unit_test(more_words_than_are_remembered_keep_their_ids),
        cmocka_unit_test(models_that_need_whole_texts_are_told),
        cmocka_unit_test(a_model_names_its_special_ids),
        cmocka_unit_test(a_model_is_known_by_file_name_and_hash),
        cmocka_unit_test(ids_without_room_are_counted_and_not_written),
        cmocka_unit_test(no_text_has_no_tokens),
        cmocka_unit_test(special_and_unknown_ids_have_no_text),
        cmocka_unit_test(a_negative_id_is_refused),
        cmocka_unit_test(no_text_is_longer_than_the_longest),
        cmocka_unit_test(a_model_that_changes_no_characters_has_a_close_bound),
        cmocka_unit_test(a_missing_model_is_named),
        cmocka_unit_test(a_folder_is_no_model),
        cmocka_unit_test(text_is_no_model),
        cmocka_unit_test(an_empty_file_is_no_model),
        cmocka_unit_test(half_a_model_is_no_model),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
