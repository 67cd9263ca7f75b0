#include "corpus/compressed.h"

#include "corpus/format.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { PIECE = 64 << 10 }; /* bytes of a compressed file that are read at once */

struct mr_compressed {
    const char *path; /* borrowed */
    mr_format format;
    int handle; /* -1 where there is none */
    bool ready; /* the decoder of format is set up */
    union {
        z_stream gzip;
        ZSTD_DCtx *zstd;
        lzma_stream xz;
    } decoder;
    bool inside;      /* what follows belongs to a part that has begun: a member, frame or stream */
    int64_t consumed; /* bytes read from handle */
    size_t at, end;   /* of piece, what is read and not decoded yet: at..end - 1 */
    unsigned char piece[PIECE];
};

/* What a file of each format is made of. */
static const char *const parts[] = {
    [MR_FORMAT_GZIP] = "gzip member",
    [MR_FORMAT_ZSTD] = "zstd frame",
    [MR_FORMAT_XZ] = "stream of xz",
};

int64_t mr_compressed_consumed(const mr_compressed *f)
{
    return f->consumed - (int64_t)(f->end - f->at);
}

static mr_status damaged(const mr_compressed *f, const char *what)
{
    return mr_fail(MR_ERR_FORMAT, "%s: cannot decompress, damaged or cut short at byte %lld: %s",
                   f->path, (long long)mr_compressed_consumed(f), what ? what : "unknown error");
}

static mr_status damaged_part(const mr_compressed *f, const char *what)
{
    char text[64];
    snprintf(text, sizeof text, "%s %s", what, parts[f->format]);
    return damaged(f, text);
}

static mr_status no_memory(const mr_compressed *f)
{
    return mr_fail(MR_ERR_MEMORY, "cannot allocate what reads '%s'", f->path);
}

static mr_status read_handle(mr_compressed *f, void *to, size_t room, size_t *got)
{
    for (;;) {
        const ssize_t bytes = read(f->handle, to, room);
        if (bytes < 0 && errno == EINTR) continue;
        MR_CHECK(bytes >= 0, MR_ERR_IO, "cannot read '%s': %s", f->path, strerror(errno));
        f->consumed += bytes;
        *got = (size_t)bytes;
        return MR_OK;
    }
}

/* Makes sure that there is input, unless the file is at its end. */
static mr_status fill(mr_compressed *f)
{
    if (f->at < f->end) return MR_OK;
    f->at = f->end = 0;
    return read_handle(f, f->piece, sizeof f->piece, &f->end);
}

/* One function a format decodes what is in piece to `to`, sets *got, and tells by `inside` whether
 * the part goes on. At the end of the file it is called once more and gives what it holds back. */

static mr_status decode_gzip(mr_compressed *f, char *to, size_t room, size_t *got)
{
    enum { MOST = 1 << 30 };
    const uInt limit = (uInt)(room < MOST ? room : MOST);
    z_stream *z = &f->decoder.gzip;
    z->next_in = f->piece + f->at;
    z->avail_in = (uInt)(f->end - f->at);
    z->next_out = (Bytef *)to;
    z->avail_out = limit;
    const int code = inflate(z, Z_NO_FLUSH);
    f->at = f->end - z->avail_in;
    *got = limit - z->avail_out;
    if (code == Z_MEM_ERROR) return no_memory(f);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return damaged(f, z->msg);
    f->inside = code != Z_STREAM_END;
    return MR_OK;
}

static mr_status decode_zstd(mr_compressed *f, char *to, size_t room, size_t *got)
{
    ZSTD_inBuffer in = {.src = f->piece, .size = f->end, .pos = f->at};
    ZSTD_outBuffer out = {.dst = to, .size = room};
    const size_t code = ZSTD_decompressStream(f->decoder.zstd, &out, &in);
    f->at = in.pos;
    *got = out.pos;
    if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation) return no_memory(f);
    if (ZSTD_getErrorCode(code) == ZSTD_error_dictionary_wrong)
        return damaged(f, "it needs the dictionary that it was compressed with");
    if (ZSTD_isError(code)) return damaged(f, ZSTD_getErrorName(code));
    f->inside = code != 0;
    return MR_OK;
}

static const char *xz_problem(lzma_ret code)
{
    switch (code) {
    case LZMA_FORMAT_ERROR:
        return "expected an xz stream";
    case LZMA_OPTIONS_ERROR:
        return "a filter that liblzma does not know";
    case LZMA_DATA_ERROR:
        return "the data are not what was compressed";
    default:
        return NULL;
    }
}

static mr_status decode_xz(mr_compressed *f, char *to, size_t room, size_t *got)
{
    lzma_stream *xz = &f->decoder.xz;
    xz->next_in = f->piece + f->at;
    xz->avail_in = f->end - f->at;
    xz->next_out = (uint8_t *)to;
    xz->avail_out = room;
    const lzma_ret code = lzma_code(xz, LZMA_RUN);
    f->at = f->end - xz->avail_in;
    *got = room - xz->avail_out;
    if (code == LZMA_MEM_ERROR) return no_memory(f);
    if (code != LZMA_OK && code != LZMA_STREAM_END && code != LZMA_BUF_ERROR)
        return damaged(f, xz_problem(code));
    f->inside = code != LZMA_STREAM_END;
    return MR_OK;
}

static mr_status decode(mr_compressed *f, char *to, size_t room, size_t *got)
{
    if (f->format == MR_FORMAT_GZIP) return decode_gzip(f, to, room, got);
    if (f->format == MR_FORMAT_ZSTD) return decode_zstd(f, to, room, got);
    return decode_xz(f, to, room, got);
}

/* Makes the decoder ready for the first part of the file, or the next. */
static mr_status begin_part(mr_compressed *f)
{
    enum { GZIP_ONLY = 16, WINDOW = 15 };
    bool begun;
    if (f->format == MR_FORMAT_GZIP) {
        z_stream *z = &f->decoder.gzip;
        begun = (f->ready ? inflateReset(z) : inflateInit2(z, GZIP_ONLY + WINDOW)) == Z_OK;
    } else if (f->format == MR_FORMAT_ZSTD) {
        if (!f->ready) f->decoder.zstd = ZSTD_createDCtx();
        /* Windows of any size: those past 128 MiB, of `zstd --long=31`, are asked for by hand
         * elsewhere, but what large collections of text come in. */
        const int most = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound;
        begun = f->decoder.zstd &&
                !ZSTD_isError(ZSTD_DCtx_setParameter(f->decoder.zstd, ZSTD_d_windowLogMax, most));
    } else {
        begun = lzma_stream_decoder(&f->decoder.xz, UINT64_MAX, 0) == LZMA_OK;
    }
    f->ready = f->ready || begun;
    f->inside = begun;
    return begun ? MR_OK : no_memory(f);
}

/* Whether a byte can be the first of a part. */
static bool may_begin(mr_format format, unsigned char byte)
{
    if (format == MR_FORMAT_GZIP) return byte == 0x1f;
    if (format == MR_FORMAT_XZ) return byte == 0xfd;
    return byte == 0x28 || (byte & 0xf0) == 0x50; /* a frame, or a skippable one */
}

/* What may follow a part: the end of the file or another part; behind gzip members zeros to the
 * end, behind xz streams zeros in fours. Not left to libraries: zlib's gzread and libarchive take
 * bytes that begin no member for garbage to be left out, so that one flipped bit in the header of a
 * second member loses all text from there without a word. */
static mr_status between_parts(mr_compressed *f, bool *ended)
{
    enum { XZ_PADDING = 4 };
    int64_t zeros = 0;
    for (;;) {
        MR_TRY(fill(f));
        *ended = f->at == f->end;
        if (*ended || f->format == MR_FORMAT_ZSTD || f->piece[f->at] != 0) break;
        f->at++;
        zeros++;
    }
    if (f->format == MR_FORMAT_XZ && zeros % XZ_PADDING != 0)
        return damaged(f, "expected zeros in fours behind an xz stream");
    if (*ended) return MR_OK;
    if (f->format == MR_FORMAT_GZIP && zeros > 0)
        return damaged(f, "expected zeros to the end of the file");
    if (!may_begin(f->format, f->piece[f->at]))
        return damaged_part(f, "expected the end of the file or another");
    return begin_part(f);
}

mr_status mr_compressed_read(mr_compressed *f, char *to, size_t room, size_t *got)
{
    *got = 0;
    if (f->format == MR_FORMAT_PLAIN) return read_handle(f, to, room, got);
    while (*got == 0) {
        bool ended = false;
        if (!f->inside) MR_TRY(between_parts(f, &ended));
        if (ended) return MR_OK;
        MR_TRY(fill(f));
        const bool at_end = f->at == f->end;
        MR_TRY(decode(f, to, room, got));
        if (at_end && *got == 0 && f->inside) return damaged_part(f, "the file ends inside a");
    }
    return MR_OK;
}

mr_status mr_compressed_seek(mr_compressed *f, int64_t offset)
{
    MR_INVARIANT(f->format == MR_FORMAT_PLAIN);
    MR_CHECK(lseek(f->handle, (off_t)offset, SEEK_SET) >= 0, MR_ERR_IO, "cannot seek in '%s': %s",
             f->path, strerror(errno));
    return MR_OK;
}

/* Goes on as the format that the first bytes tell. */
static mr_status start(mr_compressed *f)
{
    MR_TRY(fill(f));
    f->format = mr_format_of(f->piece, f->end);
    MR_CHECK(f->format != MR_FORMAT_PLAIN && f->format < MR_FORMAT_FOREIGN, MR_ERR_IO,
             "'%s' changed while it was read: not compressed now", f->path);
    return begin_part(f);
}

mr_status mr_compressed_open(const char *path, bool compressed, mr_compressed **out)
{
    *out = NULL;
    mr_compressed *f = mr_alloc(MR_MEM_DATA, sizeof *f);
    if (!f) return MR_ERR_MEMORY;
    f->path = path;
    f->handle = open(path, O_RDONLY | O_CLOEXEC);
    mr_status status = MR_OK;
    if (f->handle < 0)
        status = mr_fail(MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    else if (compressed)
        status = start(f);
    if (status == MR_OK)
        *out = f;
    else
        mr_compressed_close(&f);
    return status;
}

void mr_compressed_close(mr_compressed **file)
{
    mr_compressed *f = *file;
    if (!f) return;
    if (f->format == MR_FORMAT_GZIP && f->ready) inflateEnd(&f->decoder.gzip);
    if (f->format == MR_FORMAT_ZSTD) ZSTD_freeDCtx(f->decoder.zstd);
    if (f->format == MR_FORMAT_XZ) lzma_end(&f->decoder.xz);
    if (f->handle >= 0) close(f->handle);
    mr_free(f);
    *file = NULL;
}

/* Reads the first block of the text, less where the text is shorter. */
static mr_status read_block(const char *path, bool compressed, char block[MR_FORMAT_BLOCK],
                            size_t *count)
{
    mr_compressed *file = NULL;
    size_t got = 1;
    MR_TRY(mr_compressed_open(path, compressed, &file));
    mr_status status = MR_OK;
    for (*count = 0; status == MR_OK && got > 0 && *count < MR_FORMAT_BLOCK; *count += got)
        status = mr_compressed_read(file, block + *count, MR_FORMAT_BLOCK - *count, &got);
    mr_compressed_close(&file);
    return status;
}

/* What a file is, where its name does not say something else. */
static mr_status find_format(const char *path, mr_format *found)
{
    char block[MR_FORMAT_BLOCK];
    size_t count;
    const mr_format named = mr_format_of_name(path, NULL);
    MR_TRY(read_block(path, false, block, &count));
    *found = mr_format_of(block, count);
    if (*found == MR_FORMAT_PLAIN && named >= MR_FORMAT_FOREIGN) *found = named;
    MR_CHECK(named == MR_FORMAT_PLAIN || named == *found, MR_ERR_FORMAT,
             "%s: expected %s, as the name says, found %s", path, mr_format_name(named),
             count == 0                  ? "an empty file"
             : *found == MR_FORMAT_PLAIN ? "other bytes"
                                         : mr_format_name(*found));
    return MR_OK;
}

mr_status mr_compressed_probe(const char *path, bool *compressed)
{
    char block[MR_FORMAT_BLOCK];
    size_t count;
    mr_format found;
    MR_TRY(find_format(path, &found));
    *compressed = found != MR_FORMAT_PLAIN && found < MR_FORMAT_FOREIGN;
    if (found < MR_FORMAT_FOREIGN) {
        MR_TRY(read_block(path, *compressed, block, &count));
        found = mr_format_of(block, count);
        MR_CHECK(found == MR_FORMAT_PLAIN || found >= MR_FORMAT_FOREIGN, MR_ERR_FORMAT,
                 "%s: compressed twice; unpack it once", path);
    }
    MR_CHECK(found == MR_FORMAT_PLAIN, MR_ERR_FORMAT,
             "%s: expected text, plain or compressed as gzip, zstd or xz, found %s; unpack or "
             "convert it first",
             path, mr_format_name(found));
    const char *encoding = mr_format_encoding(block, count);
    MR_CHECK(!encoding, MR_ERR_FORMAT,
             "%s: expected text in UTF-8, found %s; convert it, as by iconv -f %s -t UTF-8", path,
             encoding, encoding);
    return MR_OK;
}
