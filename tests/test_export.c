/* mora export: what a run has learnt, as other programs read it. */

#include "base/file.h"
#include "model_files.h"
#include "program.h"
#include "store/hf.h"
#include "store/json.h"
#include "store/peft.h"
#include "tensor_files.h"

#include <unistd.h>

static const program_setting alone = {0};

static const char *const methods[] = {"fft", "lora", "dora", "relora", "mora", "remora"};
enum { METHODS = sizeof methods / sizeof *methods };

/* A base of 16 columns in two files, and a run of each method that leaves its model merged too. */
static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    model_files *files = model_files_make(259, 2, false, 1);
    snprintf(files->extra, sizeof files->extra,
             ", \"eos_token_id\": 258, \"note\": \"of the base\", \"dtype\": \"float32\"");
    model_files_write(files, "base");
    remove("base/model.safetensors");
    json_t *map = json_object();
    for (int i = 0; i < files->count; i++)
        json_object_set_new(map, files->tensor[i].name,
                            json_string(i < 5 ? "one.safetensors" : "two.safetensors"));
    json_t *index = json_pack("{s:o}", "weight_map", map);
    must(mr_json_write("base/" MR_HF_INDEX, index));
    json_decref(index);
    model_files_write_part(files, "base/one.safetensors", 0, 5);
    model_files_write_part(files, "base/two.safetensors", 5, files->count);
    model_files_free(&files);
    program_write("base/generation_config.json", "{\"eos_token_id\": [258, 10]}\n");
    program_write("base/chat_template.jinja", "{{ messages }}\n");
    program_write("runs.yaml",
                  "run: {seed: 3, output: out, save_model: saved}\n"
                  "model: {path: base}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "method: {r: 4, merge_every: 2, modules_to_save: [lm_head, input_layernorm], "
                  "use_rslora: true}\n"
                  "train: {steps: 3, global_batch: 8, micro_batch: 4, lr: 0.01}\n"
                  "eval: {items: 1}\n"
                  "parallel: {threads: 1}\n"
                  "matrix: {method.name: [fft, lora, dora, relora, mora, remora]}\n");
    program_result made = program_succeed(alone, "run runs.yaml");
    program_free(&made);
    return 0;
}

static void fails(int exit_code, const char *arguments, const char *message)
{
    program_fail(alone, exit_code, message, "export %s", arguments);
    assert_int_not_equal(access("x", F_OK), 0);
    assert_int_not_equal(access("x.tmp", F_OK), 0);
}

static void the_command_line_is_checked(void **state)
{
    (void)state;
    fails(2, "--to merged --out x", "mora export: expected a run");
    fails(2, "out/runs.lora.h5 --out x", "expected --to merged|peft|mora-fork");
    fails(2, "out/runs.lora.h5 --to merged", "expected --out DIR");
    fails(2, "out/runs.lora.h5 --to peft --out x --dtype f32", "--dtype is of merged weights");
    fails(2, "out/runs.lora.h5 --to peft --out x --bound 1", "--bound is of merged weights");
    fails(2, "out/runs.lora.h5 --to merged --out x --bound wide",
          "--bound: expected a number above 0, found \"wide\"");
    fails(2, "base --to merged --out x", "'base' is a model folder: expected a run");
    fails(1, "out/none.h5 --to merged --out x", "out/none.h5");
}

static void what_a_form_has_no_place_for_is_refused_with_those_that_have(void **state)
{
    (void)state;
    fails(2, "out/runs.fft.h5 --to peft --out x",
          "--to peft: fft has no adapter that could be written apart; --to merged writes its");
    fails(2, "out/runs.mora.h5 --to peft --out x",
          "PEFT has no adapter of the kind of mora; it can be written --to mora-fork and "
          "--to merged");
    fails(2, "out/runs.dora.h5 --to mora-fork --out x",
          "dora has no square matrix; it can be written --to peft and --to merged");
    program_write("cut.yaml",
                  "run: {name: cut, output: cut}\nmodel: {path: base}\n"
                  "task: {name: uuid, pairs: 8}\nmethod: {name: mora, operator: truncation}\n"
                  "train: {steps: 1, lr: 0.01}\neval: {items: 1}\nparallel: {threads: 1}\n");
    program_result result = program_succeed(alone, "run cut.yaml");
    program_free(&result);
    fails(2, "cut/cut.h5 --to mora-fork --out x",
          "the published fork has no such operator of mora; it can be written --to merged");
    fails(2, "cut/cut.h5 --to peft --out x",
          "PEFT has no adapter of the kind of mora; it can be written --to merged");
}

static void nothing_is_written_over(void **state)
{
    (void)state;
    program_make_folder("there");
    program_write("there/mine", "kept\n");
    fails(2, "out/runs.lora.h5 --to merged --out there/", "--out: 'there' is there already");
    program_make_folder("y.tmp");
    program_write("y.tmp/thesis.tex", "kept\n");
    fails(1, "out/runs.lora.h5 --to merged --out y",
          "'y.tmp/thesis.tex' is in the way: not a file of mora; remove it");
    assert_int_equal(remove("y.tmp/thesis.tex"), 0);
    program_write("y.tmp/two.safetensors.tmp", "of an export that was ended\n");
    program_result result = program_succeed(alone, "export out/runs.lora.h5 --to peft --out y");
    program_free(&result);
    assert_int_not_equal(access("y.tmp", F_OK), 0);
}

static void logits_beyond_the_bound_are_refused(void **state)
{
    (void)state;
    fails(1, "out/runs.lora.h5 --to merged --out x --bound 1e-9",
          "the merged model is not the adapted one: a logit differs by ");
}

static void expect_same(const mr_hf *a, const mr_hf *b)
{
    assert_int_equal(mr_hf_count(a), mr_hf_count(b));
    for (int64_t i = 0; i < mr_hf_count(a); i++) {
        const mr_safetensors *file[2];
        const mr_safetensors_entry *entry[2];
        char *bytes[2];
        must(mr_hf_find(a, mr_hf_name(a, i), &file[0], &entry[0]));
        must(mr_hf_find(b, mr_hf_name(a, i), &file[1], &entry[1]));
        const int64_t size = mr_safetensors_bytes(entry[0]);
        assert_int_equal(entry[0]->dtype, entry[1]->dtype);
        assert_int_equal(size, mr_safetensors_bytes(entry[1]));
        for (int k = 0; k < 2; k++) {
            bytes[k] = mr_alloc(MR_MEM_OTHER, (size_t)size);
            must(mr_safetensors_read_raw(file[k], entry[k], 0, size, bytes[k]));
        }
        if (memcmp(bytes[0], bytes[1], (size_t)size) != 0) fail_msg("%s differs", mr_hf_name(a, i));
        mr_free(bytes[0]);
        mr_free(bytes[1]);
    }
}

static void expect_same_models(const char *a, const char *b)
{
    mr_hf *one, *other;
    must(mr_hf_open(a, &one));
    must(mr_hf_open(b, &other));
    expect_same(one, other);
    mr_hf_close(&one);
    mr_hf_close(&other);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* In the files of the base, with what stands beside them; on two ranks as on one. */
static void merged_weights_are_those_that_a_run_saves(void **state)
{
    (void)state;
    json_t *config, *was;
    must(mr_json_read("base/config.json", &was));
    for (int i = 0; i < METHODS; i++) {
        char saved[64], merged[64], path[96];
        snprintf(saved, sizeof saved, "saved/runs.%s", methods[i]);
        snprintf(merged, sizeof merged, "merged/%s", methods[i]);
        program_result result =
            program_succeed((program_setting){.ranks = i == 2 ? 2 : 0},
                            "export out/runs.%s.h5 --to merged --out %s", methods[i], merged);
        assert_contains(result.out, "in 2 files");
        assert_contains(result.out, "128 have the same best next token");
        program_free(&result);
        expect_same_models(saved, merged);
        snprintf(path, sizeof path, "%s/config.json", merged);
        must(mr_json_read(path, &config));
        assert_string_equal(text_of(config, "note"), "of the base");
        assert_string_equal(text_of(config, "dtype"), "float32");
        assert_true(json_equal(json_object_get(config, "eos_token_id"),
                               json_object_get(was, "eos_token_id")));
        json_decref(config);
        snprintf(path, sizeof path, "%s/chat_template.jinja", merged);
        assert_int_equal(access(path, F_OK), 0);
        snprintf(path, sizeof path, "%s/one.safetensors", merged);
        assert_int_equal(access(path, F_OK), 0);
    }
    json_decref(was);
}

/* A base in BF16: the upper halves of its numbers. */
static void make_narrow(void)
{
    model_files *files = model_files_make(259, 2, false, 1);
    snprintf(files->extra, sizeof files->extra, ", \"dtype\": \"bfloat16\"");
    for (int i = 0; i < files->count; i++) {
        model_tensor *t = &files->tensor[i];
        for (size_t at = 0; at < t->size; at += 4)
            memcpy(t->bytes + at / 2, t->bytes + at + 2, 2);
        t->dtype = "BF16";
        t->size /= 2;
    }
    model_files_write(files, "narrow");
    model_files_free(&files);
}

static void export_narrow(const char *dtype)
{
    json_t *config;
    char path[64];
    program_result result = program_succeed(
        alone, "export out/narrow.lora.h5 --to merged --dtype %s --out narrow_%s", dtype, dtype);
    program_free(&result);
    snprintf(path, sizeof path, "narrow_%s/config.json", dtype);
    must(mr_json_read(path, &config));
    assert_string_equal(text_of(config, "dtype"),
                        strcmp(dtype, "f32") == 0 ? "float32" : "bfloat16");
    json_decref(config);
}

/* The nearest number of BF16, of two as near the even one. */
static uint16_t nearest(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void narrow_weights_are_rounded_once_or_written_wide(void **state)
{
    (void)state;
    mr_hf *base, *wide;
    int64_t changed = 0;
    make_narrow();
    program_result result = program_succeed(
        alone, "run runs.yaml --index 1 --set run.name=narrow --set model.path=narrow "
               "--set run.save_model= --set method.modules_to_save=[]");
    program_free(&result);
    export_narrow("base");
    export_narrow("f32");
    must(mr_hf_open("narrow_base", &base));
    must(mr_hf_open("narrow_f32", &wide));
    for (int64_t i = 0; i < mr_hf_count(base); i++) {
        const mr_safetensors *file[2];
        const mr_safetensors_entry *entry[2];
        must(mr_hf_find(base, mr_hf_name(base, i), &file[0], &entry[0]));
        must(mr_hf_find(wide, mr_hf_name(base, i), &file[1], &entry[1]));
        assert_int_equal(entry[0]->dtype, MR_SAFETENSORS_BF16);
        assert_int_equal(entry[1]->dtype, MR_SAFETENSORS_F32);
        uint16_t *half = mr_alloc_array(MR_MEM_OTHER, (size_t)entry[0]->count, sizeof *half);
        float *full = mr_alloc_array(MR_MEM_OTHER, (size_t)entry[0]->count, sizeof *full);
        must(mr_safetensors_read_raw(file[0], entry[0], 0, 2 * entry[0]->count, half));
        must(mr_safetensors_read_f32(file[1], entry[1], 0, entry[1]->count, full));
        for (int64_t k = 0; k < entry[0]->count; k++) {
            const uint32_t kept = (uint32_t)half[k] << 16;
            assert_int_equal(half[k], nearest(full[k]));
            changed += memcmp(&kept, &full[k], sizeof kept) != 0;
        }
        mr_free(half);
        mr_free(full);
    }
    assert_true(changed > 1000);
    mr_hf_close(&base);
    mr_hf_close(&wide);
}

/* The configuration of an adapter folder, whose tensors are counted. */
static json_t *adapter_of(const char *method, const char *to, const char *warning, int64_t tensors)
{
    char path[96];
    mr_peft *peft;
    program_result result = program_succeed(
        alone, "export out/runs.%s.h5 --to %s --out adapters/%s", method, to, method);
    assert_contains(result.err, warning);
    program_free(&result);
    snprintf(path, sizeof path, "adapters/%s", method);
    must(mr_peft_open(path, &peft));
    assert_int_equal(mr_safetensors_count(peft->file), tensors);
    assert_non_null(mr_peft_find(peft, "lm_head", MR_PEFT_WEIGHT));
    const mr_safetensors_entry *norm =
        mr_peft_find(peft, "model.layers.1.input_layernorm", MR_PEFT_WEIGHT);
    assert_non_null(norm);
    assert_int_equal(norm->dims, 1);
    json_t *config = json_incref(peft->config);
    mr_peft_close(&peft);
    return config;
}

static void adapters_tell_what_they_are(void **state)
{
    (void)state;
    enum { LINEARS = 14, SAVED = 3 };
    json_t *lora = adapter_of("lora", "peft", "", 2 * LINEARS + SAVED);
    assert_string_equal(text_of(lora, "base_model_name_or_path"), "base");
    assert_int_equal(json_integer_value(json_object_get(lora, "r")), 4);
    assert_int_equal(json_integer_value(json_object_get(lora, "lora_alpha")), 16);
    assert_int_equal(json_array_size(json_object_get(lora, "target_modules")), 7);
    assert_int_equal(json_array_size(json_object_get(lora, "modules_to_save")), SAVED);
    assert_true(json_is_false(json_object_get(lora, "use_dora")));
    assert_true(json_is_true(json_object_get(lora, "use_rslora")));
    assert_null(json_object_get(lora, "use_mora"));
    json_decref(lora);
    json_t *dora = adapter_of("dora", "peft", "", 3 * LINEARS + SAVED);
    assert_true(json_is_true(json_object_get(dora, "use_dora")));
    json_decref(dora);
    json_t *relora = adapter_of("relora", "peft", "relora has merged 1 times into the base",
                                2 * LINEARS + SAVED);
    assert_true(json_is_null(json_object_get(relora, "base_model_name_or_path")));
    json_decref(relora);
    json_t *mora = adapter_of("mora", "mora-fork", "", 2 * LINEARS + SAVED);
    assert_true(json_is_true(json_object_get(mora, "use_mora")));
    assert_true(json_is_false(json_object_get(mora, "use_rslora")));
    assert_int_equal(json_integer_value(json_object_get(mora, "mora_type")), 6);
    json_decref(mora);
    json_t *remora =
        adapter_of("remora", "mora-fork", "remora has merged 1 times", 2 * LINEARS + SAVED);
    assert_int_equal(json_integer_value(json_object_get(remora, "mora_type")), 2);
    json_decref(remora);
}

static void refused(const char *arguments, const char *message)
{
    program_fail(alone, 1, message, "run start.yaml --resume never %s", arguments);
}

/* The square matrix of a linear and what should be a copy of it. */
static void write_unequal_twins(void)
{
    mr_peft *peft;
    tensor_files files = {0};
    must(mr_peft_open("adapters/mora", &peft));
    for (int64_t i = 0; i < mr_safetensors_count(peft->file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(peft->file, i);
        tensor_files_copy(&files, peft->file, entry, entry->name);
    }
    mr_peft_close(&peft);
    tensor_files_find(&files,
                      "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight")[3] += 1;
    must(mr_file_make_folders("adapters/twins"));
    tensor_files_write(&files, "adapters/twins/adapter_model.safetensors");
    tensor_files_free(&files);
    char *config = program_read("adapters/mora/adapter_config.json", NULL);
    program_write("adapters/twins/adapter_config.json", "%s", config);
    mr_free(config);
}

/* The folders are those that the test before has written. */
static void an_adapter_that_does_not_fit_is_refused_by_its_key(void **state)
{
    (void)state;
    program_write("start.yaml",
                  "run: {name: on, output: on}\nmodel: {path: base}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "method: {name: lora, r: 4, use_rslora: true, adapter: adapters/lora, "
                  "modules_to_save: [lm_head, "
                  "input_layernorm]}\n"
                  "train: {steps: 1, lr: 0.01}\neval: {items: 1}\nparallel: {threads: 1}\n");
    refused("--set method.adapter=nowhere",
            "method.adapter: cannot open 'nowhere/adapter_model.safetensors'");
    refused("--set method.adapter=adapters/dora",
            "method.adapter: 'adapters/dora' is an adapter of the kind of dora; method.name lora "
            "trains one of the kind of lora");
    refused("--set method.r=8",
            "method.adapter: r of model.layers.0.self_attn.q_proj is 4 in 'adapters/lora', "
            "method.r is 8");
    refused("--set method.lora_alpha=8",
            "method.adapter: the update of model.layers.0.self_attn.q_proj is scaled by 8 in "
            "'adapters/lora' (lora_alpha, r, use_rslora), here by 4 (method.lora_alpha 8, "
            "method.r 4)");
    refused("--set method.target_modules=[q_proj,v_proj]",
            "which method.target_modules does not name");
    refused("--set method.target_modules=[down_proj]",
            "updates model.layers.0.mlp.gate_proj, which method.target_modules does not name");
    refused("--set method.modules_to_save=[lm_head]",
            "holds the weight of model.layers.0.input_layernorm, which method.modules_to_save does "
            "not name");
    refused("--set method.modules_to_save=[lm_head,input_layernorm,embed_tokens]",
            "holds no weight of model.embed_tokens, which method.modules_to_save names");
    refused("--set method.name=mora --set method.adapter=adapters/mora --set "
            "method.operator=sharing --set method.modules_to_save=[lm_head,input_layernorm]",
            "method.adapter: mora_type is 6 in 'adapters/mora', that of method.operator is 1");
    program_make_folder("adapters/invoked");
    program_write("adapters/invoked/adapter_model.safetensors", "not looked at\n");
    program_write("adapters/invoked/adapter_config.json",
                  "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 16, "
                  "\"alora_invocation_tokens\": [1, 2]}");
    refused("--set method.adapter=adapters/invoked",
            "adapters/invoked/adapter_config.json: alora_invocation_tokens: expected null, found a "
            "list");
    write_unequal_twins();
    refused("--set method.name=mora --set method.adapter=adapters/twins",
            "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' and "
            "'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight' differ, and are one "
            "here");
    program_result result = program_succeed(
        alone, "run start.yaml --set method.adapter=adapters/lora --set model.path=merged/lora");
    assert_contains(result.err, "was made for the base 'base', model.path is 'merged/lora'");
    program_free(&result);
}

/* A of the first linear. */
static void read_a(const char *folder, float out[64])
{
    mr_peft *peft;
    const mr_safetensors_entry *entry;
    must(mr_peft_open(folder, &peft));
    must(mr_peft_need(peft, "model.layers.0.self_attn.q_proj", MR_PEFT_A, &entry));
    assert_int_equal(entry->count, 64);
    must(mr_safetensors_read_f32(peft->file, entry, 0, 64, out));
    mr_peft_close(&peft);
}

/* Stopped and gone on with, with a factor that no checkpoint holds; and told of by spectra. */
static void a_run_from_an_adapter_goes_on(void **state)
{
    (void)state;
    static const char set[] = "run start.yaml --set method.name=asylora --set train.steps=4 --set "
                              "checkpoint.every_steps=2 --set method.adapter=adapters/lora "
                              "--set method.modules_to_save=[lm_head,input_layernorm] ";
    program_result whole = program_succeed(alone, "%s --set run.name=whole", set);
    program_result part = program_succeed(
        alone, "%s --set run.name=part --set run.keep=none --set train.stop_after=2", set);
    program_free(&part);
    part = program_succeed(alone, "spectrum on/part.h5 --modules q_proj --out part");
    program_free(&part);
    part = program_succeed(alone, "export on/part.h5 --to peft --out adapters/part");
    program_free(&part);
    float then[64], now[64];
    read_a("adapters/lora", then);
    read_a("adapters/part", now);
    assert_memory_equal(then, now, sizeof now);
    part = program_succeed(alone, "%s --set run.name=part", set);
    assert_contains(part.err, "goes on at step 2");
    assert_contains(part.err, ", as it was saved");
    program_free(&part);
    program_free(&whole);
    whole = program_succeed(alone, "export on/whole.h5 --to peft --out adapters/whole");
    part = program_succeed(alone, "export on/part.h5 --to peft --out adapters/again");
    program_free(&whole);
    program_free(&part);
    size_t size[2];
    char *bytes[2] = {program_read("adapters/whole/adapter_model.safetensors", &size[0]),
                      program_read("adapters/again/adapter_model.safetensors", &size[1])};
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mr_free(bytes[0]);
    mr_free(bytes[1]);
    /* Of another scale it is not the one that was done, and none that fits. */
    char *config = program_read("adapters/lora/adapter_config.json", NULL);
    char *alpha = strstr(config, "\"lora_alpha\": 16");
    assert_non_null(alpha);
    memcpy(alpha, "\"lora_alpha\": 32", 16);
    program_write("adapters/lora/adapter_config.json", "%s", config);
    program_result scaled = program_run(alone, "%s --set run.name=whole", set);
    assert_int_equal(scaled.exit_code, 1);
    assert_contains(scaled.err, "is of other inputs (adapter ");
    assert_contains(scaled.err, "is scaled by 16 in 'adapters/lora'");
    program_free(&scaled);
    mr_free(config);
    /* Of other contents it is another run. */
    rename("adapters/lora", "adapters/first");
    rename("adapters/part", "adapters/lora");
    program_result other = program_succeed(alone, "%s --set run.name=part", set);
    assert_contains(other.err, "is of other inputs (adapter ");
    program_free(&other);
}

#define TEST(function) cmocka_unit_test(function)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_command_line_is_checked),
        TEST(what_a_form_has_no_place_for_is_refused_with_those_that_have),
        TEST(nothing_is_written_over),
        TEST(logits_beyond_the_bound_are_refused),
        TEST(merged_weights_are_those_that_a_run_saves),
        TEST(narrow_weights_are_rounded_once_or_written_wide),
        TEST(adapters_tell_what_they_are),
        TEST(an_adapter_that_does_not_fit_is_refused_by_its_key),
        TEST(a_run_from_an_adapter_goes_on),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
