#include "base/file.h"
#include "circles.h"
#include "test.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A layer may include itself and those before it. */
static const char *const layers[] = {"base",   "comm",  "config",  "tensor", "backend", "linalg",
                                     "store",  "nn",    "adapter", "model",  "spectra", "data",
                                     "corpus", "optim", "eval",    "train",  "report",  "app"};

enum { LAYERS = sizeof layers / sizeof layers[0], PATH = 1024 };

/* Looks at one line, which is not zero-terminated, of a file, "store/hf.c"; tells whether it breaks
 * the rule. */
typedef bool (*rule)(const char *file, const char *line, size_t length);

/* What a walk over files found. */
typedef struct findings {
    rule broken_by;
    int most; /* lines of a file, where there is no rule */
    int files, lines, broken;
} findings;

/* Looks at one file; `path` is of the file, `name` its part below src or tests. */
typedef void (*visitor)(const char *path, const char *name, const char *text, void *context);

static int layer_number(const char *name, size_t length)
{
    for (int i = 0; i < LAYERS; i++)
        if (strlen(layers[i]) == length && strncmp(layers[i], name, length) == 0) return i;
    return -1;
}

static int layer_of(const char *file)
{
    return layer_number(file, strcspn(file, "/"));
}

static bool is_in(const char *file, const char *layer)
{
    return layer_of(file) == layer_number(layer, strlen(layer));
}

static const char *find(const char *line, size_t length, const char *part)
{
    size_t wanted = strlen(part);
    for (size_t at = 0; at + wanted <= length; at++)
        if (strncmp(line + at, part, wanted) == 0) return line + at;
    return NULL;
}

static bool includes_a_layer_below(const char *file, const char *line, size_t length)
{
    const char *name = circles_included(line, length, '"');
    const char *slash = name ? memchr(name, '/', (size_t)(line + length - name)) : NULL;
    if (!slash) return false;
    int of = layer_number(name, (size_t)(slash - name));
    return of < 0 || of > layer_of(file);
}

/* What a header of this ending holds is known in its own folder alone. */
static bool includes_an_inside_of_others(const char *file, const char *line, size_t length)
{
    const char *name = circles_included(line, length, '"');
    const char *slash = name ? memchr(name, '/', (size_t)(line + length - name)) : NULL;
    if (!slash || !find(slash, (size_t)(line + length - slash), "_impl.h\"")) return false;
    return layer_number(name, (size_t)(slash - name)) != layer_of(file);
}

static bool includes_outside(const char *file, const char *line, size_t length, const char *header,
                             const char *allowed)
{
    const char *name = circles_included(line, length, '<');
    return name && find(name, (size_t)(line + length - name), header) == name &&
           !is_in(file, allowed);
}

static bool includes_hdf5_outside_store(const char *file, const char *line, size_t length)
{
    return includes_outside(file, line, length, "hdf5", "store");
}

static bool includes_blas_outside_backend(const char *file, const char *line, size_t length)
{
    return includes_outside(file, line, length, "cblas", "backend");
}

static bool names_the_world_outside_app(const char *file, const char *line, size_t length)
{
    return find(line, length, "MPI_COMM_WORLD") && !is_in(file, "app") && !is_in(file, "comm");
}

static bool names_a_method(const char *file, const char *line, size_t length)
{
    static const char *const methods[] = {"\"fft\"",  "\"lora\"",   "\"lora_plus\"", "\"asylora\"",
                                          "\"dora\"", "\"relora\"", "\"mora\"",      "\"remora\""};
    if (!is_in(file, "model") && !is_in(file, "train") && !is_in(file, "eval")) return false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (find(line, length, methods[i])) return true;
    return false;
}

/* Above the backends what is computed with is of the type that the model computes in. What is F32
 * whatever that is (backend/backend.h) is told by a name on the line. */
static bool says_f32_for_what_is_computed_with(const char *file, const char *line, size_t length)
{
    static const struct {
        const char *file; /* NULL: any */
        const char *part;
    } allowed[] = {
        {NULL, "->rstd"},                                  /* statistics of rows */
        {NULL, "->lse"},                                   /* the same */
        {NULL, "cosine)"},                                 /* tables of angles */
        {NULL, "sine)"},                                   /* the same */
        {NULL, "MR_MEM_GRADIENTS,"},                       /* gradients of parameters */
        {NULL, "MR_MEM_REDUCE,"},                          /* their sums over ranks */
        {"adapter/dora.c", "&state->memory"},              /* factors of rows */
        {"model/shared.c", "flat->sums = "},               /* the same, where others read them */
        {"model/reduce_memory.c", "mr_arena_take(&arena"}, /* the same */
        {"model/eight.c", ".scale = "},                    /* of rows of 8 bits */
        {"model/params_impl.h", "types.states : MR_F32"},  /* adapters; frozen weights, if merged */
        {"model/merge.c", "model->be, MR_MEM_OTHER,"},     /* merged weights are formed in F32 */
        {"train/layout.c", "MR_BF16 : MR_F32"},            /* where the type is chosen */
        {"train/approximate.c", "mr_dtype compute = "},    /* the same */
        {"spectra/updates_adapter.c", "mr_dtype read = "}, /* what files are read as */
    };
    if (!find(line, length, "MR_F32") || is_in(file, "tensor") || is_in(file, "backend"))
        return false;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if ((!allowed[i].file || strcmp(allowed[i].file, file) == 0) &&
            find(line, length, allowed[i].part))
            return false;
    return true;
}

/* Buffers are held by those who place tensors in them, and followed by nobody outside backends. */
static bool follows_a_buffer(const char *file, const char *line, size_t length)
{
    static const char *const holders[] = {"model/arena.h", "model/model_impl.h", "model/session.c",
                                          "model/params_impl.h", "model/reduce_impl.h"};
    if (is_in(file, "tensor") || is_in(file, "backend")) return false;
    const char *name = circles_included(line, length, '"');
    if (name && find(name, (size_t)(line + length - name), "backend/") == name)
        return find(name, (size_t)(line + length - name), "backend/backend.h\"") != name;
    if (find(line, length, "struct mr_buffer")) return true;
    for (size_t i = 0; i < sizeof holders / sizeof holders[0]; i++)
        if (strcmp(file, holders[i]) == 0) return find(line, length, "buffer->");
    return find(line, length, "mr_buffer");
}

/* The table takes host memory where it copies from or to it, or ranks share it, and hands none out.
 */
static bool hands_out_an_address(const char *file, const char *line, size_t length)
{
    static const char *const pointers[] = {"void *",   "char *",    "float *",
                                           "double *", "int32_t *", "int64_t *"};
    static const char *const allowed[] = {"(*upload)",    "(*download)",  "(*buffer_share)",
                                          "void *state;", "const char *", "char **argv"};
    if (strcmp(file, "backend/backend.h") != 0) return false;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (find(line, length, allowed[i])) return false;
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
        if (find(line, length, pointers[i])) return true;
    return false;
}

static bool is_source(const char *name)
{
    const char *dot = strrchr(name, '.');
    static const char *const endings[] = {".c", ".h", ".cc", ".cu", ".cuh"};
    for (size_t i = 0; dot && i < sizeof endings / sizeof endings[0]; i++)
        if (strcmp(dot, endings[i]) == 0) return true;
    return false;
}

/* Visits every source below a folder; `name` is what of its path stands behind the top. */
static void walk(const char *path, const char *name, visitor visit, void *context)
{
    DIR *list = opendir(path);
    if (!list) fail_msg("cannot open %s", path);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        char inner[PATH], inner_name[PATH], *text;
        struct stat about;
        if (entry->d_name[0] == '.') continue;
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        assert_in_range(length, 1, sizeof inner - 1);
        snprintf(inner_name, sizeof inner_name, "%s%s%s", name, *name ? "/" : "", entry->d_name);
        assert_int_equal(stat(inner, &about), 0);
        if (S_ISDIR(about.st_mode)) {
            walk(inner, inner_name, visit, context);
        } else if (is_source(entry->d_name)) {
            must(mr_file_read(inner, MR_MEM_OTHER, &text, NULL));
            visit(inner, inner_name, text, context);
            mr_free(text);
        }
    }
    closedir(list);
}

static void walk_top(const char *folder, visitor visit, void *context)
{
    char path[PATH];
    int length = snprintf(path, sizeof path, "%s/%s", getenv("MR_SOURCE_DIR"), folder);
    assert_in_range(length, 1, sizeof path - 1);
    walk(path, "", visit, context);
}

/* Without a rule, the file as a whole is held to its length. */
static void look_at(const char *path, const char *name, const char *text, void *context)
{
    findings *found = context;
    int number = 0;
    for (const char *line = text; *line; line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        number++;
        if (found->broken_by && found->broken_by(name, line, length)) {
            print_error("%s:%d: %.*s\n", path, number, (int)length, line);
            found->broken++;
        }
        line += length;
    }
    if (!found->broken_by && number > found->most) {
        print_error("%s: %d lines\n", path, number);
        found->broken++;
    }
    found->files++;
    found->lines += number;
}

static int broken_in(const char *folder, rule broken_by, int most)
{
    findings found = {.broken_by = broken_by, .most = most};
    walk_top(folder, look_at, &found);
    assert_true(found.files > 0 && found.lines > found.files);
    return found.broken;
}

static void assert_kept(rule broken_by)
{
    int broken = broken_in("src", broken_by, 0);
    if (broken > 0) fail_msg("%d lines break the rule", broken);
}

static void every_folder_of_src_is_a_layer(void **state)
{
    (void)state;
    char path[PATH];
    snprintf(path, sizeof path, "%s/src", getenv("MR_SOURCE_DIR"));
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "README.md") != 0 &&
            layer_number(entry->d_name, strlen(entry->d_name)) < 0)
            fail_msg("src/%s is no layer", entry->d_name);
    closedir(list);
}

static void a_layer_includes_only_those_above_it(void **state)
{
    (void)state;
    assert_kept(includes_a_layer_below);
}

static void only_their_own_layer_includes_insides(void **state)
{
    (void)state;
    assert_kept(includes_an_inside_of_others);
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

static void f32_stands_only_where_the_contract_says_so(void **state)
{
    (void)state;
    assert_kept(says_f32_for_what_is_computed_with);
}

static void no_address_leaves_a_backend(void **state)
{
    (void)state;
    assert_kept(follows_a_buffer);
    assert_kept(hands_out_an_address);
}

static void no_file_is_too_long(void **state)
{
    (void)state;
    assert_int_equal(broken_in("src", NULL, 600) + broken_in("tests", NULL, 1000), 0);
}

static void add_includes(const char *path, const char *name, const char *text, void *context)
{
    (void)path;
    circles_add_includes(context, name, text);
}

static void add_functions(const char *path, const char *name, const char *text, void *context)
{
    (void)path;
    circles_add_functions(context, name, text);
}

static void add_calls(const char *path, const char *name, const char *text, void *context)
{
    (void)path;
    circles_add_calls(context, name, text);
}

static circles *new_circles(void)
{
    circles *c = calloc(1, sizeof *c);
    if (!c) fail_msg("no memory");
    return c;
}

/* Closes and frees them. */
static void assert_no_circle(circles *c)
{
    int inside = circles_close(c);
    for (int a = 0; a < c->parts; a++)
        for (int b = 0; b < c->parts; b++)
            if (c->asks[a][b] && c->reaches[b][a])
                print_error("in a circle: %s -> %s\n", c->part[a], c->part[b]);
    free(c);
    assert_int_equal(inside, 0);
}

static void no_circle_of_headers(void **state)
{
    (void)state;
    circles *c = new_circles();
    walk_top("src", add_includes, c);
    assert_true(c->parts > 50);
    assert_no_circle(c);
}

static void no_circle_of_files(void **state)
{
    (void)state;
    circles *c = new_circles();
    walk_top("src", add_functions, c);
    walk_top("src", add_calls, c);
    assert_true(c->functions > 300);
    assert_no_circle(c);
}

/* Whether the includes, or else the calls, of some files run in a circle. */
static bool runs_in_a_circle(bool headers, const char *const (*file)[2], int files)
{
    circles *c = new_circles();
    for (int i = 0; i < files; i++)
        if (headers)
            circles_add_includes(c, file[i][0], file[i][1]);
        else
            circles_add_functions(c, file[i][0], file[i][1]);
    for (int i = 0; i < files && !headers; i++)
        circles_add_calls(c, file[i][0], file[i][1]);
    bool circle = circles_close(c) > 0;
    free(c);
    return circle;
}

static void circles_of_headers_are_found(void **state)
{
    (void)state;
    static const char *const direct[][2] = {{"a/x.h", "#include \"a/y.h\"\n"},
                                            {"a/y.h", "int z;\n # include \"a/x.h\"\n"}};
    static const char *const longer[][2] = {{"a/x.h", "#include \"a/y.h\"\n"},
                                            {"a/y.h", "#include \"b/z.h\"\n"},
                                            {"b/z.h", "#include \"a/x.h\"\n"}};
    static const char *const none[][2] = {{"a/x.h", "#include \"a/y.h\"\n#include \"a/z.h\"\n"},
                                          {"a/y.h", "#include \"a/z.h\"\n"},
                                          {"a/z.c", "#include \"a/x.h\"\n"}};
    static const char *const itself[][2] = {{"a/x.h", "#include \"a/x.h\"\n"}};
    assert_true(runs_in_a_circle(true, direct, 2));
    assert_true(runs_in_a_circle(true, longer, 3));
    assert_true(runs_in_a_circle(true, itself, 1));
    assert_false(runs_in_a_circle(true, none, 3));
}

static void circles_of_files_are_found(void **state)
{
    (void)state;
    static const char *const direct[][2] = {{"a/x.c", "int mr_x(int i)\n{\n    mr_y(1);\n}\n"},
                                            {"a/y.c", "void mr_y(int i)\n{\n    mr_x(2);\n}\n"}};
    static const char *const by_header[][2] = {
        {"a/x.c", "int mr_x(int i)\n{\n    mr_y(1);\n}\n"},
        {"a/y.c", "void mr_y(int i)\n{\n}\n"},
        {"a/y.h", "static inline int f(void)\n{\n    return mr_x(2);\n}\n"}};
    static const char *const longer[][2] = {{"a/x.c", "int mr_x(void)\n{\n    mr_y();\n}\n"},
                                            {"a/y.c", "int mr_y(void)\n{\n    mr_z();\n}\n"},
                                            {"b/z.c", "int mr_z(void)\n{\n    mr_x();\n}\n"}};
    static const char *const none[][2] = {
        {"a/x.c", "int mr_x(void)\n{\n    mr_y(\"mr_z()\");\n    /* mr_z() */ // mr_z()\n}\n"},
        {"a/y.c", "int mr_y(void)\n{\n    mr_z('\"', \"\\\"\");\n}\n#define F(a) {mr_x() \\\n{\n"},
        {"b/z.c", "int mr_z(void)\n{\n}\nstatic const mr_table t = {.x = mr_x};\n"},
        {"b/z.h", "int mr_x(void);\n"}};
    assert_true(runs_in_a_circle(false, direct, 2));
    assert_true(runs_in_a_circle(false, by_header, 3));
    assert_true(runs_in_a_circle(false, longer, 3));
    assert_false(runs_in_a_circle(false, none, 4));
}

static bool breaks(rule broken_by, const char *file, const char *line)
{
    return broken_by(file, line, strlen(line));
}

static void the_rules_find_what_breaks_them(void **state)
{
    (void)state;
    assert_true(breaks(includes_a_layer_below, "base", "#include \"comm/comm.h\""));
    assert_true(breaks(includes_a_layer_below, "data", "  # include \"eval/x.h\""));
    assert_true(breaks(includes_a_layer_below, "app", "#include \"util/x.h\""));
    assert_true(breaks(includes_an_inside_of_others, "train", "#include \"model/model_impl.h\""));
    assert_true(breaks(includes_hdf5_outside_store, "train", "#include <hdf5_hl.h>"));
    assert_true(breaks(includes_blas_outside_backend, "nn", "#include <cblas.h>"));
    assert_true(breaks(names_the_world_outside_app, "store", "f(MPI_COMM_WORLD);"));
    assert_true(breaks(names_a_method, "train", "if (strcmp(name, \"mora\") == 0)"));
    assert_true(breaks(says_f32_for_what_is_computed_with, "model/layer.c",
                       "acts->q = mr_arena_take(arena, MR_F32, rows, q_cols);"));
    assert_true(breaks(says_f32_for_what_is_computed_with, "adapter/lora.c",
                       "mr_backend_tensor(be, tables, MR_F32, 1, n, &state->memory)"));
    assert_true(breaks(follows_a_buffer, "model/arena.c", "#include \"backend/cpu/cpu.h\""));
    assert_true(breaks(follows_a_buffer, "nn/head.c", "struct mr_buffer { void *data; };"));
    assert_true(breaks(follows_a_buffer, "nn/head.c", "mr_buffer *b = t.buffer;"));
    assert_true(breaks(follows_a_buffer, "model/arena.h", "float *p = arena->buffer->data;"));
    assert_true(breaks(hands_out_an_address, "backend/backend.h",
                       "    void *(*address)(mr_backend *be, mr_tensor t);"));
}

static void the_rules_let_pass_what_keeps_them(void **state)
{
    (void)state;
    assert_false(breaks(includes_a_layer_below, "train", "#include \"train/plan.h\""));
    assert_false(breaks(includes_a_layer_below, "eval", "#include \"backend/cpu/cpu.h\""));
    assert_false(breaks(includes_a_layer_below, "app", "#include \"mr_build_info.h\""));
    assert_false(breaks(includes_a_layer_below, "base", "say(\"include comm/comm.h\");"));
    assert_false(breaks(includes_an_inside_of_others, "model", "#include \"model/model_impl.h\""));
    assert_false(breaks(includes_an_inside_of_others, "train", "#include \"model/model.h\""));
    assert_false(breaks(includes_hdf5_outside_store, "store", "#include <hdf5.h>"));
    assert_false(breaks(includes_blas_outside_backend, "backend", "#include <cblas.h>"));
    assert_false(breaks(names_the_world_outside_app, "app", "f(MPI_COMM_WORLD);"));
    assert_false(breaks(names_a_method, "train", "mr_log(\"mora: done\");"));
    assert_false(breaks(names_a_method, "adapter", ".name = \"mora\","));
    assert_false(breaks(says_f32_for_what_is_computed_with, "model/layer.c",
                        "acts->rstd1 = mr_arena_take(arena, MR_F32, 1, rows);"));
    assert_false(breaks(says_f32_for_what_is_computed_with, "backend/cpu/cpu.c", "MR_F32"));
    assert_false(breaks(follows_a_buffer, "nn/head.c", "#include \"backend/backend.h\""));
    assert_false(breaks(follows_a_buffer, "model/arena.h", "    mr_buffer *buffer;"));
    assert_false(breaks(hands_out_an_address, "backend/backend.h",
                        "    void (*upload)(mr_backend *be, mr_tensor dst, const void *src);"));
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
        cmocka_unit_test(only_their_own_layer_includes_insides),
        cmocka_unit_test(only_store_includes_hdf5),
        cmocka_unit_test(only_backend_includes_blas),
        cmocka_unit_test(only_app_and_comm_name_the_world),
        cmocka_unit_test(model_train_and_eval_name_no_method),
        cmocka_unit_test(f32_stands_only_where_the_contract_says_so),
        cmocka_unit_test(no_address_leaves_a_backend),
        cmocka_unit_test(no_file_is_too_long),
        cmocka_unit_test(no_circle_of_headers),
        cmocka_unit_test(no_circle_of_files),
        cmocka_unit_test(circles_of_headers_are_found),
        cmocka_unit_test(circles_of_files_are_found),
        cmocka_unit_test(the_rules_find_what_breaks_them),
        cmocka_unit_test(the_rules_let_pass_what_keeps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
