#include "base/memory.h"
#include "corpus/shard_writer.h"
#include "data/batch.h"
#include "data_files.h"
#include "logs.h"
#include "program.h"
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A document: its tokens, and those that are learned, from first to behind, but for every second
 * one where it has holes. */
typedef struct document {
    mr_split split;
    int tokens, first, behind;
    bool holes;
} document;

enum { MOST = 4096, SHARD = 3 /* documents */ };

static int32_t token_of(int64_t index, int64_t t)
{
    return (int32_t)((index * 31 + t * 7) % 256);
}

static bool is_learned(const document *d, int64_t t)
{
    return t >= d->first && t < d->behind && (!d->holes || t == d->first || t + 1 == d->behind);
}

/* Writes a folder of these documents, of several shards a split. */
static void make_folder(const char *folder, const document *d, int64_t count, bool marked)
{
    mr_token_manifest m = {
        .vocabulary = MR_BYTES_VOCABULARY, .eos = MR_BYTES_EOS, .token_bytes = 2, .marked = marked};
    static mr_token_manifest_shard shards[64];
    memset(shards, 0, sizeof shards);
    snprintf(m.tokenizer, sizeof m.tokenizer, "bytes");
    snprintf(m.template_name, sizeof m.template_name, marked ? "made" : "plain");
    program_make_folder(folder);
    m.shard = shards;
    for (mr_split split = 0; split < MR_SPLITS; split++) {
        mr_shard_writer writer = {.token_bytes = 2, .marked = marked};
        int64_t written = 0;
        for (int64_t i = 0; i < count; i++) {
            int32_t ids[MOST];
            uint8_t learned[MOST];
            char path[64];
            mr_token_document about;
            mr_token_manifest_shard *shard = &shards[m.shards];
            if (d[i].split != split) continue;
            for (int64_t t = 0; t < d[i].tokens; t++) {
                ids[t] = token_of(i, t);
                learned[t] = is_learned(&d[i], t);
            }
            snprintf(shard->file, sizeof shard->file, "%s-%lld.bin", mr_split_name(split),
                     (long long)m.shards);
            snprintf(path, sizeof path, "%s/%s", folder, shard->file);
            shard->split = split;
            must(mr_shard_writer_add(&writer, path, ids, marked ? learned : NULL, d[i].tokens,
                                     &about));
            mr_token_totals_add(&m.split[split], about);
            if (++written % SHARD == 0) must(mr_shard_writer_end(&writer, &shards[m.shards++]));
        }
        if (written % SHARD != 0) must(mr_shard_writer_end(&writer, &shards[m.shards++]));
        mr_shard_writer_free(&writer);
    }
    must(mr_token_manifest_write(&m, folder));
}

/* A dataset of such a folder. */
typedef struct fixture {
    mr_config config;
    mr_tokenizer *tokenizer;
    mr_dataset *dataset;
} fixture;

static mr_status try_task(fixture *f, const char *task, const char *folder, int64_t seq_len,
                          const char *more)
{
    settings_of_task(&f->config, task);
    settings_put(&f->config, "task.data", "%s", folder);
    settings_put(&f->config, "train.seq_len", "%lld", (long long)seq_len);
    if (more) must(mr_config_set(&f->config, more));
    must(mr_tokenizer_create("bytes", &f->tokenizer));
    return mr_dataset_create(&f->config, f->tokenizer, &f->dataset);
}

static void close_task(fixture *f)
{
    mr_dataset_destroy(&f->dataset);
    mr_tokenizer_destroy(&f->tokenizer);
}

static void refused(const char *task, const char *folder, int64_t seq_len, const char *more,
                    mr_status wanted, const char *message)
{
    fixture f;
    const mr_status status = try_task(&f, task, folder, seq_len, more);
    assert_contains(mr_message(), message);
    assert_int_equal(status, wanted);
    close_task(&f);
}

/* Expects a sample to be tokens from..from+count-1 of a document. */
static void expect_sample(const fixture *f, mr_part part, int64_t index, const document *d,
                          int64_t number, int64_t from, int64_t count)
{
    int32_t tokens[MOST], targets[MOST];
    int64_t length = 0;
    must(mr_dataset_part_sample(f->dataset, part, index, tokens, targets, MOST, &length));
    assert_int_equal(length, count);
    if (part == MR_PART_TRAIN) assert_int_equal(f->dataset->task->length(f->dataset, index), count);
    for (int64_t t = 0; t < count; t++) {
        assert_int_equal(tokens[t], token_of(number, from + t));
        const bool scored = t + 1 < count && is_learned(d, from + t + 1);
        assert_int_equal(targets[t], scored ? tokens[t + 1] : MR_NOT_SCORED);
    }
}

static const document mixed[] = {
    {MR_SPLIT_TRAIN, 20, 5, 20, false},   {MR_SPLIT_HELDOUT, 9, 3, 8, false},
    {MR_SPLIT_TRAIN, 7, 7, 0, false},     {MR_SPLIT_TRAIN, 3000, 0, 3000, true},
    {MR_SPLIT_TRAIN, 30, 25, 30, false},  {MR_SPLIT_TRAIN, 12, 0, 12, false},
    {MR_SPLIT_HELDOUT, 40, 2, 40, false}, {MR_SPLIT_TRAIN, 30, 0, 4, false},
    {MR_SPLIT_TRAIN, 5, 0, 1, false},
};
enum { MIXED = sizeof mixed / sizeof *mixed };

static void documents_are_samples_with_what_is_learned(void **state)
{
    (void)state;
    static const int trained[] = {0, 3, 4, 5, 7};
    fixture f;
    make_folder("mixed", mixed, MIXED, true);
    must(try_task(&f, "instruct", "mixed", 0, NULL));
    assert_int_equal(f.dataset->items, 5);
    assert_int_equal(f.dataset->heldout, 2);
    assert_int_equal(f.dataset->longest, 3000);
    for (int i = 0; i < 5; i++)
        expect_sample(&f, MR_PART_TRAIN, i, &mixed[trained[i]], trained[i], 0,
                      mixed[trained[i]].tokens);
    expect_sample(&f, MR_PART_HELDOUT, 0, &mixed[1], 1, 0, 9);
    expect_sample(&f, MR_PART_HELDOUT, 1, &mixed[6], 6, 0, 40);
    /* Of the two that teach nothing one has no learned token, the other none but its first. */
    const mr_tally *tally = &f.dataset->tally[MR_PART_TRAIN];
    assert_int_equal(tally->documents, 7);
    assert_int_equal(tally->none_learned, 2);
    assert_int_equal(tally->all_learned, 1);
    assert_int_equal(tally->dropped + tally->truncated, 0);
    close_task(&f);
    assert_int_equal(mr_memory_live_total(), 0);
}

static void documents_that_are_too_long_are_treated_as_told(void **state)
{
    (void)state;
    enum { SEQ = 24 };
    /* Trained samples of each way: document and the token they start at. */
    static const struct {
        const char *set;
        int samples, number[6], from[6];
        int dropped, truncated, none_learned;
    } ways[] = {
        /* Of 4 what is left has no learned token; of 3 only token 0, which nothing predicts. */
        {"task.truncation=right", 3, {0, 5, 7}, {0}, 0, 1, 4},
        {"task.truncation=left", 4, {0, 3, 4, 5}, {0, 3000 - SEQ, 30 - SEQ}, 0, 2, 3},
        {"task.truncation=drop", 2, {0, 5}, {0}, 3, 0, 2},
    };
    make_folder("long", mixed, MIXED, true);
    refused(
        "math", "long", SEQ, NULL, MR_ERR_CONFIG,
        "task.truncation: document 2 of train has 3000 tokens, more than train.seq_len 24; left, "
        "right or drop says what becomes of such");
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        fixture f;
        must(try_task(&f, "math", "long", SEQ, ways[w].set));
        assert_int_equal(f.dataset->items, ways[w].samples);
        for (int i = 0; i < ways[w].samples; i++) {
            const document *d = &mixed[ways[w].number[i]];
            expect_sample(&f, MR_PART_TRAIN, i, d, ways[w].number[i], ways[w].from[i],
                          d->tokens < SEQ ? d->tokens : SEQ);
        }
        const mr_tally *tally = &f.dataset->tally[MR_PART_TRAIN];
        assert_int_equal(tally->dropped, ways[w].dropped);
        assert_int_equal(tally->truncated, ways[w].truncated);
        assert_int_equal(tally->none_learned, ways[w].none_learned);
        close_task(&f);
    }
    refused("math", "long", 6, "task.truncation=drop", MR_ERR_CONFIG,
            "task.data: nothing to train on: 'long' has 7 documents, 6 of them longer than "
            "train.seq_len and 1 without a learned token");
}

/* Where the index leaves open whether anything learned is left, the tokens tell. */
static void learned_tokens_are_looked_for_where_the_index_is_not_enough(void **state)
{
    (void)state;
    static const document d[] = {{MR_SPLIT_TRAIN, 4000, 0, 4000, false},
                                 {MR_SPLIT_TRAIN, 4000, 0, 4000, true}};
    fixture f;
    make_folder("around", d, 2, true);
    must(try_task(&f, "instruct", "around", 3500, "task.truncation=right"));
    assert_int_equal(f.dataset->items, 1);
    assert_int_equal(f.dataset->tally[MR_PART_TRAIN].none_learned, 1);
    close_task(&f);
}

static void streams_and_documents_are_told_apart(void **state)
{
    (void)state;
    static const document d[] = {{MR_SPLIT_TRAIN, 20, 0, 20, false},
                                 {MR_SPLIT_TRAIN, 21, 0, 21, false},
                                 {MR_SPLIT_HELDOUT, 8, 0, 8, false}};
    char stream[MR_DATASET_HASH], documents[MR_DATASET_HASH];
    fixture f;
    make_folder("plain", d, 3, false);
    make_folder("marked", mixed, MIXED, true);
    must(try_task(&f, "biomed", "plain", 8, NULL));
    assert_int_equal(f.dataset->items, 5);
    must(mr_dataset_hash(f.dataset, stream));
    close_task(&f);
    must(try_task(&f, "finance", "plain", 32, "task.samples=documents"));
    assert_int_equal(f.dataset->items, 2);
    assert_int_equal(f.dataset->tally[MR_PART_TRAIN].all_learned, 2);
    expect_sample(&f, MR_PART_TRAIN, 1, &d[1], 1, 0, 21);
    must(mr_dataset_hash(f.dataset, documents));
    assert_string_not_equal(stream, documents);
    close_task(&f);
    for (int i = 0; i < 2; i++)
        refused(i ? "pretrain" : "biomed", "marked", 8, NULL, MR_ERR_CONFIG,
                "task.data: tokens of template made are learned or not, which a stream has no");
    refused("biomed", "plain", 8, "task.truncation=left", MR_ERR_CONFIG,
            "task.truncation: left is for documents, but task.samples is stream");
    refused("finance", "plain", 0, NULL, MR_ERR_CONFIG,
            "train.seq_len: missing; task finance cuts its text to this length");
    refused("instruct", "", 8, NULL, MR_ERR_CONFIG, "task.data: missing; task instruct needs a");
    refused("instruct", "absent", 8, NULL, MR_ERR_IO,
            "task.data: cannot open 'absent/manifest.json'");

    must(try_task(&f, "instruct", "plain", 32, "eval.every=1"));
    close_task(&f);
    make_folder("all", d, 2, false);
    refused(
        "instruct", "all", 32, "eval.every=1", MR_ERR_CONFIG,
        "eval.every: nothing to evaluate on: task.data 'all' has 0 held-out documents, 0 of them");
    refused("instruct", "all", 32, "eval.at_start=true", MR_ERR_CONFIG,
            "eval.at_start: nothing to evaluate on: task.data 'all' has 0 held-out documents");
}

/* Replaces a text of the manifest. */
static void edit_manifest(const char *folder, const char *from, const char *to)
{
    data_shell("sed -i 's/%s/%s/' %s/manifest.json", from, to, folder);
}

static void an_index_that_is_damaged_is_named(void **state)
{
    (void)state;
    char hash[MR_HASH_TEXT], made[MR_HASH_TEXT];
    size_t size;
    make_folder("damaged", mixed, MIXED, true);
    char *index = program_read("damaged/train-0.idx", &size);
    must(mr_hash_file("damaged/train-0.idx", made, NULL));
    assert_int_equal(size, SHARD * MR_TOKEN_DOCUMENT_BYTES);
    data_write("damaged/train-0.idx", index, size - 1);
    refused("instruct", "damaged", 0, NULL, MR_ERR_FORMAT,
            "task.data: damaged/train-0.idx: expected 3 documents of 16 bytes, found 47 bytes");
    index[0]++;
    data_write("damaged/train-0.idx", index, size);
    refused("instruct", "damaged", 0, NULL, MR_ERR_FORMAT,
            "task.data: damaged/train-0.idx: damaged: its SHA-256 is ");
    must(mr_hash_file("damaged/train-0.idx", hash, NULL));
    edit_manifest("damaged", made, hash);
    refused("instruct", "damaged", 0, NULL, MR_ERR_FORMAT,
            "task.data: damaged/train-0.idx: document 2: 3000 tokens, 2 of them learned, from 0 to "
            "before 3000, of 2999 tokens that are left");
    data_shell("rm damaged/train-0.idx");
    refused("instruct", "damaged", 0, NULL, MR_ERR_FORMAT,
            "task.data: damaged/train-0.idx: No such file or directory");
    mr_free(index);
}

/* Runs. */

/* Twelve documents that fill four rows of 32, and three that are held out. */
static const document packed[] = {
    {MR_SPLIT_TRAIN, 30, 4, 30, false},   {MR_SPLIT_TRAIN, 16, 8, 16, false},
    {MR_SPLIT_TRAIN, 16, 2, 15, false},   {MR_SPLIT_TRAIN, 8, 3, 8, false},
    {MR_SPLIT_TRAIN, 8, 3, 8, false},     {MR_SPLIT_TRAIN, 8, 3, 8, true},
    {MR_SPLIT_TRAIN, 8, 1, 7, false},     {MR_SPLIT_TRAIN, 20, 10, 20, false},
    {MR_SPLIT_TRAIN, 5, 2, 5, false},     {MR_SPLIT_TRAIN, 4, 2, 4, false},
    {MR_SPLIT_TRAIN, 2, 1, 2, false},     {MR_SPLIT_TRAIN, 2, 1, 2, false},
    {MR_SPLIT_HELDOUT, 12, 3, 12, false}, {MR_SPLIT_HELDOUT, 32, 3, 32, false},
    {MR_SPLIT_HELDOUT, 6, 3, 6, false},
};
enum { PACKED = sizeof packed / sizeof *packed };

static program_result run(int ranks, const char *more)
{
    return program_succeed((program_setting){.ranks = ranks}, "run run.yaml %s", more);
}

static void packed_samples_train_as_they_do_alone(void **state)
{
    (void)state;
    make_folder("packed", packed, PACKED, true);
    program_write("run.yaml", "run: {name: one, seed: 3, output: out}\n"
                              "model: {config: tiny.json, init: random}\n"
                              "task: {name: instruct, data: packed}\n"
                              "method: {name: mora, r: 2, lora_dropout: 0}\n"
                              "train: {steps: 5, seq_len: 32, global_batch: 12, micro_batch: 3, "
                              "lr: 0.01}\n"
                              "eval: {every: 5}\n"
                              "parallel: {threads: 1}\n");
    program_result apart = run(0, "");
    assert_contains(apart.err, "one: train: 12 documents: 0 too long and dropped, 0 without a "
                               "learned token left out, 0 truncated, 0 learned from end to end");
    assert_contains(apart.err, "one: 12 samples in 12 rows of 32 tokens, 66.9 % of them padding");
    program_result together =
        run(0, "--set train.packing=pack --set train.global_batch=4 --set train.micro_batch=1 "
               "--set run.name=two");
    assert_contains(together.err, "two: 12 samples in 4 rows of 32 tokens, 0.8 % of them padding");
    log_assert_close("out/one.h5", "out/two.h5", "/train/loss", 2e-6);
    log_assert_close("out/one.h5", "out/two.h5", "/train/grad_norm", 2e-5);
    log_assert_close("out/one.h5", "out/two.h5", "/eval/instruct/loss", 2e-6);
    assert_int_equal(log_int("out/two.h5", "rows"), 4);
    assert_int_equal(log_int("out/two.h5", "train_documents"), 12);
    program_result told = program_succeed((program_setting){0}, "info out/two.h5");
    static const char *const lines[] = {"\nsamples ", "\nrows ", "\npadding_share ",
                                        "\ntrain_documents ", "\nheldout_samples_truncated "};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_contains(told.out, lines[i]);
    program_free(&told);
    program_free(&apart);
    program_free(&together);
}

/* Two rows a step, so that it stops within an epoch of four. */
static void a_packed_run_has_the_same_bits_on_two_ranks_and_after_a_stop(void **state)
{
    (void)state;
    static const char set[] = "--set train.packing=pack --set train.global_batch=2 --set "
                              "train.micro_batch=1 --set method.lora_dropout=0.1 --set run.name=";
    char text[512];
    static const char *const names[] = {"whole", "two", "stopped"};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s%s%s", set, names[i],
                 i == 2 ? " --set train.stop_after=3" : "");
        program_result result = run(i == 1 ? 2 : 0, text);
        program_free(&result);
    }
    snprintf(text, sizeof text, "%s%s", set, names[2]);
    program_result rest = run(2, text);
    assert_contains(rest.err, "stopped: goes on at step 3");
    program_free(&rest);
    for (int i = 1; i < 3; i++) {
        snprintf(text, sizeof text, "out/%s.h5", names[i]);
        log_assert_same_bits("out/whole.h5", text, "/train/loss", 0);
        log_assert_same_bits("out/whole.h5", text, "/train/grad_norm", 0);
        log_assert_same_bits("out/whole.h5", text, "/eval/instruct/loss", 0);
        snprintf(text, sizeof text, "out/%s.trained.safetensors", names[i]);
        file_assert_same_tensors("out/whole.trained.safetensors", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_samples_with_what_is_learned),
        cmocka_unit_test(documents_that_are_too_long_are_treated_as_told),
        cmocka_unit_test(learned_tokens_are_looked_for_where_the_index_is_not_enough),
        cmocka_unit_test(streams_and_documents_are_told_apart),
        cmocka_unit_test(an_index_that_is_damaged_is_named),
        cmocka_unit_test(packed_samples_train_as_they_do_alone),
        cmocka_unit_test(a_packed_run_has_the_same_bits_on_two_ranks_and_after_a_stop),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
