#include "reading.h"

#include "base/file.h"
#include "ranks.h"
#include "settings.h"

mr_status reading_open(const mr_comm *comm, const char *folder, int64_t tokens, bool frozen,
                       reading *r)
{
    char path[PATH_MAX];
    *r = (reading){0};
    MR_AGREE(comm, mr_file_path(path, "%s/config.json", folder));
    MR_AGREE(comm, mr_hf_config_read(path, &r->arch));
    MR_TRY(mr_hf_untie(comm, folder, &r->arch));
    must(mr_hf_open(folder, &r->weights));
    must(mr_hf_check(comm, r->weights, &r->arch, path));
    r->config = mr_alloc(MR_MEM_OTHER, sizeof *r->config);
    assert_on_all_ranks(r->config);
    settings_of_method(r->config, "fft");
    must(mr_backend_create(test_backend(), 0, 1, &r->be));
    must(mr_model_create(
        &(mr_model_options){
            .comm = comm,
            .be = r->be,
            .arch = &r->arch,
            .method = mr_adapter_find("fft"),
            .adapter = mr_adapter_config_of(r->config),
            .shard = MR_SHARD_FULL,
            .frozen = frozen,
            .geometry = {.batch = 1, .tokens = tokens, .micros = 1, .in_wave = 1, .stretches = 1}},
        &r->model));
    must(mr_model_allocate(r->model));
    must(mr_model_load(r->model, r->weights));
    return MR_OK;
}

void reading_free(reading *r)
{
    mr_model_destroy(&r->model);
    if (r->be) mr_backend_destroy(&r->be);
    mr_hf_close(&r->weights);
    mr_free(r->config);
    *r = (reading){0};
}
