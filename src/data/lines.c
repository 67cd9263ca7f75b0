#include "data/lines.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum {
    ROOM = 1 << 20,   /* bytes of the buffer to begin with */
    PIECE = 64 << 10, /* bytes that libarchive reads at once */
};

struct mr_lines {
    mr_lines_place place;
    struct archive *archive; /* of a compressed file but gzip; owned */
    gzFile gzip; /* of a gzip file, whose checksums libarchive does not look at; owned */
    int handle;  /* of a plain file; -1 where there is none */
    char *data;  /* [room], owned */
    size_t room, start, end; /* what is read and not given yet: start..end - 1 */
    bool finished;           /* nothing more to read */
    int64_t offset;          /* of start, in the text */
    int64_t number;          /* of the line last given */
};

static mr_status archive_failed(const char *path, struct archive *archive)
{
    const char *text = archive_error_string(archive);
    return mr_fail(MR_ERR_FORMAT, "%s: cannot decompress, damaged or cut short: %s", path,
                   text ? text : "unknown error");
}

/* Filters told by the first bytes of a file only, none that text could pass for. */
static mr_status open_archive(const char *path, struct archive **out, bool *empty)
{
    struct archive *archive = archive_read_new();
    *out = archive;
    MR_CHECK(archive, MR_ERR_MEMORY, "cannot allocate what reads '%s'", path);
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_lzma(archive);
    archive_read_support_filter_lzip(archive);
    archive_read_support_filter_zstd(archive);
    archive_read_support_filter_lz4(archive);
    archive_read_support_filter_compress(archive);
    archive_read_support_format_raw(archive);
    archive_read_support_format_empty(archive);
    if (archive_read_open_filename(archive, path, PIECE) != ARCHIVE_OK)
        return archive_failed(path, archive);
    struct archive_entry *entry;
    int code = archive_read_next_header(archive, &entry);
    *empty = code == ARCHIVE_EOF;
    if (code != ARCHIVE_OK && !*empty) return archive_failed(path, archive);
    return MR_OK;
}

static mr_status probe(const char *path, struct archive **archive, bool *compressed)
{
    enum { TAR_BLOCK = 512, TAR_MAGIC = 257 };
    char block[TAR_BLOCK];
    bool empty = false;
    MR_TRY(open_archive(path, archive, &empty));
    *compressed = archive_filter_code(*archive, 0) != ARCHIVE_FILTER_NONE;
    if (empty) return MR_OK;
    la_ssize_t got = archive_read_data(*archive, block, sizeof block);
    if (got < 0) return archive_failed(path, *archive);
    MR_CHECK(got < TAR_BLOCK || memcmp(block + TAR_MAGIC, "ustar", 5) != 0, MR_ERR_FORMAT,
             "%s: expected text, found a tar archive; unpack it first", path);
    return MR_OK;
}

mr_status mr_lines_probe(const char *path, bool *compressed)
{
    struct archive *archive = NULL;
    mr_status status = probe(path, &archive, compressed);
    archive_read_free(archive);
    return status;
}

/* Reads more of a gzip file, and checks length and checksum where a member of it ends. */
static mr_status read_gzip(mr_lines *l, char *to, size_t room)
{
    enum { MOST = 1 << 30 };
    int code = Z_OK, got = gzread(l->gzip, to, (unsigned)(room < MOST ? room : MOST));
    const char *text = gzerror(l->gzip, &code);
    MR_CHECK(got > 0 || (got == 0 && code != Z_BUF_ERROR), MR_ERR_FORMAT,
             "%s: cannot decompress, damaged or cut short: %s", l->place.path, text);
    l->finished = got == 0;
    l->end += (size_t)got;
    return MR_OK;
}

/* Reads more behind end. */
static mr_status read_more(mr_lines *l)
{
    char *to = l->data + l->end;
    const size_t room = l->room - l->end;
    if (l->gzip) return read_gzip(l, to, room);
    for (;;) {
        la_ssize_t got =
            l->archive ? archive_read_data(l->archive, to, room) : read(l->handle, to, room);
        if (got < 0 && !l->archive && errno == EINTR) continue;
        if (got < 0 && l->archive) return archive_failed(l->place.path, l->archive);
        MR_CHECK(got >= 0, MR_ERR_IO, "cannot read '%s': %s", l->place.path, strerror(errno));
        l->finished = got == 0;
        l->end += (size_t)got;
        return MR_OK;
    }
}

/* Makes room behind end: what was given goes first, then the buffer grows. */
static mr_status make_room(mr_lines *l)
{
    if (l->start > 0) {
        memmove(l->data, l->data + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    if (l->room - l->end >= l->room / 2) return MR_OK;
    char *data = mr_realloc(MR_MEM_DATA, l->data, 2 * l->room);
    if (!data) return MR_ERR_MEMORY;
    l->data = data;
    l->room *= 2;
    return MR_OK;
}

static mr_status check_length(const mr_lines *l, size_t bytes)
{
    MR_CHECK(bytes <= l->place.longest, MR_ERR_FORMAT,
             "%s:%lld: a document of more than %zu bytes, the most there may be", l->place.path,
             (long long)l->number + 1, l->place.longest);
    return MR_OK;
}

/* Finds the end of the line at start, reading as far as it takes; *newline tells how it ends. */
static mr_status find_end(mr_lines *l, size_t *bytes, bool *newline)
{
    size_t looked = 0;
    for (;;) {
        const char *from = l->data + l->start + looked;
        const size_t left = l->end - l->start - looked;
        const char *mark = l->place.whole || left == 0 ? NULL : memchr(from, '\n', left);
        looked += mark ? (size_t)(mark - from) : left;
        MR_TRY(check_length(l, looked));
        *bytes = looked;
        *newline = mark != NULL;
        if (mark || l->finished) return MR_OK;
        MR_TRY(make_room(l));
        MR_TRY(read_more(l));
    }
}

mr_status mr_lines_next(mr_lines *l, const char **text, size_t *bytes)
{
    bool newline;
    *text = NULL;
    MR_TRY(find_end(l, bytes, &newline));
    if (*bytes == 0 && !newline) return MR_OK;
    *text = l->data + l->start;
    const size_t taken = *bytes + newline;
    l->start += taken;
    l->offset += (int64_t)taken;
    l->number++;
    return MR_OK;
}

/* Goes to the first line that starts at place.offset or later: behind the newline before it. What
 * stands before is let go of piece by piece, and no further than place.end: a line longer than many
 * units must not be gone through whole for each of them. */
static mr_status seek_line(mr_lines *l)
{
    const int64_t from = l->place.offset - 1;
    MR_CHECK(lseek(l->handle, (off_t)from, SEEK_SET) >= 0, MR_ERR_IO, "cannot seek in '%s': %s",
             l->place.path, strerror(errno));
    l->offset = from;
    for (const char *mark = NULL; !mark && !l->finished && l->offset < l->place.end;) {
        l->start = l->end = 0;
        MR_TRY(read_more(l));
        mark = memchr(l->data, '\n', l->end);
        l->start = mark ? (size_t)(mark - l->data) + 1 : l->end;
        l->offset += (int64_t)l->start;
    }
    /* The byte before offset is the end of the line with number lines_before, or in the middle of
     * the line after that one. */
    l->number = l->place.lines_before + (l->offset > l->place.offset);
    return MR_OK;
}

static mr_status start_compressed(mr_lines *l)
{
    const char *path = l->place.path;
    MR_TRY(open_archive(path, &l->archive, &l->finished));
    if (archive_filter_count(l->archive) != 2 ||
        archive_filter_code(l->archive, 0) != ARCHIVE_FILTER_GZIP)
        return MR_OK;
    archive_read_free(l->archive);
    l->archive = NULL;
    l->finished = false;
    l->gzip = gzopen(path, "rb");
    MR_CHECK(l->gzip, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    return MR_OK;
}

static mr_status start(mr_lines *l)
{
    const char *path = l->place.path;
    l->data = mr_alloc(MR_MEM_DATA, ROOM);
    if (!l->data) return MR_ERR_MEMORY;
    l->room = ROOM;
    if (l->place.compressed) {
        MR_INVARIANT(l->place.offset == 0);
        return start_compressed(l);
    }
    l->handle = open(path, O_RDONLY | O_CLOEXEC);
    MR_CHECK(l->handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    return l->place.offset > 0 ? seek_line(l) : MR_OK;
}

mr_status mr_lines_open(const mr_lines_place *place, mr_lines **out)
{
    *out = NULL;
    mr_lines *l = mr_alloc(MR_MEM_DATA, sizeof *l);
    if (!l) return MR_ERR_MEMORY;
    *l = (mr_lines){.place = *place, .handle = -1};
    mr_status status = start(l);
    if (status == MR_OK)
        *out = l;
    else
        mr_lines_close(&l);
    return status;
}

void mr_lines_close(mr_lines **lines)
{
    mr_lines *l = *lines;
    if (!l) return;
    if (l->archive) archive_read_free(l->archive);
    if (l->gzip) gzclose(l->gzip);
    if (l->handle >= 0) close(l->handle);
    mr_free(l->data);
    mr_free(l);
    *lines = NULL;
}

int64_t mr_lines_offset(const mr_lines *l)
{
    return l->offset;
}

int64_t mr_lines_number(const mr_lines *l)
{
    return l->number;
}

int64_t mr_lines_consumed(const mr_lines *l)
{
    if (l->archive) return (int64_t)archive_filter_bytes(l->archive, -1);
    if (l->gzip) return (int64_t)gzoffset(l->gzip);
    return l->offset > l->place.offset ? l->offset - l->place.offset : 0;
}
