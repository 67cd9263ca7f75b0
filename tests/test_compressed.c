#include "base/file.h"
#include "corpus/compressed.h"
#include "data_files.h"
#include "program.h"

#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

enum { LINES = 30000, ROOM = 1 << 20 };

/* All of the text in a file, or the status of what fails. */
static mr_status read_all(const char *path, char *text, size_t *bytes)
{
    mr_compressed *packed = NULL;
    bool compressed;
    size_t got = 1;
    *bytes = 0;
    MR_TRY(mr_compressed_probe(path, &compressed));
    MR_TRY(mr_compressed_open(path, compressed, &packed));
    mr_status status = MR_OK;
    while (status == MR_OK && got > 0) {
        assert_true(*bytes < ROOM);
        status = mr_compressed_read(packed, text + *bytes, ROOM - *bytes, &got);
        *bytes += got;
    }
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_true(mr_compressed_consumed(packed) <= about.st_size);
    if (status == MR_OK) assert_int_equal(mr_compressed_consumed(packed), about.st_size);
    mr_compressed_close(&packed);
    return status;
}

static void refused(const char *path, const char *part)
{
    static char text[ROOM];
    size_t bytes;
    if (read_all(path, text, &bytes) != MR_ERR_FORMAT)
        fail_msg("%s: not refused, %zu bytes", path, bytes);
    assert_contains(mr_message(), part);
}

/* A text of some length, and the file of it packed. */
static const char *write_text(data_packing packing, const char *path, size_t *bytes, char **packed,
                              size_t *size)
{
    static char text[ROOM];
    *bytes = 0;
    for (int i = 0; i < LINES; i++)
        *bytes += (size_t)snprintf(text + *bytes, ROOM - *bytes, "line %d\n", i * i % 1013);
    data_write("plain.txt", text, *bytes);
    data_pack("plain.txt", path, packing);
    must(mr_file_read(path, MR_MEM_OTHER, packed, size));
    return text;
}

static void a_second_member_is_read_or_refused_but_never_lost(void **state)
{
    (void)state;
    static char found[ROOM];
    for (data_packing p = 0; p < DATA_PACKINGS; p++) {
        char path[64], *packed;
        size_t bytes, size, got;
        snprintf(path, sizeof path, "members.%s", data_ending(p));
        const char *text = write_text(p, path, &bytes, &packed, &size);
        data_append(path, packed, size);
        must(read_all(path, found, &got));
        assert_int_equal(got, 2 * bytes);
        assert_memory_equal(found, text, bytes);
        assert_memory_equal(found + bytes, text, bytes);
        for (size_t flipped = 0; flipped < 4; flipped++) {
            data_write(path, packed, size);
            packed[flipped] ^= 0x40;
            data_append(path, packed, size);
            packed[flipped] ^= 0x40;
            /* The last of these is of the flags of a gzip header, of which some may be set. */
            if (p != DATA_GZ || flipped < 3) refused(path, "damaged or cut short at byte ");
        }
        for (size_t more = 1; more < size; more += size / 50) {
            data_write(path, packed, size);
            data_append(path, packed, more);
            refused(path, "damaged or cut short at byte ");
        }
        mr_free(packed);
    }
}

static void a_second_gzip_member_is_named_by_its_place(void **state)
{
    (void)state;
    char *packed, expected[128];
    size_t bytes, size;
    write_text(DATA_GZ, "place.gz", &bytes, &packed, &size);
    data_append("place.gz", "x", 1);
    snprintf(expected, sizeof expected,
             "place.gz: cannot decompress, damaged or cut short at byte %zu: ", size);
    refused("place.gz", expected);
    data_write("place.gz", packed, size);
    data_append("place.gz", packed, 5);
    snprintf(expected, sizeof expected, "at byte %zu: the file ends inside a gzip member",
             size + 5);
    refused("place.gz", expected);
    mr_free(packed);
}

static void zeros_may_fill_a_gzip_file_to_its_end_only(void **state)
{
    (void)state;
    static char zeros[200000], found[ROOM];
    char *packed, expected[128];
    size_t bytes, size, got;
    const char *text = write_text(DATA_GZ, "padded.gz", &bytes, &packed, &size);
    data_append("padded.gz", zeros, sizeof zeros);
    must(read_all("padded.gz", found, &got));
    assert_int_equal(got, bytes);
    assert_memory_equal(found, text, bytes);
    data_append("padded.gz", packed, size);
    snprintf(expected, sizeof expected, "cut short at byte %zu: expected zeros to the end of the ",
             size + sizeof zeros);
    refused("padded.gz", expected);
    mr_free(packed);
}

static void a_name_of_compression_must_be_right(void **state)
{
    (void)state;
    data_write("text.gz", "text\n", 5);
    refused("text.gz", "text.gz: expected gzip, as the name says, found other bytes");
    data_write("empty.xz", "", 0);
    refused("empty.xz", "empty.xz: expected xz, as the name says, found an empty file");
    data_pack("text.gz", "packed.zst", DATA_GZ);
    refused("packed.zst", "packed.zst: expected zstd, as the name says, found gzip");
    data_pack("packed.zst", "twice.xz", DATA_XZ);
    refused("twice.xz", "twice.xz: compressed twice");
}

static void an_empty_text_may_be_packed(void **state)
{
    (void)state;
    char text[1];
    size_t got;
    data_write("empty.txt", "", 0);
    for (data_packing p = 0; p < DATA_PACKINGS; p++) {
        char path[64];
        bool compressed = false;
        mr_compressed *packed = NULL;
        snprintf(path, sizeof path, "empty-packed.%s", data_ending(p));
        data_pack("empty.txt", path, p);
        assert_int_equal(mr_compressed_probe(path, &compressed), MR_OK);
        assert_true(compressed);
        assert_int_equal(mr_compressed_open(path, true, &packed), MR_OK);
        assert_int_equal(mr_compressed_read(packed, text, 1, &got), MR_OK);
        assert_int_equal(got, 0);
        mr_compressed_close(&packed);
    }
}

/* Appends a frame of zstd that readers leave out. */
static void append_skippable(const char *path, int kind, size_t bytes)
{
    const unsigned char head[] = {(unsigned char)(0x50 + kind),
                                  0x2a,
                                  0x4d,
                                  0x18,
                                  (unsigned char)(bytes & 0xff),
                                  (unsigned char)(bytes >> 8 & 0xff),
                                  (unsigned char)(bytes >> 16 & 0xff),
                                  0};
    static char inside[300000];
    assert_true(bytes <= sizeof inside);
    memset(inside, 0x28, sizeof inside);
    data_append(path, head, sizeof head);
    data_append(path, inside, bytes);
}

static void expect_text(const char *path, const char *text, size_t bytes)
{
    static char found[ROOM];
    size_t got;
    must(read_all(path, found, &got));
    if (got != bytes) fail_msg("%s: %zu bytes of %zu", path, got, bytes);
    assert_memory_equal(found, text, bytes);
}

static void skippable_frames_may_stand_anywhere(void **state)
{
    (void)state;
    char *packed;
    size_t bytes, size;
    const char *text = write_text(DATA_ZST, "frames.zst", &bytes, &packed, &size);
    data_write("frames.zst", "", 0);
    for (int kind = 0; kind < 16; kind++)
        append_skippable("frames.zst", kind, kind == 3 ? 0 : (size_t)300000 >> kind);
    data_append("frames.zst", packed, size);
    expect_text("frames.zst", text, bytes);
    append_skippable("frames.zst", 7, 0);
    expect_text("frames.zst", text, bytes);
    data_append("frames.zst", packed, size);
    append_skippable("frames.zst", 0, 200000);
    static char both[ROOM];
    memcpy(both, text, bytes);
    memcpy(both + bytes, text, bytes);
    expect_text("frames.zst", both, 2 * bytes);
    /* What is cut short is none the less an error. */
    char *all;
    must(mr_file_read("frames.zst", MR_MEM_OTHER, &all, &size));
    data_write("frames.zst", all, size - 1);
    refused("frames.zst", "the file ends inside a zstd frame");
    mr_free(all);
    mr_free(packed);
}

static void parts_without_text_are_passed_over(void **state)
{
    (void)state;
    data_write("nothing.txt", "", 0);
    for (data_packing p = 0; p < DATA_PACKINGS; p++) {
        char path[64], *packed, *empty;
        size_t bytes, size, empty_size;
        snprintf(path, sizeof path, "hollow.%s", data_ending(p));
        const char *text = write_text(p, path, &bytes, &packed, &size);
        data_pack("nothing.txt", path, p);
        must(mr_file_read(path, MR_MEM_OTHER, &empty, &empty_size));
        data_append(path, empty, empty_size);
        data_append(path, packed, size);
        data_append(path, empty, empty_size);
        expect_text(path, text, bytes);
        mr_free(empty);
        mr_free(packed);
    }
}

static void zeros_in_fours_may_part_and_end_streams_of_xz(void **state)
{
    (void)state;
    static char zeros[200000], both[ROOM];
    char *packed;
    size_t bytes, size;
    const char *text = write_text(DATA_XZ, "padded.xz", &bytes, &packed, &size);
    memcpy(both, text, bytes);
    memcpy(both + bytes, text, bytes);
    data_append("padded.xz", zeros, 100000);
    data_append("padded.xz", packed, size);
    expect_text("padded.xz", both, 2 * bytes);
    data_append("padded.xz", zeros, 4);
    expect_text("padded.xz", both, 2 * bytes);
    data_append("padded.xz", zeros, 3);
    refused("padded.xz", "expected zeros in fours behind an xz stream");
    mr_free(packed);
}

/* What `zstd --long=31` makes of a stream whose length it does not know. */
static void a_frame_may_have_a_window_of_gibibytes(void **state)
{
    (void)state;
    char out[256];
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_inBuffer in = {.src = "text\n", .size = 5};
    ZSTD_outBuffer to = {.dst = out, .size = sizeof out};
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 29)));
    assert_false(ZSTD_isError(ZSTD_compressStream2(context, &to, &in, ZSTD_e_continue)));
    assert_int_equal(ZSTD_compressStream2(context, &to, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(context);
    data_write("window.zst", out, to.pos);
    expect_text("window.zst", "text\n", 5);
}

static void what_is_not_read_is_refused_for_what_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content, *found;
        size_t bytes;
    } cases[] = {
        {"a", "BZh91AY&SY", "bzip2", 10},
        {"b.jsonl", "\x04\x22\x4d\x18 and so on", "lz4", 13},
        {"c.txt", "LZIP\x01", "lzip", 5},
        {"d.txt", "]\0\0\x80\0", "lzma", 5},
        {"e.txt", "PK\x03\x04", "zip", 4},
        {"f.json", "PAR1\x15\x04", "Parquet", 6},
        {"g.BZ2", "text", "bzip2", 4},
        {"h.parquet", "text", "Parquet", 4},
        {"i.txt", "SQLite format 3\0", "SQLite", 16},
        {"j.jsonl", "version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", 43},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[160];
        data_write(cases[i].name, cases[i].content, cases[i].bytes);
        snprintf(expected, sizeof expected,
                 "%s: expected text, plain or compressed as gzip, zstd or xz, found %s; unpack or "
                 "convert it first",
                 cases[i].name, cases[i].found);
        refused(cases[i].name, expected);
    }
    /* An archive of the time before `ustar`, compressed. */
    static char block[1024] = "name";
    long sum = 8 * ' ' + 'n' + 'a' + 'm' + 'e';
    snprintf(block + 148, 8, "%06lo", sum);
    data_write("old", block, sizeof block);
    data_pack("old", "old.zst", DATA_ZST);
    refused("old.zst", "found tar");
}

static void endings_of_names_may_be_spelled_in_any_way(void **state)
{
    (void)state;
    static const char *const right[] = {"A.GZ", "b.Gzip", "c.jsonl.gZ", "d.bgz"};
    data_write("spelled.txt", "text\n", 5);
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        data_pack("spelled.txt", right[i], DATA_GZ);
        expect_text(right[i], "text\n", 5);
    }
    data_pack("spelled.txt", "e.ZSTD", DATA_GZ);
    refused("e.ZSTD", "e.ZSTD: expected zstd, as the name says, found gzip");
    data_write(".gz", "text\n", 5); /* a name, not an ending */
    expect_text(".gz", "text\n", 5);
}

static void text_in_other_encodings_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *content, *found;
        size_t bytes;
    } cases[] = {
        {"\xff\xfeh\0i\0\n\0", "UTF-16LE", 8},
        {"\xfe\xff\0h\0i\0\n", "UTF-16BE", 8},
        {"\xff\xfe\0\0h\0\0\0\n\0\0\0", "UTF-32LE", 12},
        {"\0\0\xfe\xff\0\0\0h\0\0\0\n", "UTF-32BE", 12},
        {"n\0o\0m\0a\0r\0k\0\n\0", "UTF-16LE", 14},
        {"\0n\0o\0m\0a\0r\0k\0\n", "UTF-16BE", 14},
        {"n\0\0\0o\0\0\0m\0\0\0\n\0\0\0", "UTF-32LE", 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[128];
        data_write("encoded.txt", cases[i].content, cases[i].bytes);
        data_pack("encoded.txt", "encoded.gz", DATA_GZ);
        snprintf(expected, sizeof expected, "expected text in UTF-8, found %s; convert it",
                 cases[i].found);
        refused("encoded.txt", expected);
        refused("encoded.gz", expected);
    }
    static const char zeros[] = "\0\0\0\0\0\0\0\0a\0b\0";
    data_write("zeros.txt", zeros, sizeof zeros);
    expect_text("zeros.txt", zeros, sizeof zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_member_is_read_or_refused_but_never_lost),
        cmocka_unit_test(a_second_gzip_member_is_named_by_its_place),
        cmocka_unit_test(zeros_may_fill_a_gzip_file_to_its_end_only),
        cmocka_unit_test(a_name_of_compression_must_be_right),
        cmocka_unit_test(an_empty_text_may_be_packed),
        cmocka_unit_test(skippable_frames_may_stand_anywhere),
        cmocka_unit_test(parts_without_text_are_passed_over),
        cmocka_unit_test(zeros_in_fours_may_part_and_end_streams_of_xz),
        cmocka_unit_test(a_frame_may_have_a_window_of_gibibytes),
        cmocka_unit_test(what_is_not_read_is_refused_for_what_it_is),
        cmocka_unit_test(endings_of_names_may_be_spelled_in_any_way),
        cmocka_unit_test(text_in_other_encodings_is_named),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
