/* What a tokenizer.json may say, by small ones made here, and what is refused of it. */

#include "base/file.h"
#include "base/random.h"
#include "base/thread.h"
#include "data/tokenizer.h"
#include "data_files.h"
#include "folder.h"
#include "hf_files.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 1 << 12 };

static mr_tokenizer *open_parts(hf_parts p)
{
    mr_tokenizer *tokenizer;
    hf_write("t.json", p);
    must(mr_tokenizer_create("t.json", &tokenizer));
    return tokenizer;
}

/* Encodes a text to ids and compares them with "1 2 3". */
static void expect_ids(const mr_tokenizer *t, const char *text, size_t bytes, const char *expected)
{
    int32_t ids[ROOM];
    int64_t count;
    mr_text found = {0};
    must(mr_tokenizer_encode(t, text, bytes, ids, ROOM, &count));
    assert_true(count <= mr_tokenizer_longest(t, bytes));
    for (int64_t i = 0; i < count; i++)
        mr_text_add(&found, "%s%d", i > 0 ? " " : "", ids[i]);
    if (strcmp(mr_text_get(&found), expected) != 0)
        fail_msg("\"%s\" has ids %s, expected %s", text, mr_text_get(&found), expected);
    mr_text_free(&found);
}

static void gives(hf_parts p, const char *text, const char *expected)
{
    mr_tokenizer *t = open_parts(p);
    expect_ids(t, text, strlen(text), expected);
    mr_tokenizer_destroy(&t);
}

static void decodes(hf_parts p, const int32_t *ids, int64_t count, const char *expected)
{
    mr_tokenizer *t = open_parts(p);
    mr_text text = {0};
    must(mr_tokenizer_decode(t, ids, count, &text));
    assert_string_equal(mr_text_get(&text), expected);
    mr_text_free(&text);
    mr_tokenizer_destroy(&t);
}

/* Parts. */

static void merges_come_as_strings_and_as_pairs(void **state)
{
    (void)state;
    gives((hf_parts){0}, "abcab", "5 4");
    gives((hf_parts){.merges = "['a', 'b'], 'ab c'"}, "abcab", "5 4");
    gives((hf_parts){.merges = ""}, "abc", "0 1 2");
    /* The last of equal ones counts. */
    gives((hf_parts){.vocab = "'a': 0, 'b': 1, 'c': 2, 'ab': 3, 'bc': 4",
                     .merges = "'a b', 'b c', 'a b'"},
          "abc", "0 4");
}

static void what_is_unknown_is_left_out_or_named(void **state)
{
    (void)state;
    gives((hf_parts){0}, "axyb", "4");
    gives((hf_parts){.vocab = "'a': 0, '?': 1", .merges = "", .model = ", 'unk_token': '?'"},
          "axya", "0 1 1 0");
    gives((hf_parts){.vocab = "'a': 0, '?': 1",
                     .merges = "",
                     .model = ", 'unk_token': '?', 'fuse_unk': true"},
          "axya", "0 1 0");
    gives((hf_parts){.vocab = "'a': 0, '?': 1, '<0xC3>': 2, '<0xA9>': 3",
                     .merges = "",
                     .model = ", 'unk_token': '?', 'byte_fallback': true"},
          "a\xc3\xa9z", "0 2 3 1");
    /* What stands around one that is left out meets. */
    gives((hf_parts){.vocab = "'a': 0, '\xe2\x96\x81': 1, '\xe2\x96\x81\xe2\x96\x81': 2",
                     .merges = "'\xe2\x96\x81 \xe2\x96\x81'"},
          "a\xe2\x96\x81z\xe2\x96\x81", "0 2");
    mr_tokenizer *t = open_parts((hf_parts){.model = ", 'unk_token': '?'"});
    int64_t count;
    assert_int_equal(mr_tokenizer_encode(t, "az", 2, NULL, 0, &count), MR_ERR_ARG);
    assert_contains(mr_message(), "tokenizer 't.json': \"z\" is no piece of the vocabulary");
    mr_tokenizer_destroy(&t);
}

static void a_whole_piece_comes_before_merges_where_asked(void **state)
{
    (void)state;
    const hf_parts p = {.vocab = "'a': 0, 'b': 1, 'aba': 2", .merges = ""};
    hf_parts whole = p;
    whole.model = ", 'ignore_merges': true";
    gives(p, "aba", "0 1 0");
    gives(whole, "aba", "2");
}

static void a_split_has_every_behavior(void **state)
{
    (void)state;
    static const struct {
        const char *behavior, *pre, *ids;
    } cases[] = {
        {"Isolated", SPLIT("{'String': 'b'}", "Isolated", "false"), "0 1 2 0 1 1 2"},
        {"Removed", SPLIT("{'String': 'b'}", "Removed", "false"), "0 2 0 2"},
        {"Removed, inverted", SPLIT("{'Regex': 'b+'}", "Removed", "true"), "1 1 1"},
        {"MergedWithPrevious", SPLIT("{'String': 'b'}", "MergedWithPrevious", "false"),
         "4 2 4 1 2"},
        {"MergedWithNext", SPLIT("{'String': 'b'}", "MergedWithNext", "false"), "0 1 2 0 1 1 2"},
        {"Contiguous", SPLIT("{'String': 'b'}", "Contiguous", "false"), "0 1 2 0 1 1 2"},
        {"a regular expression", SPLIT("{'Regex': '(?<=a)b|c'}", "Isolated", "false"),
         "0 1 2 0 1 1 2"},
        {"a literal that looks like one", SPLIT("{'String': '[b]'}", "Isolated", "false"),
         "5 4 1 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        gives((hf_parts){.pre = cases[i].pre}, "abcabbc", cases[i].ids);
}

/* Every character that matters is its own piece, and words are seen by a merge over their border.
 */
static void expressions_mean_what_they_do_there(void **state)
{
    (void)state;
    static const struct {
        const char *regex, *text, *ids;
    } cases[] = {
        {"\\\\s",
         "a\xc2\x85"
         "b",
         "0 1"}, /* U+0085 is white space */
        {"\\\\s",
         "a\xe1\xa0\x8e"
         "b",
         "2"}, /* U+180E is none */
        {"[\\\\s]",
         "a\xe1\xa0\x8e"
         "b",
         "2"}, /* nor in a class */
        {"(?i:'s)",
         "a'\xc5\xbf"
         "b",
         "0 1"}, /* U+017F is an s */
        {"\\\\w\\\\w",
         "a\xcc\x81"
         "b",
         "0 1"}, /* marks are of words */
        {"\\\\p{L}{2}",
         "\xf0\xb1\x8d\x90"
         "ab",
         "0 1"}, /* a letter of Unicode 15 */
        {"\\\\p{Lu}",
         "a\xe1\xb2\x89"
         "b",
         "0 1"}, /* one of Unicode 16 */
        {"\\\\p{Han}",
         "a\xf0\xb1\x8d\x90"
         "b",
         "0 1"},
        {"^b", "a\nb", "0 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char pre[256];
        char regex[128];
        snprintf(regex, sizeof regex, "{'Regex': '%s'}", cases[i].regex);
        for (char *at = strstr(regex, "(?i:'"); at; at = NULL)
            memmove(at + 4, at + 5, strlen(at + 5) + 1); /* ' is a quotation mark here */
        snprintf(pre, sizeof pre, SPLIT("%s", "Isolated", "false"), regex);
        /* What stands between a and b is no piece: only words keep it apart from them. */
        gives((hf_parts){.pre = pre, .vocab = "'a': 0, 'b': 1, 'ab': 2", .merges = "'a b'"},
              cases[i].text, cases[i].ids);
    }
}

static void bytes_that_a_vocabulary_lacks_are_left_out(void **state)
{
    (void)state;
    const hf_parts p = {.pre = "{'type': 'ByteLevel', 'add_prefix_space': false}",
                        .vocab = "'a': 0, '\xc4\xa0': 1, '\xc4\xa0"
                                 "a': 2, '\xc3\x83': 3",
                        .merges = "'\xc4\xa0 a'",
                        .decoder = "{'type': 'ByteLevel'}"};
    const int32_t ids[] = {2, 3, 0};
    gives(p, "a ab\xc3\xa9", "0 2 3");
    decodes(p, ids, 3,
            " a\xef\xbf\xbd"
            "a"); /* half a character */
}

static void marks_of_blanks_stand_where_they_should(void **state)
{
    (void)state;
    const char *form = "{'type': 'Metaspace', 'replacement': '\xe2\x96\x81', 'prepend_scheme': "
                       "'%s', 'split': %s}";
    static const struct {
        const char *scheme, *split, *text, *ids;
    } cases[] = {{"first", "false", "a", "6 0"},     {"first", "false", " a", "6 0"},
                 {"first", "false", "<x>a", "7 0"},  {"always", "false", "<x>a", "7 6 0"},
                 {"never", "false", "a b", "0 6 1"}, {"always", "true", "a b", "6 0 6 1"},
                 {"first", "true", "<x> a", "7 6 0"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char pre[256];
        snprintf(pre, sizeof pre, form, cases[i].scheme, cases[i].split);
        gives((hf_parts){.pre = pre, .added = ADDED("7", "<x>", PLAIN)}, cases[i].text,
              cases[i].ids);
    }
    /* As older files say it. */
    gives((hf_parts){.pre =
                         "{'type': 'Metaspace', 'replacement': '\xe2\x96\x81', 'add_prefix_space': "
                         "false}"},
          "a b", "0 6 1");
}

static void normalizers_work_in_order(void **state)
{
    (void)state;
    gives((hf_parts){.normalizer = "{'type': 'Lowercase'}"}, "ABC", "5");
    gives((hf_parts){.normalizer = "{'type': 'Lowercase'}",
                     .vocab = "'\xe1\xb2\x8a': 0, '\xc9\xa4': 1, 'i': 2, '\xcc\x87': 3",
                     .merges = ""},
          "\xe1\xb2\x89\xea\x9f\x8b\xc4\xb0", "0 1 2 3");
    gives((hf_parts){.normalizer = "{'type': 'Strip', 'strip_left': true, 'strip_right': false}"},
          " \xc2\xa0"
          "a ",
          "0 3");
    gives(
        (hf_parts){.normalizer = "{'type': 'Replace', 'pattern': {'Regex': 'x+'}, 'content': 'b'}"},
        "axxc", "5");
    gives((hf_parts){.normalizer = "{'type': 'Sequence', 'normalizers': [{'type': 'Prepend', "
                                   "'prepend': 'a'}, {'type': 'Sequence', 'normalizers': [{'type': "
                                   "'Replace', 'pattern': {'String': 'a'}, 'content': 'c'}]}]}"},
          "b", "2 1");
    const char *accents = "'\xc3\xa9': 0, 'e': 1, '\xcc\x81': 2, 'fi': 3, 'f': 4, 'i': 5";
    gives((hf_parts){.vocab = accents, .merges = "", .normalizer = "{'type': 'NFC'}"},
          "\xc3\xa9"
          "e\xcc\x81",
          "0 0");
    gives((hf_parts){.vocab = accents, .merges = "", .normalizer = "{'type': 'NFD'}"}, "\xc3\xa9",
          "1 2");
    gives((hf_parts){.vocab = accents, .merges = "", .normalizer = "{'type': 'NFKC'}"},
          "\xef\xac\x81", "4 5");
}

static void added_tokens_have_their_flags(void **state)
{
    (void)state;
    gives((hf_parts){.added = ADDED("7", "<x>", LEFT)}, "a  <x> b", "0 7 3 1");
    gives((hf_parts){.added = ADDED("7", "<x>", RIGHT)}, "a <x>  b", "0 3 7 1");
    gives((hf_parts){.added = ADDED("7", "bc", WORD)}, "abc bc", "5 3 7");
    gives((hf_parts){.added = ADDED("7", "<x>", PLAIN) "," ADDED("8", "<x><y>", PLAIN)},
          "<x><y><x>", "8 7");
    gives((hf_parts){.added = ADDED("7", "AB", NORMAL), .normalizer = "{'type': 'Lowercase'}"},
          "abc", "7 2");
    /* One that is a piece has its id. */
    gives((hf_parts){.added = ADDED("0", "a", PLAIN)}, "ab", "0 1");
}

static void special_tokens_are_skipped_or_written_out(void **state)
{
    (void)state;
    const int32_t ids[] = {7, 4, 7};
    mr_tokenizer *t = open_parts((hf_parts){.added = ADDED("7", "<x>", PLAIN)});
    mr_text text = {0};
    must(mr_tokenizer_decode(t, ids, 3, &text));
    assert_string_equal(mr_text_get(&text), "ab");
    mr_text_free(&text);
    must(mr_tokenizer_decode_special(t, ids, 3, &text));
    assert_string_equal(mr_text_get(&text), "<x>ab<x>");
    mr_text_free(&text);
    must(mr_tokenizer_piece(t, 4, &text));
    must(mr_tokenizer_piece(t, 8, &text));
    assert_string_equal(mr_text_get(&text), "ab");
    mr_text_free(&text);
    mr_tokenizer_destroy(&t);
}

static void decoders_work_in_order(void **state)
{
    (void)state;
    const hf_parts p = {.vocab = "'<0xC3>': 0, '<0xA9>': 1, '\xe2\x96\x81"
                                 "a': 2, '<0xFF>': 3",
                        .merges = "",
                        .decoder =
                            "{'type': 'Sequence', 'decoders': [{'type': 'Replace', 'pattern': "
                            "{'String': '\xe2\x96\x81'}, 'content': ' '}, {'type': "
                            "'ByteFallback'}, {'type': 'Fuse'}, {'type': 'Strip', 'content': "
                            "' ', 'start': 1, 'stop': 0}]}"};
    const int32_t ids[] = {2, 0, 1, 2, 0, 3};
    decodes(p, ids, 6, "a\xc3\xa9 a\xef\xbf\xbd\xef\xbf\xbd");
    const int32_t plain[] = {0, 4};
    decodes((hf_parts){.decoder = "null"}, plain, 2, "a ab");
    const int32_t marks[] = {6, 0, 6, 1};
    decodes((hf_parts){.decoder = "{'type': 'Metaspace', 'replacement': '\xe2\x96\x81', "
                                  "'prepend_scheme': 'first'}"},
            marks, 4, "a b");
}

static void ids_around_a_text_are_told(void **state)
{
    (void)state;
    const char *template = "{'type': 'Sequence', 'processors': [{'type': 'ByteLevel'}, {'type': "
                           "'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', "
                           "'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}, "
                           "{'SpecialToken': {'id': '</s>', 'type_id': 0}}], 'pair': [], "
                           "'special_tokens': {'<s>': {'ids': [5, 4]}, '</s>': {'ids': [3]}}}]}";
    mr_tokenizer *t = open_parts((hf_parts){.post = template});
    assert_int_equal(t->before_count, 2);
    assert_int_equal(t->before[0], 5);
    assert_int_equal(t->before[1], 4);
    assert_int_equal(t->behind_count, 1);
    assert_int_equal(t->bos, 5);
    assert_int_equal(t->eos, 3);
    assert_int_equal(t->pad, -1);
    mr_tokenizer_destroy(&t);
}

static void special_ids_come_from_the_files_beside(void **state)
{
    (void)state;
    mr_tokenizer *t;
    mkdir("model", 0777);
    hf_write("model/tokenizer.json", (hf_parts){.added = ADDED("7", "<x>", PLAIN)});
    must(mr_tokenizer_create("model/tokenizer.json", &t));
    assert_int_equal(t->eos, -1);
    mr_tokenizer_destroy(&t);
    const char *said = "{\"eos_token\": {\"content\": \"<x>\"}, \"pad_token\": \"abc\"}";
    data_write("model/tokenizer_config.json", said, strlen(said));
    must(mr_tokenizer_create("model/tokenizer.json", &t));
    assert_int_equal(t->eos, 7);
    assert_int_equal(t->pad, 5);
    assert_int_equal(t->bos, -1);
    mr_tokenizer_destroy(&t);
    said = "{\"eos_token_id\": [2, 3], \"bos_token_id\": 99, \"pad_token_id\": null}";
    data_write("model/config.json", said, strlen(said));
    must(mr_tokenizer_create("model/tokenizer.json", &t));
    assert_int_equal(t->eos, 2);
    assert_int_equal(t->bos, -1);
    assert_int_equal(t->vocabulary, 8);
    mr_tokenizer_destroy(&t);
    data_write("model/config.json", "{", 1);
    assert_int_equal(mr_tokenizer_create("model/tokenizer.json", &t), MR_ERR_FORMAT);
    assert_contains(mr_message(), "model/config.json:1:1");
}

static void zeros_are_characters(void **state)
{
    (void)state;
    mr_tokenizer *t = open_parts((hf_parts){.vocab = "'a': 0, '\\u0000': 1, 'a\\u0000': 2",
                                            .merges = "['a', '\\u0000']",
                                            .added = ADDED("3", "<\\u0000>", PLAIN)});
    mr_text text = {0};
    const int32_t ids[] = {2, 3};
    expect_ids(t, "a\0\0<\0>", 6, "2 1 3");
    must(mr_tokenizer_decode_special(t, ids, 2, &text));
    assert_int_equal(text.length, 5);
    assert_memory_equal(text.data, "a\0<\0>", 5);
    mr_text_free(&text);
    mr_tokenizer_destroy(&t);
}

static void what_is_not_utf8_is_refused(void **state)
{
    (void)state;
    int64_t count;
    mr_tokenizer *t = open_parts((hf_parts){0});
    assert_int_equal(mr_tokenizer_encode(t, "ab\xff", 3, NULL, 0, &count), MR_ERR_ARG);
    assert_contains(mr_message(), "tokenizer 't.json': expected UTF-8, found byte 2 is none");
    mr_tokenizer_destroy(&t);
}

static void ids_without_room_are_counted(void **state)
{
    (void)state;
    int32_t ids[3] = {-1, -1, -1};
    int64_t count;
    mr_tokenizer *t = open_parts((hf_parts){0});
    must(mr_tokenizer_encode(t, "a b c", 5, ids, 2, &count));
    assert_int_equal(count, 5);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], -1);
    must(mr_tokenizer_encode(t, "", 0, NULL, 0, &count));
    assert_int_equal(count, 0);
    mr_tokenizer_destroy(&t);
}

/* Merging against its definition. */

enum { LETTERS = 4, PIECES = 60, LONG = 400 };

typedef struct model {
    char piece[PIECES][LONG];
    int left[PIECES], right[PIECES]; /* of what is merged to piece, from LETTERS on */
    int count;
} model;

/* Pieces that are merged of earlier ones, each once. */
static void draw_model(const mr_random *random, model *m)
{
    uint64_t draw = 0;
    memset(m, 0, sizeof *m);
    for (m->count = 0; m->count < LETTERS; m->count++)
        m->piece[m->count][0] = (char)('a' + m->count);
    while (m->count < PIECES) {
        const int a = (int)mr_random_below(random, draw++, (uint64_t)m->count);
        const int b = (int)mr_random_below(random, draw++, (uint64_t)m->count);
        char both[2 * LONG];
        snprintf(both, sizeof both, "%s%s", m->piece[a], m->piece[b]);
        bool known = strlen(both) > 12;
        for (int i = 0; i < m->count; i++)
            known = known || strcmp(m->piece[i], both) == 0;
        if (known) continue;
        memcpy(m->piece[m->count], both, strlen(both) + 1);
        m->left[m->count] = a;
        m->right[m->count++] = b;
    }
}

/* Merges the first pair of the least order until there is none. */
static int merge_by_definition(const model *m, int32_t *ids, int count)
{
    for (;;) {
        int best = -1, at = 0;
        for (int i = 0; i + 1 < count; i++)
            for (int p = LETTERS; p < m->count && (best < 0 || p < best); p++)
                if (m->left[p] == ids[i] && m->right[p] == ids[i + 1]) {
                    best = p;
                    at = i;
                }
        if (best < 0) return count;
        ids[at] = best;
        count--;
        for (int i = at + 1; i < count; i++)
            ids[i] = ids[i + 1];
    }
}

static mr_tokenizer *open_model(const model *m)
{
    mr_text vocab = {0}, merges = {0};
    for (int i = 0; i < m->count; i++)
        mr_text_add(&vocab, "%s'%s': %d", i > 0 ? ", " : "", m->piece[i], i);
    for (int i = LETTERS; i < m->count; i++)
        mr_text_add(&merges, "%s'%s %s'", i > LETTERS ? ", " : "", m->piece[m->left[i]],
                    m->piece[m->right[i]]);
    mr_tokenizer *t =
        open_parts((hf_parts){.vocab = mr_text_get(&vocab), .merges = mr_text_get(&merges)});
    mr_text_free(&vocab);
    mr_text_free(&merges);
    return t;
}

static void words_of_any_length_are_merged_as_defined(void **state)
{
    (void)state;
    static model m;
    for (uint64_t number = 0; number < 20; number++) {
        const mr_random random = mr_random_stream(7, MR_RANDOM_DATA, number);
        draw_model(&random, &m);
        mr_tokenizer *t = open_model(&m);
        for (uint64_t word = 0; word < 400; word++) {
            char text[LONG];
            int32_t ids[LONG], expected[LONG];
            int64_t found;
            const uint64_t from = 1000 + word * LONG;
            /* Some of them again, from the cache. */
            const int length = (int)mr_random_below(&random, from, word % 4 ? 40 : LONG);
            for (int i = 0; i < length; i++) {
                expected[i] = (int32_t)mr_random_below(&random, from + (uint64_t)i + 1, LETTERS);
                text[i] = (char)('a' + expected[i]);
            }
            const int count = merge_by_definition(&m, expected, length);
            for (int again = 0; again < 2; again++) {
                must(mr_tokenizer_encode(t, text, (size_t)length, ids, LONG, &found));
                assert_int_equal(found, count);
                if (count > 0) assert_memory_equal(ids, expected, (size_t)count * sizeof *ids);
            }
        }
        mr_tokenizer_destroy(&t);
    }
}

/* Threads. */

typedef struct work {
    const mr_tokenizer *tokenizer;
    const char *text;
    size_t bytes;
    const int32_t *expected;
    int64_t count;
    bool failed;
} work;

static void encode_often(void *context)
{
    work *w = context;
    int32_t ids[LONG];
    for (int i = 0; i < 2000; i++) {
        int64_t count;
        if (mr_tokenizer_encode(w->tokenizer, w->text, w->bytes, ids, LONG, &count) != MR_OK ||
            count != w->count || memcmp(ids, w->expected, (size_t)count * sizeof *ids) != 0)
            w->failed = true;
    }
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static const char text[] = "abc ab a  cab abcabcabcabcabcabcabcabcabcabcabcabcabcabc <x> c";
    int32_t ids[LONG];
    work works[THREADS];
    mr_thread threads[THREADS] = {0};
    mr_tokenizer *t = open_parts((hf_parts){.added = ADDED("7", "<x>", LEFT),
                                            .pre = SPLIT("{'Regex': ' +'}", "Isolated", "false")});
    work one = {.tokenizer = t, .text = text, .bytes = sizeof text - 1, .expected = ids};
    must(mr_tokenizer_encode(t, text, one.bytes, ids, LONG, &one.count));
    for (int i = 0; i < THREADS; i++) {
        works[i] = one;
        mr_thread_start(&threads[i], encode_often, &works[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        mr_thread_wait(&threads[i]);
        assert_false(works[i].failed);
    }
    mr_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_come_as_strings_and_as_pairs),
        cmocka_unit_test(what_is_unknown_is_left_out_or_named),
        cmocka_unit_test(a_whole_piece_comes_before_merges_where_asked),
        cmocka_unit_test(a_split_has_every_behavior),
        cmocka_unit_test(expressions_mean_what_they_do_there),
        cmocka_unit_test(bytes_that_a_vocabulary_lacks_are_left_out),
        cmocka_unit_test(marks_of_blanks_stand_where_they_should),
        cmocka_unit_test(normalizers_work_in_order),
        cmocka_unit_test(added_tokens_have_their_flags),
        cmocka_unit_test(special_tokens_are_skipped_or_written_out),
        cmocka_unit_test(decoders_work_in_order),
        cmocka_unit_test(ids_around_a_text_are_told),
        cmocka_unit_test(special_ids_come_from_the_files_beside),
        cmocka_unit_test(zeros_are_characters),
        cmocka_unit_test(what_is_not_utf8_is_refused),
        cmocka_unit_test(ids_without_room_are_counted),
        cmocka_unit_test(words_of_any_length_are_merged_as_defined),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
