/* Preparing records by a template: what becomes of them, and of those that are no good. */

#include "base/file.h"
#include "base/log.h"
#include "corpus/documents.h"
#include "corpus/prepare.h"
#include "data/token_shards.h"
#include "data_files.h"
#include "ranks.h"

#include <unistd.h>

enum { UNIT = 400, ROOM = 4096, NAMES = 4 };

/* How a test prepares. Start from {0}. */
typedef struct way {
    const char *template, *fields[NAMES]; /* up to the first NULL */
    double heldout;
    mr_fault_policy on_error;
} way;

static mr_status prepare_on(const mr_comm *comm, const char *input, const char *to, way w,
                            mr_token_manifest *out)
{
    mr_prepare_options options = {.inputs = &input,
                                  .count = 1,
                                  .folder = to,
                                  .tokenizer = "bytes",
                                  .template = w.template,
                                  .fields = w.fields,
                                  .longest = MR_PREPARE_LONGEST,
                                  .recipe = mr_prepare_defaults()};
    mr_prepare_outcome outcome;
    while (options.field_count < NAMES && w.fields[options.field_count])
        options.field_count++;
    options.recipe.heldout = w.heldout;
    options.recipe.unit_bytes = UNIT;
    options.recipe.on_error = w.on_error;
    mr_status status = mr_prepare(comm, &options, &outcome);
    *out = outcome.manifest;
    return status;
}

static mr_token_manifest prepared(const char *input, const char *to, way w)
{
    mr_token_manifest m;
    const mr_status status = prepare_on(&world, input, to, w, &m);
    if (status != MR_OK && world.rank == 0) print_error("%s\n", mr_message());
    assert_on_all_ranks(status == MR_OK);
    return m;
}

static void prepare_only(const char *input, const char *to, way w)
{
    mr_token_manifest m = prepared(input, to, w);
    mr_token_manifest_free(&m);
}

static void refused(const char *input, way w, mr_status wanted, const char *part)
{
    mr_token_manifest m;
    const mr_status status = prepare_on(&world, input, "refused", w, &m);
    mr_token_manifest_free(&m);
    const bool told = strstr(mr_message(), part) != NULL;
    if (!told && world.rank == 0)
        print_error("expected \"%s\", found \"%s\"\n", part, mr_message());
    assert_on_all_ranks(status == wanted);
    assert_on_all_ranks(told);
    mr_comm_barrier(&world);
    assert_on_all_ranks(access("refused", F_OK) != 0);
}

static void write_text(const char *path, const char *text)
{
    if (world.rank == 0) data_write(path, text, strlen(text));
    mr_comm_barrier(&world);
}

static bool same_file(const char *a, const char *b)
{
    char *x, *y;
    size_t nx, ny;
    must(mr_file_read(a, MR_MEM_OTHER, &x, &nx));
    must(mr_file_read(b, MR_MEM_OTHER, &y, &ny));
    const bool same = nx == ny && memcmp(x, y, nx) == 0;
    mr_free(x);
    mr_free(y);
    return same;
}

/* A split as text: learned tokens in brackets, BOS as ^ and EOS as a bar. */
static const char *shown(const char *folder, mr_split split)
{
    static char text[ROOM];
    mr_token_manifest m;
    size_t at = 0;
    must(mr_token_manifest_read(folder, &m));
    for (int64_t s = 0; s < m.shards; s++) {
        char path[PATH_MAX], *data;
        size_t bytes;
        bool inside = false;
        if (m.shard[s].split != split) continue;
        must(mr_file_path(path, "%s/%s", folder, m.shard[s].file));
        must(mr_file_read(path, MR_MEM_OTHER, &data, &bytes));
        for (size_t i = 0; i + 1 < bytes && at + 8 < ROOM; i += 2) {
            const bool learned = (data[i + 1] & 0x80) != 0;
            if (learned != inside) text[at++] = learned ? '[' : ']';
            inside = learned;
            text[at++] = (data[i + 1] & 1) == 0 ? data[i] : data[i] == 0 ? '^' : '|';
        }
        if (inside) text[at++] = ']';
        mr_free(data);
    }
    text[at] = '\0';
    mr_token_manifest_free(&m);
    return text;
}

static void expect_shown(const char *folder, const char *wanted)
{
    const char *text = shown(folder, MR_SPLIT_TRAIN);
    const bool same = strcmp(text, wanted) == 0;
    if (!same && world.rank == 0) print_error("expected \"%s\", found \"%s\"\n", wanted, text);
    assert_on_all_ranks(same);
}

static void samples_are_those_of_the_template_with_marks(void **state)
{
    (void)state;
    static const char wanted[] = "^2+2=[4|]^Say[ it|]";
    static const way w = {.template = "prompt_completion", .fields = {"prompt=ask"}};
    write_text("asked.jsonl", "{\"ask\": \"2+2=\", \"completion\": \"4\"}\n"
                              "{\"id\": 1, \"ask\": \"Say\", \"completion\": \" it\"}\n");
    write_text("asked.json", "[{\"ask\": \"2+2=\",\n\"completion\": \"4\"},{\"id\": 1, \"ask\": "
                             "\"Say\", \"completion\": \" it\"}]");
    if (world.rank == 0) data_pack("asked.json", "asked.zst", DATA_ZST);
    mr_comm_barrier(&world);
    mr_token_manifest m = prepared("asked.jsonl", "asked", w);
    expect_shown("asked", wanted);
    prepare_only("asked.json", "asked-array", w);
    expect_shown("asked-array", wanted);
    prepare_only("asked.zst", "asked-packed", w);
    expect_shown("asked-packed", wanted);
    const mr_token_totals *train = &m.split[MR_SPLIT_TRAIN];
    assert_on_all_ranks(world.rank > 0 || (train->tokens == 15 && train->learned == 6));
    assert_on_all_ranks(world.rank > 0 || (m.marked && m.end == MR_BYTES_EOS && m.end_learned));
    assert_on_all_ranks(world.rank > 0 || strcmp(m.template_name, "prompt_completion") == 0);
    assert_on_all_ranks(world.rank > 0 || strcmp(m.recipe.field, "prompt=ask") == 0);
    mr_token_manifest_free(&m);
}

static void plain_is_what_text_is_without_a_template(void **state)
{
    (void)state;
    write_text("plain.jsonl", "{\"body\": \"one\"}\n{\"body\": \"two\"}\n");
    mr_token_manifest m =
        prepared("plain.jsonl", "plain", (way){.template = "plain", .fields = {"text=body"}});
    assert_on_all_ranks(world.rank > 0 || (!m.marked && strcmp(m.recipe.field, "body") == 0));
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].learned == 8);
    mr_token_manifest_free(&m);
    prepare_only("plain.jsonl", "plain-too", (way){.fields = {"body"}});
    assert_on_all_ranks(same_file("plain/manifest.json", "plain-too/manifest.json"));
}

/* Conversations, in lines or as an array. */
static void write_many(const char *path, bool array)
{
    static char text[60000];
    size_t at = (size_t)snprintf(text, sizeof text, array ? "[\n" : "");
    for (int i = 0; i < 150; i++)
        at += (size_t)snprintf(
            text + at, sizeof text - at,
            "{\"id\": %d, \"messages\": [{\"role\": \"user\", \"content\": \"question %d\"}, "
            "{\"role\": \"assistant\", \"content\": \"answer {%d}\"}]}%s\n",
            i, i % 50, i % 50, array && i < 149 ? "," : "");
    snprintf(text + at, sizeof text - at, array ? "]\n" : "");
    write_text(path, text);
}

static void folders_of_records_are_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    static const char *const inputs[] = {"many.jsonl", "many.json"};
    for (int i = 0; i < 2; i++) {
        const way w = {.template = "tulu", .heldout = 0.2};
        char alone[32], all[32], a[PATH_MAX], b[PATH_MAX];
        mr_token_manifest m = {.shards = 0};
        mr_status status = MR_OK;
        write_many(inputs[i], i == 1);
        snprintf(alone, sizeof alone, "alone-%d", i);
        snprintf(all, sizeof all, "all-%d", i);
        if (world.rank == 0) status = prepare_on(mr_comm_self(), inputs[i], alone, w, &m);
        assert_on_all_ranks(status == MR_OK);
        mr_token_manifest_free(&m);
        m = prepared(inputs[i], all, w);
        assert_on_all_ranks(world.rank > 0 || m.shards > 30);
        must(mr_file_path(a, "%s/manifest.json", alone));
        must(mr_file_path(b, "%s/manifest.json", all));
        assert_on_all_ranks(same_file(a, b));
        mr_token_shards *shards = NULL;
        status = mr_token_shards_open(all, 1, &shards);
        if (status == MR_OK) status = mr_token_shards_verify(shards, &world);
        mr_token_shards_close(&shards);
        assert_on_all_ranks(status == MR_OK);
        /* Of three records each, that differ in their ids alone. */
        assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_HELDOUT].documents > 9);
        assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_HELDOUT].documents % 3 == 0);
        mr_token_manifest_free(&m);
    }
}

/* Records that are no good, and why. */
static const struct {
    const char *record, *what;
    mr_fault fault;
} bad[] = {
    {"{\"messages\": \"none\"}", "expected a list in field \"messages\", found a string",
     MR_FAULT_TYPE},
    {"{\"messages\": [{\"role\": \"user\", \"content\": 7}]}",
     "message 1: expected text in field \"content\", found a number", MR_FAULT_TYPE},
    {"{\"conversation\": []}", "expected a list in field \"messages\", found nothing",
     MR_FAULT_FIELD},
    {"{\"messages\": [{\"role\": \"user\"}]}",
     "message 1: expected text in field \"content\", found nothing", MR_FAULT_FIELD},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud83d\"}]}", "half a surrogate pair",
     MR_FAULT_SURROGATE},
    {"{\"messages\": []}", "expected messages in field \"messages\", found none", MR_FAULT_EMPTY},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"I\"}]}",
     "message 1: assistant cannot be the first", MR_FAULT_ORDER},
    {"{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}",
     "message 1: expected a role of system, user, assistant, found \"tool\"", MR_FAULT_ROLE},
    {"{\"messages\": ", "cannot read JSON", MR_FAULT_JSON},
    {"[1]", "expected a JSON object, found a list", MR_FAULT_JSON},
    {"{\"messages\": \"\xff\"}", "not UTF-8", MR_FAULT_UTF8},
};

enum { BAD = sizeof bad / sizeof bad[0] };

static void bad_records_are_told_by_kind_and_line(void **state)
{
    (void)state;
    static const char good[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, "
                               "{\"role\": \"assistant\", \"content\": \"Yo\"}]}\n";
    static char text[ROOM];
    size_t at = 0;
    int64_t wanted[MR_FAULTS] = {0};
    for (int b = 0; b < BAD; b++) {
        char one[512], message[256];
        snprintf(one, sizeof one, "%s\n%s\n", good, bad[b].record);
        write_text("bad.jsonl", one);
        snprintf(message, sizeof message, "bad.jsonl:3: %s", bad[b].what);
        refused("bad.jsonl", (way){.template = "tulu"}, MR_ERR_FORMAT, message);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s\n", good, bad[b].record);
        wanted[bad[b].fault]++;
    }
    write_text("bad.jsonl", text);
    mr_token_manifest m =
        prepared("bad.jsonl", "bad", (way){.template = "tulu", .on_error = MR_FAULT_SKIP});
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].documents == BAD);
    assert_on_all_ranks(world.rank > 0 || m.input[0].errors == BAD);
    assert_on_all_ranks(world.rank > 0 || memcmp(m.errors, wanted, sizeof wanted) == 0);
    mr_token_manifest_free(&m);
}

static void samples_of_which_nothing_or_all_is_learned_are_counted(void **state)
{
    (void)state;
    write_text("masks.jsonl", "{\"prompt\": \"\", \"completion\": \"all\"}\n"
                              "{\"prompt\": \"some\", \"completion\": \" of it\"}\n");
    write_text("own.yaml", "about: a test\nreads: fields\nforms:\n"
                           "  - spans: [{field: prompt}, {field: completion, learned: true}]\n");
    mr_token_manifest m = prepared("masks.jsonl", "masks", (way){.template = "own.yaml"});
    assert_on_all_ranks(world.rank > 0 || (m.end == -1 && strcmp(m.template_name, "own") == 0));
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].all_learned == 1);
    mr_token_manifest_free(&m);
    write_text("asks.jsonl",
               "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n"
               "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": "
               "\"assistant\", \"content\": \"Yo\"}, {\"role\": \"user\", \"content\": \"?\"}]}\n");
    m = prepared("asks.jsonl", "asks", (way){.template = "tulu"});
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].none_learned == 1);
    assert_on_all_ranks(world.rank > 0 || m.split[MR_SPLIT_TRAIN].all_learned == 0);
    mr_token_manifest_free(&m);
    expect_shown("asks", "^<|user|>\nHi^<|user|>\nHi\n<|assistant|>\n[Yo|]\n<|user|>\n?");
}

static void what_does_not_go_with_a_template_is_refused(void **state)
{
    (void)state;
    write_text("words.txt", "words\n");
    write_text("words.jsonl", "{\"text\": \"words\"}\n");
    refused("words.txt", (way){.template = "tulu"}, MR_ERR_USAGE,
            "template tulu: it reads records of JSON, but 'words.txt' is plain text");
    refused("words.jsonl", (way){.template = "alpaka"}, MR_ERR_IO, "alpaka");
    refused("words.jsonl", (way){.template = "tulu", .fields = {"text=body"}}, MR_ERR_USAGE,
            "field: ");
    refused("words.jsonl", (way){.fields = {"text", "body"}}, MR_ERR_USAGE,
            "field: expected one, of the text, found 2");
    refused("words.jsonl", (way){.template = "chatml"}, MR_ERR_CONFIG, "<|im_start|>");
    prepare_only("words.jsonl", "words", (way){0});
    mr_token_manifest m;
    const mr_status status =
        prepare_on(&world, "words.jsonl", "words",
                   (way){.template = "prompt_completion", .fields = {"prompt=text"}}, &m);
    mr_token_manifest_free(&m);
    assert_on_all_ranks(status == MR_ERR_IO);
    assert_on_all_ranks(strstr(mr_message(), "made with another setting (template)") != NULL);
}

static int enter_folder(void **state)
{
    mr_log_set_quiet(true);
    return ranks_enter_folder(state);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_those_of_the_template_with_marks),
        cmocka_unit_test(plain_is_what_text_is_without_a_template),
        cmocka_unit_test(folders_of_records_are_the_same_on_any_number_of_ranks),
        cmocka_unit_test(bad_records_are_told_by_kind_and_line),
        cmocka_unit_test(samples_of_which_nothing_or_all_is_learned_are_counted),
        cmocka_unit_test(what_does_not_go_with_a_template_is_refused),
    };
    return ranks_end(cmocka_run_group_tests(tests, enter_folder, ranks_leave_folder));
}
