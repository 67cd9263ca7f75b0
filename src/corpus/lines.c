#include "corpus/lines.h"

#include "corpus/compressed.h"

#include <string.h>

enum { ROOM = 1 << 20 }; /* bytes of the buffer to begin with */

struct mr_lines {
    mr_lines_place place;
    mr_compressed *file; /* owned */
    char *data;          /* [room], owned */
    int64_t room;
    size_t start, end; /* what is read and not given yet: start..end - 1 */
    bool finished;     /* nothing more to read */
    int64_t offset;    /* of start, in the text */
    int64_t number;    /* of the line last given */
    bool too_long;     /* it was */
};

/* Reads more behind end. */
static mr_status read_more(mr_lines *l)
{
    size_t got = 0;
    MR_TRY(mr_compressed_read(l->file, l->data + l->end, (size_t)l->room - l->end, &got));
    l->finished = got == 0;
    l->end += got;
    return MR_OK;
}

/* Makes room behind end: what was given goes first, then the buffer grows. */
static mr_status make_room(mr_lines *l)
{
    if (l->start > 0) {
        memmove(l->data, l->data + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    return mr_grow(MR_MEM_DATA, &l->data, &l->room, (int64_t)l->end + (l->room + 1) / 2, 1);
}

/* Finds the end of the line at start, reading as far as it takes, but no further than longest;
 * *newline tells how it ends. */
static mr_status find_end(mr_lines *l, size_t *bytes, bool *newline)
{
    size_t looked = 0;
    for (;;) {
        const char *from = l->data + l->start + looked;
        const size_t left = l->end - l->start - looked;
        const char *mark = l->place.whole || left == 0 ? NULL : memchr(from, '\n', left);
        looked += mark ? (size_t)(mark - from) : left;
        *bytes = looked;
        *newline = mark != NULL;
        if (mark || l->finished || looked > l->place.longest) return MR_OK;
        MR_TRY(make_room(l));
        MR_TRY(read_more(l));
    }
}

/* Goes behind the line at start piece by piece, keeping nothing of it. */
static mr_status pass_over(mr_lines *l)
{
    for (;;) {
        const char *from = l->data + l->start;
        const size_t left = l->end - l->start;
        const char *mark = l->place.whole || left == 0 ? NULL : memchr(from, '\n', left);
        l->offset += mark ? mark - from + 1 : (int64_t)left;
        l->start = mark ? l->start + (size_t)(mark - from) + 1 : l->end;
        if (mark || l->finished) return MR_OK;
        l->start = l->end = 0;
        MR_TRY(read_more(l));
    }
}

mr_status mr_lines_next(mr_lines *l, const char **text, size_t *bytes)
{
    bool newline;
    *text = NULL;
    MR_TRY(find_end(l, bytes, &newline));
    if (*bytes == 0 && !newline) return MR_OK;
    l->number++;
    l->too_long = *bytes > l->place.longest;
    if (l->too_long) {
        *text = "";
        *bytes = 0;
        return pass_over(l);
    }
    *text = l->data + l->start;
    const size_t taken = *bytes + newline;
    l->start += taken;
    l->offset += (int64_t)taken;
    return MR_OK;
}

/* Goes to the first line that starts at place.offset or later: behind the newline before it. What
 * stands before is let go of piece by piece, and no further than place.end: a line longer than many
 * units must not be gone through whole for each of them. */
static mr_status seek_line(mr_lines *l)
{
    const int64_t from = l->place.offset - 1;
    MR_TRY(mr_compressed_seek(l->file, from));
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

static mr_status start(mr_lines *l)
{
    MR_INVARIANT(!l->place.compressed || l->place.offset == 0);
    l->data = mr_alloc(MR_MEM_DATA, ROOM);
    if (!l->data) return MR_ERR_MEMORY;
    l->room = ROOM;
    MR_TRY(mr_compressed_open(l->place.path, l->place.compressed, &l->file));
    return l->place.offset > 0 ? seek_line(l) : MR_OK;
}

mr_status mr_lines_open(const mr_lines_place *place, mr_lines **out)
{
    *out = NULL;
    mr_lines *l = mr_alloc(MR_MEM_DATA, sizeof *l);
    if (!l) return MR_ERR_MEMORY;
    *l = (mr_lines){.place = *place};
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
    mr_compressed_close(&l->file);
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

bool mr_lines_too_long(const mr_lines *l)
{
    return l->too_long;
}

int64_t mr_lines_consumed(const mr_lines *l)
{
    if (l->place.compressed) return mr_compressed_consumed(l->file);
    return l->offset > l->place.offset ? l->offset - l->place.offset : 0;
}
