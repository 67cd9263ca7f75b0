#include "store/json.h"

#include "base/file.h"
#include "base/text.h"
#include "base/utf8.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* JSON is UTF-8. Some programs put a mark before it that is no part of the text: mark gets its
 * bytes. Others write UTF-16, of which a parser could only say that it is no token. */
static mr_status check_encoding(const char *path, const char *text, size_t size, size_t *mark)
{
    *mark = mr_utf8_mark(text, size);
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

/* Text of a value in the fewest digits, for free(); NULL where memory is short. */
static char *shortest_text(const json_t *value)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(digits));
        if (!text || digits == 17) return text; /* 17 bring every double back */
        json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
        const bool same = json_equal(value, again);
        json_decref(again);
        if (same) return text;
        free(text);
    }
}

mr_status mr_json_write(const char *path, const json_t *value)
{
    char *text = value ? shortest_text(value) : NULL;
    MR_CHECK(text, MR_ERR_MEMORY, "cannot allocate the text of '%s'", path);
    mr_status status = mr_file_write(path, text, strlen(text));
    free(text);
    return status;
}

json_t *mr_json_text(const char *text)
{
    mr_text out = {0};
    if (mr_utf8_valid(text, strlen(text)) == strlen(text)) return json_string(text);
    for (size_t left = strlen(text); left > 0;) {
        uint32_t point;
        const int length = mr_utf8_decode(text, left, &point);
        const int taken = length > 0 ? length : 1;
        if (length > 0)
            mr_text_add(&out, "%.*s", taken, text);
        else
            mr_text_add(&out, "\\x%02x", (unsigned char)*text);
        text += taken;
        left -= (size_t)taken;
    }
    json_t *string = out.failed ? NULL : json_string(mr_text_get(&out));
    mr_text_free(&out);
    return string;
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
