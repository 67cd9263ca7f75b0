#include "corpus/lines.h"

#include "base/utf8.h"
#include "corpus/compressed.h"

#include <string.h>

enum { ROOM = 1 << 20 }; /* bytes of the buffer to begin with */

struct mr_lines {
    mr_lines_place place;
    mr_compressed *file; /* owned */
    char *data;          /* [room], owned */
    int64_t room;
    size_t start, end;     /* what is read and not given yet: start..end - 1 */
    size_t feed, searched; /* the first newline at or behind start, where below searched; else
                              there is none before that */
    bool finished;         /* nothing more to read */
    int64_t offset;        /* of start, in the text */
    int64_t number;        /* of the line last given */
    bool too_long;         /* it was */
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

/* Lets go of what was given. */
static void drop_given(mr_lines *l)
{
    memmove(l->data, l->data + l->start, l->end - l->start);
    l->end -= l->start;
    l->start = l->feed = l->searched = 0;
}

/* Makes room behind end: what was given goes first, then the buffer grows. */
static mr_status make_room(mr_lines *l)
{
    if (l->start > 0) drop_given(l);
    return mr_grow(MR_MEM_DATA, &l->data, &l->room, (int64_t)l->end + (l->room + 1) / 2, 1);
}

/* The first newline at or behind `from` of what is read, or end. A text of lone carriage returns is
 * not searched for newlines again at each of its lines. */
static size_t find_newline(mr_lines *l, size_t from)
{
    const bool known = l->feed >= from && l->feed < l->searched;
    if (known || l->searched >= l->end) return known ? l->feed : l->end;
    if (from < l->searched) from = l->searched;
    const char *mark = memchr(l->data + from, '\n', l->end - from);
    l->searched = l->end;
    l->feed = mark ? (size_t)(mark - l->data) : l->end;
    if (mark) l->searched = l->feed + 1;
    return l->feed;
}

/* The first end of a line at or behind `from` of what is read, or end. */
static size_t find_mark(mr_lines *l, size_t from)
{
    if (l->place.whole) return l->end;
    const size_t newline = find_newline(l, from);
    const char *mark = memchr(l->data + from, '\r', newline - from);
    return mark ? (size_t)(mark - l->data) : newline;
}

/* Bytes of the end of a line at `mark`: 2 for a carriage return with its newline, 0 where what is
 * read does not tell yet. */
static size_t ending_bytes(const mr_lines *l, size_t mark)
{
    if (mark == l->end) return 0;
    if (l->data[mark] == '\n') return 1;
    if (mark + 1 == l->end) return l->finished ? 1 : 0;
    return l->data[mark + 1] == '\n' ? 2 : 1;
}

/* Finds the end of the line at start, reading as far as it takes, but no further than longest.
 * @param[out] ending  bytes of what ends it; 0 at the end of the file, or where it is too long */
static mr_status find_end(mr_lines *l, size_t *bytes, size_t *ending)
{
    size_t looked = 0;
    for (;;) {
        const size_t mark = find_mark(l, l->start + looked);
        *bytes = looked = mark - l->start;
        *ending = ending_bytes(l, mark);
        if (*ending > 0 || l->finished || looked > l->place.longest) return MR_OK;
        MR_TRY(make_room(l));
        MR_TRY(read_more(l));
    }
}

/* Goes behind the next end of a line piece by piece, keeping nothing before it, unless the piece
 * starts at `until` of the text or behind it. */
static mr_status pass_over(mr_lines *l, int64_t until)
{
    while (l->offset < until) {
        const size_t mark = find_mark(l, l->start), ending = ending_bytes(l, mark);
        const size_t passed = mark + ending;
        l->offset += (int64_t)(passed - l->start);
        l->start = passed;
        if (ending > 0 || l->finished) return MR_OK;
        /* A carriage return at the end of what is read stays. */
        drop_given(l);
        MR_TRY(read_more(l));
    }
    return MR_OK;
}

/* Makes all ends of lines newlines; returns the bytes that are left. */
static size_t join_lines(char *text, size_t bytes)
{
    if (!memchr(text, '\r', bytes)) return bytes;
    size_t to = 0;
    for (size_t i = 0; i < bytes; i++) {
        const bool first_of_two = text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n';
        if (!first_of_two) text[to++] = text[i] == '\r' ? '\n' : text[i];
    }
    return to;
}

mr_status mr_lines_next(mr_lines *l, const char **text, size_t *bytes)
{
    size_t ending;
    *text = NULL;
    MR_TRY(find_end(l, bytes, &ending));
    if (*bytes == 0 && ending == 0) return MR_OK;
    l->number++;
    l->too_long = *bytes > l->place.longest;
    if (l->too_long) {
        *text = "";
        *bytes = 0;
        return pass_over(l, INT64_MAX);
    }
    char *line = l->data + l->start;
    l->offset += (int64_t)(*bytes + ending);
    l->start += *bytes + ending;
    if (l->place.whole) *bytes = join_lines(line, *bytes);
    *text = line;
    return MR_OK;
}

/* Goes to the first line that starts at place.offset or later: behind the end of the one before it.
 * What stands before is let go of piece by piece, and no further than place.end: a line longer than
 * many units must not be gone through whole for each of them. */
static mr_status seek_line(mr_lines *l)
{
    l->offset = l->place.offset - 1;
    MR_TRY(mr_compressed_seek(l->file, l->offset));
    MR_TRY(read_more(l));
    /* The byte before offset ends the line with number lines_before, or is of the one after it. */
    const bool ends = l->end > 0 && (l->data[0] == '\n' || l->data[0] == '\r');
    l->number = l->place.lines_before + !ends;
    return pass_over(l, l->place.end);
}

/* Goes behind a byte-order mark. */
static mr_status pass_mark(mr_lines *l)
{
    while (l->end < MR_UTF8_MARK && !l->finished)
        MR_TRY(read_more(l));
    l->start = mr_utf8_mark(l->data, l->end);
    l->offset = (int64_t)l->start;
    return MR_OK;
}

static mr_status start(mr_lines *l)
{
    MR_INVARIANT(!l->place.compressed || l->place.offset == 0);
    l->data = mr_alloc(MR_MEM_DATA, ROOM);
    if (!l->data) return MR_ERR_MEMORY;
    l->room = ROOM;
    MR_TRY(mr_compressed_open(l->place.path, l->place.compressed, &l->file));
    return l->place.offset > 0 ? seek_line(l) : pass_mark(l);
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

int64_t mr_lines_count(const char *text, size_t bytes, char before)
{
    int64_t count = bytes > 0 && (text[0] == '\r' || (text[0] == '\n' && before != '\r'));
    for (size_t i = 1; i < bytes; i++)
        count += text[i] == '\r' || (text[i] == '\n' && text[i - 1] != '\r');
    return count;
}

int64_t mr_lines_consumed(const mr_lines *l)
{
    if (l->place.compressed) return mr_compressed_consumed(l->file);
    return l->offset > l->place.offset ? l->offset - l->place.offset : 0;
}
