#include "base/file.h"
#include "corpus/compressed.h"
#include "data_files.h"
#include "program.h"

#include <string.h>
#include <sys/stat.h>

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
             "place.gz: cannot decompress, damaged or cut short at byte %zu: ", size + 1);
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
    refused("text.gz", "text.gz: expected gzip, as the name says, found other bytes at byte 0");
    data_write("empty.xz", "", 0);
    refused("empty.xz", "empty.xz: expected xz, as the name says, found an empty file");
    data_pack("text.gz", "packed.zst", DATA_GZ);
    refused("packed.zst", "packed.zst: expected zstd, as the name says, found gzip at byte 0");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_member_is_read_or_refused_but_never_lost),
        cmocka_unit_test(a_second_gzip_member_is_named_by_its_place),
        cmocka_unit_test(zeros_may_fill_a_gzip_file_to_its_end_only),
        cmocka_unit_test(a_name_of_compression_must_be_right),
        cmocka_unit_test(an_empty_text_may_be_packed),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
