#include "store/runlog_read.h"

#include "store/h5.h"
#include "store/runlog.h"

#include <stdio.h>
#include <string.h>

struct mr_runlog_reader {
    char *path; /* owned */
    hid_t file; /* owned */
};

mr_status mr_runlog_open(const char *path, mr_runlog_reader **out)
{
    *out = NULL;
    mr_runlog_reader *reader = mr_alloc(MR_MEM_OTHER, sizeof *reader);
    if (!reader) return MR_ERR_MEMORY;
    reader->file = H5I_INVALID_HID;
    reader->path = mr_strdup(path);
    mr_status status = reader->path ? mr_h5_open(path, &reader->file) : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_h5_check_format(reader->file, path, MR_RUNLOG_FORMAT, MR_RUNLOG_VERSION);
    if (status == MR_ERR_FORMAT) status = mr_runlog_unsound(path);
    if (status != MR_OK)
        mr_runlog_close_reader(&reader);
    else
        *out = reader;
    return status;
}

void mr_runlog_close_reader(mr_runlog_reader **reader)
{
    mr_runlog_reader *old = *reader;
    if (!old) return;
    if (old->file >= 0) H5Fclose(old->file);
    mr_free(old->path);
    mr_free(old);
    *reader = NULL;
}

mr_status mr_runlog_get_text(const mr_runlog_reader *reader, const char *name, char **out)
{
    return mr_h5_text(reader->file, reader->path, name, out);
}

/* Reads a text attribute of an object; absent ones are "". */
static mr_status text_of(const mr_runlog_reader *reader, hid_t object, const char *name, char *out,
                         size_t room)
{
    char *text = NULL;
    out[0] = '\0';
    if (H5Aexists(object, name) <= 0) return MR_OK;
    MR_TRY(mr_h5_text(object, reader->path, name, &text));
    snprintf(out, room, "%s", text);
    mr_free(text);
    return MR_OK;
}

mr_status mr_runlog_tells(const mr_runlog_reader *reader, const char *set, const char *score,
                          mr_runlog_about *out)
{
    char path[MR_H5_PATH];
    hid_t object = H5I_INVALID_HID;
    mr_status status = MR_OK;
    *out = (mr_runlog_about){0};
    snprintf(path, sizeof path, "/eval/%s", set);
    if (!mr_h5_exists(reader->file, path)) return MR_OK;
    MR_H5(object = H5Oopen(reader->file, path, H5P_DEFAULT), MR_ERR_FORMAT, reader->path, "%s",
          path);
    const struct {
        const char *name;
        char *text;
        size_t room;
    } texts[] = {{"kind", out->kind, sizeof out->kind},
                 {"part", out->part, sizeof out->part},
                 {"item", out->item, sizeof out->item},
                 {"primary", out->primary, sizeof out->primary},
                 {"set", out->set, sizeof out->set},
                 {"source", out->source, sizeof out->source},
                 {"rules", out->rules, sizeof out->rules},
                 {"items_hash", out->items_hash, sizeof out->items_hash},
                 {"rows", out->rows, sizeof out->rows},
                 {"data", out->data, sizeof out->data}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if ((status = text_of(reader, object, texts[i].name, texts[i].text, texts[i].room)) !=
            MR_OK)
            goto cleanup;
    if (H5Aexists(object, "version") > 0 &&
        (status = mr_h5_int(object, reader->path, "version", &out->version)) != MR_OK)
        goto cleanup;
    out->told = out->kind[0] != '\0';
    if (!score) goto cleanup;
    H5Oclose(object);
    object = H5I_INVALID_HID;
    out->told = false;
    snprintf(path, sizeof path, "/eval/%s/%s", set, score);
    if (!mr_h5_exists(reader->file, path)) goto cleanup;
    MR_H5(object = H5Oopen(reader->file, path, H5P_DEFAULT), MR_ERR_FORMAT, reader->path, "%s",
          path);
    if (H5Aexists(object, "lower_is_better") <= 0) goto cleanup;
    int64_t lower = 0;
    status = text_of(reader, object, "unit", out->unit, sizeof out->unit);
    if (status == MR_OK) status = mr_h5_int(object, reader->path, "lower_is_better", &lower);
    out->lower_is_better = lower != 0;
    out->told = status == MR_OK;
cleanup:
    if (object >= 0) H5Oclose(object);
    return status;
}

mr_status mr_runlog_get_int(const mr_runlog_reader *reader, const char *name, int64_t *out)
{
    return mr_h5_int(reader->file, reader->path, name, out);
}

mr_status mr_runlog_get_double(const mr_runlog_reader *reader, const char *name, double *out)
{
    return mr_h5_double(reader->file, reader->path, name, out);
}

bool mr_runlog_has_attribute(const mr_runlog_reader *reader, const char *name)
{
    return H5Aexists(reader->file, name) > 0;
}

bool mr_runlog_has(const mr_runlog_reader *reader, const char *path)
{
    return mr_h5_exists(reader->file, path);
}

mr_status mr_runlog_list(const mr_runlog_reader *reader, const char *group, mr_names *names)
{
    *names = (mr_names){0};
    mr_status status = mr_h5_members(reader->file, reader->path, group, names);
    if (status != MR_OK) mr_names_free(names);
    return status;
}

mr_status mr_runlog_scores(const mr_runlog_reader *reader, const char *name, mr_names *names)
{
    *names = (mr_names){0};
    char group[MR_H5_PATH];
    int length = snprintf(group, sizeof group, "/eval/%s", name);
    MR_CHECK(length > 0 && (size_t)length < sizeof group, MR_ERR_ARG,
             "%s: the name '%.64s...' is too long", reader->path, name);
    MR_TRY(mr_runlog_list(reader, group, names));
    int64_t kept = 0;
    for (int64_t i = 0; i < names->count; i++) {
        if (strcmp(names->item[i], "step") == 0 || strcmp(names->item[i], "items") == 0)
            mr_free(names->item[i]);
        else
            names->item[kept++] = names->item[i];
    }
    names->count = kept;
    return MR_OK;
}

/* Reads a whole dataset of numbers as doubles. */
static mr_status read_numbers(const mr_runlog_reader *reader, const char *dataset, bool flat,
                              double **out, int64_t *rows, int64_t *columns)
{
    *out = NULL;
    *rows = *columns = 0;
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(reader->file, reader->path, dataset, &table));
    mr_status status = MR_OK;
    double *values = NULL;
    if (table.class == H5T_STRING || table.flat != flat) {
        status = mr_fail(MR_ERR_FORMAT, "%s: %s: expected numbers in %d dimension%s", reader->path,
                         dataset, flat ? 1 : 2, flat ? "" : "s");
        goto cleanup;
    }
    /* The product is below the bytes stored in the file, as the opening has checked. */
    values =
        mr_alloc_array(MR_MEM_OTHER, (size_t)table.rows * (size_t)table.columns, sizeof *values);
    if (!values) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    status =
        mr_h5_table_read(&table, reader->path, dataset, 0, table.rows, H5T_NATIVE_DOUBLE, values);
    if (status != MR_OK) goto cleanup;
    *out = values;
    *rows = table.rows;
    *columns = table.columns;
    values = NULL;
cleanup:
    mr_free(values);
    mr_h5_table_close(&table);
    return status;
}

mr_status mr_runlog_series(const mr_runlog_reader *reader, const char *dataset, double **values,
                           int64_t *count)
{
    int64_t columns;
    return read_numbers(reader, dataset, true, values, count, &columns);
}

mr_status mr_runlog_matrix(const mr_runlog_reader *reader, const char *dataset, double **values,
                           int64_t *rows, int64_t *columns)
{
    return read_numbers(reader, dataset, false, values, rows, columns);
}

mr_status mr_runlog_texts(const mr_runlog_reader *reader, const char *dataset, mr_names *texts)
{
    *texts = (mr_names){0};
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(reader->file, reader->path, dataset, &table));
    mr_status status = MR_OK;
    if (table.class != H5T_STRING || !table.flat)
        status =
            mr_fail(MR_ERR_FORMAT, "%s: %s: expected texts in 1 dimension", reader->path, dataset);
    if (status == MR_OK) status = mr_h5_table_texts(&table, reader->path, dataset, texts);
    mr_h5_table_close(&table);
    if (status != MR_OK) mr_names_free(texts);
    return status;
}
