#include "eval/row_file.h"

#include "base/file.h"
#include "store/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mr_row_file {
    char path[PATH_MAX], lock_path[PATH_MAX];
    int handle, lock;
    char *text; /* what was there; owned */
    size_t bytes, at;
    int64_t line; /* the one given last, from 1 */
    bool appending;
};

static mr_status fail_errno(const mr_row_file *f, const char *what)
{
    return mr_fail(MR_ERR_IO, "cannot %s '%s': %s", what, f->path, strerror(errno));
}

/* Reads what is there, but for half a line at its end. */
static mr_status read_text(mr_row_file *f)
{
    MR_TRY(mr_file_read(f->path, MR_MEM_OTHER, &f->text, &f->bytes));
    while (f->bytes > 0 && f->text[f->bytes - 1] != '\n')
        f->bytes--;
    return MR_OK;
}

static mr_status open_file(mr_row_file *f)
{
    f->handle = open(f->path, O_RDWR | O_CREAT, 0666);
    if (f->handle < 0) return fail_errno(f, "open");
    MR_TRY(mr_file_lock(f->lock_path, &f->lock));
    return read_text(f);
}

bool mr_row_file_is(const char *head, size_t bytes)
{
    const char *end = memchr(head, '\n', bytes);
    json_t *line = end ? json_loadb(head, (size_t)(end - head), 0, NULL) : NULL;
    const bool is = json_is_string(json_object_get(line, "set")) &&
                    json_is_integer(json_object_get(line, "items"));
    json_decref(line);
    return is;
}

mr_status mr_row_file_open(const char *path, mr_row_file **out)
{
    mr_row_file *f = mr_alloc(MR_MEM_OTHER, sizeof *f);
    *out = NULL;
    if (!f) return MR_ERR_MEMORY;
    f->handle = f->lock = -1;
    mr_status status = mr_file_path(f->path, "%s", path);
    if (status == MR_OK) status = mr_file_path(f->lock_path, "%s.lock", path);
    if (status == MR_OK) status = open_file(f);
    *out = f;
    if (status == MR_OK) return MR_OK;
    const mr_status closed = mr_row_file_close(out); /* nothing was written */
    (void)closed;
    return status;
}

mr_status mr_row_file_close(mr_row_file **file)
{
    mr_row_file *f = *file;
    mr_status status = MR_OK;
    if (!f) return MR_OK;
    if (f->handle >= 0 && f->appending && fsync(f->handle) != 0 && errno != EINVAL)
        status = fail_errno(f, "sync");
    if (f->handle >= 0 && close(f->handle) != 0 && status == MR_OK) status = fail_errno(f, "close");
    mr_file_unlock(f->lock_path, &f->lock);
    mr_free(f->text);
    mr_free(f);
    *file = NULL;
    return status;
}

/* Gives the next line that was there; NULL: none. */
static mr_status next_line(mr_row_file *f, json_t **out)
{
    *out = NULL;
    if (f->at == f->bytes) return MR_OK;
    json_error_t error;
    const char *line = f->text + f->at, *end = memchr(line, '\n', f->bytes - f->at);
    f->line++;
    *out = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, &error);
    MR_CHECK(*out, MR_ERR_FORMAT, "%s:%lld: cannot read JSON: %s", f->path, (long long)f->line,
             error.text);
    f->at = (size_t)(end - f->text) + 1;
    return MR_OK;
}

json_t *mr_row_file_head(const mr_row_file *f)
{
    const char *end = f->bytes > 0 ? memchr(f->text, '\n', f->bytes) : NULL;
    return end ? json_loadb(f->text, (size_t)(end - f->text), JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static void step_back(mr_row_file *f)
{
    f->line--;
    do
        f->at--;
    while (f->at > 0 && f->text[f->at - 1] != '\n');
}

static mr_status write_all(mr_row_file *f, const char *text, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t written = write(f->handle, text, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_errno(f, "write to");
        text += written;
        bytes -= (size_t)written;
    }
    return MR_OK;
}

/* Begins to append where all that was there has been gone through. */
static mr_status begin_appending(mr_row_file *f)
{
    if (f->appending) return MR_OK;
    MR_CHECK(f->at == f->bytes, MR_ERR_FORMAT,
             "%s:%lld: expected the row of an item, found lines of another set behind a set that "
             "is not complete",
             f->path, (long long)f->line + 1);
    if (ftruncate(f->handle, (off_t)f->bytes) != 0) return fail_errno(f, "cut");
    if (lseek(f->handle, 0, SEEK_END) < 0) return fail_errno(f, "write to");
    f->appending = true;
    return MR_OK;
}

static mr_status append(mr_row_file *f, const json_t *value)
{
    MR_TRY(begin_appending(f));
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17));
    MR_CHECK(text, MR_ERR_MEMORY, "cannot allocate a line of '%s'", f->path);
    const size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the zero: a line is written by one call */
    mr_status status = write_all(f, text, length + 1);
    free(text);
    return status;
}

/* Tells of the first key in which the head that is there differs from the one expected. */
static mr_status fail_head(const mr_row_file *f, const json_t *expected, const json_t *found)
{
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expected, key, value)
    {
        const json_t *other = json_object_get(found, key);
        if (other && json_equal(other, value)) continue;
        char *was = other ? json_dumps(other, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        char *is = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        mr_status status =
            mr_fail(MR_ERR_FORMAT,
                    "%s:%lld: it is of another evaluation: \"%s\" is %.200s there, "
                    "%.200s here",
                    f->path, (long long)f->line, key, was ? was : "missing", is ? is : "");
        free(was);
        free(is);
        return status;
    }
    return MR_OK;
}

mr_status mr_row_file_begin(mr_row_file *f, const json_t *head)
{
    json_t *found;
    if (f->appending) return append(f, head);
    MR_TRY(next_line(f, &found));
    mr_status status = found ? fail_head(f, head, found) : append(f, head);
    json_decref(found);
    return status;
}

mr_status mr_row_file_next(mr_row_file *f, json_t **row)
{
    *row = NULL;
    if (f->appending) return MR_OK;
    MR_TRY(next_line(f, row));
    if (!*row || json_object_get(*row, "item")) return MR_OK;
    json_decref(*row);
    *row = NULL;
    step_back(f);
    return MR_OK;
}

mr_status mr_row_file_fail(const mr_row_file *f, mr_status status)
{
    return mr_fail_in(status, "%s:%lld", f->path, (long long)f->line);
}

mr_status mr_row_file_add(mr_row_file *f, const json_t *row)
{
    return append(f, row);
}

mr_status mr_row_file_end(mr_row_file *f, const json_t *scores)
{
    json_t *found = NULL;
    if (!f->appending) MR_TRY(next_line(f, &found));
    const bool there = json_object_get(found, "scores") != NULL;
    json_decref(found);
    MR_CHECK(!found || there, MR_ERR_FORMAT, "%s:%lld: expected the scores of a set", f->path,
             (long long)f->line);
    return found ? MR_OK : append(f, scores);
}

/* Adds a line to what it belongs to. */
static mr_status sort_line(const mr_row_file *f, json_t *line, json_t *sets)
{
    json_t *set = json_array_get(sets, json_array_size(sets) - 1);
    if (json_object_get(line, "item") && set && !json_object_get(set, "scores"))
        return json_array_append(json_object_get(set, "rows"), line) == 0 ? MR_OK : MR_ERR_MEMORY;
    if (json_object_get(line, "scores") && set)
        return json_object_set(set, "scores", line) == 0 ? MR_OK : MR_ERR_MEMORY;
    MR_CHECK(json_object_get(line, "set"), MR_ERR_FORMAT,
             "%s:%lld: expected what a set of `mora eval --out` begins with", f->path,
             (long long)f->line);
    set = json_pack("{s:O, s:[]}", "head", line, "rows");
    return json_array_append_new(sets, set) == 0 ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_row_file_read(const char *path, json_t **out)
{
    mr_row_file f = {.handle = -1, .lock = -1};
    json_t *line = NULL;
    *out = json_array();
    mr_status status = *out ? mr_file_path(f.path, "%s", path) : MR_ERR_MEMORY;
    if (status == MR_OK) status = read_text(&f);
    while (status == MR_OK) {
        status = next_line(&f, &line);
        if (status != MR_OK || !line) break;
        status = sort_line(&f, line, *out);
        json_decref(line);
    }
    mr_free(f.text);
    if (status == MR_OK) return MR_OK;
    json_decref(*out);
    *out = NULL;
    return status;
}
