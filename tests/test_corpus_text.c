/* Text as it comes: line ends of any system, byte-order marks, JSON lines by name and content. */

#include "base/clock.h"
#include "base/random.h"
#include "corpus/documents.h"
#include "corpus/prepare.h"
#include "corpus/worker.h"
#include "data/token_shards.h"
#include "data_files.h"
#include "folder.h"
#include "program.h"

#include <string.h>

enum { MOST = 20000, TEXT = 1 << 22 };

/* A line as it is wanted, or as it was found. */
typedef struct line {
    int64_t number;
    size_t at, bytes; /* of the text */
} line;

/* Cuts a text by the rule, byte by byte. */
static int cut(const char *text, size_t bytes, line *lines)
{
    int count = 0;
    size_t start = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != '\n' && text[i] != '\r') continue;
        assert_true(count < MOST);
        lines[count] = (line){.number = count + 1, .at = start, .bytes = i - start};
        count++;
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') i++;
        start = i + 1;
    }
    if (start < bytes) {
        lines[count] = (line){.number = count + 1, .at = start, .bytes = bytes - start};
        count++;
    }
    return count;
}

/* Reads a file by units, and compares with the lines that are wanted. */
static void expect_lines(const char *path, const char *text, size_t bytes, int64_t unit,
                         const line *wanted, int count)
{
    int found = 0;
    for (int64_t from = 0; from < (int64_t)bytes || from == 0; from += unit) {
        const mr_lines_place place = {.path = path,
                                      .offset = from,
                                      .end = from + unit,
                                      .lines_before = mr_lines_count(text, (size_t)from, 0),
                                      .longest = TEXT};
        mr_lines *lines;
        must(mr_lines_open(&place, &lines));
        while (mr_lines_offset(lines) < place.end) {
            const char *read;
            size_t length;
            must(mr_lines_next(lines, &read, &length));
            if (!read) break;
            assert_true(found < count);
            if (mr_lines_number(lines) != wanted[found].number || length != wanted[found].bytes ||
                memcmp(read, text + wanted[found].at, length) != 0)
                fail_msg("unit %lld from %lld: line %lld of %zu bytes, expected %lld of %zu",
                         (long long)unit, (long long)from, (long long)mr_lines_number(lines),
                         length, (long long)wanted[found].number, wanted[found].bytes);
            found++;
        }
        mr_lines_close(&lines);
    }
    assert_int_equal(found, count);
}

static void lines_end_as_on_any_system_in_any_units(void **state)
{
    (void)state;
    static char text[2000];
    static line wanted[MOST];
    mr_random stream = mr_random_stream(7, MR_RANDOM_DATA, 0);
    uint64_t drawn = 0;
    for (int round = 0; round < 18; round++) {
        const size_t bytes = mr_random_u32(&stream, drawn++) % 300 + 1;
        for (size_t i = 0; i < bytes; i++) {
            const char *const letters = round % 3 == 0   ? "\n\rab"
                                        : round % 3 == 1 ? "\rabcdef"
                                                         : "\n\n\r\rabcdefgh";
            text[i] = letters[mr_random_u32(&stream, drawn++) % strlen(letters)];
        }
        const int count = cut(text, bytes, wanted);
        data_write("ends.txt", text, bytes);
        for (int64_t unit = 1; unit < 60; unit += 1 + unit / 3)
            expect_lines("ends.txt", text, bytes, unit, wanted, count);
        expect_lines("ends.txt", text, bytes, 4000, wanted, count);
    }
}

/* Carriage returns on both sides of what is read at once, and lines longer than that. */
static void ends_of_lines_may_lie_anywhere_in_the_buffer(void **state)
{
    (void)state;
    enum { BUFFER = 1 << 20 };
    static char text[TEXT];
    static line wanted[MOST];
    static const char *const endings[] = {"\r\n", "\r", "\n", "\r\r\n"};
    for (size_t e = 0; e < sizeof endings / sizeof endings[0]; e++)
        for (int shift = -3; shift <= 2; shift++) {
            const size_t length = strlen(endings[e]), bytes = 2 * BUFFER + 100;
            memset(text, 'x', bytes);
            memcpy(text + BUFFER + shift, endings[e], length);
            memcpy(text + 2 * BUFFER + shift, endings[e], length);
            memcpy(text + bytes - length, endings[e], length);
            const int count = cut(text, bytes, wanted);
            data_write("buffer.txt", text, bytes);
            expect_lines("buffer.txt", text, bytes, TEXT, wanted, count);
            expect_lines("buffer.txt", text, bytes, BUFFER, wanted, count);
        }
}

/* Text whose lines end as on classic Mac systems costs what its length does. */
static void many_lines_of_lone_returns_are_read_in_their_time(void **state)
{
    (void)state;
    enum { LINES = 2000000 };
    static char text[2 * LINES];
    int64_t count = 0;
    for (int i = 0; i < LINES; i++)
        memcpy(text + 2 * i, "a\r", 2);
    data_write("mac.txt", text, sizeof text);
    const mr_lines_place place = {.path = "mac.txt", .longest = 100};
    mr_lines *lines;
    must(mr_lines_open(&place, &lines));
    const double began = mr_clock();
    for (;;) {
        const char *read;
        size_t length;
        must(mr_lines_next(lines, &read, &length));
        if (!read) break;
        count++;
    }
    mr_lines_close(&lines);
    assert_int_equal(count, LINES);
    /* Searched to its end at each line, a buffer of a million bytes would take minutes. */
    assert_true(mr_clock() - began < 10);
}

/* Prepares files; the tokens of training as text, EOS as '|'. */
static const char *tokens_of(const char *options, ...) MR_PRINTF(1, 2);
static const char *tokens_of(const char *options, ...)
{
    static char text[4096];
    char arguments[512];
    va_list args;
    va_start(args, options);
    vsnprintf(arguments, sizeof arguments, options, args);
    va_end(args);
    data_shell("rm -rf made");
    program_result result =
        program_succeed((program_setting){0}, "data prepare %s --to made --heldout 0", arguments);
    program_free(&result);
    mr_token_shards *shards;
    must(mr_token_shards_open("made", 1, &shards));
    const int64_t count = mr_token_shards_sequences(shards, MR_SPLIT_TRAIN);
    assert_true(count < (int64_t)sizeof text);
    for (int64_t i = 0; i < count; i++) {
        int32_t id;
        must(mr_token_shards_read(shards, MR_SPLIT_TRAIN, i, 0, 1, &id));
        text[i] = id == MR_BYTES_EOS ? '|' : (char)id;
    }
    text[count] = '\0';
    mr_token_shards_close(&shards);
    return text;
}

/* Prepares files, which must fail with a message, and leave nothing. */
static void fails(int exit_code, const char *message, const char *arguments)
{
    data_shell("rm -rf made");
    program_fail((program_setting){0}, exit_code, message, "data prepare %s --to made --heldout 0",
                 arguments);
    data_shell("test ! -e made && test ! -e made.tmp");
}

static void write(const char *path, const char *text)
{
    data_write(path, text, strlen(text));
}

static void text_of_other_systems_is_the_same_text(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n", "\r\n", "\r"};
    for (size_t e = 0; e < sizeof ends / sizeof ends[0]; e++) {
        char text[256];
        snprintf(text, sizeof text, "one%s%stwo words%sthree", ends[e], ends[e], ends[e]);
        write("system.txt", text);
        assert_string_equal(tokens_of("system.txt"), "one||two words|three|");
        assert_string_equal(tokens_of("system.txt --documents file"), "one\n\ntwo words\nthree|");
        snprintf(text, sizeof text, "{\"text\": \"a\\r\\n\"}%s%s{\"text\": \"b\"}%s", ends[e],
                 ends[e], ends[e]);
        write("system.jsonl", text);
        assert_string_equal(tokens_of("system.jsonl"), "a\r\n|b|");
    }
}

static void a_byte_order_mark_is_no_text(void **state)
{
    (void)state;
    write("mark.txt", "\xef\xbb\xbfone\ntwo\n");
    write("mark.jsonl", "\xef\xbb\xbf{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    data_pack("mark.txt", "mark.zst", DATA_ZST);
    assert_string_equal(tokens_of("mark.txt"), "one|two|");
    assert_string_equal(tokens_of("mark.zst"), "one|two|");
    assert_string_equal(tokens_of("mark.jsonl"), "one|two|");
    assert_string_equal(tokens_of("mark.txt --documents file"), "one\ntwo\n|");
    /* Elsewhere it is a character. */
    write("inner.txt", "one\n\xef\xbb\xbftwo\n");
    assert_string_equal(tokens_of("inner.txt"), "one|\xef\xbb\xbftwo|");
    write("mark.txt", "\xef\xbb\xbf");
    fails(1, "no document in 'mark.txt'", "mark.txt");
    write("mark.txt", "\xef\xbb");
    fails(1, "mark.txt:1: not UTF-8", "mark.txt");
}

static void json_lines_are_known_by_any_of_their_names(void **state)
{
    (void)state;
    static const char *const names[] = {"a.ndjson", "a.JSONL",  "a.Json",     "a.jsonlines",
                                        "a.jl",     "a.NDJson", "a.jsonl.GZ", "a.ndjson.zst"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write("plain", "{\"id\": 1, \"body\": \"alpha\"}\n{\"body\": \"beta\"}\n");
        if (strstr(names[i], ".GZ"))
            data_pack("plain", names[i], DATA_GZ);
        else if (strstr(names[i], ".zst"))
            data_pack("plain", names[i], DATA_ZST);
        else
            data_shell("mv plain %s", names[i]);
        assert_string_equal(tokens_of("%s --field body", names[i]), "alpha|beta|");
    }
}

static void json_lines_without_a_name_are_known_by_their_first(void **state)
{
    (void)state;
    static const char *const names[] = {"part-00000", "corpus.txt", "dump.2024"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char said[128];
        write(names[i], "\n{\"text\": \"alpha\"}\n{\"text\": \"beta\"}\n");
        snprintf(said, sizeof said, "'%s': JSON lines by its first bytes", names[i]);
        program_result result = program_succeed((program_setting){0},
                                                "data prepare %s --to said --heldout 0", names[i]);
        assert_contains(result.err, said);
        program_free(&result);
        data_shell("rm -rf said");
        assert_string_equal(tokens_of("%s", names[i]), "alpha|beta|");
        assert_string_equal(tokens_of("%s --format text", names[i]),
                            "|{\"text\": \"alpha\"}|{\"text\": \"beta\"}|");
        assert_string_equal(tokens_of("%s --documents file", names[i]),
                            "\n{\"text\": \"alpha\"}\n{\"text\": \"beta\"}\n|");
    }
    /* Text that only begins like it stays text. */
    write("prose", "{braces} and more\n{\"text\": \"alpha\"}\n");
    assert_string_equal(tokens_of("prose"), "{braces} and more|{\"text\": \"alpha\"}|");
    fails(1, "prose:1: cannot read JSON", "prose --format jsonl");
    write("named.json", "no JSON\n");
    assert_string_equal(tokens_of("named.json --format text --documents file"), "no JSON\n|");
}

/* Files that all hold the documents "alpha" and "{be\n]ta, \"". */
static void arrays_of_objects_are_known_by_their_first_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {"[{\"text\":\"alpha\"},{\"text\":\"{be\\n]ta, \\\"\"}]",
                                        "\xef\xbb\xbf \r\n[\n  {\n    \"id\": [{}, [1]],\n    "
                                        "\"text\": \"alpha\"\n  },\n  {\"text\": "
                                        "\"{be\\n]ta, \\\"\"\n  }\n]\n\n"};
    for (size_t t = 0; t < 2; t++) {
        write("array", texts[t]);
        data_pack("array", "array.json.xz", DATA_XZ);
        assert_string_equal(tokens_of("array"), "alpha|{be\n]ta, \"|");
        assert_string_equal(tokens_of("array.json.xz"), "alpha|{be\n]ta, \"|");
        assert_string_equal(tokens_of("array --format json"), "alpha|{be\n]ta, \"|");
    }
    program_result result =
        program_succeed((program_setting){0}, "data prepare array --to said --heldout 0");
    assert_contains(result.err, "'array': a JSON array by its first bytes; --format text reads");
    program_free(&result);
    write("list.txt", "[1] is no array of objects\n");
    assert_string_equal(tokens_of("list.txt"), "[1] is no array of objects|");
    write("none.json", "[]\n");
    fails(1, "no document in 'none.json'; 0 left out", "none.json");
    write("lines.jsonl", "{\"text\": \"a\"}\n");
    fails(1, "lines.jsonl:1: expected an array of records, which begins with [",
          "lines.jsonl --format json");
}

/* Reads an array: its documents, with bars behind them, and what is wrong, a line each. */
static void read_array(const char *path, mr_text *found, mr_text *faults)
{
    const mr_lines_place place = {.path = path, .longest = 1000};
    mr_documents *documents;
    mr_document d = {.text = ""};
    must(mr_documents_open(&place, MR_INPUT_JSON, &documents));
    while (d.text) {
        must(mr_documents_next(documents, &d));
        if (d.record) mr_document_take_field(&d, "text");
        if (d.faulty) mr_text_add(faults, "%d: %s\n", (int)d.line, d.what);
        if (d.text && !d.faulty) mr_text_add(found, "%s|", d.text);
    }
    mr_documents_close(&documents);
}

/* Each text has one fault, told of where it is, and the documents a and b. */
static void what_is_wrong_with_an_array_costs_nothing_else(void **state)
{
    (void)state;
#define A "{\"text\": \"a\"}"
#define B "{\"text\": \"b\"}"
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[" A ",\n" B, "2: the file ends inside the array of records"},
        {"[" A "," B ",\n{\"text\": \"c", "2: the file ends inside a record"},
        {"[" A "\n" B "]", "2: expected a comma between two records"},
        {"[" A " garbage " B "]", "1: expected a comma or ] behind a record"},
        {"[" A "\n,,\n" B "]", "2: expected a record beside a comma"},
        {"[\n," A "," B "]", "2: expected a record beside a comma"},
        {"[" A "," B ",\n]", "2: expected a record beside a comma"},
        {"[" A "," B "]\n" A, "2: expected the end of the file behind the array of records"},
        {"[" A ",\n7," B "]", "2: expected a JSON object, found a number"},
        {"[" A ",\n[" A ", 1]," B "]", "2: expected a JSON object, found a list"},
        {"[" A ", words " B "]", "1: cannot read JSON: column "},
        {"[" A ",\n{\"text\": \"open},\n" B "]", "2: cannot read JSON: column "},
        {"[" A ",\n{\"text\": [[,\n" B "]", "2: cannot read JSON: column "},
        {"[" A ",{\"text\": [[," B "]", "1: cannot read JSON: column "},
        {"[{\"text\": [[," A "," B "]", "1: cannot read JSON: column "},
        {"[" A ",{\"text\": \"open}," B "]", "1: cannot read JSON: column "},
        {"[" A ",{\"text\": open\"}," B "]", "1: cannot read JSON: column "},
        {"[" A ",{\"text\" \"c\", \"of\": [{}]}," B "]", "1: cannot read JSON: column "},
        {"[" A "}," B "]", "1: expected a comma or ] behind a record"},
        {"[" A ",\n{\"text\": [\"c\"}," B "]", "2: cannot read JSON: column "},
        {"[\n  " A
         ",\n  {\n    \"text\": [\n    {\"x\": 1}\n  ,,\n  {\n    \"text\": \"b\"\n  }\n]",
         "6: cannot read JSON: column "},
        {"[" A ",\n{\"text\": [{\"x\": 1},\n" B "]", "3: cannot read JSON: column "},
        {"[" A "," B ",\n{\"text\": [[, \"c\"}]", "2: the file ends inside a record"},
        {"[" A ",\n{\n\"text\": 1 2},\n" B "]", "3: cannot read JSON: column "},
        {"[" A ",\n{\"text\": \"\\udc00\"}," B "]", "2: half a surrogate pair: column "},
        {"[" A ",\n{\n\"text\": \"\xff\"}," B "]", "3: not UTF-8: byte 10 of the line is 0xff"},
        {"[" A ",\n{\"body\": \"\"}," B "]", "2: expected text in field \"text\", found nothing"},
    };
#undef A
#undef B
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_text found = {0}, faults = {0};
        write("broken.json", cases[i].text);
        read_array("broken.json", &found, &faults);
        assert_contains(mr_text_get(&faults), cases[i].message);
        assert_int_equal(program_lines_with(mr_text_get(&faults), ": "), 1);
        assert_string_equal(mr_text_get(&found), "a|b|");
        mr_text_free(&found);
        mr_text_free(&faults);
    }
    write("broken.json", "[{\"text\": \"a\"}, 1 {\"text\": \"b\"}\n}]");
    fails(1, "broken.json:1: expected a JSON object, found a number", "broken.json");
    assert_string_equal(tokens_of("broken.json --on-error skip"), "a|b|");
}

/* An object and a list. */
static void a_record_too_long_is_passed_over(void **state)
{
    (void)state;
    static const char *const starts[] = {"[{\"text\": \"a\"},\n{\"text\": \"",
                                         "[{\"text\": \"a\"},\n[\""};
    static const char *const ends[] = {"\"},\n{\"text\": \"b\"}]", "\"],\n{\"text\": \"b\"}]"};
    static char text[TEXT];
    for (int i = 0; i < 2; i++) {
        mr_text found = {0}, faults = {0};
        const size_t before = strlen(starts[i]), behind = strlen(ends[i]), filled = TEXT - 100;
        memset(text, 'x', filled);
        memcpy(text, starts[i], before);
        memcpy(text + filled - behind, ends[i], behind);
        data_write("long.json", text, filled);
        read_array("long.json", &found, &faults);
        assert_string_equal(mr_text_get(&faults),
                            "2: a record of more than 1000 bytes, the most there may be\n");
        assert_string_equal(mr_text_get(&found), "a|b|");
        mr_text_free(&found);
        mr_text_free(&faults);
    }
}

static void options_that_do_not_apply_are_errors(void **state)
{
    (void)state;
    write("plain.txt", "text\n");
    write("lines.jsonl", "{\"text\": \"a\"}\n");
    fails(2, "field: \"text\" is one of JSON, but 'plain.txt' is plain text",
          "plain.txt --field text");
    fails(2, "'lines.jsonl' is plain text", "lines.jsonl --format text --field text");
    fails(2, "'plain.txt' and all others are plain text", "plain.txt plain.txt --field text");
    fails(2, "'lines.jsonl': each JSON object is a document; a whole file cannot be one",
          "lines.jsonl --documents file");
    fails(2, "'plain.txt': each JSON object is a document",
          "plain.txt --documents file --format jsonl");
    fails(2, "--format: expected auto, text, jsonl or json, found \"xml\"",
          "plain.txt --format xml");
    assert_string_equal(tokens_of("plain.txt lines.jsonl --field text"), "text|a|");
    write("table.CSV", "text,label\n");
    program_result table =
        program_succeed((program_setting){0}, "data prepare table.CSV --to table --heldout 0");
    assert_contains(table.err,
                    "warning: 'table.CSV' is read as plain text: its cells are not told");
    program_free(&table);
}

static void text_in_other_encodings_is_refused_also_where_faults_are_skipped(void **state)
{
    (void)state;
    data_write("wide.txt", "\xff\xfeh\0i\0\n\0", 8);
    fails(1,
          "wide.txt: expected text in UTF-8, found UTF-16LE; convert it, as by iconv -f UTF-16LE "
          "-t UTF-8",
          "wide.txt --on-error skip");
}

/* Inputs that change between the first look and the work. */

static void data_change(const char *change, const char *path)
{
    char command[256];
    const char *at = strstr(change, "%s");
    snprintf(command, sizeof command, "%.*s%s%s", (int)(at - change), change, path, at + 2);
    data_shell("%s", command);
}

static bool anything_is_ours(const char *name)
{
    (void)name;
    return true;
}

static mr_status work_on(const char *path, const char *change)
{
    static const mr_comm self = {.size = 1};
    mr_prepare_options options = {
        .inputs = &path, .count = 1, .longest = 1000, .recipe = mr_prepare_defaults()};
    mr_survey survey;
    mr_tokenizer *tokenizer;
    mr_staging staging;
    mr_worker *work;
    bool more = true;
    must(mr_survey_create(&self, options.inputs, 1, &options.recipe, options.format, &survey));
    must(mr_tokenizer_create("bytes", &tokenizer));
    must(mr_staging_name("worked", anything_is_ours, &staging));
    must(mr_staging_begin(&staging));
    must(mr_worker_create(&self, &options, &survey, tokenizer, NULL, &staging, &work));
    data_change(change, path);
    mr_status status = MR_OK;
    while (more && status == MR_OK)
        status = mr_worker_step(work, NULL, NULL, &more);
    if (status == MR_OK) status = mr_survey_check(&self, &survey);
    mr_worker_destroy(&work);
    mr_staging_abandon(&staging);
    mr_tokenizer_destroy(&tokenizer);
    mr_survey_free(&survey);
    return status;
}

static void inputs_that_change_are_said_to_change_first(void **state)
{
    (void)state;
    static const struct {
        const char *packing, *change, *message;
    } cases[] = {
        {"cat", "printf '{\"text\": \"ha' >> %s", "bytes, then "}, /* half a line more */
        {"cat", "truncate -s 100 %s", "bytes, then 100"},          /* half a line less */
        {"cat", "printf '\\377' | dd of=%s bs=1 seek=20 conv=notrunc 2> /dev/null", "SHA-256 was "},
        {"cat", "rm %s", "No such file"},
        {"gzip -c", "truncate -s 60 %s", "bytes, then 60"}, /* a damaged archive */
        {"gzip -c", "printf junk >> %s", "bytes, then "},
        {"gzip -c", "echo '{}' > %s", "bytes, then 3"}, /* none at all */
        {"gzip -c", "mv %s gone", "No such file"},
        {"cat", "true < %s", NULL},
        {"cat", "touch -d '1 hour ago' %s", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        data_shell("rm -f input; for i in $(seq 500); do echo \"{\\\"text\\\": \\\"line $i\\\"}\"; "
                   "done | %s > input",
                   cases[i].packing);
        const mr_status status = work_on("input", cases[i].change);
        if (!cases[i].message) {
            assert_int_equal(status, MR_OK);
            continue;
        }
        assert_int_equal(status, MR_ERR_IO);
        assert_contains(mr_message(), "'input' changed while it was read: ");
        assert_contains(mr_message(), cases[i].message);
    }
}

/* A log that is written to all the while. */
static void an_input_that_never_stops_growing_is_named(void **state)
{
    (void)state;
    data_shell(
        "head -c 20000000 /dev/zero | tr '\\0' '\\n' > growing.txt; "
        "(for i in $(seq 400); do echo more >> growing.txt; sleep 0.01; done) & echo $! > pid");
    fails(1, "'growing.txt' changed while it was read: ", "growing.txt");
    data_shell("kill $(cat pid)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_as_on_any_system_in_any_units),
        cmocka_unit_test(ends_of_lines_may_lie_anywhere_in_the_buffer),
        cmocka_unit_test(many_lines_of_lone_returns_are_read_in_their_time),
        cmocka_unit_test(text_of_other_systems_is_the_same_text),
        cmocka_unit_test(a_byte_order_mark_is_no_text),
        cmocka_unit_test(json_lines_are_known_by_any_of_their_names),
        cmocka_unit_test(json_lines_without_a_name_are_known_by_their_first),
        cmocka_unit_test(arrays_of_objects_are_known_by_their_first_bytes),
        cmocka_unit_test(what_is_wrong_with_an_array_costs_nothing_else),
        cmocka_unit_test(a_record_too_long_is_passed_over),
        cmocka_unit_test(options_that_do_not_apply_are_errors),
        cmocka_unit_test(text_in_other_encodings_is_refused_also_where_faults_are_skipped),
        cmocka_unit_test(inputs_that_change_are_said_to_change_first),
        cmocka_unit_test(an_input_that_never_stops_growing_is_named),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
