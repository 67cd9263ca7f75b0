/** @file
 * `mora export` and method.adapter against references, below every root that MORA_GOLDEN names:
 * adapters that PEFT wrote, what it merged of trained ones, and model folders of Transformers. Runs
 * are of one step at a rate of 0, so that what they start from is what they have learnt. */

#include "golden_find.h"
#include "program.h"
#include "store/hf.h"
#include "store/json.h"
#include "store/peft.h"
#include "tensor_files.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const program_setting alone = {0};

static mr_names roots;

/* Shards of a text of 21 ids, as many as any model has. */
static int enter(void **state)
{
    char own[PATH_MAX];
    snprintf(own, sizeof own, "%.3800s/tests/golden", getenv("MR_SOURCE_DIR"));
    must(mr_names_add(&roots, own));
    must(mr_golden_roots(&roots));
    if (program_enter_folder(state) != 0) return -1;
    program_write("tok.json",
                  "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 0, \"content\": \"</s>\", "
                  "\"special\": true, \"single_word\": false, \"lstrip\": false, \"rstrip\": "
                  "false, \"normalized\": false}], \"normalizer\": null, \"pre_tokenizer\": null, "
                  "\"post_processor\": null, \"decoder\": null, \"model\": {\"type\": \"BPE\", "
                  "\"vocab\": {\"</s>\": 0, \"0\": 1, \"1\": 2, \"2\": 3, \"3\": 4, \" \": 5}, "
                  "\"merges\": []}}\n");
    program_write("tokenizer_config.json", "{\"eos_token\": \"</s>\"}\n");
    program_write("text.txt", "0123 0123 3210\n1111 2222 3333\n0000 1111 0101\n");
    program_result made = program_succeed(
        alone, "data prepare text.txt --tokenizer tok.json --to shards --heldout 0");
    program_free(&made);
    program_write("run.yaml", "run: {name: one, seed: 3, output: out}\n"
                              "task: {name: pretrain, data: shards}\n"
                              "model: {tokenizer: tok.json}\n"
                              "train: {steps: 1, warmup_steps: 1, seq_len: 8, global_batch: 1}\n"
                              "parallel: {threads: 1}\n");
    return 0;
}

/* Adds the tensors of a reference that begin so, but for those that are there. */
static void add_tensors(tensor_files *out, const char *folder, const char *stem, const char *ending,
                        const char *prefix)
{
    static const char DEFAULT[] = ".default", M[] = ".mora_M", VECTOR[] = ".lora_magnitude_vector";
    char path[PATH_MAX];
    mr_safetensors *file;
    snprintf(path, sizeof path, "%.3800s/%s%s.safetensors", folder, stem, ending);
    must(mr_safetensors_open(path, &file));
    for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, i);
        char name[256];
        bool there = false;
        if (strncmp(entry->name, prefix, strlen(prefix)) != 0) continue;
        const char *plain = entry->name + strlen(prefix);
        const bool whole = strncmp(plain, "base_model.model.", 17) == 0;
        snprintf(name, sizeof name, "%s%s", whole ? "" : "base_model.model.", plain);
        char *at = strstr(name, DEFAULT);
        if (at) memmove(at, at + sizeof DEFAULT - 1, strlen(at + sizeof DEFAULT - 1) + 1);
        if ((at = strstr(name, VECTOR))) at[sizeof VECTOR - 1] = '\0';
        if ((at = strstr(name, M)))
            snprintf(at, sizeof name - (size_t)(at - name), ".lora_A.weight");
        for (int t = 0; t < out->count; t++)
            there = there || strcmp(out->tensor[t].name, name) == 0;
        if (!there) tensor_files_copy(out, file, entry, name);
    }
    mr_safetensors_close(&file);
}

/* Writes an adapter of a reference as a folder: what it began with, or what it became after ten
 * steps, but for what stayed as it was. */
static void write_adapter(const char *folder, const char *stem, bool trained,
                          const mr_golden_kind *kind, double r, double alpha)
{
    tensor_files out = {0};
    if (trained) add_tensors(&out, folder, stem, "", "after.");
    add_tensors(&out, folder, stem, "_init", "init.");
    if (access("start", F_OK) != 0) program_make_folder("start");
    program_write("start/adapter_config.json",
                  "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %.17g, \"use_dora\": %s"
                  ", \"use_mora\": %s, \"mora_type\": %d}",
                  (int)r, alpha, strcmp(kind->method, "dora") == 0 ? "true" : "false",
                  kind->mora_type > 0 ? "true" : "false", (int)kind->mora_type);
    tensor_files_write(&out, "start/adapter_model.safetensors");
    tensor_files_free(&out);
}

/* Runs from an adapter folder, and exports the run. */
static void run_from(const char *folder, const mr_golden_kind *kind, double r, double alpha,
                     const char *adapter, const char *to, const char *out)
{
    char more[128] = "";
    if (kind->mora_type > 0)
        snprintf(more, sizeof more, "--set method.operator=%s", mr_mora_operators[kind->operator]);
    program_result ran = program_succeed(
        alone,
        "run run.yaml --resume never --set model.path=%s/model --set method.name=%s --set "
        "method.r=%d --set method.lora_alpha=%.17g --set method.adapter=%s %s",
        folder, kind->method, (int)r, alpha, adapter, more);
    program_free(&ran);
    ran = program_succeed(alone, "export out/one.h5 --to %s --out %s", to, out);
    program_free(&ran);
}

static void remove_folder(const char *path)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
}

static void expect_same_tensors(const char *a, const char *b)
{
    mr_safetensors *one, *other;
    must(mr_safetensors_open(a, &one));
    must(mr_safetensors_open(b, &other));
    for (int64_t i = 0; i < mr_safetensors_count(one); i++) {
        const mr_safetensors_entry *x = mr_safetensors_at(one, i);
        const mr_safetensors_entry *y = mr_safetensors_find(other, x->name);
        char *bytes[2];
        if (!y) fail_msg("%s: no tensor %s", b, x->name);
        assert_int_equal(x->dtype, y->dtype);
        must(mr_safetensors_expect(other, y, x->dims, x->shape));
        const int64_t size = mr_safetensors_bytes(x);
        for (int k = 0; k < 2; k++) {
            bytes[k] = mr_alloc(MR_MEM_OTHER, (size_t)size);
            must(mr_safetensors_read_raw(k ? other : one, k ? y : x, 0, size, bytes[k]));
        }
        if (memcmp(bytes[0], bytes[1], (size_t)size) != 0) fail_msg("%s: %s differs", b, x->name);
        mr_free(bytes[0]);
        mr_free(bytes[1]);
    }
    mr_safetensors_close(&one);
    mr_safetensors_close(&other);
}

/* What a run began with is written as it was; the configuration is read as PEFT's. */
static void check_adapter(const char *folder, const char *stem, const mr_golden_kind *kind,
                          double r, double alpha)
{
    char theirs[PATH_MAX];
    const char *to = kind->mora_type > 0 ? "mora-fork" : "peft";
    mr_peft *ours;
    snprintf(theirs, sizeof theirs, "%.3800s/%s_adapter", folder, stem);
    write_adapter(folder, stem, false, kind, r, alpha);
    run_from(folder, kind, r, alpha, access(theirs, F_OK) == 0 ? theirs : "start", to, "first");
    expect_same_tensors("start/adapter_model.safetensors", "first/adapter_model.safetensors");
    if (access(theirs, F_OK) == 0) {
        snprintf(theirs, sizeof theirs, "%.3800s/%s_adapter/adapter_model.safetensors", folder,
                 stem);
        expect_same_tensors(theirs, "first/adapter_model.safetensors");
        expect_same_tensors("first/adapter_model.safetensors", theirs);
    }
    must(mr_peft_open("first", &ours));
    assert_int_equal(ours->r, (int)r);
    assert_int_equal(ours->mora_type, (int)kind->mora_type);
    mr_peft_close(&ours);
    /* Read again and written again; one of each form will do. */
    if (strcmp(kind->method, "dora") == 0 || kind->mora_type == 6) {
        run_from(folder, kind, r, alpha, "first", to, "second");
        expect_same_tensors("first/adapter_model.safetensors", "second/adapter_model.safetensors");
        remove_folder("second");
    }
    remove_folder("first");
}

/* A trained adapter, merged, beside what the reference merged of it in double. */
static double check_merged(const char *folder, const char *stem, const mr_golden_kind *kind,
                           double r, double alpha)
{
    char path[PATH_MAX];
    mr_safetensors *ours, *theirs;
    double worst = 0;
    snprintf(path, sizeof path, "%.3800s/%s_merged.safetensors", folder, stem);
    if (access(path, F_OK) != 0) return 0;
    write_adapter(folder, stem, true, kind, r, alpha);
    run_from(folder, kind, r, alpha, "start", "merged", "first");
    must(mr_safetensors_open(path, &theirs));
    must(mr_safetensors_open("first/model.safetensors", &ours));
    for (int64_t i = 0; i < mr_safetensors_count(ours); i++) {
        const mr_safetensors_entry *x = mr_safetensors_at(ours, i);
        const mr_safetensors_entry *y = mr_safetensors_find(theirs, x->name);
        if (!y) fail_msg("%s: no tensor %s", path, x->name);
        float *values = mr_alloc_array(MR_MEM_OTHER, 2 * (size_t)x->count, sizeof *values);
        double off = 0, size = 0;
        must(mr_safetensors_read_f32(ours, x, 0, x->count, values));
        must(mr_safetensors_read_f32(theirs, y, 0, x->count, values + x->count));
        for (int64_t j = 0; j < x->count; j++) {
            const double by = (double)values[j] - (double)values[x->count + j];
            off += by * by;
            size += (double)values[j] * (double)values[j];
        }
        mr_free(values);
        if (sqrt(off / size) > worst) worst = sqrt(off / size);
    }
    mr_safetensors_close(&ours);
    mr_safetensors_close(&theirs);
    remove_folder("first");
    return worst;
}

/* r and alpha of a reference. */
static void read_note(const char *folder, const char *stem, double *r, double *alpha)
{
    char path[PATH_MAX];
    mr_safetensors *file;
    *alpha = 16;
    snprintf(path, sizeof path, "%.3800s/%s.safetensors", folder, stem);
    must(mr_safetensors_open(path, &file));
    json_t *note = json_loads(mr_safetensors_metadata(file, "note"), 0, NULL);
    assert_int_equal(json_unpack(note, "{s:F, s?F}", "r", r, "lora_alpha", alpha), 0);
    json_decref(note);
    mr_safetensors_close(&file);
}

static void adapters_are_read_written_and_merged_as_the_references(void **state)
{
    (void)state;
    static const char *const stems[] = {"lora", "lora_plus",  "lora_asym",
                                        "dora", "mora_t1_r8", "mora_t6_r2"};
    mr_golden_set set = {0};
    int adapters = 0;
    double worst = 0;
    for (int64_t i = 0; i < roots.count; i++)
        must(mr_golden_find(roots.item[i], &set));
    for (int f = 0; f < set.count; f++)
        for (size_t k = 0; k < sizeof stems / sizeof *stems; k++) {
            char path[PATH_MAX];
            mr_golden_kind kind;
            double r, alpha;
            const char *folder = set.folder[f].path;
            snprintf(path, sizeof path, "%.3800s/%s_init.safetensors", folder, stems[k]);
            if (set.folder[f].problem || access(path, F_OK) != 0) continue;
            assert_true(mr_golden_kind_of(stems[k], &kind));
            read_note(folder, stems[k], &r, &alpha);
            check_adapter(folder, stems[k], &kind, r, alpha);
            const double off = check_merged(folder, stems[k], &kind, r, alpha);
            if (off > worst) worst = off;
            if (!(off <= 1e-6)) fail_msg("%s: %s merged off by %g", folder, stems[k], off);
            adapters++;
        }
    print_message("%d adapters, merged weights off by %.2g at most\n", adapters, worst);
    mr_golden_set_free(&set);
    assert_true(adapters > 0);
}

/* Every tensor that the model has, in the file that the base has it in. */
static void check_model(const char *folder)
{
    char path[PATH_MAX];
    mr_hf *ours, *theirs;
    mr_hf_config arch;
    snprintf(path, sizeof path, "%.3800s/config.json", folder);
    if (mr_hf_config_read(path, &arch) != MR_OK) return; /* refused, as test_models tells */
    program_result ran = program_succeed(
        alone, "run run.yaml --resume never --set model.path=%s --set method.name=fft", folder);
    program_free(&ran);
    ran = program_succeed(alone, "export out/one.h5 --to merged --out first");
    assert_contains(ran.out, "adapted to merged: 0 ");
    program_free(&ran);
    must(mr_hf_open("first", &ours));
    must(mr_hf_open(folder, &theirs));
    for (int64_t i = 0; i < mr_hf_count(theirs); i++) {
        const char *name = mr_hf_name(theirs, i);
        assert_true(mr_hf_has(ours, name) == mr_hf_uses(&arch, name));
    }
    DIR *list = opendir("first");
    assert_non_null(list);
    for (struct dirent *at = readdir(list); at; at = readdir(list)) {
        char one[PATH_MAX];
        if (!strstr(at->d_name, ".safetensors") || strstr(at->d_name, ".json")) continue;
        snprintf(path, sizeof path, "%.3800s/%s", folder, at->d_name);
        snprintf(one, sizeof one, "first/%s", at->d_name);
        expect_same_tensors(one, path);
    }
    closedir(list);
    mr_hf_close(&ours);
    mr_hf_close(&theirs);
    remove_folder("first");
}

static void models_are_written_as_they_were_read(void **state)
{
    (void)state;
    int models = 0;
    for (int64_t i = 0; i < roots.count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/models", roots.item[i]);
        DIR *list = opendir(path);
        for (struct dirent *at = list ? readdir(list) : NULL; at; at = readdir(list)) {
            if (at->d_name[0] == '.' || strstr(at->d_name, ".safetensors")) continue;
            snprintf(path, sizeof path, "%s/models/%s", roots.item[i], at->d_name);
            check_model(path);
            models++;
        }
        if (list) closedir(list);
    }
    if (models == 0) skip_without_golden("models");
    print_message("%d models\n", models);
}

static int leave(void **state)
{
    mr_names_free(&roots);
    return folder_leave(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_are_read_written_and_merged_as_the_references),
        cmocka_unit_test(models_are_written_as_they_were_read),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
