#include "data_files.h"

#include "base/file.h"
#include "corpus/compressed.h"

#include <lzma.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

const char *data_ending(data_packing packing)
{
    static const char *const endings[] = {"gz", "zst", "xz"};
    return endings[packing];
}

static void write_with(const char *path, const char *mode, const void *data, size_t bytes)
{
    FILE *file = fopen(path, mode);
    if (!file) fail_msg("cannot open %s", path);
    size_t written = bytes > 0 ? fwrite(data, 1, bytes, file) : 0;
    if (fclose(file) != 0 || written != bytes) fail_msg("cannot write %s", path);
}

void data_write(const char *path, const void *data, size_t bytes)
{
    write_with(path, "wb", data, bytes);
}

void data_append(const char *path, const void *data, size_t bytes)
{
    write_with(path, "ab", data, bytes);
}

/* All of data compressed, for free. */
static void *compress_all(const void *data, size_t size, data_packing packing, size_t *bytes)
{
    *bytes = size + size / 2 + 1024; /* more than any of them makes */
    void *out = malloc(*bytes);
    assert_non_null(out);
    if (packing == DATA_GZ) {
        enum { WINDOW = 15, GZIP = 16, MEMORY = 8 };
        z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
        z.next_out = out;
        z.avail_out = (uInt)*bytes;
        assert_int_equal(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW + GZIP, MEMORY,
                                      Z_DEFAULT_STRATEGY),
                         Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        *bytes = z.total_out;
        deflateEnd(&z);
    } else if (packing == DATA_ZST) {
        *bytes = ZSTD_compress(out, *bytes, data, size, ZSTD_CLEVEL_DEFAULT);
        assert_false(ZSTD_isError(*bytes));
    } else {
        size_t at = 0;
        assert_int_equal(lzma_easy_buffer_encode(LZMA_PRESET_DEFAULT, LZMA_CHECK_CRC64, NULL, data,
                                                 size, out, &at, *bytes),
                         LZMA_OK);
        *bytes = at;
    }
    return out;
}

void data_pack(const char *from, const char *to, data_packing packing)
{
    char *data;
    size_t size, bytes;
    must(mr_file_read(from, MR_MEM_OTHER, &data, &size));
    void *packed = compress_all(data, size, packing, &bytes);
    data_write(to, packed, bytes);
    free(packed);
    mr_free(data);
}

bool data_unpack(const char *from, const char *to)
{
    enum { PIECE = 1 << 16 };
    static char piece[PIECE];
    mr_compressed *file;
    size_t got = 1;
    if (access(from, R_OK) != 0) return false;
    must(mr_compressed_open(from, true, &file));
    data_write(to, "", 0);
    while (got > 0) {
        must(mr_compressed_read(file, piece, PIECE, &got));
        data_append(to, piece, got);
    }
    mr_compressed_close(&file);
    return true;
}

void data_unpack_shared(const char *name, const char *to)
{
    char path[TEST_PATH];
    if (access(to, R_OK) != 0 && !data_unpack(test_shared(name, path), to))
        fail_msg("cannot unpack %s", path);
}

bool data_has_program(const char *name)
{
    char command[256];
    snprintf(command, sizeof command, "command -v %s > /dev/null 2>&1", name);
    return system(command) == 0;
}

void data_need_program(const char *name)
{
    if (!data_has_program(name)) skip_because("%s is not installed", name);
}

void data_need_encoder(bool shared)
{
    if (!data_has_program("spm_encode"))
        skip_because("spm_encode is not installed%s", shared ? ", and needs ../shared" : "");
}

void data_shell(const char *fmt, ...)
{
    char command[DATA_PATH];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    assert_true(length > 0 && (size_t)length < sizeof command);
    if (system(command) != 0) fail_msg("failed: %s", command);
}

const char *data_hard_text(size_t *bytes)
{
    static const char text[] =
        "The quick brown fox jumps over the lazy dog.\n"
        "\n"
        "\n"
        "  two blanks before, three after   \n"
        " \n"
        "\t\ttabs\tand\rreturns\r\n"
        "control \x01\x02\x07\x1b[31m\x7f and zero \0 inside\n"
        "\0\n"
        "Gr\xc3\xbc\xc3\x9f Gott, na\xc3\xafve caf\xc3\xa9 \xe2\x80\x94 "
        "\xe2\x80\x9cquoted\xe2\x80\x9d\n"
        "cafe\xcc\x81 with a combining accent, \xef\xac\x81ne ligature, \xe2\x85\xa7 \xc2\xb2 "
        "\xc2\xbd\n"
        "\xef\xb7\xba\xef\xb7\xba\xef\xb7\xba\n"
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "
        "\xd0\xa0\xd1\x83\xd1\x81\xd1\x81\xd0\xba\xd0\xb8\xd0\xb9 "
        "\xd7\xa2\xd7\x91\xd7\xa8\xd7\x99\xd7\xaa\n"
        "\xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd \xf0\x9d\x94\x98\n"
        "\xe2\x96\x81"
        "blank\xe2\x96\x81piece \xc2\xa0 no-break \xe3\x80\x80 wide\n"
        "<s> </s> <unk> <pad> <0x0A>\n"
        "\xef\xbb\xbf"
        "a mark at the start of a line \xef\xbf\xbd\n"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "\n"
        "0123456789 3.14159 1,000,000 x=y+z; {\"json\": [1, 2]}\n"
        "no newline at the end";
    *bytes = sizeof text - 1;
    return text;
}
