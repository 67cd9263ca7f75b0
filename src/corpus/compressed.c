#include "corpus/compressed.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE = 64 << 10 }; /* bytes of a compressed file that are read at once */

typedef enum format { PLAIN, GZIP, ZSTD, XZ, FORMATS } format;

static const struct {
    const char *name, *ending;
    size_t bytes; /* of magic */
    unsigned char magic[6];
} formats[FORMATS] = {
    [PLAIN] = {"plain text", "", 0, {0}},
    [GZIP] = {"gzip", ".gz", 2, {0x1f, 0x8b}},
    [ZSTD] = {"zstd", ".zst", 4, {0x28, 0xb5, 0x2f, 0xfd}},
    [XZ] = {"xz", ".xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
};

struct mr_compressed {
    const char *path; /* borrowed */
    format format;
    int handle;              /* -1 where there is none */
    struct archive *archive; /* of a zstd or xz file; reads from handle; owned */
    bool empty;              /* archive has no text, nor an entry to read it from */
    z_stream inflater;       /* of a gzip file, where inflating */
    bool inflating;          /* inflater is set up */
    bool in_member;          /* what follows belongs to a gzip member, its header included */
    int64_t consumed;        /* bytes read from handle, but by archive */
    unsigned char piece[PIECE];
};

static mr_status damaged(const mr_compressed *p, int64_t offset, const char *what)
{
    return mr_fail(MR_ERR_FORMAT, "%s: cannot decompress, damaged or cut short at byte %lld: %s",
                   p->path, (long long)offset, what ? what : "unknown error");
}

static format format_of(const char *bytes, size_t count)
{
    for (format f = PLAIN + 1; f < FORMATS; f++)
        if (count >= formats[f].bytes && memcmp(bytes, formats[f].magic, formats[f].bytes) == 0)
            return f;
    return PLAIN;
}

static format format_by_name(const char *path)
{
    const size_t length = strlen(path);
    for (format f = PLAIN + 1; f < FORMATS; f++) {
        const size_t tail = strlen(formats[f].ending);
        if (length > tail && strcmp(path + length - tail, formats[f].ending) == 0) return f;
    }
    return PLAIN;
}

static mr_status read_handle(mr_compressed *p, void *to, size_t room, size_t *got)
{
    for (;;) {
        const ssize_t bytes = read(p->handle, to, room);
        if (bytes < 0 && errno == EINTR) continue;
        MR_CHECK(bytes >= 0, MR_ERR_IO, "cannot read '%s': %s", p->path, strerror(errno));
        p->consumed += bytes;
        *got = (size_t)bytes;
        return MR_OK;
    }
}

/* gzip by zlib's inflate, not its gzread nor libarchive: both take bytes that begin no member for
 * garbage to be left out, so that one flipped bit in the header of a second member loses all text
 * from there without a word. */

static int64_t gzip_offset(const mr_compressed *p)
{
    return p->consumed - p->inflater.avail_in;
}

/* Makes sure that there is input, unless the file is at its end. */
static mr_status fill(mr_compressed *p)
{
    size_t got = 0;
    if (p->inflater.avail_in > 0) return MR_OK;
    MR_TRY(read_handle(p, p->piece, sizeof p->piece, &got));
    p->inflater.next_in = p->piece;
    p->inflater.avail_in = (uInt)got;
    return MR_OK;
}

/* What may follow a member: the end of the file, zeros to it, or a member. */
static mr_status between_members(mr_compressed *p, bool *ended)
{
    bool padded = false;
    for (;;) {
        MR_TRY(fill(p));
        *ended = p->inflater.avail_in == 0;
        if (*ended) return MR_OK;
        if (*p->inflater.next_in != 0) break;
        padded = true;
        p->inflater.next_in++;
        p->inflater.avail_in--;
    }
    if (padded) return damaged(p, gzip_offset(p), "expected zeros to the end of the file");
    MR_INVARIANT(inflateReset(&p->inflater) == Z_OK);
    p->in_member = true;
    return MR_OK;
}

static mr_status read_gzip(mr_compressed *p, char *to, size_t room, size_t *got)
{
    enum { MOST = 1 << 30 };
    const uInt limit = (uInt)(room < MOST ? room : MOST);
    z_stream *z = &p->inflater;
    z->next_out = (Bytef *)to;
    z->avail_out = limit;
    while (z->avail_out == limit) {
        bool ended = false;
        if (!p->in_member) MR_TRY(between_members(p, &ended));
        if (ended) break;
        MR_TRY(fill(p));
        if (z->avail_in == 0) return damaged(p, p->consumed, "the file ends inside a gzip member");
        const int code = inflate(z, Z_NO_FLUSH);
        MR_CHECK(code != Z_MEM_ERROR, MR_ERR_MEMORY, "cannot allocate what reads '%s'", p->path);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return damaged(p, gzip_offset(p), z->msg);
        p->in_member = code != Z_STREAM_END;
    }
    *got = limit - z->avail_out;
    return MR_OK;
}

static mr_status archive_damaged(const mr_compressed *p)
{
    return damaged(p, archive_filter_bytes(p->archive, -1), archive_error_string(p->archive));
}

static mr_status open_archive(mr_compressed *p)
{
    struct archive_entry *entry;
    p->archive = archive_read_new();
    MR_CHECK(p->archive, MR_ERR_MEMORY, "cannot allocate what reads '%s'", p->path);
    if (p->format == ZSTD)
        archive_read_support_filter_zstd(p->archive);
    else
        archive_read_support_filter_xz(p->archive);
    archive_read_support_format_raw(p->archive);
    archive_read_support_format_empty(p->archive);
    if (lseek(p->handle, 0, SEEK_SET) != 0 ||
        archive_read_open_fd(p->archive, p->handle, PIECE) != ARCHIVE_OK)
        return archive_damaged(p);
    const int code = archive_read_next_header(p->archive, &entry);
    if (code != ARCHIVE_OK && code != ARCHIVE_EOF) return archive_damaged(p);
    p->empty = code == ARCHIVE_EOF;
    return MR_OK;
}

static mr_status read_archive(mr_compressed *p, char *to, size_t room, size_t *got)
{
    if (p->empty) return MR_OK;
    const la_ssize_t bytes = archive_read_data(p->archive, to, room);
    if (bytes < 0) return archive_damaged(p);
    *got = (size_t)bytes;
    return MR_OK;
}

mr_status mr_compressed_read(mr_compressed *p, char *to, size_t room, size_t *got)
{
    *got = 0;
    if (p->archive) return read_archive(p, to, room, got);
    return p->inflating ? read_gzip(p, to, room, got) : read_handle(p, to, room, got);
}

mr_status mr_compressed_seek(mr_compressed *p, int64_t offset)
{
    MR_INVARIANT(p->format == PLAIN);
    MR_CHECK(lseek(p->handle, (off_t)offset, SEEK_SET) >= 0, MR_ERR_IO, "cannot seek in '%s': %s",
             p->path, strerror(errno));
    return MR_OK;
}

int64_t mr_compressed_consumed(const mr_compressed *p)
{
    if (p->archive) return (int64_t)archive_filter_bytes(p->archive, -1);
    return p->inflating ? gzip_offset(p) : p->consumed;
}

/* Goes on as the format that the first bytes tell. */
static mr_status start(mr_compressed *p)
{
    enum { GZIP_ONLY = 16, WINDOW = 15 };
    size_t got = 0;
    MR_TRY(read_handle(p, p->piece, sizeof p->piece, &got));
    p->format = format_of((const char *)p->piece, got);
    if (p->format == ZSTD || p->format == XZ) return open_archive(p);
    MR_CHECK(p->format == GZIP, MR_ERR_IO, "'%s' changed while it was read: not compressed now",
             p->path);
    p->inflater = (z_stream){.next_in = p->piece, .avail_in = (uInt)got};
    MR_CHECK(inflateInit2(&p->inflater, GZIP_ONLY + WINDOW) == Z_OK, MR_ERR_MEMORY,
             "cannot allocate what reads '%s'", p->path);
    p->inflating = p->in_member = true;
    return MR_OK;
}

mr_status mr_compressed_open(const char *path, bool compressed, mr_compressed **out)
{
    *out = NULL;
    mr_compressed *p = mr_alloc(MR_MEM_DATA, sizeof *p);
    if (!p) return MR_ERR_MEMORY;
    p->path = path;
    p->format = PLAIN;
    p->handle = open(path, O_RDONLY | O_CLOEXEC);
    mr_status status = MR_OK;
    if (p->handle < 0)
        status = mr_fail(MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    else if (compressed)
        status = start(p);
    if (status == MR_OK)
        *out = p;
    else
        mr_compressed_close(&p);
    return status;
}

void mr_compressed_close(mr_compressed **file)
{
    mr_compressed *p = *file;
    if (!p) return;
    if (p->archive) archive_read_free(p->archive);
    if (p->inflating) inflateEnd(&p->inflater);
    if (p->handle >= 0) close(p->handle);
    mr_free(p);
    *file = NULL;
}

enum { BLOCK = 512 }; /* bytes of a block of a tar archive */

/* Reads the first block of the text, less where the text is shorter. */
static mr_status read_block(const char *path, bool compressed, char block[BLOCK], size_t *count)
{
    mr_compressed *file = NULL;
    size_t got = 1;
    MR_TRY(mr_compressed_open(path, compressed, &file));
    mr_status status = MR_OK;
    for (*count = 0; status == MR_OK && got > 0 && *count < BLOCK; *count += got)
        status = mr_compressed_read(file, block + *count, BLOCK - *count, &got);
    mr_compressed_close(&file);
    return status;
}

mr_status mr_compressed_probe(const char *path, bool *compressed)
{
    enum { TAR_MAGIC = 257 };
    const format named = format_by_name(path);
    char block[BLOCK];
    size_t count;
    MR_TRY(read_block(path, false, block, &count));
    const format found = format_of(block, count);
    MR_CHECK(named == PLAIN || named == found, MR_ERR_FORMAT,
             "%s: expected %s, as the name says, found %s at byte 0", path, formats[named].name,
             found != PLAIN ? formats[found].name
             : count == 0   ? "an empty file"
                            : "other bytes");
    *compressed = found != PLAIN;
    if (*compressed) MR_TRY(read_block(path, true, block, &count));
    MR_CHECK(!*compressed || format_of(block, count) == PLAIN, MR_ERR_FORMAT,
             "%s: compressed twice; unpack it once", path);
    MR_CHECK(count < BLOCK || memcmp(block + TAR_MAGIC, "ustar", 5) != 0, MR_ERR_FORMAT,
             "%s: expected text, found a tar archive; unpack it first", path);
    return MR_OK;
}
