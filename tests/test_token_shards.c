#include "base/file.h"
#include "corpus/shard_writer.h"
#include "data/batch.h"
#include "data/token_shards.h"
#include "data_files.h"
#include "program.h"
#include "settings.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SHARDS = 4, SEQ = 4, LARGE = 100000 };

/* The shards of every folder made here, in the order of the text. */
static const struct {
    const char *file;
    mr_split split;
    int64_t tokens;
} shards_made[SHARDS] = {{"train-a.bin", MR_SPLIT_TRAIN, 10},
                         {"heldout-a.bin", MR_SPLIT_HELDOUT, 13},
                         {"train-b.bin", MR_SPLIT_TRAIN, 3},
                         {"train-c.bin", MR_SPLIT_TRAIN, 25}};

/* Token t of shard s: every one of them different, the last ids of the vocabulary among them. */
static int32_t token(int shard, int64_t t, int32_t vocabulary)
{
    return vocabulary - 1 - 50 * shard - (int32_t)t;
}

static void make_folder(const char *folder, const char *tokenizer, int32_t vocabulary)
{
    mr_token_manifest m = {.vocabulary = vocabulary,
                           .eos = 2,
                           .token_bytes = vocabulary > 65536 ? 4 : 2,
                           .template_name = "plain"};
    mr_token_manifest_shard shard[SHARDS] = {{.file = ""}};
    mr_shard_writer writer = {.token_bytes = m.token_bytes};
    mr_token_document about;
    char path[DATA_PATH];
    m.recipe = (mr_recipe){.field = "text", .heldout = 0.25, .unit_bytes = 100};
    snprintf(m.tokenizer, sizeof m.tokenizer, "%s", tokenizer);
    if (strcmp(tokenizer, "bytes") == 0) m.eos = MR_BYTES_EOS;
    program_make_folder(folder);
    for (int s = 0; s < SHARDS; s++) {
        snprintf(path, sizeof path, "%s/%s", folder, shards_made[s].file);
        snprintf(shard[s].file, sizeof shard[s].file, "%s", shards_made[s].file);
        shard[s].split = shards_made[s].split;
        for (int64_t t = 0; t < shards_made[s].tokens; t++) {
            int32_t id = token(s, t, vocabulary);
            assert_int_equal(mr_shard_writer_add(&writer, path, &id, NULL, 1, &about), MR_OK);
            mr_token_totals_add(&m.split[shard[s].split], about);
        }
        assert_int_equal(mr_shard_writer_end(&writer, &shard[s]), MR_OK);
        assert_int_equal(shard[s].tokens, shards_made[s].tokens);
    }
    mr_shard_writer_free(&writer);
    m.shard = shard;
    m.shards = SHARDS;
    assert_int_equal(mr_token_manifest_write(&m, folder), MR_OK);
}

static mr_token_shards *open_folder(const char *folder, int64_t seq_len)
{
    mr_token_shards *shards = NULL;
    must(mr_token_shards_open(folder, seq_len, &shards));
    return shards;
}

static void refused(const char *folder, mr_status wanted, const char *message)
{
    mr_token_shards *shards = NULL;
    mr_status status = mr_token_shards_open(folder, SEQ, &shards);
    if (status == MR_OK) status = mr_token_shards_check(shards);
    mr_token_shards_close(&shards);
    assert_contains(mr_message(), message);
    assert_int_equal(status, wanted);
}

/* Replaces the first place of a text in a file. */
static void replace(const char *path, const char *from, const char *to)
{
    size_t size;
    char *text = program_read(path, &size);
    char *at = strstr(text, from);
    if (!at) fail_msg("\"%s\" is not in %s", from, path);
    size_t before = (size_t)(at - text);
    data_write(path, text, before);
    data_append(path, to, strlen(to));
    data_append(path, at + strlen(from), size - before - strlen(from));
    mr_free(text);
}

/* Reading. */

static const int of_split[MR_SPLITS][3] = {{0, 2, 3}, {1, -1, -1}};

/* The token of a split's stream that has so many before it; -1 past its end. */
static int32_t stream_token(mr_split split, int64_t at, int32_t vocabulary)
{
    for (int i = 0; i < 3 && of_split[split][i] >= 0; i++) {
        const int s = of_split[split][i];
        if (at < shards_made[s].tokens) return token(s, at, vocabulary);
        at -= shards_made[s].tokens;
    }
    return -1;
}

static void check_sequences(const char *folder, int64_t seq_len, int32_t vocabulary)
{
    enum { LONGEST = 64 };
    mr_token_shards *shards = open_folder(folder, seq_len);
    for (mr_split split = 0; split < MR_SPLITS; split++) {
        int64_t at = 0, sequences = mr_token_shards_sequences(shards, split);
        int32_t ids[LONGEST];
        for (int64_t sequence = 0; sequence < sequences; sequence++) {
            assert_int_equal(mr_token_shards_read(shards, split, sequence, 0, seq_len, ids), MR_OK);
            for (int64_t t = 0; t < seq_len; t++, at++)
                assert_int_equal(ids[t], stream_token(split, at, vocabulary));
        }
        assert_true(stream_token(split, at + seq_len - 1, vocabulary) == -1);
    }
    mr_token_shards_close(&shards);
    assert_null(shards);
}

static void a_split_is_cut_as_one_stream_that_loses_less_than_a_sequence(void **state)
{
    (void)state;
    make_folder("small", "bytes", MR_BYTES_VOCABULARY);
    for (int64_t seq_len = 1; seq_len <= 40; seq_len++)
        check_sequences("small", seq_len, MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("small", SEQ);
    assert_int_equal(mr_token_shards_sequences(shards, MR_SPLIT_TRAIN), 9);
    assert_int_equal(mr_token_shards_sequences(shards, MR_SPLIT_HELDOUT), 3);
    mr_token_shards_close(&shards);
}

static void a_sequence_may_span_three_shards(void **state)
{
    (void)state;
    enum { SPAN = 18 }; /* 10 tokens of the first, 3 of the second, 5 of the third */
    int32_t ids[SPAN], part[5];
    make_folder("span", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("span", SPAN);
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, SPAN, ids), MR_OK);
    assert_int_equal(ids[9], token(0, 9, MR_BYTES_VOCABULARY));
    for (int t = 0; t < 3; t++)
        assert_int_equal(ids[10 + t], token(2, t, MR_BYTES_VOCABULARY));
    for (int t = 0; t < 5; t++)
        assert_int_equal(ids[13 + t], token(3, t, MR_BYTES_VOCABULARY));
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 9, 5, part), MR_OK);
    assert_memory_equal(part, ids + 9, sizeof part);
    mr_token_shards_close(&shards);
}

static void large_vocabularies_take_four_bytes(void **state)
{
    (void)state;
    make_folder("large", "large.model", LARGE);
    assert_int_equal(access("large/train-a.bin", R_OK), 0);
    size_t size;
    mr_free(program_read("large/train-a.bin", &size));
    assert_int_equal(size, 40);
    check_sequences("large", SEQ, LARGE);
}

static void the_largest_two_byte_vocabulary_is_kept_whole(void **state)
{
    (void)state;
    make_folder("border", "border.model", 65536);
    size_t size;
    mr_free(program_read("border/train-a.bin", &size));
    assert_int_equal(size, 20);
    check_sequences("border", SEQ, 65536);
}

static void a_part_of_a_sequence_can_be_read(void **state)
{
    (void)state;
    make_folder("part", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("part", SEQ);
    int32_t ids[3] = {0, 0, -7};
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 1, 1, 2, ids), MR_OK);
    assert_int_equal(ids[0], token(0, 5, MR_BYTES_VOCABULARY));
    assert_int_equal(ids[1], token(0, 6, MR_BYTES_VOCABULARY));
    assert_int_equal(ids[2], -7);
    mr_token_shards_close(&shards);
}

static void a_sequence_longer_than_its_split_is_not_there(void **state)
{
    (void)state;
    make_folder("none", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("none", 39);
    assert_int_equal(mr_token_shards_sequences(shards, MR_SPLIT_TRAIN), 0);
    assert_int_equal(mr_token_shards_sequences(shards, MR_SPLIT_HELDOUT), 0);
    mr_token_shards_close(&shards);
}

/* Open files of a folder, and others. */
static int files_open_of(const char *folder, int *others)
{
    int count = 0;
    *others = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        char link[DATA_PATH], target[DATA_PATH];
        snprintf(link, sizeof link, "/proc/self/fd/%s", entry->d_name);
        const ssize_t length = readlink(link, target, sizeof target - 1);
        if (length < 0) continue;
        target[length] = '\0';
        const bool of = strstr(target, folder) != NULL;
        count += of;
        *others += !of;
    }
    closedir(list);
    return count;
}

static void of_many_shards_few_are_open(void **state)
{
    (void)state;
    enum { MANY = MR_TOKEN_SHARDS_OPEN + 100, EACH = 3, SEQUENCES = MANY * EACH / SEQ, STRIDE = 7 };
    static mr_token_manifest_shard shard[MANY];
    mr_token_manifest m = {.vocabulary = LARGE, .eos = 0, .token_bytes = 4, .shard = shard};
    char path[DATA_PATH];
    program_make_folder("many-shards");
    for (int32_t s = 0; s < MANY; s++) {
        unsigned char tokens[EACH][4] = {{0}};
        for (int32_t t = 0; t < EACH; t++) {
            tokens[t][0] = (unsigned char)((s * EACH + t) % 256);
            tokens[t][1] = (unsigned char)((s * EACH + t) / 256);
        }
        snprintf(shard[s].file, sizeof shard[s].file, "train-%d.bin", s);
        snprintf(path, sizeof path, "many-shards/%s", shard[s].file);
        data_write(path, tokens, sizeof tokens);
        assert_int_equal(mr_hash_file(path, shard[s].sha256, NULL), MR_OK);
        memcpy(shard[s].index_sha256, shard[s].sha256, sizeof shard[s].sha256);
        shard[s].tokens = EACH;
    }
    snprintf(m.tokenizer, sizeof m.tokenizer, "many");
    m.shards = MANY;
    m.split[MR_SPLIT_TRAIN].tokens = m.split[MR_SPLIT_TRAIN].learned = (int64_t)MANY * EACH;
    assert_int_equal(mr_token_manifest_write(&m, "many-shards"), MR_OK);
    mr_token_shards *shards = open_folder("many-shards", SEQ);
    assert_int_equal(mr_token_shards_sequences(shards, MR_SPLIT_TRAIN), SEQUENCES);
    struct rlimit before, one_left;
    int others;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int32_t i = 0; i < STRIDE * SEQUENCES; i++) {
        const int32_t sequence = (int32_t)((int64_t)i * STRIDE % SEQUENCES);
        int32_t ids[SEQ];
        must(mr_token_shards_read(shards, MR_SPLIT_TRAIN, sequence, 0, SEQ, ids));
        for (int32_t t = 0; t < SEQ; t++)
            assert_int_equal(ids[t], sequence * SEQ + t);
        if (i != SEQUENCES) continue;
        const int open = files_open_of("many-shards/", &others);
        assert_true(open > 1 && open <= MR_TOKEN_SHARDS_OPEN);
        /* From here on the process may open one file more than the others, among which was the list
         * of them. */
        one_left = before;
        one_left.rlim_cur = (rlim_t)others;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &one_left), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    mr_token_shards_close(&shards);
    assert_int_equal(files_open_of("many-shards/", &others), 0);
}

/* Damaged shards. */

static void a_shard_of_another_size_is_named(void **state)
{
    (void)state;
    make_folder("short", "bytes", MR_BYTES_VOCABULARY);
    assert_int_equal(truncate("short/train-c.bin", 48), 0);
    refused("short", MR_ERR_FORMAT, "short/train-c.bin: expected 50 bytes (25 tokens), found 48");
    data_append("short/train-c.bin", "123", 3);
    refused("short", MR_ERR_FORMAT, "short/train-c.bin: expected 50 bytes (25 tokens), found 51");
}

static void a_missing_shard_is_named(void **state)
{
    (void)state;
    make_folder("gone", "bytes", MR_BYTES_VOCABULARY);
    assert_int_equal(unlink("gone/train-b.bin"), 0);
    refused("gone", MR_ERR_FORMAT, "gone/train-b.bin: No such file or directory");
}

static void a_shard_cut_after_opening_is_named(void **state)
{
    (void)state;
    int32_t ids[SEQ];
    make_folder("cut", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("cut", SEQ);
    assert_int_equal(truncate("cut/train-a.bin", 2), 0);
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, SEQ, ids), MR_ERR_FORMAT);
    assert_contains(mr_message(), "cut/train-a.bin: expected 20 bytes (10 tokens), found 2");
    mr_token_shards_close(&shards);
}

static void flip_byte(const char *path, size_t at, char with)
{
    size_t size;
    char *data = program_read(path, &size);
    data[at] = (char)(data[at] ^ with);
    data_write(path, data, size);
    mr_free(data);
}

static void a_flipped_byte_is_found_by_verifying(void **state)
{
    (void)state;
    make_folder("flipped", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("flipped", SEQ);
    assert_int_equal(mr_token_shards_verify(shards, mr_comm_self()), MR_OK);
    flip_byte("flipped/heldout-a.bin", 12, 1);
    assert_int_equal(mr_token_shards_verify(shards, mr_comm_self()), MR_ERR_FORMAT);
    assert_contains(mr_message(), "flipped/heldout-a.bin: damaged: its SHA-256 is ");
    mr_token_shards_close(&shards);
}

static void an_index_that_is_not_as_stated_is_named(void **state)
{
    (void)state;
    make_folder("indexed", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("indexed", SEQ);
    flip_byte("indexed/train-b.idx", 4, 1);
    must(mr_token_shards_check(shards));
    assert_int_equal(mr_token_shards_verify(shards, mr_comm_self()), MR_ERR_FORMAT);
    assert_contains(mr_message(), "indexed/train-b.idx: damaged: its SHA-256 is ");
    mr_token_shards_close(&shards);
    assert_int_equal(truncate("indexed/train-b.idx", 47), 0);
    refused("indexed", MR_ERR_FORMAT,
            "indexed/train-b.idx: expected 3 documents of 16 bytes, found 47 bytes");
    assert_int_equal(unlink("indexed/train-b.idx"), 0);
    refused("indexed", MR_ERR_FORMAT, "indexed/train-b.idx: No such file or directory");
}

/* Shards that change while they are in use. */

static mr_status read_first(mr_token_shards *shards)
{
    int32_t ids[SEQ];
    mr_status status = mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, SEQ, ids);
    for (int32_t t = 0; t < SEQ && status == MR_OK; t++)
        assert_int_equal(ids[t], token(0, t, MR_BYTES_VOCABULARY));
    return status;
}

static void shards_that_change_in_use_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *change, *message; /* no message: what is read is what it was */
        mr_status status;
    } cases[] = {
        {"truncate -s 0 moving/train-a.bin", "expected 20 bytes (10 tokens), found 0",
         MR_ERR_FORMAT},
        {"truncate -s 19 moving/train-a.bin", "found 19", MR_ERR_FORMAT},
        {"echo >> moving/train-a.bin", "found 21", MR_ERR_FORMAT},
        {"rm moving/train-a.bin", "No such file", MR_ERR_IO},
        {"printf x | dd of=moving/train-a.bin bs=1 seek=15 conv=notrunc 2> /dev/null",
         "damaged: its SHA-256 is ", MR_ERR_FORMAT},
        {"printf 01234567890123456789 > moving/new && mv moving/new moving/train-a.bin",
         "damaged: its SHA-256 is ", MR_ERR_FORMAT},
        {"printf 01234567890123456789 > moving/new && touch -r moving/train-a.bin moving/new && "
         "mv moving/new moving/train-a.bin",
         "damaged: its SHA-256 is ", MR_ERR_FORMAT},
        {"rm moving/train-a.bin && mkdir moving/train-a.bin", "expected a file of tokens",
         MR_ERR_FORMAT},
        {"touch moving/train-a.bin", NULL, MR_OK},
        {"cp moving/train-a.bin moving/new && mv moving/new moving/train-a.bin", NULL, MR_OK},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const size_t c = i / 2;
        data_shell("rm -rf moving");
        make_folder("moving", "bytes", MR_BYTES_VOCABULARY);
        mr_token_shards *shards = open_folder("moving", SEQ);
        if (i % 2 == 0) must(mr_token_shards_verify(shards, mr_comm_self()));
        if (i % 2 == 1) must(read_first(shards));
        data_shell("%s", cases[c].change);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(read_first(shards), cases[c].status);
            if (!cases[c].message) continue;
            assert_contains(mr_message(), "'moving' has changed since it was first read: ");
            assert_contains(mr_message(), "moving/train-a.bin");
            assert_contains(mr_message(), cases[c].message);
        }
        mr_token_shards_close(&shards);
    }
}

static void an_id_past_the_vocabulary_is_named(void **state)
{
    (void)state;
    int32_t ids[SEQ];
    make_folder("past", "bytes", MR_BYTES_VOCABULARY);
    flip_byte("past/train-a.bin", 2 * 5 + 1, 0x40);
    mr_token_shards *shards = open_folder("past", SEQ);
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, SEQ, ids), MR_OK);
    assert_int_equal(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 1, 0, SEQ, ids), MR_ERR_FORMAT);
    assert_contains(mr_message(), "past/train-a.bin: token 5 is ");
    assert_contains(mr_message(), ", past the vocabulary of 259");
    mr_token_shards_close(&shards);
}

/* Marked tokens, and folders of version 1. */

/* A folder of one shard of two documents: the second token of the first is learned, and none of the
 * other. */
static void make_marked(const char *folder, int32_t vocabulary, const int32_t ids[5])
{
    static const uint8_t learned[5] = {0, 1, 0, 0, 0};
    mr_token_manifest_shard shard = {.file = "train.bin"};
    mr_token_manifest m = {.vocabulary = vocabulary,
                           .tokenizer = "some.model",
                           .eos = 2,
                           .token_bytes = vocabulary > 32768 ? 4 : 2,
                           .template_name = "chat.yaml",
                           .marked = true,
                           .shard = &shard,
                           .shards = 1};
    mr_shard_writer writer = {.token_bytes = m.token_bytes, .marked = true};
    mr_token_document about;
    char path[DATA_PATH];
    memset(m.template_hash, 'c', MR_HASH_TEXT - 1);
    program_make_folder(folder);
    snprintf(path, sizeof path, "%s/train.bin", folder);
    must(mr_shard_writer_add(&writer, path, ids, learned, 3, &about));
    mr_token_totals_add(&m.split[MR_SPLIT_TRAIN], about);
    assert_int_equal(about.first_learned, 1);
    assert_int_equal(about.behind_learned, 2);
    must(mr_shard_writer_add(&writer, path, ids + 3, learned + 3, 2, &about));
    mr_token_totals_add(&m.split[MR_SPLIT_TRAIN], about);
    assert_int_equal(about.first_learned, 2);
    assert_int_equal(about.behind_learned, 0);
    must(mr_shard_writer_end(&writer, &shard));
    mr_shard_writer_free(&writer);
    must(mr_token_manifest_write(&m, folder));
}

static void marks_are_no_part_of_the_ids(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        int32_t vocabulary, ids[5];
        size_t bytes, marked;
    } cases[] = {{"marked-2", 32768, {32767, 32767, 0, 1, 2}, 10, 3},
                 {"marked-4", 32769, {32768, 32768, 0, 1, 2}, 20, 7}};
    for (size_t c = 0; c < 2; c++) {
        int32_t ids[5];
        size_t size;
        make_marked(cases[c].folder, cases[c].vocabulary, cases[c].ids);
        mr_token_shards *shards = open_folder(cases[c].folder, 5);
        must(mr_token_shards_verify(shards, mr_comm_self()));
        must(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, 5, ids));
        assert_memory_equal(ids, cases[c].ids, sizeof ids);
        const mr_token_totals *train = &mr_token_shards_manifest(shards)->split[MR_SPLIT_TRAIN];
        assert_int_equal(train->learned, 1);
        assert_int_equal(train->none_learned, 1);
        assert_int_equal(train->all_learned, 0);
        mr_token_shards_close(&shards);
        char path[DATA_PATH];
        snprintf(path, sizeof path, "%s/train.bin", cases[c].folder);
        char *data = program_read(path, &size);
        assert_int_equal(size, cases[c].bytes);
        assert_int_equal(data[cases[c].marked] & 0x80, 0x80);
        assert_int_equal(data[cases[c].marked - size / 5] & 0x80, 0);
        mr_free(data);
    }
    size_t size;
    char *index = program_read("marked-2/train.idx", &size);
    static const unsigned char wanted[] = {3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
                                           2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(size, sizeof wanted);
    assert_memory_equal(index, wanted, sizeof wanted);
    mr_free(index);
}

static void hash_of_text(const char *text, char out[MR_HASH_TEXT])
{
    data_write("hashed.txt", text, strlen(text));
    must(mr_hash_file("hashed.txt", out, NULL));
}

static void the_hash_of_marked_tokens_covers_template_and_borders(void **state)
{
    (void)state;
    static const int32_t ids[5] = {7, 8, 9, 1, 2};
    char text[1024], wanted[MR_HASH_TEXT];
    make_marked("covered", 300, ids);
    mr_token_shards *shards = open_folder("covered", 1);
    const mr_token_manifest_shard *shard = mr_token_shards_manifest(shards)->shard;
    snprintf(text, sizeof text, "mora samples 2\nsome.model 300 2 2\nmarked %s\ntrain 5 %s 2 %s\n",
             mr_token_shards_manifest(shards)->template_hash, shard->sha256, shard->index_sha256);
    hash_of_text(text, wanted);
    assert_string_equal(mr_token_shards_hash(shards), wanted);
    mr_token_shards_close(&shards);
}

static void a_folder_of_version_1_reads_as_it_did(void **state)
{
    (void)state;
    char text[2048], of_tokens[MR_HASH_TEXT], wanted[MR_HASH_TEXT];
    int32_t ids[4];
    program_make_folder("older");
    data_write("older/old.tokens", "\x05\x00\xff\xff\x02\x00\x00\x80", 8);
    must(mr_hash_file("older/old.tokens", of_tokens, NULL));
    snprintf(
        text, sizeof text,
        "{\"format\": \"mora tokens\", \"version\": 1, \"tokenizer\": {\"name\": "
        "\"some.model\", \"sha256\": \"\", \"vocabulary\": 65536, \"eos\": 2}, \"dtype\": "
        "\"uint16\", \"settings\": {\"field\": \"text\", \"documents\": \"lines\", "
        "\"on_error\": \"error\", \"heldout\": 0.0, \"unit_bytes\": 16777216}, \"splits\": "
        "{\"train\": {\"documents\": 2, \"tokens\": 4, \"bytes\": 9}, \"heldout\": "
        "{\"documents\": 0, \"tokens\": 0, \"bytes\": 0}}, \"errors\": {\"utf8\": 0, \"json\": "
        "0, \"field\": 0}, \"inputs\": [], \"shards\": [{\"file\": \"old.tokens\", \"split\": "
        "\"train\", \"tokens\": 4, \"sha256\": \"%s\"}]}",
        of_tokens);
    data_write("older/manifest.json", text, strlen(text));
    mr_token_shards *shards = open_folder("older", 4);
    must(mr_token_shards_check(shards));
    must(mr_token_shards_verify(shards, mr_comm_self()));
    must(mr_token_shards_read(shards, MR_SPLIT_TRAIN, 0, 0, 4, ids));
    assert_int_equal(ids[1], 65535);
    assert_int_equal(ids[3], 32768);
    const mr_token_manifest *m = mr_token_shards_manifest(shards);
    assert_int_equal(m->version, 1);
    assert_false(m->marked);
    assert_string_equal(m->template_name, "plain");
    assert_int_equal(m->split[MR_SPLIT_TRAIN].learned, 4);
    assert_int_equal(m->split[MR_SPLIT_TRAIN].all_learned, 2);
    snprintf(text, sizeof text, "mora samples 1\nsome.model 65536 2 2\ntrain 4 %s\n", of_tokens);
    hash_of_text(text, wanted);
    assert_string_equal(mr_token_shards_hash(shards), wanted);
    assert_int_equal(mr_token_shards_load_documents(shards), MR_ERR_FORMAT);
    assert_string_equal(mr_message(),
                        "'older' is of version 1, which does not tell where documents "
                        "end; prepare it again");
    mr_token_shards_close(&shards);
}

/* Broken manifests. */

static void break_manifest(const char *from, const char *to, const char *message)
{
    make_folder("broken", "bytes", MR_BYTES_VOCABULARY);
    replace("broken/manifest.json", from, to);
    refused("broken", MR_ERR_FORMAT, message);
}

static void a_missing_manifest_is_named(void **state)
{
    (void)state;
    refused("nowhere", MR_ERR_IO, "cannot open 'nowhere/manifest.json': No such file or directory");
}

static void half_a_manifest_is_refused_with_its_place(void **state)
{
    (void)state;
    make_folder("half", "bytes", MR_BYTES_VOCABULARY);
    assert_int_equal(truncate("half/manifest.json", 300), 0);
    refused("half", MR_ERR_FORMAT, "half/manifest.json:");
}

static void a_manifest_of_another_format_is_refused(void **state)
{
    (void)state;
    break_manifest("mora tokens", "fish tokens",
                   "broken/manifest.json: format: expected \"mora tokens\", found \"fish tokens\"");
    break_manifest("\"version\": 2", "\"version\": 4294967297",
                   "version: expected 1 to 2, found 4294967297");
    break_manifest("\"version\": 2", "\"version\": \"1\"", "Expected integer, got string");
}

static void a_manifest_must_say_what_fits_together(void **state)
{
    (void)state;
    break_manifest("uint16", "uint32",
                   "dtype: expected uint16 for a vocabulary of 259, found \"uint32\"");
    break_manifest("\"eos\": 257", "\"eos\": 259",
                   "tokenizer: eos 259 does not fit a vocabulary of 259");
    break_manifest("\"vocabulary\": 259", "\"vocabulary\": 4294967296", "does not fit");
    break_manifest("\"tokens\": 38", "\"tokens\": 39",
                   "split train: its shards have 38 tokens, the total is 39");
    break_manifest("\"tokens\": 10", "\"tokens\": -10", "train-a.bin: expected a count, found -10");
    break_manifest("\"tokens\": 10", "\"tokens\": 4611686018427387903",
                   "expected a count, found 46116860184273879");
    break_manifest("\"split\": \"heldout\"", "\"split\": \"test\"",
                   "heldout-a.bin: unknown value \"test\"");
    break_manifest("\"documents\": \"lines\"", "\"documents\": \"words\"",
                   "settings.documents: unknown value \"words\"");
    break_manifest("\"on_error\"", "\"on_terror\"", "settings: Object item not found: on_error");
    break_manifest("\"learned\": \"all\"", "\"learned\": \"some\"",
                   "learned: unknown value \"some\"");
    break_manifest("\"documents\": 10", "\"documents\": 9",
                   "split train: its shards have 37 documents, the total is 38");
    break_manifest("\"learned\": 38", "\"learned\": 37",
                   "split train: 37 of 38 tokens learned, none in 0 and all in 38 of 38 documents, "
                   "which does not fit learned \"all\"");
}

static void a_manifest_cannot_lead_out_of_its_folder(void **state)
{
    (void)state;
    break_manifest("\"train-a.bin\"", "\"../train-a.bin\"",
                   "shards: expected a file name, found \"../train-a.bin\"");
    break_manifest("\"train-a.bin\"", "\"\"", "shards: expected a file name, found \"\"");
    break_manifest("\"train-a.bin\"", "\"train-a\"",
                   "shards: expected a file name that ends in .bin, found \"train-a\"");
}

static void a_hash_must_be_a_hash(void **state)
{
    (void)state;
    make_folder("broken", "bytes", MR_BYTES_VOCABULARY);
    mr_token_shards *shards = open_folder("broken", SEQ);
    char of_shard[MR_HASH_TEXT];
    memcpy(of_shard, mr_token_shards_manifest(shards)->shard[1].sha256, sizeof of_shard);
    mr_token_shards_close(&shards);
    break_manifest(of_shard, "abc", "heldout-a.bin: expected 64 hexadecimal digits, found \"abc\"");
}

static void a_manifest_comes_back_as_it_was_written(void **state)
{
    (void)state;
    mr_token_manifest_input input = {.path = NULL,
                                     .format = MR_INPUT_JSON,
                                     .bytes = 77,
                                     .documents = 5,
                                     .tokens = 1000,
                                     .errors = 2};
    char name[] = "folder/text \"quoted\" \xc3\xa9.jsonl";
    memset(input.sha256, 'a', MR_HASH_TEXT - 1);
    input.path = name;
    mr_token_manifest m = {
        .vocabulary = 300, .eos = 3, .token_bytes = 2, .input = &input, .inputs = 1};
    snprintf(m.tokenizer, sizeof m.tokenizer, "some.model");
    memset(m.tokenizer_hash, 'b', MR_HASH_TEXT - 1);
    m.recipe = (mr_recipe){.field = "body",
                           .documents = MR_DOCUMENTS_LINES,
                           .on_error = MR_FAULT_SKIP,
                           .heldout = 0.1,
                           .unit_bytes = 12345};
    m.errors[MR_FAULT_JSON] = 2;
    program_make_folder("written");
    assert_int_equal(mr_token_manifest_write(&m, "written"), MR_OK);
    mr_token_manifest back;
    assert_int_equal(mr_token_manifest_read("written", &back), MR_OK);
    assert_null(mr_token_manifest_difference(&m, &back));
    assert_string_equal(back.input[0].path, name);
    assert_int_equal(back.input[0].errors, 2);
    assert_int_equal(back.errors[MR_FAULT_JSON], 2);
    assert_int_equal(back.recipe.unit_bytes, 12345);
    mr_token_manifest_free(&back);
}

/* The task. */

static mr_config config_for(const char *data, int64_t seq_len)
{
    static mr_config config;
    settings_of_task(&config, "pretrain");
    settings_offer(&config, "task.data", "%s", data);
    config.train.seq_len = seq_len;
    return config;
}

static void task_refused(const char *data, int64_t seq_len, mr_status wanted, const char *message)
{
    mr_config config = config_for(data, seq_len);
    mr_tokenizer *tokenizer = NULL;
    mr_dataset *dataset = NULL;
    assert_int_equal(mr_tokenizer_create("bytes", &tokenizer), MR_OK);
    mr_status status = mr_dataset_create(&config, tokenizer, &dataset);
    mr_tokenizer_destroy(&tokenizer);
    assert_contains(mr_message(), message);
    assert_int_equal(status, wanted);
    assert_null(dataset);
}

static void the_task_needs_a_folder_and_a_length(void **state)
{
    (void)state;
    task_refused("", SEQ, MR_ERR_CONFIG, "task.data: missing; task pretrain needs a folder");
    task_refused("any", 0, MR_ERR_CONFIG, "train.seq_len: missing; task pretrain cuts its text");
    task_refused("absent", SEQ, MR_ERR_IO, "task.data: cannot open 'absent/manifest.json'");
}

static void the_task_needs_a_whole_sequence(void **state)
{
    (void)state;
    make_folder("few", "bytes", MR_BYTES_VOCABULARY);
    task_refused("few", 39, MR_ERR_CONFIG,
                 "task.data: nothing to train on: 'few' has 38 tokens, which is no sequence of "
                 "train.seq_len 39");
}

static void the_task_needs_the_tokenizer_of_its_data(void **state)
{
    (void)state;
    make_folder("foreign", "foreign.model", LARGE);
    task_refused("foreign", SEQ, MR_ERR_CONFIG,
                 "task.data: 'foreign' was prepared with tokenizer foreign.model (no file, 100000 "
                 "ids, EOS 2), found bytes (no file, 259 ids, EOS 257)");
}

/* A dataset of the folder "task". */
typedef struct fixture {
    mr_config config;
    mr_tokenizer *tokenizer;
    mr_dataset *dataset;
} fixture;

static fixture open_task(int64_t seq_len)
{
    fixture f = {.config = config_for("task", seq_len)};
    make_folder("task", "bytes", MR_BYTES_VOCABULARY);
    assert_int_equal(mr_tokenizer_create("bytes", &f.tokenizer), MR_OK);
    must(mr_dataset_create(&f.config, f.tokenizer, &f.dataset));
    return f;
}

static void close_task(fixture *f)
{
    mr_dataset_destroy(&f->dataset);
    mr_tokenizer_destroy(&f->tokenizer);
}

static void targets_are_the_next_tokens_of_a_sequence(void **state)
{
    (void)state;
    fixture f = open_task(SEQ);
    assert_int_equal(f.dataset->items, 9);
    assert_int_equal(f.dataset->heldout, 3);
    assert_int_equal(f.dataset->longest, SEQ);
    int32_t tokens[SEQ], targets[SEQ];
    int64_t length = 0;
    for (int64_t i = 0; i < 2; i++) {
        assert_int_equal(
            mr_dataset_part_sample(f.dataset, MR_PART_TRAIN, i, tokens, targets, SEQ, &length),
            MR_OK);
        assert_int_equal(length, SEQ);
        for (int t = 0; t < SEQ; t++)
            assert_int_equal(tokens[t], token(0, i * SEQ + t, MR_BYTES_VOCABULARY));
        for (int t = 0; t + 1 < SEQ; t++)
            assert_int_equal(targets[t], tokens[t + 1]);
        assert_int_equal(targets[SEQ - 1], MR_NOT_SCORED);
    }
    close_task(&f);
}

static void long_sequences_are_read_in_pieces_without_a_seam(void **state)
{
    (void)state;
    enum { LONG = 1300 };
    mr_token_manifest m = {
        .vocabulary = MR_BYTES_VOCABULARY, .eos = MR_BYTES_EOS, .token_bytes = 2};
    mr_token_manifest_shard shard = {.file = "train.bin"};
    mr_shard_writer writer = {.token_bytes = 2};
    mr_token_document about;
    int32_t written[2 * LONG];
    program_make_folder("long");
    for (int32_t t = 0; t < 2 * LONG; t++)
        written[t] = t * 7 % 256;
    must(mr_shard_writer_add(&writer, "long/train.bin", written, NULL, (int64_t)2 * LONG, &about));
    must(mr_shard_writer_end(&writer, &shard));
    mr_shard_writer_free(&writer);
    snprintf(m.tokenizer, sizeof m.tokenizer, "bytes");
    m.shard = &shard;
    m.shards = 1;
    mr_token_totals_add(&m.split[MR_SPLIT_TRAIN], about);
    assert_int_equal(mr_token_manifest_write(&m, "long"), MR_OK);

    fixture f = {.config = config_for("long", LONG)};
    static int32_t tokens[LONG], targets[LONG];
    int64_t length = 0;
    assert_int_equal(mr_tokenizer_create("bytes", &f.tokenizer), MR_OK);
    assert_int_equal(mr_dataset_create(&f.config, f.tokenizer, &f.dataset), MR_OK);
    assert_int_equal(
        mr_dataset_part_sample(f.dataset, MR_PART_TRAIN, 1, tokens, targets, LONG, &length), MR_OK);
    for (int t = 0; t < LONG; t++) {
        assert_int_equal(tokens[t], (LONG + t) * 7 % 256);
        assert_int_equal(targets[t], t + 1 < LONG ? (LONG + t + 1) * 7 % 256 : MR_NOT_SCORED);
    }
    close_task(&f);
}

static void held_out_rows_end_in_padding_that_is_not_scored(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    fixture f = open_task(SEQ);
    int32_t tokens[ROWS * SEQ], targets[ROWS * SEQ];
    int64_t scored = 0;
    assert_int_equal(
        mr_batch_fill_part(f.dataset, MR_PART_HELDOUT, 3, 1, ROWS, SEQ, tokens, targets, &scored),
        MR_OK);
    assert_int_equal(scored, 2 * (SEQ - 1));
    for (int row = 0; row < ROWS; row++)
        for (int t = 0; t < SEQ; t++) {
            const bool there = row < 2;
            assert_int_equal(tokens[row * SEQ + t],
                             there ? token(1, (row + 1) * SEQ + t, MR_BYTES_VOCABULARY)
                                   : MR_BYTES_PAD);
            assert_int_equal(targets[row * SEQ + t],
                             there && t + 1 < SEQ ? tokens[row * SEQ + t + 1] : MR_NOT_SCORED);
        }
    close_task(&f);
}

static void few_held_out_items_are_spread_over_the_split(void **state)
{
    (void)state;
    enum { ITEMS = 5, ROWS = 2, LONG = 1 }; /* of 13 sequences of one token */
    static const int64_t sequence[ITEMS] = {0, 2, 5, 7, 10};
    fixture f = open_task(LONG);
    int32_t tokens[ROWS], targets[ROWS];
    int64_t scored = 0;
    assert_int_equal(f.dataset->heldout, 13);
    for (int64_t first = 0; first < ITEMS; first += ROWS) {
        assert_int_equal(mr_batch_fill_part(f.dataset, MR_PART_HELDOUT, ITEMS, first, ROWS, LONG,
                                            tokens, targets, &scored),
                         MR_OK);
        for (int64_t i = first; i < first + ROWS; i++)
            assert_int_equal(tokens[i - first],
                             i < ITEMS ? token(1, sequence[i], MR_BYTES_VOCABULARY) : MR_BYTES_PAD);
    }
    close_task(&f);
}

static void padding_is_eos_where_there_is_no_pad(void **state)
{
    (void)state;
    fixture f = open_task(SEQ);
    int32_t tokens[SEQ], targets[SEQ];
    int64_t scored = 0;
    f.tokenizer->pad = -1;
    assert_int_equal(
        mr_batch_fill_part(f.dataset, MR_PART_HELDOUT, 3, 3, 1, SEQ, tokens, targets, &scored),
        MR_OK);
    assert_int_equal(tokens[0], MR_BYTES_EOS);
    assert_int_equal(scored, 0);
    close_task(&f);
}

/* The hash of a folder as it says it is, with one text of its manifest replaced. */
static void hash_with(const char *from, const char *to, char out[MR_HASH_TEXT])
{
    mr_token_manifest m;
    make_folder("named", "bytes", MR_BYTES_VOCABULARY);
    if (from) replace("named/manifest.json", from, to);
    must(mr_token_manifest_read("named", &m));
    assert_int_equal(mr_token_manifest_hash(&m, false, out), MR_OK);
    mr_token_manifest_free(&m);
}

static void what_decides_the_samples_decides_their_hash(void **state)
{
    (void)state;
    char as_made[MR_HASH_TEXT], other[MR_HASH_TEXT], of_shard[MR_HASH_TEXT];
    mr_token_manifest m;
    hash_with(NULL, NULL, as_made);
    must(mr_token_manifest_read("named", &m));
    memcpy(of_shard, m.shard[0].sha256, sizeof of_shard);
    mr_token_manifest_free(&m);
    const char *const changes[][2] = {
        {of_shard, "0000000000000000000000000000000000000000000000000000000000000000"},
        {"\"eos\": 257", "\"eos\": 256"},
        {"\"vocabulary\": 259", "\"vocabulary\": 260"},
        {"\"name\": \"bytes\"", "\"name\": \"words\""}};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        hash_with(changes[i][0], changes[i][1], other);
        assert_string_not_equal(other, as_made);
    }
}

static void what_decides_no_sample_leaves_the_hash(void **state)
{
    (void)state;
    char as_made[MR_HASH_TEXT], other[MR_HASH_TEXT];
    hash_with(NULL, NULL, as_made);
    hash_with("\"train-a.bin\"", "\"train-z.bin\"", other);
    assert_string_equal(other, as_made);
    hash_with("\"inputs\": []",
              "\"inputs\": [{\"path\": \"./x\", \"format\": \"text\", \"bytes\": 1, \"sha256\": "
              "\"0000000000000000000000000000000000000000000000000000000000000000\", "
              "\"documents\": 1, \"tokens\": 1, \"errors\": 0}]",
              other);
    assert_string_equal(other, as_made);
}

static void the_hash_of_the_data_is_that_of_its_samples(void **state)
{
    (void)state;
    char text[1024], whole[MR_HASH_TEXT], hash[MR_DATASET_HASH];
    fixture f = open_task(SEQ);
    mr_token_manifest m;
    must(mr_token_manifest_read("task", &m));
    int length = snprintf(text, sizeof text, "mora samples 1\nbytes 259 257 2\n");
    for (int i = 0; i < SHARDS; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s %lld %s\n",
                           mr_split_name(shards_made[i].split), (long long)shards_made[i].tokens,
                           m.shard[i].sha256);
    mr_token_manifest_free(&m);
    data_write("samples.txt", text, (size_t)length);
    assert_int_equal(mr_hash_file("samples.txt", whole, NULL), MR_OK);
    assert_int_equal(mr_dataset_hash(f.dataset, hash), MR_OK);
    assert_int_equal(strlen(hash), 16);
    assert_memory_equal(hash, whole, 16);
    assert_false(mr_dataset_generates(f.dataset));
    close_task(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_is_cut_as_one_stream_that_loses_less_than_a_sequence),
        cmocka_unit_test(a_sequence_may_span_three_shards),
        cmocka_unit_test(large_vocabularies_take_four_bytes),
        cmocka_unit_test(the_largest_two_byte_vocabulary_is_kept_whole),
        cmocka_unit_test(a_part_of_a_sequence_can_be_read),
        cmocka_unit_test(a_sequence_longer_than_its_split_is_not_there),
        cmocka_unit_test(of_many_shards_few_are_open),
        cmocka_unit_test(a_shard_of_another_size_is_named),
        cmocka_unit_test(a_missing_shard_is_named),
        cmocka_unit_test(a_shard_cut_after_opening_is_named),
        cmocka_unit_test(a_flipped_byte_is_found_by_verifying),
        cmocka_unit_test(an_index_that_is_not_as_stated_is_named),
        cmocka_unit_test(shards_that_change_in_use_are_named),
        cmocka_unit_test(an_id_past_the_vocabulary_is_named),
        cmocka_unit_test(marks_are_no_part_of_the_ids),
        cmocka_unit_test(the_hash_of_marked_tokens_covers_template_and_borders),
        cmocka_unit_test(a_folder_of_version_1_reads_as_it_did),
        cmocka_unit_test(a_missing_manifest_is_named),
        cmocka_unit_test(half_a_manifest_is_refused_with_its_place),
        cmocka_unit_test(a_manifest_of_another_format_is_refused),
        cmocka_unit_test(a_manifest_must_say_what_fits_together),
        cmocka_unit_test(a_manifest_cannot_lead_out_of_its_folder),
        cmocka_unit_test(a_hash_must_be_a_hash),
        cmocka_unit_test(a_manifest_comes_back_as_it_was_written),
        cmocka_unit_test(the_task_needs_a_folder_and_a_length),
        cmocka_unit_test(the_task_needs_a_whole_sequence),
        cmocka_unit_test(the_task_needs_the_tokenizer_of_its_data),
        cmocka_unit_test(targets_are_the_next_tokens_of_a_sequence),
        cmocka_unit_test(long_sequences_are_read_in_pieces_without_a_seam),
        cmocka_unit_test(held_out_rows_end_in_padding_that_is_not_scored),
        cmocka_unit_test(few_held_out_items_are_spread_over_the_split),
        cmocka_unit_test(padding_is_eos_where_there_is_no_pad),
        cmocka_unit_test(what_decides_the_samples_decides_their_hash),
        cmocka_unit_test(what_decides_no_sample_leaves_the_hash),
        cmocka_unit_test(the_hash_of_the_data_is_that_of_its_samples),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
