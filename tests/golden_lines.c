#include "golden_lines.h"

#include "base/memory.h"
#include "golden_find.h"

#include <stdlib.h>

static const char *root_now;

const char *golden_root(void)
{
    return root_now;
}

void golden_hold(const json_t *line, bool holds, const char *condition)
{
    if (holds) return;
    char *text = json_dumps(line, JSON_ENSURE_ASCII);
    print_error("%.2000s\n", text);
    free(text);
    fail_msg("%s", condition);
}

const char *golden_text(const json_t *line, const char *key, size_t *bytes)
{
    const json_t *value = json_object_get(line, key);
    golden_hold(line, json_is_string(value), key);
    *bytes = json_string_length(value);
    return json_string_value(value);
}

double golden_number(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    golden_hold(line, json_is_number(value), key);
    return json_number_value(value);
}

bool golden_truth(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    golden_hold(line, json_is_boolean(value), key);
    return json_is_true(value);
}

size_t golden_list(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    golden_hold(line, json_is_array(value), key);
    return json_array_size(value);
}

double *golden_numbers(const json_t *line, const char *key, size_t *count)
{
    *count = golden_list(line, key);
    double *numbers = mr_alloc_array(MR_MEM_OTHER, *count + 1, sizeof *numbers);
    assert_non_null(numbers);
    for (size_t i = 0; i < *count; i++) {
        const json_t *value = json_array_get(json_object_get(line, key), i);
        golden_hold(line, json_is_number(value), key);
        numbers[i] = json_number_value(value);
    }
    return numbers;
}

static void check(const json_t *line, const golden_kind *kinds)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    golden_assert(line, kind || strcmp(kinds->name, "*") == 0);
    while (kinds->name && strcmp(kinds->name, "*") != 0 && strcmp(kinds->name, kind) != 0)
        kinds++;
    golden_assert(line, kinds->name != NULL);
    kinds->check(line);
}

static int64_t check_file(const char *path, const golden_kind *kinds)
{
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    char *text = NULL;
    size_t room = 0;
    int64_t lines = 0;
    for (ssize_t bytes; (bytes = getline(&text, &room, file)) > 0; lines++) {
        json_error_t error;
        json_t *line =
            json_loadb(text, (size_t)bytes, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
        if (!line) fail_msg("%s:%lld: %s", path, (long long)lines + 1, error.text);
        check(line, kinds);
        json_decref(line);
    }
    free(text);
    fclose(file);
    return lines;
}

void golden_lines(const char *name, const golden_kind *kinds)
{
    mr_names roots = {0};
    int64_t lines = 0;
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++) {
        char path[TEST_PATH];
        snprintf(path, sizeof path, "%s/%s", roots.item[i], name);
        root_now = roots.item[i];
        lines += check_file(path, kinds);
    }
    mr_names_free(&roots);
    if (lines == 0) skip_without_golden("%s", name);
    print_message("%lld lines of %s\n", (long long)lines, name);
}
