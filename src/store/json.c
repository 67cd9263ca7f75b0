#include "store/json.h"

#include "base/file.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* JSON is UTF-8. Some programs put a mark before it that is no part of the text: mark gets its
 * bytes. Others write UTF-16, of which a parser could only say that it is no token. */
static mr_status check_encoding(const char *path, const char *text, size_t size, size_t *mark)
{
    *mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    bool wide =
        size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 ||
                      (text[0] == '\0') != (text[1] == '\0'));
    MR_CHECK(!wide, MR_ERR_FORMAT, "%s: expected UTF-8, found UTF-16 or UTF-32", path);
    return MR_OK;
}

mr_status mr_json_read(const char *path, json_t **out)
{
    *out = NULL;
    char *text = NULL;
    size_t size = 0;
    MR_TRY(mr_file_read(path, MR_MEM_OTHER, &text, &size));
    json_error_t error;
    size_t mark = 0;
    mr_status encoded = check_encoding(path, text, size, &mark);
    json_t *root = NULL;
    if (encoded == MR_OK)
        root =
            json_loadb(text + mark, size - mark, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    mr_free(text);
    MR_TRY(encoded);
    MR_CHECK(root, MR_ERR_FORMAT, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    if (!json_is_object(root)) {
        mr_status status =
            mr_fail(MR_ERR_FORMAT, "%s: expected an object, found %s", path, mr_json_kind(root));
        json_decref(root);
        return status;
    }
    *out = root;
    return MR_OK;
}

json_t *mr_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void mr_json_append(json_t **list, json_t *item)
{
    if (json_array_append_new(*list, item) == 0) return;
    json_decref(*list);
    *list = NULL;
}

const char *mr_json_kind(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "an unknown value";
}
