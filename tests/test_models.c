/** @file
 * Model folders beside what Transformers makes of them: every folder <root>/models/<name> with its
 * <name>.ref.safetensors, for the roots that MORA_GOLDEN names (colon-separated; without it
 * ../shared/golden). Each is run, written as run.save_model writes it, and read again. */

#include "base/file.h"
#include "golden_find.h"
#include "ranks.h"
#include "reading.h"
#include "store/hf_beside.h"
#include "store/json.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const double logits_within = 1e-5, loss_within = 2e-6; /* relative */
static const char reference[] = ".ref.safetensors";

/** A folder and its reference. */
typedef struct golden_model {
    char name[NAME_MAX + 32], folder[PATH_MAX], reference[PATH_MAX];
} golden_model;

static golden_model *models; /* outlives the tests, which account for counted memory */
static int64_t model_count;

/** The sequences of a reference, and what a model makes of them. Owns its arrays. */
typedef struct sequences {
    mr_safetensors *file;
    int64_t count, longest;
    float *logits; /**< [longest, V], of the last one run */
    float *theirs; /**< the same */
    int32_t *ids, *targets;
    double *losses;
} sequences;

static const mr_safetensors_entry *entry_of(const sequences *s, const char *what, int64_t i)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%lld", what, (long long)i);
    return mr_safetensors_find(s->file, name);
}

static void open_sequences(const char *path, sequences *s)
{
    *s = (sequences){0};
    must(mr_safetensors_open(path, &s->file));
    for (const mr_safetensors_entry *ids; (ids = entry_of(s, "ids", s->count)); s->count++)
        if (ids->count > s->longest) s->longest = ids->count;
    assert_true(s->count > 0);
    const size_t length = (size_t)s->longest;
    s->ids = mr_alloc_array(MR_MEM_OTHER, length, sizeof *s->ids);
    s->targets = mr_alloc_array(MR_MEM_OTHER, length, sizeof *s->targets);
    s->losses = mr_alloc_array(MR_MEM_OTHER, length, sizeof *s->losses);
    assert_true(s->ids && s->targets && s->losses);
}

static void make_room(sequences *s, int64_t vocab)
{
    s->logits = mr_alloc_array(MR_MEM_OTHER, (size_t)(s->longest * vocab), sizeof *s->logits);
    s->theirs = mr_alloc_array(MR_MEM_OTHER, (size_t)(s->longest * vocab), sizeof *s->theirs);
    assert_true(s->logits && s->theirs);
}

static void sequences_free(sequences *s)
{
    mr_safetensors_close(&s->file);
    mr_free(s->logits);
    mr_free(s->theirs);
    mr_free(s->ids);
    mr_free(s->targets);
    mr_free(s->losses);
}

/* Runs sequence i: what follows it is filled up, which nothing before can see. Returns its tokens.
 * Collective. */
static int64_t run_sequence(sequences *s, mr_model *model, int64_t i)
{
    const mr_safetensors_entry *ids = entry_of(s, "ids", i);
    memset(s->ids, 0, (size_t)s->longest * sizeof *s->ids);
    must(mr_safetensors_read_raw(s->file, ids, 0, mr_safetensors_bytes(ids), s->ids));
    for (int64_t t = 0; t < s->longest; t++)
        s->targets[t] = t + 1 < ids->count ? s->ids[t + 1] : -1;
    mr_model_evaluate(model, &(mr_model_batch){.tokens = s->ids, .targets = s->targets}, 1,
                      s->losses, s->logits);
    return ids->count;
}

/* The mean loss over all targets that the reference states. */
static double stated_loss(const sequences *s)
{
    json_error_t error;
    json_t *note = json_loads(mr_safetensors_metadata(s->file, "note"), 0, &error);
    const double loss = json_number_value(json_object_get(note, "loss"));
    assert_true(loss > 0);
    json_decref(note);
    return loss;
}

static double norm_of_difference(const float *a, const float *b, int64_t count, double *norm)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        const double by = (double)a[i] - (double)b[i];
        off += by * by;
        size += (double)b[i] * (double)b[i];
    }
    *norm = sqrt(size);
    return sqrt(off);
}

/* Holds every sequence's logits and losses, and their mean, against the reference. */
static void compare(sequences *s, const reading *r)
{
    const int64_t vocab = r->arch.vocab_size;
    double sum = 0, worst = 0, norm;
    int64_t targets = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const int64_t length = run_sequence(s, r->model, i);
        const mr_safetensors_entry *logits = entry_of(s, "logits", i), *nll = entry_of(s, "nll", i);
        must(mr_safetensors_expect(s->file, logits, 2, (const int64_t[]){length, vocab}));
        must(mr_safetensors_read_f32(s->file, logits, 0, logits->count, s->theirs));
        const double off = norm_of_difference(s->logits, s->theirs, logits->count, &norm);
        if (off / norm > worst) worst = off / norm;
        assert_on_all_ranks(off <= logits_within * norm);
        assert_on_all_ranks(!nll == (length == 1));
        if (nll) must(mr_safetensors_read_f32(s->file, nll, 0, length - 1, s->theirs));
        for (int64_t t = 0; t + 1 < length; t++) {
            assert_on_all_ranks(fabs(s->losses[t] - (double)s->theirs[t]) <=
                                logits_within * (1 + fabs((double)s->theirs[t])));
            sum += s->losses[t];
            targets++;
        }
    }
    const double loss = stated_loss(s), off = fabs(sum / (double)targets - loss) / loss;
    print_message("logits off by %.2g, loss by %.2g\n", worst, off);
    assert_on_all_ranks(off <= loss_within);
}

/* Writes a model as run.save_model does. Collective. */
static void save(const reading *r, const char *from, const char *folder)
{
    char path[PATH_MAX];
    mr_hf_beside *beside = NULL;
    if (world.rank == 0) must(mr_file_make_folders(folder));
    mr_comm_barrier(&world);
    must(mr_file_path(path, "%s/" MR_HF_WEIGHTS, folder));
    must(mr_model_write(r->model, MR_PART_PUBLIC, path,
                        &(const mr_safetensors_pair){"format", "pt"}, 1));
    must(mr_file_path(path, "%s/config.json", from));
    if (world.rank == 0) {
        must(mr_hf_beside_read(path, from, "", &beside));
        must(mr_hf_beside_write(beside, folder, &r->arch, "float32"));
    }
    mr_hf_beside_free(&beside);
    mr_comm_barrier(&world);
}

static void expect_same_file(const char *name)
{
    char path[2][PATH_MAX], *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        must(mr_file_path(path[i], "%s/%s", i == 0 ? "first" : "second", name));
        must(mr_file_read(path[i], MR_MEM_OTHER, &bytes[i], &size[i]));
    }
    assert_on_all_ranks(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0);
    mr_free(bytes[0]);
    mr_free(bytes[1]);
}

/* Every tensor of the model has the source's values, widened. */
static void expect_same_values(const mr_hf *a, const mr_hf *b, const mr_hf_config *arch)
{
    int64_t compared = 0;
    for (int64_t i = 0; i < mr_hf_count(a); i++) {
        const mr_safetensors *file[2];
        const mr_safetensors_entry *entry[2];
        const char *name = mr_hf_name(a, i);
        if (!mr_hf_uses(arch, name)) continue;
        must(mr_hf_find(a, name, &file[0], &entry[0]));
        must(mr_hf_find(b, name, &file[1], &entry[1]));
        const size_t count = (size_t)entry[0]->count;
        float *values = mr_alloc_array(MR_MEM_OTHER, 2 * count, sizeof *values);
        assert_on_all_ranks(values && entry[1]->count == entry[0]->count);
        for (int k = 0; k < 2; k++)
            must(mr_safetensors_read_f32(file[k], entry[k], 0, (int64_t)count,
                                         values + (size_t)k * count));
        assert_on_all_ranks(memcmp(values, values + count, count * sizeof *values) == 0);
        mr_free(values);
        compared++;
    }
    assert_on_all_ranks(compared == mr_hf_count(b));
}

/* Written, read and written again: the same values, files and logits, in bits. */
static void expect_round_trip(const golden_model *m, const reading *r, sequences *s)
{
    reading again, third;
    save(r, m->folder, "first");
    must(reading_open(&world, "first", s->longest, false, &again));
    expect_same_values(r->weights, again.weights, &r->arch);
    save(&again, "first", "second");
    expect_same_file(MR_HF_WEIGHTS);
    expect_same_file("config.json");
    must(reading_open(&world, "second", s->longest, false, &third));
    const size_t bytes =
        (size_t)(run_sequence(s, r->model, s->count - 1) * r->arch.vocab_size) * sizeof(float);
    memcpy(s->theirs, s->logits, bytes);
    run_sequence(s, third.model, s->count - 1);
    assert_on_all_ranks(memcmp(s->theirs, s->logits, bytes) == 0);
    reading_free(&third);
    reading_free(&again);
}

static void a_folder_computes_as_its_reference_and_is_written_whole(void **state)
{
    const golden_model *m = *state;
    sequences s;
    reading r;
    open_sequences(m->reference, &s);
    mr_status status = reading_open(&world, m->folder, s.longest, false, &r);
    if (status != MR_OK) {
        /* Whose frequencies follow from the call has no one answer: it is refused by name. */
        const bool named = strstr(mr_message(), "'dynamic' is not supported") != NULL;
        if (!named) print_error("%s\n", mr_message());
        sequences_free(&s);
        assert_on_all_ranks(named);
        return;
    }
    make_room(&s, r.arch.vocab_size);
    compare(&s, &r);
    expect_round_trip(m, &r, &s);
    reading_free(&r);
    sequences_free(&s);
}

static void references_of_models_are_there(void **state)
{
    (void)state;
    if (model_count == 0) skip_without_golden("models beside references");
}

static int is_reference(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name), tail = sizeof reference - 1;
    return length > tail && strcmp(entry->d_name + length - tail, reference) == 0;
}

static void find_models(const char *root)
{
    struct dirent **entries = NULL;
    char folder[PATH_MAX];
    must(mr_file_path(folder, "%s/models", root));
    const int count = scandir(folder, &entries, is_reference, alphasort);
    for (int i = 0; i < count; i++) {
        char *name = entries[i]->d_name;
        models = realloc(models, (size_t)(model_count + 1) * sizeof *models);
        if (!models) mr_abort("no memory for the tests");
        golden_model *m = &models[model_count++];
        must(mr_file_path(m->reference, "%s/%s", folder, name));
        name[strlen(name) - (sizeof reference - 1)] = '\0';
        must(mr_file_path(m->folder, "%s/%s", folder, name));
        snprintf(m->name, sizeof m->name, "%s computes as its reference", name);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    mr_names roots = {0};
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++)
        find_models(roots.item[i]);
    mr_names_free(&roots);
    struct CMUnitTest *tests = calloc((size_t)model_count + 1, sizeof *tests);
    if (!tests) mr_abort("no memory for the tests");
    tests[0] = (struct CMUnitTest)cmocka_unit_test(references_of_models_are_there);
    for (int64_t i = 0; i < model_count; i++)
        tests[i + 1] = (struct CMUnitTest){
            .name = models[i].name,
            .test_func = a_folder_computes_as_its_reference_and_is_written_whole,
            .initial_state = &models[i]};
    const bool skipped = model_count == 0;
    int failed = _cmocka_run_group_tests("models", tests, (size_t)model_count + 1,
                                         ranks_enter_folder, ranks_leave_folder);
    free(tests);
    free(models);
    failed = ranks_end(failed);
    return skipped && !failed ? 77 : failed;
}
