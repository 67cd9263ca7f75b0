/* Every text of the reference vectors of Hugging Face tokenizers: ids, those around them, and what
 * is decoded, exactly. */

#include "base/file.h"
#include "data/tokenizer.h"
#include "data_files.h"
#include "folder.h"
#include "golden_find.h"

#include <jansson.h>

#include <stdlib.h>
#include <unistd.h>

enum { ROOM = 1 << 16 };

/* Makes a file of a root readable here: it may stand there compressed. */
static void unpack(const char *root, const char *name, const char *to)
{
    char path[2 * TEST_PATH];
    const size_t length = strlen(name);
    char *file;
    size_t size;
    snprintf(path, sizeof path, "%s/tokenizers/%s", root, name);
    if (length > 3 && strcmp(name + length - 3, ".xz") == 0) {
        if (!data_unpack(path, to)) fail_msg("cannot unpack %s", path);
        return;
    }
    must(mr_file_read(path, MR_MEM_OTHER, &file, &size));
    data_write(to, file, size);
    mr_free(file);
}

static void check_ids(const char *family, int line, const char *what, const json_t *list,
                      const int32_t *ids, int64_t count)
{
    if (count != (int64_t)json_array_size(list))
        fail_msg("%s, line %d: %s: %lld ids, expected %zu", family, line, what, (long long)count,
                 json_array_size(list));
    for (int64_t i = 0; i < count; i++) {
        const json_int_t expected = json_integer_value(json_array_get(list, (size_t)i));
        if (ids[i] != expected)
            fail_msg("%s, line %d: %s: id %lld is %d, expected %lld", family, line, what,
                     (long long)i, ids[i], (long long)expected);
    }
}

static void check_text(const char *family, int line, const char *what, const json_t *expected,
                       mr_text *text)
{
    if (text->length != json_string_length(expected) ||
        memcmp(mr_text_get(text), json_string_value(expected), text->length) != 0)
        fail_msg("%s, line %d: %s is \"%s\", expected \"%s\"", family, line, what,
                 mr_text_get(text), json_string_value(expected));
    mr_text_free(text);
}

/* Appends ids to a list. */
static int64_t join(int32_t *to, int64_t at, const int32_t *ids, int64_t count)
{
    assert_true(at + count <= ROOM);
    if (count > 0) memcpy(to + at, ids, (size_t)count * sizeof *ids);
    return at + count;
}

static void check_line(const char *family, int line, const mr_tokenizer *t, const json_t *root)
{
    static int32_t ids[ROOM], whole[ROOM];
    const json_t *text = json_object_get(root, "text");
    const size_t bytes = json_string_length(text);
    int64_t count, all = 0;
    mr_text decoded = {0};
    must(mr_tokenizer_encode(t, json_string_value(text), bytes, ids, ROOM, &count));
    check_ids(family, line, "ids", json_object_get(root, "ids"), ids, count);
    assert_true(count <= mr_tokenizer_longest(t, bytes));
    all = join(whole, all, t->before, t->before_count);
    all = join(whole, all, ids, count);
    all = join(whole, all, t->behind, t->behind_count);
    check_ids(family, line, "ids_with_special", json_object_get(root, "ids_with_special"), whole,
              all);
    must(mr_tokenizer_decode_special(t, ids, count, &decoded));
    check_text(family, line, "decoded", json_object_get(root, "decoded"), &decoded);
    must(mr_tokenizer_decode(t, whole, all, &decoded));
    check_text(family, line, "decoded_skip", json_object_get(root, "decoded_skip"), &decoded);
}

static int check_family(const char *root, const char *family, const json_t *entry)
{
    char name[256];
    char *file;
    size_t size;
    mr_tokenizer *tokenizer;
    int line = 0;
    unpack(root, json_string_value(json_object_get(entry, "file")), "tokenizer.json");
    snprintf(name, sizeof name, "%s.vectors.jsonl.xz", family);
    unpack(root, name, "vectors.jsonl");
    must(mr_tokenizer_create("tokenizer.json", &tokenizer));
    assert_string_equal(tokenizer->hash, json_string_value(json_object_get(entry, "sha256")));
    must(mr_file_read("vectors.jsonl", MR_MEM_OTHER, &file, &size));
    for (char *at = strtok(file, "\n"); at; at = strtok(NULL, "\n")) {
        json_t *vector = json_loads(at, JSON_ALLOW_NUL, NULL);
        assert_non_null(vector);
        check_line(family, ++line, tokenizer, vector);
        json_decref(vector);
    }
    mr_free(file);
    mr_tokenizer_destroy(&tokenizer);
    assert_true(line > 0);
    return line;
}

static void every_family_gives_the_golden_ids_and_texts(void **state)
{
    (void)state;
    mr_names roots = {0};
    int checked = 0;
    must(mr_golden_roots(&roots));
    for (int64_t r = 0; r < roots.count; r++) {
        char path[2 * TEST_PATH];
        const char *family;
        json_t *entry;
        snprintf(path, sizeof path, "%s/tokenizers/index.json", roots.item[r]);
        json_t *index = json_load_file(path, 0, NULL);
        json_object_foreach(json_object_get(index, "families"), family, entry)
        {
            const int lines = check_family(roots.item[r], family, entry);
            print_message("%s: %d texts\n", family, lines);
            checked += lines;
        }
        json_decref(index);
    }
    mr_names_free(&roots);
    if (checked == 0) skip_without_golden("tokenizers");
}

/* Beside SentencePiece: a file with Prepend and Replace has its ids. */

static void ids_are_those_of_the_sentencepiece_model(void **state)
{
    (void)state;
    static const char *const words[] = {" ",
                                        "  ",
                                        "the",
                                        "Walking",
                                        "1984",
                                        "caf\xc3\xa9",
                                        "\n",
                                        "\t",
                                        ".",
                                        ",",
                                        "\x01",
                                        "\xe6\x97\xa5",
                                        "stone",
                                        "ing",
                                        "'s",
                                        "\xcc\x81",
                                        "\xf0\x9f\x98\x80",
                                        "-",
                                        "\xe2\x96\x81"};
    enum { WORDS = sizeof words / sizeof words[0], TEXTS = 3000 };
    mr_tokenizer *json, *pieces;
    int32_t ids[ROOM], others[ROOM];
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama.model");
    data_unpack_shared("golden/tokenizers/llama2_a.json.xz", "llama.json");
    must(mr_tokenizer_create("llama.json", &json));
    must(mr_tokenizer_create("llama.model", &pieces));
    for (uint64_t i = 0; i < TEXTS; i++) {
        const mr_random random = mr_random_stream(3, MR_RANDOM_DATA, i);
        mr_text text = {0};
        int64_t count, other;
        for (uint64_t w = mr_random_below(&random, 0, 30); w > 0; w--)
            mr_text_add(&text, "%s", words[mr_random_below(&random, w, WORDS)]);
        must(mr_tokenizer_encode(json, mr_text_get(&text), text.length, ids, ROOM, &count));
        must(mr_tokenizer_encode(pieces, mr_text_get(&text), text.length, others, ROOM, &other));
        if (count != other || memcmp(ids, others, (size_t)count * sizeof *ids) != 0)
            fail_msg("other ids of \"%s\"", mr_text_get(&text));
        mr_text_free(&text);
    }
    mr_tokenizer_destroy(&json);
    mr_tokenizer_destroy(&pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_gives_the_golden_ids_and_texts),
        cmocka_unit_test(ids_are_those_of_the_sentencepiece_model),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
