/** @file
 * `mora spectrum` against reference spectra, below every root that MORA_GOLDEN names: updates of
 * trained adapters, written as PEFT, the MoRA fork and Transformers lay them out; pairs of a base
 * weight and an update, with their intruder dimensions; adapters beside what PEFT merged of them.
 */

#include "golden_find.h"
#include "program.h"
#include "store/spectra_file.h"
#include "tensor_files.h"

#include <jansson.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const double float_bound = 1e-6;    /* of sigma_1: tensors are float32 */
static const double measure_bound = 1e-10; /* relative, as the reference states */

static mr_names roots;

/* A measure of the reference under our name. */
static const struct {
    const char *ours, *theirs;
    bool whole;
} measures[] = {{"count", "count_above_0_1", true},
                {"erank_sigma", "erank_sigma", false},
                {"per", "per", false},
                {"stable_rank", "stable_rank", false},
                {"k90", "k90", true},
                {"participation_ratio", "participation_ratio", false},
                {"sigma1", "sigma1", false},
                {"frobenius", "frobenius", false}};

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *out = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!out) fail_msg("%s: line %d: %s", path, error.line, error.text);
    return out;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* What the program tells of the folder "update" beside "base", or a model of references. */
static json_t *spectrum_of(const char *what, const char *base)
{
    program_result result = program_succeed(
        (program_setting){0}, "spectrum %s --base %s --out out --json --progress none", what, base);
    json_t *out = json_loads(result.out, 0, NULL);
    assert_non_null(out);
    program_free(&result);
    return out;
}

static const json_t *matrix_of(const json_t *spectrum, const char *linear)
{
    const json_t *matrices = json_object_get(spectrum, "matrices"), *matrix;
    size_t i;
    json_array_foreach(matrices, i, matrix)
    {
        if (strcmp(json_string_value(json_object_get(matrix, "name")), linear) == 0) return matrix;
    }
    fail_msg("nothing is told of %s", linear);
    return NULL;
}

static void assert_near(const char *label, const char *key, double found, double wanted,
                        double bound)
{
    if (isnan(wanted) && isnan(found)) return;
    if (!(fabs(found - wanted) <= bound * fabs(wanted)))
        fail_msg("%s: %s: expected %.17g, found %.17g", label, key, wanted, found);
}

static void assert_measures(const char *label, const json_t *found, const json_t *wanted,
                            double bound)
{
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++)
        assert_near(label, measures[i].ours, number(found, measures[i].ours),
                    number(wanted, measures[i].theirs), measures[i].whole ? 0 : bound);
}

/* Compares the singular values in out.spectra.h5, written by the last run, with a reference. */
static void assert_file(const char *label, const char *linear, const json_t *sigma)
{
    mr_spectra_file *file;
    const char *projection = strrchr(linear, '.') + 1;
    const int64_t layer = atoi(linear + strlen("model.layers."));
    int64_t count;
    must(mr_spectra_file_open("out.spectra.h5", &file));
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    mr_spectra_file_steps(file, &count);
    assert_int_equal(count, 1);
    int64_t g = 0, l = 0;
    while (g < layout->groups && strcmp(layout->group[g].projection, projection) != 0)
        g++;
    assert_true(g < layout->groups);
    while (l < layout->group[g].layers && layout->group[g].layer[l] != layer)
        l++;
    assert_true(l < layout->group[g].layers);
    const int64_t n = layout->group[g].values;
    mr_spectra_row row = {0};
    must(mr_spectra_row_make(layout, g, &row));
    must(mr_spectra_file_read(file, 0, g, &row));
    assert_int_equal(n, json_array_size(sigma));
    const double sigma1 = json_number_value(json_array_get(sigma, 0));
    for (int64_t i = 0; i < n; i++) {
        const double wanted = json_number_value(json_array_get(sigma, (size_t)i));
        if (!(fabs(row.sigma[l * n + i] - wanted) <= float_bound * sigma1))
            fail_msg("%s: %s: value %d: expected %.17g, found %.17g", label, linear, (int)i, wanted,
                     row.sigma[l * n + i]);
    }
    mr_spectra_row_free(&row);
    mr_spectra_file_close(&file);
}

/* Writes the trained tensors of a run of a folder of references as a folder "update". */
static void write_update(const char *folder, const char *run, const mr_golden_kind *kind)
{
    static const char AFTER[] = "after.", DEFAULT[] = ".default", M[] = ".mora_M";
    char path[PATH_MAX];
    double r = 0, alpha = 16;
    mr_safetensors *file;
    tensor_files out = {0};
    snprintf(path, sizeof path, "%.3800s/%.200s.safetensors", folder, run);
    must(mr_safetensors_open(path, &file));
    json_t *note = json_loads(mr_safetensors_metadata(file, "note"), 0, NULL);
    assert_int_equal(json_unpack(note, "{s?F, s?F}", "r", &r, "lora_alpha", &alpha), 0);
    json_decref(note);
    for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, i);
        char name[256];
        if (strncmp(entry->name, AFTER, sizeof AFTER - 1) != 0) continue;
        snprintf(name, sizeof name, "%s", entry->name + sizeof AFTER - 1);
        char *at = strstr(name, DEFAULT);
        if (at) memmove(at, at + sizeof DEFAULT - 1, strlen(at + sizeof DEFAULT - 1) + 1);
        if ((at = strstr(name, M))) {
            *at = '\0';
            snprintf(path, sizeof path, "base_model.model.%s.lora_A.weight", name);
            tensor_files_copy(&out, file, entry, path);
        } else {
            tensor_files_copy(&out, file, entry, name);
        }
    }
    mr_safetensors_close(&file);
    const bool whole = strcmp(kind->method, "fft") == 0;
    remove("update/adapter_config.json");
    remove("update/adapter_model.safetensors");
    if (access("update", F_OK) != 0) program_make_folder("update");
    program_write_shape("update/config.json", 64, 259, false);
    if (!whole)
        program_write("update/adapter_config.json",
                      "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %.17g, \"use_dora\": %s"
                      ", \"use_mora\": %s, \"mora_type\": %d}",
                      (int)r, alpha, strcmp(kind->method, "dora") == 0 ? "true" : "false",
                      kind->mora_type > 0 ? "true" : "false", (int)kind->mora_type);
    tensor_files_write(&out,
                       whole ? "update/model.safetensors" : "update/adapter_model.safetensors");
    tensor_files_free(&out);
}

static int check_run(const char *root, const char *model, const char *run, const json_t *linears)
{
    char base[PATH_MAX];
    const char *linear;
    const json_t *about;
    mr_golden_kind kind;
    int checked = 0;
    if (!mr_golden_kind_of(run, &kind)) fail_msg("run '%s' is of no known method", run);
    snprintf(base, sizeof base, "%s/%s", root, model);
    write_update(base, run, &kind);
    snprintf(base, sizeof base, "%s/%s/model", root, model);
    json_t *spectrum = spectrum_of("update", base);
    json_object_foreach((json_t *)(uintptr_t)linears, linear, about)
    {
        char label[512];
        const json_t *found = matrix_of(spectrum, linear);
        snprintf(label, sizeof label, "%s/%s %s", model, run, linear);
        assert_measures(label, found, about, float_bound);
        assert_near(label, "sigma1_ratio", number(found, "sigma1_ratio"),
                    number(about, "sigma1_ratio"), float_bound);
        assert_file(label, linear, json_object_get(about, "sigma"));
        checked++;
    }
    json_decref(spectrum);
    return checked;
}

static void trained_adapters_have_their_spectra(void **state)
{
    (void)state;
    int checked = 0;
    for (int64_t i = 0; i < roots.count; i++) {
        char path[PATH_MAX];
        mr_names stems = {0};
        snprintf(path, sizeof path, "%s/spectra", roots.item[i]);
        if (access(path, F_OK) != 0) continue;
        must(mr_golden_stems(path, &stems));
        for (int64_t j = 0; j < stems.count; j++) {
            const char *run;
            const json_t *linears;
            if (strncmp(stems.item[j], "adapters_", 9) != 0) continue;
            snprintf(path, sizeof path, "%s/spectra/%s.json", roots.item[i], stems.item[j]);
            json_t *reference = load(path);
            json_object_foreach(reference, run, linears)
            {
                checked += check_run(roots.item[i], stems.item[j] + 9, run, linears);
            }
            json_decref(reference);
        }
        mr_names_free(&stems);
    }
    if (checked == 0) skip_without_golden("adapters");
    print_message("%d linears\n", checked);
}

/* Writes a pair as a base folder and an adapter whose A is the unit matrix, so that no bit of the
 * update is lost. */
static void write_pair(const mr_safetensors *pairs, const char *name)
{
    char entry_name[192];
    tensor_files base = {0}, update = {0};
    snprintf(entry_name, sizeof entry_name, "base.%s", name);
    tensor_files_copy(&base, pairs, mr_safetensors_find(pairs, entry_name),
                      "model.layers.0.self_attn.q_proj.weight");
    snprintf(entry_name, sizeof entry_name, "update.%s", name);
    const mr_safetensors_entry *entry = mr_safetensors_find(pairs, entry_name);
    tensor_files_copy(&update, pairs, entry,
                      "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    const int64_t r = entry->shape[1];
    float *unit = tensor_files_add(
        &update, r, r, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    for (int64_t i = 0; i < r; i++)
        unit[i * r + i] = 1.0f;
    if (access("pair", F_OK) != 0) program_make_folder("pair");
    if (access("base", F_OK) != 0) program_make_folder("base");
    program_write_shape("base/config.json", 64, 259, false);
    program_write("pair/adapter_config.json",
                  "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %d}", (int)r, (int)r);
    tensor_files_write(&base, "base/model.safetensors");
    tensor_files_write(&update, "pair/adapter_model.safetensors");
    tensor_files_free(&base);
    tensor_files_free(&update);
}

/* Compares mean cosines of the leading spaces with those of the reference. */
static void check_spaces(const char *name, const json_t *about, const char *ours, int k,
                         const json_t *found)
{
    char key[64];
    snprintf(key, sizeof key, "%d", k);
    const json_t *wanted = json_object_get(about, key);
    for (int right = 0; wanted && right < 2; right++) {
        const json_t *cosines = json_object_get(wanted, right ? "right" : "left");
        double mean = 0;
        for (size_t i = 0; i < json_array_size(cosines); i++)
            mean += json_number_value(json_array_get(cosines, i)) / (double)k;
        snprintf(key, sizeof key, "%s_%s", ours, right ? "right" : "left");
        assert_near(name, key, number(found, key), mean, 1e-9);
    }
}

static void check_pair(const mr_safetensors *tensors, const char *name, const json_t *about)
{
    static const char linear[] = "model.layers.0.self_attn.q_proj";
    const int top = (int)number(about, "top_k");
    write_pair(tensors, name);
    for (int k = 1; k <= top; k *= 2) {
        program_result result = program_succeed(
            (program_setting){0},
            "spectrum pair --base base --k %d --epsilon %.17g --json --progress none",
            k == 8 ? top : k, number(about, "epsilon"));
        json_t *spectrum = json_loads(result.out, 0, NULL);
        const json_t *found = matrix_of(spectrum, linear);
        assert_measures(name, found, json_object_get(about, "update"), measure_bound);
        assert_near(name, "sigma1_ratio", number(found, "sigma1_ratio"),
                    number(about, "sigma1_ratio"), measure_bound);
        assert_near(name, "frobenius_ratio", number(found, "frobenius_ratio"),
                    number(about, "frobenius_ratio"), measure_bound);
        check_spaces(name, json_object_get(about, "cos_update_base"), "cosine_update",
                     k == 8 ? top : k, found);
        check_spaces(name, json_object_get(about, "cos_sum_base"), "cosine_sum", k == 8 ? top : k,
                     found);
        if (k == 8) {
            assert_near(name, "intruders", number(found, "intruders"), number(about, "intruders"),
                        0);
            assert_near(name, "intruder_energy_share", number(found, "intruder_energy_share"),
                        number(about, "intruder_energy_share"), measure_bound);
            /* The control is told always; of an update of nothing it is nothing. */
            assert_true(!isnan(number(found, "noise_intruders")));
        }
        json_decref(spectrum);
        program_free(&result);
    }
}

static void pairs_have_their_intruders_ratios_and_angles(void **state)
{
    (void)state;
    int checked = 0;
    for (int64_t i = 0; i < roots.count; i++) {
        char path[PATH_MAX];
        const char *name;
        const json_t *about;
        mr_safetensors *tensors;
        snprintf(path, sizeof path, "%s/spectra/pairs.json", roots.item[i]);
        if (access(path, F_OK) != 0) continue;
        json_t *reference = load(path);
        snprintf(path, sizeof path, "%s/spectra/pairs.safetensors", roots.item[i]);
        must(mr_safetensors_open(path, &tensors));
        json_object_foreach(json_object_get(reference, "pairs"), name, about)
        {
            check_pair(tensors, name, about);
            checked++;
        }
        mr_safetensors_close(&tensors);
        json_decref(reference);
    }
    if (checked == 0) skip_without_golden("pairs.json");
    print_message("%d pairs\n", checked);
}

/* A trained adapter beside its base, and what PEFT merged of both, as two models. */
static void check_merged(const char *folder, const char *run)
{
    char path[PATH_MAX], base[PATH_MAX];
    mr_golden_kind kind;
    mr_safetensors *file;
    tensor_files merged = {0};
    assert_true(mr_golden_kind_of(run, &kind));
    write_update(folder, run, &kind);
    snprintf(base, sizeof base, "%.4000s/model", folder);
    json_t *found = spectrum_of("update", base);
    snprintf(path, sizeof path, "%.4000s/%s_merged.safetensors", folder, run);
    must(mr_safetensors_open(path, &file));
    for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, i);
        const char *name = strstr(entry->name, "model.layers.");
        if (name && entry->dims == 2) tensor_files_copy(&merged, file, entry, name);
    }
    if (access("merged", F_OK) != 0) program_make_folder("merged");
    program_write_shape("merged/config.json", 64, 259, false);
    tensor_files_write(&merged, "merged/model.safetensors");
    json_t *wanted = spectrum_of("merged", base);
    const json_t *matrices = json_object_get(found, "matrices"), *matrix;
    size_t i;
    assert_true(json_array_size(matrices) > 0);
    json_array_foreach(matrices, i, matrix)
    {
        const char *linear = json_string_value(json_object_get(matrix, "name"));
        const json_t *other = matrix_of(wanted, linear);
        /* What was merged was rounded to float32 beside weights of its own size or larger. */
        assert_near(linear, "sigma1", number(matrix, "sigma1"), number(other, "sigma1"), 2e-6);
        assert_near(linear, "frobenius", number(matrix, "frobenius"), number(other, "frobenius"),
                    2e-6);
        assert_near(linear, "intruders", number(matrix, "intruders"), number(other, "intruders"),
                    0);
    }
    mr_safetensors_close(&file);
    tensor_files_free(&merged);
    json_decref(found);
    json_decref(wanted);
}

/* A folder as PEFT wrote it, of an adapter that has not learnt everything yet: all of it is read.
 */
static int check_folder(const char *folder, const char *run)
{
    char path[PATH_MAX], base[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/%s_adapter", folder, run);
    if (access(path, F_OK) != 0) return 0;
    snprintf(base, sizeof base, "%.4000s/model", folder);
    json_t *found = spectrum_of(path, base);
    const int linears = (int)json_array_size(json_object_get(found, "matrices"));
    assert_int_equal(json_array_size(json_object_get(found, "left_out")), 0);
    json_decref(found);
    return linears;
}

static void adapters_are_what_peft_merges(void **state)
{
    static const char *const adapters[] = {"lora", "lora_plus", "dora"};
    (void)state;
    int checked = 0;
    for (int64_t i = 0; i < roots.count; i++) {
        mr_golden_set set = {0};
        must(mr_golden_find(roots.item[i], &set));
        for (int j = 0; j < set.count; j++)
            for (size_t k = 0; k < sizeof adapters / sizeof *adapters; k++) {
                char path[PATH_MAX + 64];
                if (set.folder[j].problem) continue;
                snprintf(path, sizeof path, "%s/%s_merged.safetensors", set.folder[j].path,
                         adapters[k]);
                if (access(path, F_OK) != 0) continue;
                check_merged(set.folder[j].path, adapters[k]);
                assert_true(check_folder(set.folder[j].path, adapters[k]) > 0);
                checked++;
            }
        mr_golden_set_free(&set);
    }
    if (checked == 0) skip_without_golden("merged adapters");
    print_message("%d adapters\n", checked);
}

static int enter(void **state)
{
    return mr_golden_roots(&roots) == MR_OK ? program_enter_folder(state) : -1;
}

static int leave(void **state)
{
    mr_names_free(&roots);
    return folder_leave(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trained_adapters_have_their_spectra),
        cmocka_unit_test(pairs_have_their_intruders_ratios_and_angles),
        cmocka_unit_test(adapters_are_what_peft_merges),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
