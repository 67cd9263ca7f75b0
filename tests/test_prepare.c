#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "corpus/documents.h"
#include "corpus/prepare.h"
#include "data/token_shards.h"
#include "data_files.h"
#include "ranks.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 1 << 20, UNIT = 4000 };

static mr_comm self; /* this rank alone */

/* What a test changes of the options. Start from {0}. */
typedef struct change {
    const char *tokenizer;
    double heldout;
    int64_t unit_bytes;
    size_t longest;
    mr_fault_policy on_error;
    mr_documents_are documents;
    const char *field;
} change;

static mr_status prepare_on(const mr_comm *comm, const char *const *inputs, int count,
                            const char *to, change c, mr_prepare_outcome *out)
{
    mr_prepare_options options = {.inputs = inputs,
                                  .count = count,
                                  .folder = to,
                                  .tokenizer = c.tokenizer ? c.tokenizer : "bytes",
                                  .longest = c.longest > 0 ? c.longest : MR_PREPARE_LONGEST,
                                  .recipe = mr_prepare_defaults()};
    options.recipe.heldout = c.heldout;
    options.recipe.unit_bytes = c.unit_bytes > 0 ? c.unit_bytes : UNIT;
    options.recipe.on_error = c.on_error;
    options.recipe.documents = c.documents;
    if (c.field) snprintf(options.recipe.field, sizeof options.recipe.field, "%s", c.field);
    return mr_prepare(comm, &options, out);
}

/* Prepares one input on all ranks; fails the test on all where it does not work. */
static mr_token_manifest prepared(const char *input, const char *to, change c)
{
    mr_prepare_outcome outcome;
    mr_status status = prepare_on(&world, &input, 1, to, c, &outcome);
    if (status != MR_OK && world.rank == 0) print_error("%s\n", mr_message());
    assert_on_all_ranks(status == MR_OK);
    return outcome.manifest;
}

static void prepare_only(const char *input, const char *to, change c)
{
    mr_token_manifest manifest = prepared(input, to, c);
    mr_token_manifest_free(&manifest);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Prepares one input on all ranks, which must fail with a message that holds a part, and leave
 * nothing. */
static void refused(const char *input, change c, mr_status wanted, const char *part)
{
    mr_prepare_outcome outcome;
    mr_status status = prepare_on(&world, &input, 1, "refused", c, &outcome);
    mr_token_manifest_free(&outcome.manifest);
    bool told = strstr(mr_message(), part) != NULL;
    if ((status != wanted || !told) && world.rank == 0)
        print_error("expected \"%s\", found status %d, \"%s\"\n", part, status, mr_message());
    assert_on_all_ranks(status == wanted);
    assert_on_all_ranks(told);
    mr_comm_barrier(&world);
    assert_on_all_ranks(!is_there("refused"));
    assert_on_all_ranks(!is_there("refused.tmp"));
}

/* Rank 0 writes, then all go on. */
static void write_text(const char *path, const char *text, size_t bytes)
{
    if (world.rank == 0) data_write(path, text, bytes);
    mr_comm_barrier(&world);
}

/* Tokens of a split, in their order. */
static int64_t tokens_of(const char *of, mr_split split, int32_t *ids)
{
    mr_token_shards *shards = NULL;
    must(mr_token_shards_open(of, 1, &shards));
    int64_t count = mr_token_shards_sequences(shards, split);
    assert_true(count <= ROOM);
    for (int64_t i = 0; i < count; i++)
        must(mr_token_shards_read(shards, split, i, 0, 1, &ids[i]));
    mr_token_shards_close(&shards);
    return count;
}

/* Tells whether two folders hold the same shards, by their names, sizes and hashes. */
static bool same_shards(const char *a, const char *b)
{
    mr_token_manifest x, y = {.shards = 0};
    bool read = mr_token_manifest_read(a, &x) == MR_OK && mr_token_manifest_read(b, &y) == MR_OK;
    bool same = read && x.shards == y.shards && x.shards > 0;
    for (int64_t i = 0; same && i < x.shards; i++)
        same = strcmp(x.shard[i].file, y.shard[i].file) == 0 &&
               strcmp(x.shard[i].sha256, y.shard[i].sha256) == 0 &&
               x.shard[i].tokens == y.shard[i].tokens && x.shard[i].split == y.shard[i].split;
    mr_token_manifest_free(&x);
    mr_token_manifest_free(&y);
    return same;
}

static bool same_file(const char *a, const char *b)
{
    char *x, *y;
    size_t nx, ny;
    must(mr_file_read(a, MR_MEM_OTHER, &x, &nx));
    must(mr_file_read(b, MR_MEM_OTHER, &y, &ny));
    bool same = nx == ny && memcmp(x, y, nx) == 0;
    mr_free(x);
    mr_free(y);
    return same;
}

/* A text of many units: lines of 0 to 200 bytes, now and then a hard one, two longer than a unit.
 */
static const char *long_text(size_t *bytes)
{
    static char text[60000];
    size_t hard_bytes, at = 0;
    const char *hard = data_hard_text(&hard_bytes);
    for (int line = 0; at < sizeof text - 8000; line++) {
        int length = line % 97 == 50 ? 3500 : (line * 37) % 201;
        for (int i = 0; i < length; i++)
            text[at++] = (char)('a' + (line + i * i) % 26);
        text[at++] = '\n';
        if (line % 50 != 49) continue;
        memcpy(text + at, hard, hard_bytes);
        at += hard_bytes;
        text[at++] = '\n';
    }
    *bytes = at - 1;
    return text;
}

static void write_long_text(const char *path)
{
    size_t bytes;
    const char *text = long_text(&bytes);
    write_text(path, text, bytes);
}

/* What the tokens of lines are with `bytes`. */
static int64_t expected_tokens(const char *text, size_t bytes, int32_t *ids)
{
    int64_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        const bool ends = text[i] == '\n' || text[i] == '\r';
        ids[count++] = ends ? MR_BYTES_EOS : (unsigned char)text[i];
    }
    if (bytes > 0 && text[bytes - 1] != '\n') ids[count++] = MR_BYTES_EOS;
    return count;
}

static int32_t found[ROOM], wanted[ROOM];

/* What comes out. */

static void each_line_becomes_its_tokens_and_eos(void **state)
{
    (void)state;
    size_t bytes;
    const char *text = long_text(&bytes);
    write_long_text("lines.txt");
    mr_token_manifest m = prepared("lines.txt", "lines", (change){0});
    int64_t count = tokens_of("lines", MR_SPLIT_TRAIN, found);
    int64_t expected = expected_tokens(text, bytes, wanted);
    assert_on_all_ranks(count == expected);
    assert_on_all_ranks(memcmp(found, wanted, (size_t)count * sizeof *found) == 0);
    assert_on_all_ranks(world.rank > 0 || m.shards > 10);
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].tokens == count);
    assert_on_all_ranks(world.rank > 0 ||
                        m.split[MR_SPLIT_TRAIN].bytes == count - m.split[MR_SPLIT_TRAIN].documents);
    mr_token_manifest_free(&m);
}

static void a_folder_is_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    write_long_text("ranks-a.txt");
    write_text("ranks-b.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n", 32);
    if (world.rank == 0) data_pack("ranks-a.txt", "ranks-c.txt.gz", DATA_GZ);
    mr_comm_barrier(&world);
    const char *const inputs[] = {"ranks-a.txt", "ranks-b.jsonl", "ranks-c.txt.gz"};
    const change c = {.heldout = 0.2};
    mr_prepare_outcome alone = {.already = false}, all;
    mr_status status = MR_OK;
    if (world.rank == 0) status = prepare_on(&self, inputs, 3, "ranks-alone", c, &alone);
    assert_on_all_ranks(status == MR_OK);
    status = prepare_on(&world, inputs, 3, "ranks-all", c, &all);
    assert_on_all_ranks(status == MR_OK);
    mr_token_manifest_free(&alone.manifest);
    mr_token_manifest_free(&all.manifest);
    assert_on_all_ranks(same_file("ranks-alone/manifest.json", "ranks-all/manifest.json"));
    mr_token_shards *shards = NULL;
    status = mr_token_shards_open("ranks-all", 1, &shards);
    if (status == MR_OK) status = mr_token_shards_verify(shards, &world);
    mr_token_shards_close(&shards);
    assert_on_all_ranks(status == MR_OK);
}

/* Each rank verifies its own shards, but notices what becomes of any. */
static void shards_that_change_after_verifying_are_named_on_every_rank(void **state)
{
    (void)state;
    write_long_text("verified.txt");
    for (int overwritten = 0; overwritten < 2; overwritten++) {
        prepare_only("verified.txt", overwritten ? "overwritten" : "untouched", (change){0});
        mr_token_shards *shards = NULL;
        must(mr_token_shards_open(overwritten ? "overwritten" : "untouched", 1, &shards));
        mr_status status = mr_token_shards_verify(shards, &world);
        assert_on_all_ranks(status == MR_OK);
        if (world.rank == 0 && overwritten)
            data_shell("for shard in overwritten/*.bin; do "
                       "printf X | dd of=$shard bs=1 seek=8 conv=notrunc 2> /dev/null; done");
        mr_comm_barrier(&world);
        int named = 0, first = 0;
        for (int64_t shard = 0; shard < mr_token_shards_manifest(shards)->shards; shard++) {
            int32_t id;
            status = mr_token_shards_read(shards, MR_SPLIT_TRAIN, first, 0, 1, &id);
            first += (int)mr_token_shards_manifest(shards)->shard[shard].tokens;
            named += status == MR_ERR_FORMAT && strstr(mr_message(), "damaged: its SHA-256 is ");
        }
        assert_on_all_ranks(named == overwritten * mr_token_shards_manifest(shards)->shards);
        mr_token_shards_close(&shards);
    }
}

static void compressed_text_gives_the_shards_of_plain_text(void **state)
{
    (void)state;
    write_long_text("plain.txt");
    prepare_only("plain.txt", "plain", (change){.heldout = 0.1});
    for (data_packing p = 0; p < DATA_PACKINGS; p++) {
        char name[64], to[64];
        /* Known by its content: no name tells. */
        snprintf(name, sizeof name, "packed-%d.txt", (int)p);
        snprintf(to, sizeof to, "packed-%d", (int)p);
        if (world.rank == 0) data_pack("plain.txt", name, p);
        mr_comm_barrier(&world);
        prepare_only(name, to, (change){.heldout = 0.1});
        assert_on_all_ranks(same_shards("plain", to));
    }
}

static void json_lines_give_the_text_of_their_field(void **state)
{
    (void)state;
    const char json[] = "{\"id\": 7, \"body\": \"a\\nb\"}\n"
                        "\n  \t\r\n"
                        "{\"body\": \"\", \"text\": 3}\r\n"
                        "{\"body\": \"zero \\u0000 \\ud83d\\ude00 \xc3\xa9\"}\n"
                        "{\"body\": \"last\"}";
    write_text("fields.jsonl", json, sizeof json - 1);
    prepare_only("fields.jsonl", "fields", (change){.field = "body"});
    int64_t count = tokens_of("fields", MR_SPLIT_TRAIN, found), expected = 0;
    static const char *const documents[] = {"a\nb", "", "zero ", " \xf0\x9f\x98\x80 \xc3\xa9",
                                            "last"};
    for (int d = 0; d < 5; d++) {
        for (const char *c = documents[d]; *c; c++)
            wanted[expected++] = (unsigned char)*c;
        wanted[expected++] = d == 2 ? 0 : MR_BYTES_EOS; /* the zero stands inside document 2 */
    }
    assert_on_all_ranks(count == expected);
    assert_on_all_ranks(memcmp(found, wanted, (size_t)count * sizeof *found) == 0);
}

static void blank_lines_over_the_border_of_units_give_nothing_twice(void **state)
{
    (void)state;
    static char json[40000];
    size_t at = 0;
    for (int i = 0; i < 200; i++) {
        at += (size_t)snprintf(json + at, sizeof json - at, "{\"text\": \"document %d\"}\n", i);
        for (int blank = 0; blank < (i * 13) % 150; blank++)
            json[at++] = blank % 3 == 0 ? '\n' : ' ';
        json[at++] = '\n';
    }
    write_text("blank.jsonl", json, at);
    mr_token_manifest m = prepared("blank.jsonl", "blank", (change){.unit_bytes = 100});
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].documents == 200);
    mr_token_manifest_free(&m);
}

static void a_whole_file_may_be_one_document(void **state)
{
    (void)state;
    size_t bytes;
    const char *text = long_text(&bytes);
    write_long_text("whole.txt");
    mr_token_manifest m = prepared("whole.txt", "whole", (change){.documents = MR_DOCUMENTS_FILES});
    int64_t count = tokens_of("whole", MR_SPLIT_TRAIN, found);
    int64_t expected = expected_tokens(text, bytes, wanted);
    for (int64_t i = 0; i < expected - 1; i++)
        if (wanted[i] == MR_BYTES_EOS) wanted[i] = '\n';
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].documents == 1);
    assert_on_all_ranks(count == expected);
    assert_on_all_ranks(memcmp(found, wanted, (size_t)count * sizeof *found) == 0);
    mr_token_manifest_free(&m);
}

static void no_document_at_all_is_an_error(void **state)
{
    (void)state;
    static const char json[] = "\n{\"body\": 1}\n{\"text\": \n";
    write_text("nothing.txt", "", 0);
    write_text("nothing.jsonl", json, sizeof json - 1);
    if (world.rank == 0) data_pack("nothing.txt", "nothing.gz", DATA_GZ);
    mr_comm_barrier(&world);
    refused("nothing.txt", (change){0}, MR_ERR_FORMAT, "no document in 'nothing.txt'; 0 left out");
    refused("nothing.gz", (change){0}, MR_ERR_FORMAT, "no document in 'nothing.gz'; 0 left out");
    refused("nothing.jsonl", (change){.on_error = MR_FAULT_SKIP}, MR_ERR_FORMAT,
            "no document in 'nothing.jsonl'; 2 left out: json 1, field 1");
}

static void empty_files_among_others_have_no_documents(void **state)
{
    (void)state;
    write_text("nothing.txt", "", 0);
    write_text("newline.txt", "\n", 1);
    if (world.rank == 0) data_pack("nothing.txt", "nothing.gz", DATA_GZ);
    mr_comm_barrier(&world);
    static const char *const inputs[] = {"nothing.txt", "nothing.gz", "newline.txt"};
    mr_prepare_outcome outcome;
    mr_status status = prepare_on(&world, inputs, 3, "nothing", (change){0}, &outcome);
    assert_on_all_ranks(status == MR_OK);
    assert_on_all_ranks(world.rank > 0 || outcome.manifest.split[MR_SPLIT_TRAIN].documents == 1);
    mr_token_manifest_free(&outcome.manifest);
}

/* What is held out. */

static void held_out_documents_are_about_the_share_asked_for(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    int held = 0, also = 0;
    for (int i = 0; i < COUNT; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "document %d", i);
        bool at_tenth = mr_document_held_out(text, (size_t)length, 0.1);
        held += at_tenth;
        also += at_tenth && mr_document_held_out(text, (size_t)length, 0.2);
    }
    /* Standard deviation 42; what is held out stays so when the share grows. */
    assert_true(held > 1750 && held < 2250);
    assert_int_equal(also, held);
    assert_false(mr_document_held_out("", 0, 0.5));
    assert_false(mr_document_held_out("document", 8, 0));
}

static void what_is_held_out_stays_what_it_is(void **state)
{
    (void)state;
    /* Prepared folders are compared by it. */
    char text[32], held[64] = "";
    for (int i = 0; i < 100; i++) {
        int length = snprintf(text, sizeof text, "document %d", i);
        if (!mr_document_held_out(text, (size_t)length, 0.1)) continue;
        size_t at = strlen(held);
        snprintf(held + at, sizeof held - at, "%d ", i);
    }
    assert_string_equal(held, "13 23 32 52 54 63 77 94 ");
}

static void equal_documents_are_never_on_both_sides(void **state)
{
    (void)state;
    static char text[40000], seen[2][128];
    size_t at = 0;
    for (int i = 0; i < 1000; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "document %d\n", i % 100);
    write_text("equal.txt", text, at);
    mr_token_manifest m = prepared("equal.txt", "equal", (change){.heldout = 0.3});
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_HELDOUT].documents > 100);
    memset(seen, 0, sizeof seen);
    for (int s = 0; s < MR_SPLITS; s++) {
        int64_t count = tokens_of("equal", (mr_split)s, found);
        for (int64_t i = 0, number = 0; i < count; i++) {
            if (found[i] >= '0' && found[i] <= '9') number = 10 * number + found[i] - '0';
            if (found[i] != MR_BYTES_EOS) continue;
            seen[s][number] = 1;
            number = 0;
        }
    }
    int both = 0, none = 0;
    for (int i = 0; i < 100; i++) {
        both += seen[0][i] && seen[1][i];
        none += !seen[0][i] && !seen[1][i];
    }
    assert_on_all_ranks(both == 0 && none == 0);
    mr_token_manifest_free(&m);
}

/* Faults. */

enum { BAD_LINE = 77 };

/* Lines of which one, and 200 lines later another, is given. */
static void write_with_fault(const char *path, const char *line, const char *bad)
{
    static char text[40000];
    size_t at = 0;
    for (int i = 1; i <= 400; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\n",
                               i == BAD_LINE || i == BAD_LINE + 200 ? bad : line);
    write_text(path, text, at);
}

static void bytes_that_are_not_utf8_stop_with_file_and_line(void **state)
{
    (void)state;
    write_with_fault("utf8.txt", "a line that is long enough for several units", "ab\xff");
    refused("utf8.txt", (change){0}, MR_ERR_FORMAT, "not UTF-8: byte 3 of the line is 0xff");
    refused("utf8.txt", (change){.unit_bytes = 1 << 20}, MR_ERR_FORMAT,
            "utf8.txt:77: not UTF-8: byte 3 of the line is 0xff");
}

static void lines_are_numbered_in_units_and_in_compressed_files(void **state)
{
    (void)state;
    static char text[40000];
    size_t at = 0;
    for (int i = 1; i <= 400; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\n",
                               i == 333 ? "\xed\xa0\x80" : "a line of text");
    for (int64_t unit = 100; unit < 300; unit += 67) {
        write_text("late.txt", text, at);
        refused("late.txt", (change){.unit_bytes = unit}, MR_ERR_FORMAT,
                "late.txt:333: not UTF-8: byte 1 of the line is 0xed");
    }
    if (world.rank == 0) data_pack("late.txt", "late.gz", DATA_GZ);
    mr_comm_barrier(&world);
    refused("late.gz", (change){.unit_bytes = 100}, MR_ERR_FORMAT, "late.gz:333: not UTF-8");
}

static void a_fault_in_a_whole_file_has_its_line(void **state)
{
    (void)state;
    write_text("lines3.txt", "one\ntwo\nth\xf5ree\n", 15);
    refused("lines3.txt", (change){.documents = MR_DOCUMENTS_FILES}, MR_ERR_FORMAT,
            "lines3.txt:3: not UTF-8: byte 3 of the line is 0xf5");
}

static void broken_json_stops_with_file_and_line(void **state)
{
    (void)state;
    write_with_fault("json.jsonl", "{\"text\": \"a\"}", "{\"text\": \"a\"");
    refused("json.jsonl", (change){.unit_bytes = 1 << 20}, MR_ERR_FORMAT,
            "json.jsonl:77: cannot read JSON: column ");
    write_text("apart.json", "{\n\"text\": \"a\"}\n", 15);
    refused("apart.json", (change){0}, MR_ERR_FORMAT,
            "apart.json:1: cannot read JSON: column 1: string or '}' expected near end of file (an "
            "object stands in a line, or in an array)");
    write_text("list.json", "[\n", 2);
    refused("list.json", (change){0}, MR_ERR_FORMAT,
            "list.json:2: the file ends inside the array of records");
    write_text("number.json", "7\n", 2);
    refused("number.json", (change){0}, MR_ERR_FORMAT,
            "number.json:1: expected a JSON object, found a number");
}

static void a_field_without_text_stops_with_file_and_line(void **state)
{
    (void)state;
    write_text("field.jsonl", "{\"text\": \"a\"}\n{\"body\": 1}\n", 26);
    refused("field.jsonl", (change){0}, MR_ERR_FORMAT,
            "field.jsonl:2: expected text in field \"text\", found nothing");
    refused("field.jsonl", (change){.field = "body", .unit_bytes = 10}, MR_ERR_FORMAT,
            "expected text in field \"body\", found ");
}

static void faulty_documents_are_left_out_and_counted(void **state)
{
    (void)state;
    static const char json[] =
        "{\"text\": \"good\"}\n{\"text\": \"b\xff\"}\n{\"text\": \n{\"text\": 1}\n\n"
        "{\"other\": 1}\n[]\n{\"text\": \"\\ud83d\\ude00 \\\\ud83d \\ud83d?\"}\n{\"text\": \"also "
        "good\"}\n";
    write_text("mixed.jsonl", json, sizeof json - 1);
    mr_token_manifest m =
        prepared("mixed.jsonl", "mixed", (change){.on_error = MR_FAULT_SKIP, .unit_bytes = 20});
    assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_UTF8] == 1);
    assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_JSON] == 2);
    assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_FIELD] == 1);
    assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_TYPE] == 1);
    assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_SURROGATE] == 1);
    assert_on_all_ranks(world.rank > 0 || m.input[0].errors == 6);
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].documents == 2);
    mr_token_manifest_free(&m);
    int64_t count = tokens_of("mixed", MR_SPLIT_TRAIN, found);
    int64_t expected = expected_tokens("good\nalso good", 14, wanted);
    assert_on_all_ranks(count == expected);
    assert_on_all_ranks(memcmp(found, wanted, (size_t)count * sizeof *found) == 0);
}

static void utf8_is_taken_strictly(void **state)
{
    (void)state;
    static const char *const good[] = {"\x7f",         "\xc2\x80",         "\xdf\xbf",
                                       "\xe0\xa0\x80", "\xed\x9f\xbf",     "\xee\x80\x80",
                                       "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x41",
                                      "\xe0\x9f\xbf",
                                      "\xe1\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xf1\x80\x80",
                                      "eight by\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(mr_utf8_valid(good[i], strlen(good[i])), strlen(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(mr_utf8_valid(bad[i], strlen(bad[i])) < strlen(bad[i]));
    assert_int_equal(mr_utf8_valid("eight by\xe2\x28\xa1", 11), 8);
    assert_int_equal(mr_utf8_valid("a\0b", 3), 3);
}

static void a_document_too_long_stops_with_file_and_line(void **state)
{
    (void)state;
    write_text("long.txt", "short\nthis line is longer\nshort\n", 32);
    refused("long.txt", (change){.longest = 10}, MR_ERR_FORMAT,
            "long.txt:2: a document of more than 10 bytes, the most there may be");
    prepare_only("long.txt", "long", (change){.longest = 19});
    refused("long.txt", (change){.longest = 10, .documents = MR_DOCUMENTS_FILES}, MR_ERR_FORMAT,
            "long.txt:1: a document of more than 10 bytes, the most there may be");
}

/* Lines longer than units, than the buffer and than what may be: some before others. */
static void a_document_too_long_is_left_out_where_asked(void **state)
{
    (void)state;
    enum { LONG = 3000000 };
    static char text[LONG + 100];
    memcpy(text, "first\n", 6);
    memset(text + 6, 'x', LONG);
    memcpy(text + 6 + LONG, "\nlast", 5);
    write_text("beyond.txt", text, LONG + 11);
    if (world.rank == 0) data_pack("beyond.txt", "beyond.txt.gz", DATA_GZ);
    mr_comm_barrier(&world);
    static const char *const inputs[] = {"beyond.txt", "beyond.txt.gz"};
    for (int i = 0; i < 2; i++) {
        char to[32];
        snprintf(to, sizeof to, "beyond-%d", i);
        mr_token_manifest m =
            prepared(inputs[i], to,
                     (change){.longest = 1000, .unit_bytes = 90000, .on_error = MR_FAULT_SKIP});
        assert_on_all_ranks(world.rank > 0 || m.errors[MR_FAULT_LONG] == 1);
        assert_on_all_ranks(world.rank > 0 || m.input[0].errors == 1);
        mr_token_manifest_free(&m);
        int64_t count = tokens_of(to, MR_SPLIT_TRAIN, found);
        int64_t expected = expected_tokens("first\nlast", 10, wanted);
        assert_on_all_ranks(count == expected);
        assert_on_all_ranks(memcmp(found, wanted, (size_t)count * sizeof *found) == 0);
    }
    refused("beyond.txt", (change){.longest = 1000, .unit_bytes = 90000}, MR_ERR_FORMAT,
            "beyond.txt:2: a document of more than 1000 bytes, the most there may be");
}

/* Inputs and settings that cannot be. */

static void inputs_that_cannot_be_read_are_named(void **state)
{
    (void)state;
    refused("missing.txt", (change){0}, MR_ERR_IO,
            "cannot open 'missing.txt': No such file or directory");
    refused(".", (change){0}, MR_ERR_IO, "cannot read '.': not a regular file");
}

static void damaged_compressed_files_are_named(void **state)
{
    (void)state;
    write_long_text("cut.txt");
    for (data_packing p = 0; p < DATA_PACKINGS; p++) {
        char whole[64], half[64], part[128];
        snprintf(whole, sizeof whole, "whole.%s", data_ending(p));
        snprintf(half, sizeof half, "half.%s", data_ending(p));
        snprintf(part, sizeof part, "%s: cannot decompress, damaged or cut short at byte ", half);
        if (world.rank == 0) {
            char *data;
            size_t size;
            data_pack("cut.txt", whole, p);
            must(mr_file_read(whole, MR_MEM_OTHER, &data, &size));
            data_write(half, data, size / 2);
            mr_free(data);
        }
        mr_comm_barrier(&world);
        refused(half, (change){0}, MR_ERR_FORMAT, part);
    }
}

static void a_gzip_file_whose_checksum_differs_is_named(void **state)
{
    (void)state;
    write_long_text("sum.txt");
    if (world.rank == 0) {
        char *data;
        size_t size;
        data_pack("sum.txt", "sum.gz", DATA_GZ);
        must(mr_file_read("sum.gz", MR_MEM_OTHER, &data, &size));
        data[size - 6] = (char)(data[size - 6] ^ 1);
        data_write("sum.gz", data, size);
        mr_free(data);
    }
    mr_comm_barrier(&world);
    refused("sum.gz", (change){0}, MR_ERR_FORMAT,
            "sum.gz: cannot decompress, damaged or cut short at byte ");
}

static void a_tar_archive_is_refused(void **state)
{
    (void)state;
    static char tar[1024] = "name";
    snprintf(tar + 257, 8, "ustar");
    write_text("archive.tar", tar, sizeof tar);
    refused("archive.tar", (change){0}, MR_ERR_FORMAT,
            "archive.tar: expected text, plain or compressed as gzip, zstd or xz, found tar; ");
}

static void json_lines_are_no_whole_document(void **state)
{
    (void)state;
    write_text("lines.jsonl.gz", "{}\n", 3);
    refused("lines.jsonl.gz", (change){.documents = MR_DOCUMENTS_FILES}, MR_ERR_USAGE,
            "'lines.jsonl.gz': each JSON object is a document; a whole file cannot be one");
}

static void other_forms_of_compression_are_refused_by_name(void **state)
{
    (void)state;
    write_text("text.bz2", "text\n", 5);
    refused("text.bz2", (change){.on_error = MR_FAULT_SKIP}, MR_ERR_FORMAT,
            "text.bz2: expected text, plain or compressed as gzip, zstd or xz, found bzip2; ");
    write_text("text.gz", "text\n", 5);
    refused("text.gz", (change){.on_error = MR_FAULT_SKIP}, MR_ERR_FORMAT,
            "text.gz: expected gzip, as the name says, found other bytes");
}

static void a_tokenizer_without_eos_is_refused(void **state)
{
    (void)state;
    int able = world.rank > 0 || data_has_program("spm_train");
    MPI_Bcast(&able, 1, MPI_INT, 0, world.handle);
    if (!able) skip_because("spm_train is not installed");
    write_long_text("train.txt");
    if (world.rank == 0)
        data_shell("spm_train --input=train.txt --model_prefix=noeos --eos_id=-1 --vocab_size=100 "
                   "--hard_vocab_limit=false --max_sentence_length=10000 > noeos.log 2>&1");
    mr_comm_barrier(&world);
    refused("train.txt", (change){.tokenizer = "noeos.model"}, MR_ERR_CONFIG,
            "tokenizer 'noeos.model' has no EOS, which is to stand behind every document");
}

/* Folders. */

static void the_same_again_is_left_alone(void **state)
{
    (void)state;
    const char *const input[] = {"again.txt"}, *const moved[] = {"moved.txt"};
    write_long_text("again.txt");
    write_long_text("moved.txt");
    prepare_only("again.txt", "again", (change){0});
    struct stat before, after;
    assert_on_all_ranks(stat("again/manifest.json", &before) == 0);
    mr_prepare_outcome outcome;
    mr_status status = prepare_on(&world, input, 1, "again/", (change){0}, &outcome);
    assert_on_all_ranks(status == MR_OK);
    assert_on_all_ranks(outcome.already);
    assert_on_all_ranks(world.rank > 0 || outcome.manifest.split[MR_SPLIT_TRAIN].documents > 0);
    mr_token_manifest_free(&outcome.manifest);
    status = prepare_on(&world, moved, 1, "again", (change){0}, &outcome);
    mr_token_manifest_free(&outcome.manifest);
    assert_on_all_ranks(status == MR_OK && outcome.already);
    assert_on_all_ranks(stat("again/manifest.json", &after) == 0);
    assert_on_all_ranks(before.st_ino == after.st_ino);
}

static void expect_exists(const char *input, const char *to, change c, const char *part)
{
    mr_prepare_outcome outcome;
    mr_status status = prepare_on(&world, &input, 1, to, c, &outcome);
    mr_token_manifest_free(&outcome.manifest);
    bool told = strstr(mr_message(), part) != NULL;
    if (!told && world.rank == 0)
        print_error("expected \"%s\", found \"%s\"\n", part, mr_message());
    assert_on_all_ranks(status == MR_ERR_IO || status == MR_ERR_FORMAT);
    assert_on_all_ranks(told);
    /* Only rank 0 looks at folders, which is no fact about rank 0. */
    assert_on_all_ranks(!strstr(mr_message(), "rank 0 of"));
}

static void a_folder_made_otherwise_is_named_and_left_alone(void **state)
{
    (void)state;
    write_long_text("other.txt");
    write_text("different.txt", "different\n", 10);
    prepare_only("other.txt", "other", (change){0});
    expect_exists("other.txt", "other", (change){.heldout = 0.5},
                  "'other' exists, made with another setting (heldout)");
    expect_exists("different.txt", "other", (change){0},
                  "'other' exists, made with another setting (inputs)");
    expect_exists("other.txt", "other", (change){.on_error = MR_FAULT_SKIP},
                  "'other' exists, made with another setting (on-error)");
    mr_token_shards *shards = NULL;
    mr_status status = mr_token_shards_open("other", 1, &shards);
    if (status == MR_OK) status = mr_token_shards_verify(shards, &world);
    mr_token_shards_close(&shards);
    assert_on_all_ranks(status == MR_OK);
}

static void a_folder_of_other_things_is_left_alone(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) {
        mkdir("things", 0777);
        data_write("things/notes.bin", "notes", 5);
    }
    mr_comm_barrier(&world);
    expect_exists("input.txt", "things", (change){0},
                  "'things' exists and is no folder of mora data prepare; choose another");
    expect_exists("input.txt", "input.txt", (change){0},
                  "'input.txt' exists and is no folder of mora data prepare");
    assert_on_all_ranks(is_there("things/notes.bin"));
}

static void an_empty_folder_is_taken(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) mkdir("empty", 0777);
    mr_comm_barrier(&world);
    prepare_only("input.txt", "empty", (change){0});
    assert_on_all_ranks(is_there("empty/manifest.json"));
}

static void folders_above_are_made(void **state)
{
    (void)state;
    write_long_text("input.txt");
    prepare_only("input.txt", "above/and/below", (change){0});
    assert_on_all_ranks(is_there("above/and/below/manifest.json"));
    assert_on_all_ranks(!is_there("above/and/below/lock"));
}

static void what_an_interrupted_run_left_is_taken_over(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) {
        mkdir("taken.tmp", 0777);
        data_write("taken.tmp/train-00000-000999.bin", "old", 3);
        data_write("taken.tmp/lock", "", 0);
    }
    mr_comm_barrier(&world);
    prepare_only("input.txt", "taken", (change){0});
    assert_on_all_ranks(!is_there("taken/train-00000-000999.bin"));
    assert_on_all_ranks(!is_there("taken.tmp"));
}

static void foreign_files_beside_are_not_removed(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) {
        mkdir("foreign.tmp", 0777);
        data_write("foreign.tmp/train-00000-000000.bin", "old", 3);
        data_write("foreign.tmp/thesis.tex", "work", 4);
    }
    mr_comm_barrier(&world);
    expect_exists("input.txt", "foreign", (change){0},
                  "'foreign.tmp/thesis.tex' is in the way: not a file of mora; remove it");
    assert_on_all_ranks(is_there("foreign.tmp/thesis.tex"));
    assert_on_all_ranks(is_there("foreign.tmp/train-00000-000000.bin"));
}

static void what_others_call_bin_is_not_removed(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) {
        mkdir("model.tmp", 0777);
        data_write("model.tmp/pytorch_model.bin", "work", 4);
    }
    mr_comm_barrier(&world);
    expect_exists("input.txt", "model", (change){0},
                  "'model.tmp/pytorch_model.bin' is in the way: not a file of mora; remove it");
    assert_on_all_ranks(is_there("model.tmp/pytorch_model.bin"));
}

static void a_folder_that_cannot_be_replaced_is_refused_at_once(void **state)
{
    (void)state;
    write_long_text("input.txt");
    if (world.rank == 0) {
        mkdir("hollow", 0777);
        if (symlink("hollow", "link") != 0) mr_abort("cannot link");
    }
    mr_comm_barrier(&world);
    expect_exists("input.txt", "link", (change){0}, "'link' is a link, a mount point or");
    expect_exists("input.txt", "hollow/.", (change){0}, "'hollow/.' is a link, a mount point or");
    assert_on_all_ranks(!is_there("link.tmp"));
    if (world.rank == 0 && symlink("nowhere", "dangling") != 0) mr_abort("cannot link");
    mr_comm_barrier(&world);
    expect_exists("absent.txt", "dangling", (change){0}, "'dangling' is a link that leads nowhere");
    expect_exists("absent.txt", "input.txt/below", (change){0},
                  "cannot make 'input.txt/below': Not a directory");
}

static void other_fields_may_hold_more_than_this_program_needs(void **state)
{
    (void)state;
    const char json[] = "{\"id\": 123456789012345678901234567890, \"text\": \"a\"}\n"
                        "{\"zero\": \"\\u0000\", \"list\": [1e-999, null], \"text\": \"a\"}\n";
    write_text("large.jsonl", json, sizeof json - 1);
    prepare_only("large.jsonl", "large", (change){0});
    assert_on_all_ranks(tokens_of("large", MR_SPLIT_TRAIN, found) == 4);
}

/* JSON by its grammar, but not as Unicode text and doubles: the manual tells so. */
static void json_past_doubles_and_unicode_is_told(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"{\"id\": 1e999, \"text\": \"a\"}", "limits.jsonl:1: cannot read JSON: column 12: "
                                             "real number overflow"},
        {"{\"id\": \"\\udc00\", \"text\": \"a\"}", "invalid Unicode '\\uDC00'"},
        {"{\"i\\u0000\": 1, \"text\": \"a\"}", "NUL byte in object key not supported"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "limits.jsonl:1: cannot read JSON: column 20: "
                                               "duplicate object key"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        write_text("limits.jsonl", lines[i][0], strlen(lines[i][0]));
        refused("limits.jsonl", (change){0}, MR_ERR_FORMAT, lines[i][1]);
    }
}

static void a_byte_order_mark_before_json_is_passed_over(void **state)
{
    (void)state;
    const char json[] = "\xef\xbb\xbf{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
    write_text("mark.jsonl", json, sizeof json - 1);
    prepare_only("mark.jsonl", "mark", (change){.unit_bytes = 10});
    assert_on_all_ranks(tokens_of("mark", MR_SPLIT_TRAIN, found) == 4);
    write_text("late.jsonl", json + 3, sizeof json - 4);
    if (world.rank == 0) data_append("late.jsonl", json, sizeof json - 1);
    mr_comm_barrier(&world);
    refused("late.jsonl", (change){.unit_bytes = 1 << 20}, MR_ERR_FORMAT,
            "late.jsonl:3: not JSON: a byte-order mark stands before it");
}

static void a_field_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    write_long_text("input.txt");
    refused("input.txt", (change){.field = "\xff"}, MR_ERR_USAGE, "field: expected UTF-8");
}

static void two_runs_do_not_write_to_one_folder(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    write_long_text("input.txt");
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int handle = -1;
    if (world.rank == 1) {
        mkdir("locked.tmp", 0777);
        handle = open("locked.tmp/lock", O_RDWR | O_CREAT, 0666);
        if (handle < 0 || fcntl(handle, F_SETLK, &whole) != 0) mr_abort("cannot lock");
    }
    mr_comm_barrier(&world);
    expect_exists("input.txt", "locked", (change){0},
                  "'locked.tmp/lock' is locked: another process");
    if (handle >= 0) close(handle);
    mr_comm_barrier(&world);
    prepare_only("input.txt", "locked", (change){0});
}

/* The folder of the tests. */

static int enter_folder(void **state)
{
    mr_log_set_quiet(true);
    must(mr_comm_create(MPI_COMM_SELF, &self));
    return ranks_enter_folder(state);
}

static int leave_folder(void **state)
{
    mr_comm_destroy(&self);
    return ranks_leave_folder(state);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_becomes_its_tokens_and_eos),
        cmocka_unit_test(a_folder_is_the_same_on_any_number_of_ranks),
        cmocka_unit_test(shards_that_change_after_verifying_are_named_on_every_rank),
        cmocka_unit_test(compressed_text_gives_the_shards_of_plain_text),
        cmocka_unit_test(json_lines_give_the_text_of_their_field),
        cmocka_unit_test(blank_lines_over_the_border_of_units_give_nothing_twice),
        cmocka_unit_test(a_whole_file_may_be_one_document),
        cmocka_unit_test(no_document_at_all_is_an_error),
        cmocka_unit_test(empty_files_among_others_have_no_documents),
        cmocka_unit_test(held_out_documents_are_about_the_share_asked_for),
        cmocka_unit_test(what_is_held_out_stays_what_it_is),
        cmocka_unit_test(equal_documents_are_never_on_both_sides),
        cmocka_unit_test(bytes_that_are_not_utf8_stop_with_file_and_line),
        cmocka_unit_test(lines_are_numbered_in_units_and_in_compressed_files),
        cmocka_unit_test(a_fault_in_a_whole_file_has_its_line),
        cmocka_unit_test(broken_json_stops_with_file_and_line),
        cmocka_unit_test(a_field_without_text_stops_with_file_and_line),
        cmocka_unit_test(faulty_documents_are_left_out_and_counted),
        cmocka_unit_test(utf8_is_taken_strictly),
        cmocka_unit_test(a_document_too_long_stops_with_file_and_line),
        cmocka_unit_test(a_document_too_long_is_left_out_where_asked),
        cmocka_unit_test(inputs_that_cannot_be_read_are_named),
        cmocka_unit_test(damaged_compressed_files_are_named),
        cmocka_unit_test(a_gzip_file_whose_checksum_differs_is_named),
        cmocka_unit_test(a_tar_archive_is_refused),
        cmocka_unit_test(json_lines_are_no_whole_document),
        cmocka_unit_test(other_forms_of_compression_are_refused_by_name),
        cmocka_unit_test(a_tokenizer_without_eos_is_refused),
        cmocka_unit_test(the_same_again_is_left_alone),
        cmocka_unit_test(a_folder_made_otherwise_is_named_and_left_alone),
        cmocka_unit_test(a_folder_of_other_things_is_left_alone),
        cmocka_unit_test(an_empty_folder_is_taken),
        cmocka_unit_test(folders_above_are_made),
        cmocka_unit_test(what_an_interrupted_run_left_is_taken_over),
        cmocka_unit_test(foreign_files_beside_are_not_removed),
        cmocka_unit_test(what_others_call_bin_is_not_removed),
        cmocka_unit_test(a_folder_that_cannot_be_replaced_is_refused_at_once),
        cmocka_unit_test(other_fields_may_hold_more_than_this_program_needs),
        cmocka_unit_test(json_past_doubles_and_unicode_is_told),
        cmocka_unit_test(a_byte_order_mark_before_json_is_passed_over),
        cmocka_unit_test(a_field_that_is_not_utf8_is_refused),
        cmocka_unit_test(two_runs_do_not_write_to_one_folder),
    };
    return ranks_end(cmocka_run_group_tests(tests, enter_folder, leave_folder));
}
