/* Adapters as PEFT and the published MoRA fork have them. */

#include "base/log.h"
#include "model/linears.h"
#include "store/peft.h"
#include "train/export_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor to be written. */
typedef struct tensor {
    char name[MR_PEFT_NAME];
    int id;
    bool vector;
} tensor;

/* What a folder will hold. Owns all. */
typedef struct contents {
    tensor *tensor;
    int64_t count, room;
    mr_names targets, saved;
} contents;

/* The first linear with an adapter, and what that is. */
static bool first_adapter(const mr_model *model, mr_model_linear *linear, mr_update *update,
                          int *lengths)
{
    for (*linear = (mr_model_linear){0}; mr_model_next_linear(model, linear);)
        if (mr_model_adapter_update(model, linear, update, lengths)) return true;
    return false;
}

mr_status mr_export_check(const mr_model *model, mr_export_form form)
{
    const char *method = mr_model_method(model)->name;
    mr_model_linear linear;
    mr_update update;
    int lengths;
    if (form == MR_EXPORT_MERGED) return MR_OK;
    const char *to = form == MR_EXPORT_PEFT ? "peft" : "mora-fork";
    MR_CHECK(first_adapter(model, &linear, &update, &lengths), MR_ERR_USAGE,
             "--to %s: %s has no adapter that could be written apart; --to merged writes its "
             "weights",
             to, method);
    const bool product = update.kind == MR_UPDATE_PRODUCT;
    const bool published = mr_model_published_type(model, &linear) > 0;
    MR_CHECK(form != MR_EXPORT_PEFT || product, MR_ERR_USAGE,
             "--to peft: PEFT has no adapter of the kind of %s; it can be written %s--to merged",
             method, published ? "--to mora-fork and " : "");
    MR_CHECK(form != MR_EXPORT_FORK || !product, MR_ERR_USAGE,
             "--to mora-fork: %s has no square matrix; it can be written --to peft and --to merged",
             method);
    MR_CHECK(form != MR_EXPORT_FORK || published, MR_ERR_USAGE,
             "--to mora-fork: the published fork has no such operator of %s; it can be written "
             "--to merged",
             method);
    return MR_OK;
}

static mr_status add(contents *c, const char *module, mr_peft_part part, int id)
{
    MR_TRY(mr_grow(MR_MEM_OTHER, &c->tensor, &c->room, c->count + 1, sizeof *c->tensor));
    tensor *t = &c->tensor[c->count++];
    *t = (tensor){.id = id, .vector = part == MR_PEFT_LENGTHS};
    mr_peft_name(t->name, module, part);
    return MR_OK;
}

/* Lists the tensors of a linear's adapter. */
static mr_status add_linear(contents *c, const mr_model *model, const mr_model_linear *linear)
{
    char module[MR_PARAM_NAME];
    mr_update update;
    int lengths;
    MR_INVARIANT(mr_model_adapter_update(model, linear, &update, &lengths));
    mr_model_linear_module(model, linear, module);
    const bool product = update.kind == MR_UPDATE_PRODUCT;
    MR_TRY(add(c, module, MR_PEFT_A, (int)(product ? update.a.offset : update.m.offset)));
    /* The fork's two names of one matrix. */
    MR_TRY(add(c, module, MR_PEFT_B, (int)(product ? update.b.offset : update.m.offset)));
    return lengths >= 0 ? add(c, module, MR_PEFT_LENGTHS, lengths) : MR_OK;
}

static mr_status add_weight(contents *c, const char *module, const mr_params_walk *at)
{
    MR_TRY(mr_names_add(&c->saved, module));
    MR_TRY(add(c, module, MR_PEFT_WEIGHT, at->id));
    c->tensor[c->count - 1].vector = at->param->rows == 1;
    return MR_OK;
}

/* Lists the weights of the base that are trained themselves, by modules' whole names: PEFT takes a
 * shorter one for more modules than are meant. */
static mr_status add_saved(contents *c, const mr_model *model)
{
    const bool tied = mr_model_arch(model)->tie_word_embeddings;
    for (mr_params_walk at = {0}; mr_params_next(mr_model_params(model), &at);) {
        char module[MR_PARAM_NAME];
        if (at.param->adapter || !at.param->trained) continue;
        const char *name = at.param->name;
        snprintf(module, sizeof module, "%.*s", (int)(strrchr(name, '.') - name), name);
        MR_TRY(add_weight(c, module, &at));
        /* PEFT unties a module that it saves: the head gets a copy of its own. */
        if (tied && strcmp(module, MR_PEFT_EMBEDDING) == 0)
            MR_TRY(add_weight(c, MR_PEFT_HEAD, &at));
    }
    return MR_OK;
}

/* How many linears have the projection of one, and how many of them an adapter. */
static void count_like(const mr_model *model, const char *projection, int *all, int *adapted)
{
    *all = *adapted = 0;
    for (mr_model_linear at = {0}; mr_model_next_linear(model, &at);) {
        if (strcmp(at.projection, projection) != 0) continue;
        ++*all;
        *adapted += at.place >= 0;
    }
}

/* Names the modules with an adapter: projections, where every layer is like the others. */
static mr_status name_targets(contents *c, const mr_model *model)
{
    bool alike = true;
    int all, adapted;
    for (mr_model_linear at = {0}; alike && mr_model_next_linear(model, &at);) {
        count_like(model, at.projection, &all, &adapted);
        alike = adapted == 0 || adapted == all;
    }
    for (mr_model_linear at = {0}; mr_model_next_linear(model, &at);) {
        char module[MR_PARAM_NAME];
        if (at.place < 0 || (alike && at.layer > 0)) continue;
        mr_model_linear_module(model, &at, module);
        MR_TRY(mr_names_add(&c->targets, alike ? at.projection : module));
    }
    return MR_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

static mr_status list(contents *c, const mr_model *model)
{
    for (mr_model_linear at = {0}; mr_model_next_linear(model, &at);)
        if (at.place >= 0) MR_TRY(add_linear(c, model, &at));
    MR_TRY(name_targets(c, model));
    MR_TRY(add_saved(c, model));
    qsort(c->tensor, (size_t)c->count, sizeof *c->tensor, compare);
    return MR_OK;
}

/* Writes the configuration, and warns of what an adapter alone does not hold. On rank 0. */
static mr_status write_config(const mr_loaded *l, mr_export_form form, const contents *c,
                              const char *folder)
{
    const mr_adapter_config *config = mr_adapter_config_of(&l->config);
    const int64_t restart = l->files.about.restart;
    const bool drawn = l->config.model.init == MR_INIT_RANDOM;
    mr_model_linear linear;
    mr_update update;
    int lengths;
    MR_INVARIANT(first_adapter(l->model, &linear, &update, &lengths));
    if (restart > 0)
        mr_warn("%s has merged %lld times into the base: what is written is its last adapter, for "
                "the base with these merges, which --to merged writes together with it",
                l->config.method.name, (long long)restart);
    else if (drawn)
        mr_warn("the base that the adapter is for was drawn by run.seed %lld; --to merged writes "
                "it together with it",
                (long long)l->config.run.seed);
    return mr_peft_write_config(
        folder, &(mr_peft_about){.kind = form == MR_EXPORT_FORK ? MR_PEFT_MORA
                                         : lengths >= 0         ? MR_PEFT_DORA
                                                                : MR_PEFT_LORA,
                                 .r = config->r,
                                 .mora_type = mr_model_published_type(l->model, &linear),
                                 .lora_alpha = config->lora_alpha,
                                 .lora_dropout = config->lora_dropout,
                                 .rslora = config->use_rslora,
                                 .base = drawn || restart > 0 ? "" : l->config.model.path,
                                 .targets = &c->targets,
                                 .saved = &c->saved});
}

static mr_status write_tensors(const mr_loaded *l, const contents *c, const char *folder)
{
    const mr_safetensors_pair format = {"format", "pt"};
    char path[PATH_MAX];
    mr_model_tensor *tensors = mr_alloc_array(MR_MEM_OTHER, (size_t)c->count, sizeof *tensors);
    mr_status status = tensors ? mr_file_path(path, "%s/" MR_PEFT_WEIGHTS, folder) : MR_ERR_MEMORY;
    for (int64_t i = 0; tensors && i < c->count; i++)
        tensors[i] = (mr_model_tensor){
            .id = c->tensor[i].id, .name = c->tensor[i].name, .vector = c->tensor[i].vector};
    status = mr_comm_agree(l->comm, status);
    if (status == MR_OK)
        status = mr_model_write_tensors(l->model, tensors, (int)c->count, path, &format, 1);
    mr_free(tensors);
    return status;
}

mr_status mr_export_adapter(const mr_loaded *l, mr_export_form form, const char *folder,
                            mr_export_outcome *out)
{
    contents c = {0};
    mr_status status = mr_comm_agree(l->comm, list(&c, l->model));
    if (status == MR_OK) status = write_tensors(l, &c, folder);
    if (status == MR_OK)
        status = mr_comm_agree_root(l->comm,
                                    l->comm->rank == 0 ? write_config(l, form, &c, folder) : MR_OK);
    out->files = 1;
    out->tensors = c.count;
    for (int64_t i = 0; i < c.count; i++) {
        const mr_param *param = mr_params_at(mr_model_params(l->model), c.tensor[i].id);
        out->bytes += param->rows * param->cols * (int64_t)sizeof(float);
    }
    snprintf(out->types, sizeof out->types, "F32");
    mr_names_free(&c.targets);
    mr_names_free(&c.saved);
    mr_free(c.tensor);
    return status;
}
