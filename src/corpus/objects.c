#include "corpus/objects.h"

#include "base/utf8.h"
#include "corpus/compressed.h"
#include "corpus/value.h"

#include <string.h>

enum { ROOM = 1 << 20 }; /* bytes of the buffer to begin with */

/* What may come next. */
typedef enum next_place {
    AT_START,  /* the bracket */
    AT_FIRST,  /* an item or the end of the array */
    AT_ITEM,   /* an item */
    AT_BEHIND, /* a comma or the end of the array */
    AT_ANY,    /* any of them, behind what has been told of */
    AT_END,    /* the end of the file */
    AT_NOTHING
} next_place;

struct mr_objects {
    const char *path; /* borrowed */
    bool compressed;
    size_t longest;
    mr_compressed *file; /* owned */
    char *data;          /* [room], owned */
    int64_t room;
    size_t start, end;        /* what is read and not given yet: start..end - 1 */
    bool finished;            /* nothing more to read */
    int64_t offset;           /* of start, in the text */
    int64_t line;             /* of start, from 1 */
    char before;              /* the byte before start; 0 at the start of the file */
    size_t given;             /* bytes from start on that were given last */
    int64_t column;           /* blanks before start in its line; -1: not blanks alone */
    int64_t indent;           /* of the last item that began a line; -1: none has */
    char name[MR_VALUE_NAME]; /* the first of the last sound object */
    bool doubt;               /* one was broken, so that an end may be none */
    next_place at;
};

/* Reads more behind end, letting go of what was given. */
static mr_status read_more(mr_objects *o)
{
    size_t got = 0;
    memmove(o->data, o->data + o->start, o->end - o->start);
    o->end -= o->start;
    o->start = 0;
    MR_TRY(mr_grow(MR_MEM_DATA, &o->data, &o->room, (int64_t)o->end + (o->room + 1) / 2, 1));
    MR_TRY(mr_compressed_read(o->file, o->data + o->end, (size_t)o->room - o->end, &got));
    o->finished = got == 0;
    o->end += got;
    return MR_OK;
}

/* Goes behind bytes that were read. */
static void pass(mr_objects *o, size_t bytes)
{
    if (bytes == 0) return;
    const char *from = o->data + o->start;
    o->line += mr_lines_count(from, bytes, o->before);
    o->before = from[bytes - 1];
    o->column = -1;
    o->start += bytes;
    o->offset += (int64_t)bytes;
}

/* Goes to the next byte that is no blank; *found is false at the end of the file. */
static mr_status pass_blanks(mr_objects *o, bool *found)
{
    for (;;) {
        int64_t column = o->column;
        size_t blanks = 0;
        for (; o->start + blanks < o->end && mr_value_blank(o->data[o->start + blanks]); blanks++) {
            const char c = o->data[o->start + blanks];
            column = c == '\n' || c == '\r' ? 0 : column < 0 ? -1 : column + 1;
        }
        pass(o, blanks);
        o->column = column;
        *found = o->start < o->end;
        if (*found || o->finished) return MR_OK;
        MR_TRY(read_more(o));
    }
}

/* Goes on through what is neither object nor list; returns the bytes of it that were read. It ends
 * before a comma, the end of the array, or an object. */
static size_t scan_other(bool *string, const char *text, size_t bytes, size_t from, bool *ended)
{
    *ended = true;
    for (size_t i = from; i < bytes; i++) {
        const char c = text[i];
        if (*string)
            *string = c != '"' && c != '\n' && c != '\r';
        else if (i > 0 && (c == ',' || c == ']' || c == '{'))
            return i;
        else
            *string = c == '"';
    }
    *ended = false;
    return bytes;
}

/* Finds the end of the item at start. One that is too long is passed over piece by piece. */
static mr_status take_item(mr_objects *o, mr_object *out, mr_value *value, bool *whole)
{
    const char first = o->data[o->start];
    size_t looked = 0;
    bool string = false;
    if (o->column >= 0) o->indent = o->column;
    mr_value_begin(value, o->name, o->indent);
    for (;;) {
        const char *text = o->data + o->start;
        const size_t bytes = o->end - o->start;
        looked = first == '{' || first == '['
                     ? mr_value_follow(value, text, bytes, looked, o->finished, whole)
                     : scan_other(&string, text, bytes, looked, whole);
        const bool long_now = looked > o->longest;
        if (!*whole && !out->too_long && (long_now || o->finished) && value->inner > 0 &&
            value->inner <= o->longest) {
            /* It holds what followed it, all of it: its end is missing. */
            looked = value->inner;
            value->broken = *whole = true;
            break;
        }
        out->too_long = out->too_long || long_now;
        if (*whole || o->finished) break;
        if (out->too_long) {
            pass(o, looked);
            looked = 0;
        }
        MR_TRY(read_more(o));
    }
    out->text = out->too_long ? "" : o->data + o->start;
    out->bytes = out->too_long ? 0 : looked;
    o->given = looked;
    return MR_OK;
}

static void tell(mr_object *out, const char *problem)
{
    out->text = "";
    out->problem = problem;
}

/* What starts here is no sign of an array. An item that is no object is told of by who reads it. */
static mr_status next_item(mr_objects *o, mr_object *out)
{
    const bool object = o->data[o->start] == '{';
    mr_value value;
    bool whole;
    if (o->at == AT_BEHIND && object) {
        o->at = AT_ANY;
        tell(out, "expected a comma between two records");
        return MR_OK;
    }
    MR_TRY(take_item(o, out, &value, &whole));
    if (object && !whole) {
        tell(out, "the file ends inside a record");
        o->at = AT_NOTHING;
        return MR_OK;
    }
    if (!object && (o->at == AT_BEHIND || o->at == AT_ANY))
        tell(out, "expected a comma or ] behind a record");
    const bool sound = object && !value.broken;
    if (sound && value.name[0] != '\0') memcpy(o->name, value.name, sizeof o->name);
    if (!sound) o->doubt = true;
    o->at = sound ? AT_BEHIND : AT_ANY;
    return MR_OK;
}

/* Takes a sign of an array, if there is one. */
static bool take_sign(mr_objects *o, char sign, mr_object *out)
{
    const next_place at = o->at;
    if (at == AT_START && sign == '[')
        o->at = AT_FIRST;
    else if (at != AT_START && sign == ']')
        o->at = AT_END;
    else if (at != AT_START && sign == ',')
        o->at = AT_ITEM;
    else
        return false;
    if ((sign == ']' && at == AT_ITEM) || (sign == ',' && (at == AT_FIRST || at == AT_ITEM)))
        tell(out, "expected a record beside a comma");
    pass(o, 1);
    return true;
}

mr_status mr_objects_next(mr_objects *o, mr_object *out)
{
    *out = (mr_object){.text = NULL};
    pass(o, o->given);
    o->given = 0;
    while (!out->text && o->at != AT_NOTHING) {
        bool found;
        MR_TRY(pass_blanks(o, &found));
        out->line = o->line;
        if (!found) {
            if (o->at != AT_START && o->at != AT_END)
                tell(out, "the file ends inside the array of records");
            o->at = AT_NOTHING;
        } else if (o->at == AT_END && o->doubt) {
            o->at = AT_ANY;
        } else if (o->at == AT_END) {
            tell(out, "expected the end of the file behind the array of records");
            o->at = AT_NOTHING;
        } else if (!take_sign(o, o->data[o->start], out)) {
            if (o->at == AT_START) {
                tell(out, "expected an array of records, which begins with [");
                o->at = AT_NOTHING;
            } else {
                MR_TRY(next_item(o, out));
            }
        }
    }
    return MR_OK;
}

/* Goes behind a byte-order mark. */
static mr_status pass_mark(mr_objects *o)
{
    while (o->end < MR_UTF8_MARK && !o->finished)
        MR_TRY(read_more(o));
    pass(o, mr_utf8_mark(o->data, o->end));
    return MR_OK;
}

mr_status mr_objects_open(const mr_lines_place *place, mr_objects **out)
{
    *out = NULL;
    mr_objects *o = mr_alloc(MR_MEM_DATA, sizeof *o);
    if (!o) return MR_ERR_MEMORY;
    *o = (mr_objects){
        .path = place->path, .compressed = place->compressed, .longest = place->longest, .line = 1};
    mr_status status = mr_grow(MR_MEM_DATA, &o->data, &o->room, ROOM, 1);
    if (status == MR_OK) status = mr_compressed_open(o->path, o->compressed, &o->file);
    if (status == MR_OK) status = pass_mark(o);
    if (status == MR_OK)
        *out = o;
    else
        mr_objects_close(&o);
    return status;
}

void mr_objects_close(mr_objects **objects)
{
    mr_objects *o = *objects;
    if (!o) return;
    mr_compressed_close(&o->file);
    mr_free(o->data);
    mr_free(o);
    *objects = NULL;
}

int64_t mr_objects_offset(const mr_objects *o)
{
    return o->offset + (int64_t)o->given;
}

int64_t mr_objects_consumed(const mr_objects *o)
{
    return o->compressed ? mr_compressed_consumed(o->file) : mr_objects_offset(o);
}

mr_status mr_objects_are_there(const char *path, bool compressed, bool brace, bool *there)
{
    const mr_lines_place place = {.path = path, .compressed = compressed};
    mr_objects *o = NULL;
    *there = false;
    MR_TRY(mr_objects_open(&place, &o));
    bool found;
    mr_status status = pass_blanks(o, &found);
    *there = status == MR_OK && found && o->data[o->start] == '[';
    if (*there && brace) {
        pass(o, 1);
        status = pass_blanks(o, &found);
        *there = status == MR_OK && found && o->data[o->start] == '{';
    }
    mr_objects_close(&o);
    return status;
}
