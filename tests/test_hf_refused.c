/* What is refused of a tokenizer.json, and how it is told. */

#include "base/file.h"
#include "data_files.h"
#include "folder.h"
#include "hf_files.h"

static void what_is_not_known_is_named(void **state)
{
    (void)state;
    static const struct {
        hf_parts parts;
        const char *message;
    } cases[] = {
        {{.more = ", 'extra': 1"}, "the file: expected of keys only version, truncation, padding"},
        {{.model = ", 'dropout': 0.1"}, "model.dropout: expected null"},
        {{.model = ", 'continuing_subword_prefix': '##'"},
         "model.continuing_subword_prefix: expected null"},
        {{.model = ", 'end_of_word_suffix': '</w>'"}, "model.end_of_word_suffix: expected null"},
        {{.model = ", 'fuse_unk': 1"}, "model.fuse_unk: expected true or false, found 1"},
        {{.model = ", 'later': 1"}, "model: expected of keys only type"},
        {{.vocab = "'a': '0'"}, "model.vocab.\"a\": expected an id below"},
        {{.vocab = "'a': -1"}, "model.vocab.\"a\": expected an id below"},
        {{.vocab = "'a': 2000000000"}, "the bytes of the file, found 2000000000"},
        {{.vocab = "'a': 1e3"}, "the bytes of the file, found 1000"},
        {{.vocab = "'a': 0, 'b': 0"},
         "expected an id for each piece, found 0 of both \"a\" and \"b\""},
        {{.vocab = ""}, "model.vocab: expected pieces, found nothing"},
        {{.merges = "'a b c'"}, "model.merges[0]: expected two pieces"},
        {{.merges = "'a b', ['a']"}, "model.merges[1]: expected two pieces"},
        {{.merges = "1"},
         "model.merges[0]: expected two pieces, as \"a b\" or [\"a\", \"b\"], found 1"},
        {{.merges = "'a z'"}, "model.merges[0]: expected pieces of the vocabulary, found \"z\""},
        {{.merges = "'b a'"}, "model.merges[0]: expected pieces of the vocabulary, found \"ba\""},
        {{.normalizer = "{'type': 'Nmt'}"},
         "normalizer.type: expected one of Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, "
         "Lowercase, Strip, found \"Nmt\""},
        {{.normalizer = "[]"}, "normalizer: expected an object, found a list"},
        {{.normalizer = "{'type': 'Sequence', 'normalizers': [{'type': 'Prepend'}]}"},
         "normalizer.normalizers[0].prepend: expected a string, found nothing"},
        {{.normalizer = "{'type': 'Replace', 'pattern': {'Regex': '('}, 'content': ''}"},
         "normalizer.pattern.Regex: missing closing parenthesis in the regular expression"},
        {{.pre = "{'type': 'BertPreTokenizer'}"},
         "pre_tokenizer.type: expected one of Sequence, ByteLevel, Split, Digits, Metaspace, found "
         "\"BertPreTokenizer\""},
        {{.pre = "{'type': 'Sequence', 'pretokenizers': [{'type': 'ByteLevel', 'add_prefix_space': "
                 "false}, {'type': 'Digits'}]}"},
         "pre_tokenizer.pretokenizers[1]: expected nothing behind ByteLevel, found Digits"},
        {{.pre = SPLIT("{'Regex': 'a[\\\\W]'}", "Isolated", "false")},
         "pre_tokenizer.pattern.Regex: unsupported: \\W in a class in the regular expression"},
        {{.pre = SPLIT("{'Regex': '[a&&b]'}", "Isolated", "false")}, "unsupported: && in a class"},
        {{.pre = SPLIT("{'Regex': 'a{2}+'}", "Isolated", "false")},
         "unsupported: a count followed by +"},
        {{.pre = SPLIT("{'Regex': '\\\\ba'}", "Isolated", "false")}, "unsupported: \\b"},
        {{.pre = SPLIT("{'String': ''}", "Isolated", "false")},
         "pre_tokenizer.pattern.String: expected a text, found none"},
        {{.pre = SPLIT("{'String': 'a'}", "Odd", "false")},
         "pre_tokenizer.behavior: expected one of Removed, Isolated, MergedWithPrevious"},
        {{.pre = "{'type': 'Metaspace', 'replacement': '__'}"},
         "pre_tokenizer.replacement: expected one character, found \"__\""},
        {{.pre = "{'type': 'Metaspace', 'replacement': '_', 'add_prefix_space': false, "
                 "'prepend_scheme': 'first'}"},
         "pre_tokenizer.prepend_scheme: expected never, as add_prefix_space is false"},
        {{.post = "{'type': 'RobertaProcessing'}"},
         "post_processor.type: expected one of Sequence, TemplateProcessing, ByteLevel, found "
         "\"RobertaProcessing\""},
        {{.post = "{'type': 'TemplateProcessing', 'single': [], 'pair': [], 'special_tokens': {}}"},
         "post_processor.single: expected a Sequence of id A"},
        {{.post = "{'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': 'x', "
                  "'type_id': 0}}], 'special_tokens': {}}"},
         "post_processor.single[0].SpecialToken.id: expected one of special_tokens, found \"x\""},
        {{.post = "{'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': 'x', "
                  "'type_id': 0}}], 'special_tokens': {'x': {'ids': [9]}}}"},
         "post_processor.single[0].SpecialToken.ids[0]: expected an id below 7, found 9"},
        {{.decoder = "{'type': 'WordPiece'}"},
         "decoder.type: expected one of Sequence, ByteLevel, Metaspace, Replace, ByteFallback, "
         "Fuse, Strip, found \"WordPiece\""},
        {{.decoder = "{'type': 'Strip', 'content': ' ', 'start': -1, 'stop': 0}"},
         "decoder.start: expected a whole number of 0..2147483647, found -1"},
        {{.added = ADDED("99", "<x>", PLAIN)},
         "added_tokens[0].id: expected 7, the next behind the pieces and tokens before, found 99"},
        {{.added = ADDED("3", "a", PLAIN)},
         "added_tokens[0].id: expected 0, which the vocabulary has for it, found 3"},
        {{.added = ADDED("7", "<x>", PLAIN) "," ADDED("7", "<y>", PLAIN)},
         "added_tokens[1].id: expected 8"},
        {{.added = ADDED("7", "<x>", PLAIN) "," ADDED("8", "<x>", PLAIN)},
         "added_tokens[1].content: expected a text that no other token has, found one of id 7"},
        {{.added = ADDED("7", "", PLAIN)}, "added_tokens[0].content: expected a text, found \"\""},
        {{.added = "{'id': 7, 'content': '<x>', 'special': true}"},
         "added_tokens[0].single_word: expected true or false, found nothing"},
        {{.vocab = "'a': 0, 'b': 2", .merges = "", .added = ADDED("2", "<x>", PLAIN)},
         "added_tokens[0].id: expected an id of its own, found 2, which is that of the piece "
         "\"b\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_tokenizer *t;
        hf_write("bad.json", cases[i].parts);
        if (mr_tokenizer_create("bad.json", &t) != MR_ERR_FORMAT)
            fail_msg("case %zu is taken or fails otherwise: %s", i, mr_message());
        assert_null(t);
        assert_contains(mr_message(), "tokenizer: 'bad.json'");
        assert_contains(mr_message(), cases[i].message);
    }
}

static void other_models_are_named(void **state)
{
    (void)state;
    mr_tokenizer *t;
    const char *unigram = "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}";
    data_write("bad.json", unigram, strlen(unigram));
    assert_int_equal(mr_tokenizer_create("bad.json", &t), MR_ERR_FORMAT);
    assert_contains(mr_message(), "'bad.json': model.type: expected BPE, found \"Unigram\"");
}

/* A file cut anywhere, and one with any byte changed, is taken or refused with a message. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    mr_tokenizer *t;
    char *file;
    size_t size;
    int64_t count;
    hf_write(
        "whole.json",
        (hf_parts){.added = ADDED("7", "<\\u0000>", LEFT) "," ADDED("8", "<y>", NORMAL),
                   .normalizer = "{'type': 'Prepend', 'prepend': 'a'}",
                   .pre = SPLIT("{'Regex': '\\\\s+(?!\\\\S)|[^ab]{1,3}'}", "Isolated", "false")});
    must(mr_file_read("whole.json", MR_MEM_OTHER, &file, &size));
    for (size_t length = 1; length < size; length++) {
        test_put_bytes("cut.json", file, length);
        if (mr_tokenizer_create("cut.json", &t) != MR_ERR_FORMAT)
            fail_msg("%zu bytes are taken, or fail otherwise: %s", length, mr_message());
        assert_contains(mr_message(), "cut.json");
    }
    for (size_t at = 1; at < size; at++) {
        static const char bytes[] = "\"{}[]:,0\\(+\xff";
        const char was = file[at];
        file[at] = bytes[at % (sizeof bytes - 1)];
        test_put_bytes("changed.json", file, size);
        const mr_status status = mr_tokenizer_create("changed.json", &t);
        if (status == MR_OK)
            assert_int_equal(mr_tokenizer_encode(t, "ab", 2, NULL, 0, &count), MR_OK);
        else
            assert_int_equal(status, MR_ERR_FORMAT);
        mr_tokenizer_destroy(&t);
        file[at] = was;
    }
    mr_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_is_named),
        cmocka_unit_test(other_models_are_named),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
