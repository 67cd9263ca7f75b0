#include "store/h5_impl.h"

#include <inttypes.h>
#include <string.h>

mr_status mr_h5_set_attribute(hid_t object, const char *path, const char *name, hid_t file_type,
                              hid_t type, const void *value)
{
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    htri_t exists;
    MR_H5(exists = H5Aexists(object, name), MR_ERR_IO, path, "attribute '%s'", name);
    if (exists > 0)
        MR_H5(H5Adelete(object, name), MR_ERR_IO, path, "cannot replace attribute '%s'", name);
    MR_H5(space = H5Screate(H5S_SCALAR), MR_ERR_IO, path, "attribute '%s'", name);
    MR_H5(attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT),
          MR_ERR_IO, path, "cannot create attribute '%s'", name);
    MR_H5(H5Awrite(attribute, type, value), MR_ERR_IO, path, "cannot write attribute '%s'", name);
cleanup:
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    return status;
}

mr_status mr_h5_set_text(hid_t object, const char *path, const char *name, const char *value)
{
    hid_t type = H5I_INVALID_HID;
    mr_status status = mr_h5_make_text_type(path, strlen(value) + 1, &type);
    if (status == MR_OK) status = mr_h5_set_attribute(object, path, name, type, type, value);
    if (type >= 0) H5Tclose(type);
    return status;
}

/* An attribute of one value. */
typedef struct attribute {
    hid_t handle, type;
    H5T_class_t class;
    size_t bytes; /* of the value in the file */
} attribute;

static void close_attribute(attribute *a)
{
    if (a->type >= 0) H5Tclose(a->type);
    if (a->handle >= 0) H5Aclose(a->handle);
}

/* Opens an attribute that must be one value of a kind. */
static mr_status open_attribute(hid_t object, const char *path, const char *name, bool text,
                                const char *expected, attribute *out)
{
    *out = (attribute){.handle = H5I_INVALID_HID, .type = H5I_INVALID_HID};
    MR_CHECK(H5Aexists(object, name) != 0, MR_ERR_FORMAT, "%s: no attribute '%s'", path, name);
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, file = H5I_INVALID_HID;
    hsize_t file_bytes = 0;
    MR_H5(out->handle = H5Aopen(object, name, H5P_DEFAULT), MR_ERR_FORMAT, path, "attribute '%s'",
          name);
    MR_H5(out->type = H5Aget_type(out->handle), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(space = H5Aget_space(out->handle), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(file = H5Iget_file_id(object), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(H5Fget_filesize(file, &file_bytes), MR_ERR_FORMAT, path, "its size");
    out->class = H5Tget_class(out->type);
    out->bytes = H5Tget_size(out->type);
    bool number = out->class == H5T_INTEGER || out->class == H5T_FLOAT;
    if (!(text ? out->class == H5T_STRING : number) || H5Sget_simple_extent_npoints(space) != 1 ||
        out->bytes > file_bytes)
        status = mr_fail(MR_ERR_FORMAT, "%s: attribute '%s' is not %s", path, name, expected);
cleanup:
    if (file >= 0) H5Fclose(file);
    if (space >= 0) H5Sclose(space);
    if (status != MR_OK) close_attribute(out);
    return status;
}

mr_status mr_h5_int(hid_t object, const char *path, const char *name, int64_t *out)
{
    static const char expected[] = "a whole number";
    const double most = 0x1p53;
    attribute a;
    double value = 0;
    MR_TRY(open_attribute(object, path, name, false, expected, &a));
    mr_status status = MR_OK;
    if (a.class == H5T_INTEGER) {
        MR_H5(H5Aread(a.handle, H5T_NATIVE_INT64, out), MR_ERR_FORMAT, path,
              "cannot read attribute '%s'", name);
        goto cleanup;
    }
    MR_H5(H5Aread(a.handle, H5T_NATIVE_DOUBLE, &value), MR_ERR_FORMAT, path,
          "cannot read attribute '%s'", name);
    if (!(value >= -most && value <= most) || (double)(int64_t)value != value)
        status = mr_fail(MR_ERR_FORMAT, "%s: attribute '%s' is not %s", path, name, expected);
    else
        *out = (int64_t)value;
cleanup:
    close_attribute(&a);
    return status;
}

mr_status mr_h5_double(hid_t object, const char *path, const char *name, double *out)
{
    attribute a;
    MR_TRY(open_attribute(object, path, name, false, "a number", &a));
    mr_status status = MR_OK;
    MR_H5(H5Aread(a.handle, H5T_NATIVE_DOUBLE, out), MR_ERR_FORMAT, path,
          "cannot read attribute '%s'", name);
cleanup:
    close_attribute(&a);
    return status;
}

mr_status mr_h5_text(hid_t object, const char *path, const char *name, char **out)
{
    attribute a;
    hid_t type = H5I_INVALID_HID;
    char *text = NULL, *theirs = NULL;
    *out = NULL;
    MR_TRY(open_attribute(object, path, name, true, "a text", &a));
    mr_status status = mr_h5_text_type(a.type, path, name, &type);
    if (status != MR_OK) goto cleanup;
    bool variable = H5Tis_variable_str(type) > 0;
    if (!variable) {
        text = mr_alloc(MR_MEM_OTHER, a.bytes + 1);
        status = text ? MR_OK : MR_ERR_MEMORY;
        if (status != MR_OK) goto cleanup;
    }
    MR_H5(H5Aread(a.handle, type, variable ? (void *)&theirs : text), MR_ERR_FORMAT, path,
          "cannot read attribute '%s'", name);
    if (variable) text = mr_strdup(theirs ? theirs : "");
    status = text ? MR_OK : MR_ERR_MEMORY;
    if (status != MR_OK) goto cleanup;
    *out = text;
    text = NULL;
cleanup:
    if (theirs) H5free_memory(theirs);
    mr_free(text);
    if (type >= 0) H5Tclose(type);
    close_attribute(&a);
    return status;
}

mr_status mr_h5_check_format(hid_t file, const char *path, const char *format, int64_t version)
{
    char *text = NULL;
    int64_t found = 0;
    MR_TRY(mr_h5_text(file, path, "format", &text));
    mr_status status = MR_OK;
    if (strcmp(text, format) != 0)
        status =
            mr_fail(MR_ERR_FORMAT, "%s: format: expected '%s', found '%.64s'", path, format, text);
    mr_free(text);
    MR_TRY(status);
    MR_TRY(mr_h5_int(file, path, "format_version", &found));
    MR_CHECK(found == version, MR_ERR_FORMAT,
             "%s: format_version: expected %" PRId64 ", found %" PRId64, path, version, found);
    return MR_OK;
}
