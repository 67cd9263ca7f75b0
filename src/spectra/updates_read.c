/* Reading an update from its parts. */

#include "spectra/updates.h"

#include <math.h>
#include <string.h>

enum { ROWS = 64 }; /* that are made at once */

mr_structure mr_updates_describe(const mr_updates_item *item, const mr_updates_parts *parts)
{
    if (!mr_stored_exists(&parts->now) && !mr_stored_exists(&parts->lengths))
        return parts->structure;
    return (mr_structure){.kind = MR_UPDATE_NONE, .rows = item->rows, .cols = item->cols};
}

static mr_status read_part(const mr_stored *part, float **out)
{
    return mr_stored_exists(part) ? mr_stored_all(part, out) : MR_OK;
}

/* Reads the arrays of a structure into it. */
static mr_status read_structure(const mr_updates_parts *parts, mr_structure *out)
{
    *out = parts->structure;
    mr_status status = read_part(&parts->a, &out->a);
    if (status == MR_OK) status = read_part(&parts->b, &out->b);
    if (status == MR_OK) status = read_part(&parts->m, &out->m);
    if (status != MR_OK) mr_structure_free(out);
    return status;
}

mr_status mr_updates_reader_open(const mr_updates_item *item, const mr_updates_parts *parts,
                                 mr_updates_reader *out)
{
    *out = (mr_updates_reader){.parts = *parts};
    MR_TRY(read_structure(parts, &out->parts.structure));
    mr_status status = read_part(&parts->lengths, &out->length);
    if (status == MR_OK) {
        out->unit = mr_alloc_array(MR_MEM_OTHER, (size_t)(ROWS * item->rows), sizeof *out->unit);
        out->scratch =
            mr_alloc_array(MR_MEM_OTHER, (size_t)(ROWS * item->cols), sizeof *out->scratch);
        if (!out->unit || !out->scratch) status = MR_ERR_MEMORY;
    }
    if (status != MR_OK) mr_updates_reader_close(out);
    return status;
}

void mr_updates_reader_close(mr_updates_reader *reader)
{
    mr_structure_free(&reader->parts.structure);
    mr_free(reader->length);
    mr_free(reader->unit);
    mr_free(reader->scratch);
    *reader = (mr_updates_reader){.length = NULL};
}

/* out = rows of X. */
static mr_status structure_rows(mr_updates_reader *r, int64_t first, int64_t count, double *out)
{
    const mr_structure *s = &r->parts.structure;
    if (s->kind == MR_UPDATE_NONE) {
        memset(out, 0, (size_t)(count * s->cols) * sizeof *out);
        return MR_OK;
    }
    const mr_operator op = mr_structure_operator(s);
    memset(r->unit, 0, (size_t)(count * s->rows) * sizeof *r->unit);
    for (int64_t i = 0; i < count; i++)
        r->unit[i * s->rows + first + i] = 1;
    return op.apply(op.context, true, count, r->unit, out);
}

/* Scales a row of W + X to its length. */
static void scale(double *row, int64_t count, double length)
{
    double squares = 0;
    for (int64_t j = 0; j < count; j++)
        squares += row[j] * row[j];
    const double ratio = squares > 0 ? length / sqrt(squares) : 0;
    for (int64_t j = 0; j < count; j++)
        row[j] *= ratio;
}

static void add(double *to, double factor, const double *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] += factor * x[i];
}

static mr_status some_rows(mr_updates_reader *r, int64_t first, int64_t count, double *out)
{
    const mr_updates_parts *parts = &r->parts;
    const int64_t cols = parts->structure.cols;
    const bool moved = mr_stored_exists(&parts->now);
    MR_TRY(structure_rows(r, first, count, out));
    if (!moved && !r->length) return MR_OK;
    MR_TRY(mr_stored_rows(moved ? &parts->now : &parts->base, first, count, r->scratch));
    add(out, 1, r->scratch, count * cols);
    for (int64_t i = 0; r->length && i < count; i++)
        scale(out + i * cols, cols, (double)r->length[first + i]);
    if (moved) MR_TRY(mr_stored_rows(&parts->base, first, count, r->scratch));
    add(out, -1, r->scratch, count * cols);
    return MR_OK;
}

mr_status mr_updates_reader_rows(mr_updates_reader *r, int64_t first, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i += ROWS)
        MR_TRY(some_rows(r, first + i, count - i < ROWS ? count - i : ROWS,
                         out + i * r->parts.structure.cols));
    return MR_OK;
}

mr_status mr_updates_take(const mr_updates_item *item, const mr_updates_parts *parts,
                          mr_structure *out)
{
    mr_updates_reader reader;
    *out = mr_updates_describe(item, parts);
    if (out->kind != MR_UPDATE_NONE) return read_structure(parts, out);
    MR_TRY(mr_updates_reader_open(item, parts, &reader));
    out->dense = mr_alloc_array(MR_MEM_OTHER, (size_t)(item->rows * item->cols), sizeof(double));
    mr_status status =
        out->dense ? mr_updates_reader_rows(&reader, 0, item->rows, out->dense) : MR_ERR_MEMORY;
    mr_updates_reader_close(&reader);
    if (status != MR_OK) mr_structure_free(out);
    return status;
}
