#include "data_files.h"
#include "program.h"

#include <jansson.h>

#include <stdlib.h>

static const program_setting alone = {.ranks = 0};

/* A hundred documents a line, of 40 tokens each with EOS. */
static void write_documents(const char *path)
{
    char line[64];
    data_write(path, "", 0);
    for (int i = 0; i < 100; i++) {
        int length = snprintf(line, sizeof line, "document %02d of a hundred that are alike\n", i);
        data_append(path, line, (size_t)length);
    }
}

/* The hash of a folder as logs of runs on it have it. */
static void hash_of(const char *folder, char out[32])
{
    program_result result = program_succeed(alone, "info %s --json", folder);
    json_t *root = json_loads(result.out, 0, NULL);
    const char *hash = json_string_value(json_object_get(root, "data_hash"));
    assert_non_null(hash);
    snprintf(out, 32, "%s", hash);
    json_decref(root);
    program_free(&result);
}

static void another_spelling_of_a_path_is_the_same_data(void **state)
{
    (void)state;
    char plain[32], spelled[32], changed[32];
    write_documents("spelled.txt");
    program_result result = program_succeed(alone, "data prepare spelled.txt --to spelled-a");
    program_free(&result);
    result = program_succeed(alone, "data prepare ./spelled.txt --to spelled-b");
    program_free(&result);
    data_append("spelled.txt", "!", 1);
    result = program_succeed(alone, "data prepare spelled.txt --to spelled-c");
    program_free(&result);
    hash_of("spelled-a", plain);
    hash_of("spelled-b", spelled);
    hash_of("spelled-c", changed);
    assert_string_equal(plain, spelled);
    assert_string_not_equal(plain, changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_spelling_of_a_path_is_the_same_data),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, program_leave_folder);
}
