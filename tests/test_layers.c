#include "base/file.h"
#include "test.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A layer may include itself and those before it. */
static const char *const layers[] = {"base",  "comm",  "config",  "tensor", "backend", "linalg",
                                     "store", "nn",    "adapter", "model",  "data",    "optim",
                                     "eval",  "train", "report",  "app"};

enum { LAYERS = sizeof layers / sizeof layers[0], PATH = 1024, MOST_LINES = 1000 };

/* Looks at one line, which is not zero-terminated; tells whether it breaks the rule. */
typedef bool (*rule)(const char *layer, const char *line, size_t length);

/* What a walk over files found. */
typedef struct findings {
    rule broken_by;
    int files, lines, broken;
} findings;

static int layer_number(const char *name, size_t length)
{
    for (int i = 0; i < LAYERS; i++)
        if (strlen(layers[i]) == length && strncmp(layers[i], name, length) == 0) return i;
    return -1;
}

static const char *find(const char *line, size_t length, const char *part)
{
    size_t wanted = strlen(part);
    for (size_t at = 0; at + wanted <= length; at++)
        if (strncmp(line + at, part, wanted) == 0) return line + at;
    return NULL;
}

/* What an #include line names, behind its quote or bracket; NULL where it is none. */
static const char *included(const char *line, size_t length, char opening)
{
    const char *end = line + length;
    while (line < end && isspace((unsigned char)*line))
        line++;
    if (line == end || *line != '#') return NULL;
    const char *word = find(line, (size_t)(end - line), "include");
    const char *open = word ? memchr(word, opening, (size_t)(end - word)) : NULL;
    return open ? open + 1 : NULL;
}

static bool includes_a_layer_below(const char *layer, const char *line, size_t length)
{
    const char *name = included(line, length, '"');
    const char *slash = name ? memchr(name, '/', (size_t)(line + length - name)) : NULL;
    if (!slash) return false;
    int of = layer_number(name, (size_t)(slash - name));
    return of < 0 || of > layer_number(layer, strlen(layer));
}

static bool includes_outside(const char *layer, const char *line, size_t length, const char *header,
                             const char *allowed)
{
    const char *name = included(line, length, '<');
    return name && find(name, (size_t)(line + length - name), header) == name &&
           strcmp(layer, allowed) != 0;
}

static bool includes_hdf5_outside_store(const char *layer, const char *line, size_t length)
{
    return includes_outside(layer, line, length, "hdf5", "store");
}

static bool includes_blas_outside_backend(const char *layer, const char *line, size_t length)
{
    return includes_outside(layer, line, length, "cblas", "backend");
}

static bool names_the_world_outside_app(const char *layer, const char *line, size_t length)
{
    return find(line, length, "MPI_COMM_WORLD") && strcmp(layer, "app") != 0 &&
           strcmp(layer, "comm") != 0;
}

static bool names_a_method(const char *layer, const char *line, size_t length)
{
    static const char *const methods[] = {"\"fft\"",  "\"lora\"",   "\"lora_plus\"", "\"asylora\"",
                                          "\"dora\"", "\"relora\"", "\"mora\"",      "\"remora\""};
    if (strcmp(layer, "model") != 0 && strcmp(layer, "train") != 0 && strcmp(layer, "eval") != 0)
        return false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (find(line, length, methods[i])) return true;
    return false;
}

static bool is_source(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0 || strcmp(dot, ".cc") == 0);
}

/* Without a rule, the file as a whole is held to its length. */
static void look_at(const char *path, const char *layer, findings *found)
{
    char *text;
    must(mr_file_read(path, MR_MEM_OTHER, &text, NULL));
    int number = 0;
    for (const char *line = text; *line; line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        number++;
        if (found->broken_by && found->broken_by(layer, line, length)) {
            print_error("%s:%d: %.*s\n", path, number, (int)length, line);
            found->broken++;
        }
        line += length;
    }
    if (!found->broken_by && number > MOST_LINES) {
        print_error("%s: %d lines\n", path, number);
        found->broken++;
    }
    found->files++;
    found->lines += number;
    mr_free(text);
}

/* layer: of the files below; NULL at the top, where each folder is one. */
static void walk(const char *path, const char *layer, findings *found)
{
    DIR *list = opendir(path);
    if (!list) fail_msg("cannot open %s", path);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        char inner[PATH];
        struct stat about;
        if (entry->d_name[0] == '.') continue;
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        assert_true(length > 0 && (size_t)length < sizeof inner);
        assert_int_equal(stat(inner, &about), 0);
        if (S_ISDIR(about.st_mode))
            walk(inner, layer ? layer : entry->d_name, found);
        else if (is_source(entry->d_name))
            look_at(inner, layer ? layer : "", found);
    }
    closedir(list);
}

static findings walk_folder(const char *name, rule broken_by)
{
    findings found = {.broken_by = broken_by};
    char path[PATH];
    int length = snprintf(path, sizeof path, "%s/%s", getenv("MR_SOURCE_DIR"), name);
    assert_true(length > 0 && (size_t)length < sizeof path);
    walk(path, NULL, &found);
    assert_true(found.files > 0 && found.lines > found.files);
    return found;
}

static void assert_kept(rule broken_by)
{
    findings found = walk_folder("src", broken_by);
    if (found.broken > 0) fail_msg("%d lines break the rule", found.broken);
}

static void every_folder_of_src_is_a_layer(void **state)
{
    (void)state;
    char path[PATH];
    snprintf(path, sizeof path, "%s/src", getenv("MR_SOURCE_DIR"));
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        if (entry->d_name[0] != '.' && layer_number(entry->d_name, strlen(entry->d_name)) < 0)
            fail_msg("src/%s is no layer", entry->d_name);
    closedir(list);
}

static void a_layer_includes_only_those_above_it(void **state)
{
    (void)state;
    assert_kept(includes_a_layer_below);
}

static void only_store_includes_hdf5(void **state)
{
    (void)state;
    assert_kept(includes_hdf5_outside_store);
}

static void only_backend_includes_blas(void **state)
{
    (void)state;
    assert_kept(includes_blas_outside_backend);
}

static void only_app_and_comm_name_the_world(void **state)
{
    (void)state;
    assert_kept(names_the_world_outside_app);
}

static void model_train_and_eval_name_no_method(void **state)
{
    (void)state;
    assert_kept(names_a_method);
}

static void no_file_is_longer_than_a_thousand_lines(void **state)
{
    (void)state;
    findings sources = walk_folder("src", NULL), tests = walk_folder("tests", NULL);
    assert_int_equal(sources.broken + tests.broken, 0);
}

static bool breaks(rule broken_by, const char *layer, const char *line)
{
    return broken_by(layer, line, strlen(line));
}

static void the_rules_find_what_breaks_them(void **state)
{
    (void)state;
    assert_true(breaks(includes_a_layer_below, "base", "#include \"comm/comm.h\""));
    assert_true(breaks(includes_a_layer_below, "data", "  # include \"eval/x.h\""));
    assert_true(breaks(includes_a_layer_below, "app", "#include \"util/x.h\""));
    assert_true(breaks(includes_hdf5_outside_store, "train", "#include <hdf5_hl.h>"));
    assert_true(breaks(includes_blas_outside_backend, "nn", "#include <cblas.h>"));
    assert_true(breaks(names_the_world_outside_app, "store", "f(MPI_COMM_WORLD);"));
    assert_true(breaks(names_a_method, "train", "if (strcmp(name, \"mora\") == 0)"));
}

static void the_rules_let_pass_what_keeps_them(void **state)
{
    (void)state;
    assert_false(breaks(includes_a_layer_below, "train", "#include \"train/plan.h\""));
    assert_false(breaks(includes_a_layer_below, "eval", "#include \"backend/cpu/cpu.h\""));
    assert_false(breaks(includes_a_layer_below, "app", "#include \"mr_build_info.h\""));
    assert_false(breaks(includes_a_layer_below, "base", "say(\"include comm/comm.h\");"));
    assert_false(breaks(includes_hdf5_outside_store, "store", "#include <hdf5.h>"));
    assert_false(breaks(includes_blas_outside_backend, "backend", "#include <cblas.h>"));
    assert_false(breaks(names_the_world_outside_app, "app", "f(MPI_COMM_WORLD);"));
    assert_false(breaks(names_a_method, "train", "mr_log(\"mora: done\");"));
    assert_false(breaks(names_a_method, "adapter", ".name = \"mora\","));
}

int main(void)
{
    if (!getenv("MR_SOURCE_DIR")) {
        print_error("MR_SOURCE_DIR must name the folder of src and tests; ctest sets it\n");
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_folder_of_src_is_a_layer),
        cmocka_unit_test(a_layer_includes_only_those_above_it),
        cmocka_unit_test(only_store_includes_hdf5),
        cmocka_unit_test(only_backend_includes_blas),
        cmocka_unit_test(only_app_and_comm_name_the_world),
        cmocka_unit_test(model_train_and_eval_name_no_method),
        cmocka_unit_test(no_file_is_longer_than_a_thousand_lines),
        cmocka_unit_test(the_rules_find_what_breaks_them),
        cmocka_unit_test(the_rules_let_pass_what_keeps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
