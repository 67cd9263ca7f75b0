#include "corpus/format.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAGICS = 3, ENDINGS = 4 };

#define MAGIC(text)                                                                                \
    {                                                                                              \
        sizeof(text) - 1, text                                                                     \
    }

/* One row a format, in the order of mr_format; what is compared stands at the start of a file, a
 * question mark for any byte. */
static const struct {
    const char *name;
    struct {
        size_t bytes;
        const char *text;
    } magic[MAGICS];
    const char *ending[ENDINGS];
} table[] = {
    [MR_FORMAT_PLAIN] = {"plain text", {{0}}, {0}},
    [MR_FORMAT_GZIP] = {"gzip", {MAGIC("\x1f\x8b")}, {".gz", ".gzip", ".bgz", ".tgz"}},
    [MR_FORMAT_ZSTD] = {"zstd", {MAGIC("\x28\xb5\x2f\xfd")}, {".zst", ".zstd", ".tzst"}},
    [MR_FORMAT_XZ] = {"xz", {MAGIC("\xfd\x37zXZ\0")}, {".xz", ".txz"}},
    [MR_FORMAT_FOREIGN] = {"tar", {{0}}, {".tar"}}, /* its magic is not at the start */
    {"bzip2",
     {MAGIC("BZh?1AY&SY"), MAGIC("BZh?\x17rE8P\x90")},
     {".bz2", ".bzip2", ".tbz2", ".tbz"}},
    {"lz4", {MAGIC("\x04\x22\x4d\x18"), MAGIC("\x02\x21\x4c\x18")}, {".lz4"}},
    {"lzma", {MAGIC("\x5d\0\0")}, {".lzma"}},
    {"lzip", {MAGIC("LZIP\x01")}, {".lz"}},
    {"lzop", {MAGIC("\x89LZO\0")}, {".lzo"}},
    {"compress", {MAGIC("\x1f\x9d")}, {".z"}},
    {"zlib", {MAGIC("\x78\x9c"), MAGIC("\x78\xda"), MAGIC("\x78\x01")}, {".zz"}},
    {"Snappy", {MAGIC("\xff\x06\0\0sNaPpY")}, {".sz", ".snappy"}},
    {"zip", {MAGIC("PK\x03\x04"), MAGIC("PK\x05\x06"), MAGIC("PK\x07\x08")}, {".zip"}},
    {"7z", {MAGIC("7z\xbc\xaf\x27\x1c")}, {".7z"}},
    {"rar", {MAGIC("Rar!\x1a\x07")}, {".rar"}},
    {"Parquet", {MAGIC("PAR1\x15")}, {".parquet"}},
    {"Arrow", {MAGIC("ARROW1\0\0"), MAGIC("\xff\xff\xff\xff")}, {".arrow", ".feather"}},
    {"Avro", {MAGIC("Obj\x01")}, {".avro"}},
    {"HDF5", {MAGIC("\x89HDF\r\n\x1a\n")}, {".h5", ".hdf5"}},
    {"NumPy", {MAGIC("\x93NUMPY")}, {".npy"}},
    {"PDF", {MAGIC("%PDF-")}, {".pdf"}},
    {"RTF", {MAGIC("{\\rtf1")}, {".rtf"}},
    {"SQLite", {MAGIC("SQLite format 3\0")}, {".sqlite", ".sqlite3"}},
    {"cpio", {MAGIC("070701"), MAGIC("070702"), MAGIC("070707")}, {".cpio"}},
    {"ar", {MAGIC("!<arch>\n")}, {0}},
    {"a pointer of Git LFS", {MAGIC("version https://git-lfs.github.com/")}, {0}},
};

enum { FORMATS = sizeof table / sizeof table[0] };

static bool begins(const unsigned char *at, size_t count, const char *with, size_t bytes)
{
    if (bytes == 0 || count < bytes) return false;
    for (size_t i = 0; i < bytes; i++)
        if (with[i] != '?' && at[i] != (unsigned char)with[i]) return false;
    return true;
}

/* A frame of anything, which any reader of zstd leaves out: pzstd begins its files with one.
 * Source: RFC 8878, section 3.1.2. */
static bool begins_with_skippable_frame(const unsigned char *at, size_t count)
{
    return count >= 4 && (at[0] & 0xf0) == 0x50 && memcmp(at + 1, "\x2a\x4d\x18", 3) == 0;
}

/* A block that says `ustar`, or one from before that word, whose checksum is right. */
static bool is_tar(const unsigned char *block, size_t count)
{
    enum { CHECKSUM = 148, DIGITS = 8, WORD = 257 };
    if (count < MR_FORMAT_BLOCK || block[0] == '\0') return false;
    if (begins(block + WORD, count - WORD, "ustar", 5)) return true;
    char digits[DIGITS + 1] = {0};
    memcpy(digits, block + CHECKSUM, DIGITS);
    long sum = DIGITS * ' ';
    for (size_t i = 0; i < MR_FORMAT_BLOCK; i++)
        if (i < CHECKSUM || i >= CHECKSUM + DIGITS) sum += block[i];
    char *end;
    return strtol(digits, &end, 8) == sum && end > digits;
}

mr_format mr_format_of(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    if (begins_with_skippable_frame(at, count)) return MR_FORMAT_ZSTD;
    for (int f = MR_FORMAT_PLAIN + 1; f < FORMATS; f++)
        for (int m = 0; m < MAGICS; m++)
            if (begins(at, count, table[f].magic[m].text, table[f].magic[m].bytes))
                return (mr_format)f;
    return is_tar(at, count) ? MR_FORMAT_FOREIGN : MR_FORMAT_PLAIN;
}

mr_format mr_format_of_name(const char *path, size_t *stem)
{
    const char *slash = strrchr(path, '/');
    const size_t length = strlen(path), folder = slash ? (size_t)(slash + 1 - path) : 0;
    for (int f = MR_FORMAT_PLAIN + 1; f < FORMATS; f++)
        for (int e = 0; e < ENDINGS && table[f].ending[e]; e++) {
            const size_t tail = strlen(table[f].ending[e]);
            if (length <= folder + tail) continue;
            if (strcasecmp(path + length - tail, table[f].ending[e]) != 0) continue;
            if (stem) *stem = length - tail;
            return (mr_format)f;
        }
    if (stem) *stem = length;
    return MR_FORMAT_PLAIN;
}

const char *mr_format_name(mr_format format)
{
    return table[format].name;
}

/* Whether text of letters, of which most lie below U+0100, stands in units of so many bytes, the
 * letter at place `low` of each: zeros in all other places, and next to none in that one. */
static bool in_units(const unsigned char *at, size_t count, size_t unit, size_t low)
{
    enum { FEWEST = 4 };
    size_t zeros = 0, letters = 0;
    const size_t units = count / unit;
    for (size_t i = 0; i < units * unit; i++) {
        if (i % unit != low)
            zeros += at[i] == 0;
        else
            letters += at[i] != 0;
    }
    return units >= FEWEST && letters == units && zeros * 10 >= units * (unit - 1) * 7;
}

const char *mr_format_encoding(const void *bytes, size_t count)
{
    static const struct {
        const char *name;
        size_t bytes;
        const char *mark;
        size_t unit, low;
    } encodings[] = {
        {"UTF-32LE", 4, "\xff\xfe\0\0", 4, 0}, /* before UTF-16LE, whose mark it begins with */
        {"UTF-32BE", 4, "\0\0\xfe\xff", 4, 3},
        {"UTF-16LE", 2, "\xff\xfe", 2, 0},
        {"UTF-16BE", 2, "\xfe\xff", 2, 1},
    };
    enum { ENCODINGS = sizeof encodings / sizeof encodings[0] };
    for (int e = 0; e < ENCODINGS; e++)
        if (begins(bytes, count, encodings[e].mark, encodings[e].bytes)) return encodings[e].name;
    for (int e = 0; e < ENCODINGS; e++)
        if (in_units(bytes, count, encodings[e].unit, encodings[e].low)) return encodings[e].name;
    return NULL;
}
