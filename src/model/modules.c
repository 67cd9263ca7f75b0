/* The modules of a model: their weights, whether they are trained, adapted or neither, and all
 * their parameters. */

#include "model/linears.h"
#include "model/model_impl.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

static const char *const linear_names[MR_LINEARS] = {
    [MR_LINEAR_Q] = "self_attn.q_proj", [MR_LINEAR_K] = "self_attn.k_proj",
    [MR_LINEAR_V] = "self_attn.v_proj", [MR_LINEAR_O] = "self_attn.o_proj",
    [MR_LINEAR_GATE] = "mlp.gate_proj", [MR_LINEAR_UP] = "mlp.up_proj",
    [MR_LINEAR_DOWN] = "mlp.down_proj",
};

const char *mr_linear_name(int linear)
{
    return strrchr(linear_names[linear], '.') + 1;
}

static void linear_shape(const mr_hf_config *a, int linear, int64_t *out, int64_t *in)
{
    int64_t q = a->num_attention_heads * a->head_dim, kv = a->num_key_value_heads * a->head_dim;
    int64_t c = a->hidden_size, i = a->intermediate_size;
    const int64_t shapes[MR_LINEARS][2] = {
        [MR_LINEAR_Q] = {q, c},    [MR_LINEAR_K] = {kv, c},   [MR_LINEAR_V] = {kv, c},
        [MR_LINEAR_O] = {c, q},    [MR_LINEAR_GATE] = {i, c}, [MR_LINEAR_UP] = {i, c},
        [MR_LINEAR_DOWN] = {c, i},
    };
    *out = shapes[linear][0];
    *in = shapes[linear][1];
}

/** The configuration's lists of modules, and which of their items have matched one. */
typedef struct module_lists {
    const mr_model_options *options;
    bool target_used[MR_CONFIG_LIST], saved_used[MR_CONFIG_LIST];
} module_lists;

/* Whether a module's full name is meant by one item of a list, as in PEFT: a name that it ends
 * with, or (Deviation: POSIX extended) a regular expression of the whole. */
static mr_status item_matches(const char *key, const char *item, const char *name, bool *matches)
{
    if (strpbrk(item, "*+?|()[]^$\\{}")) {
        char whole[MR_CONFIG_NAME + 8];
        snprintf(whole, sizeof whole, "^(%s)$", item);
        regex_t regex;
        MR_CHECK(regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB) == 0, MR_ERR_CONFIG,
                 "%s: '%s' is not a regular expression", key, item);
        *matches = regexec(&regex, name, 0, NULL, 0) == 0;
        regfree(&regex);
        return MR_OK;
    }
    size_t length = strlen(item), whole = strlen(name);
    *matches = length <= whole && strcmp(name + whole - length, item) == 0 &&
               (length == whole || name[whole - length - 1] == '.');
    return MR_OK;
}

void mr_model_linear_module(const mr_model *model, const mr_model_linear *linear,
                            char out[MR_PARAM_NAME])
{
    const char *name = model->params->param[linear->weight].name;
    snprintf(out, MR_PARAM_NAME, "%.*s", (int)(strrchr(name, '.') - name), name);
}

mr_status mr_model_linear_matches(const mr_model *model, const mr_model_linear *linear,
                                  const char *key, const char *item, bool *matches)
{
    char module[MR_PARAM_NAME];
    mr_model_linear_module(model, linear, module);
    return item_matches(key, item, module, matches);
}

/* Whether a linear is meant by target_modules. */
static mr_status is_target(module_lists *lists, const char *module, bool *target)
{
    const mr_string_list *list = &lists->options->adapter->target_modules;
    *target = false;
    for (int i = 0; i < list->count; i++) {
        bool matches = strcmp(list->item[i], "all-linear") == 0;
        if (!matches)
            MR_TRY(item_matches("method.target_modules", list->item[i], module, &matches));
        lists->target_used[i] = lists->target_used[i] || matches;
        *target = *target || matches;
    }
    return MR_OK;
}

/* Sets kind to trained where modules_to_save means a module; otherwise leaves it. */
static mr_status mark_saved(module_lists *lists, const char *module, mr_flat_kind *kind)
{
    const mr_string_list *list = &lists->options->adapter->modules_to_save;
    for (int i = 0; i < list->count; i++) {
        bool matches = false;
        MR_TRY(item_matches("method.modules_to_save", list->item[i], module, &matches));
        lists->saved_used[i] = lists->saved_used[i] || matches;
        if (matches) *kind = MR_FLAT_TRAINED;
    }
    return MR_OK;
}

static mr_status check_used(const module_lists *lists)
{
    const mr_string_list *targets = &lists->options->adapter->target_modules;
    const mr_string_list *saved = &lists->options->adapter->modules_to_save;
    MR_CHECK(targets->count > 0, MR_ERR_CONFIG,
             "method.target_modules: empty, so that %s would update nothing",
             lists->options->method->name);
    for (int i = 0; i < targets->count; i++)
        MR_CHECK(lists->target_used[i], MR_ERR_CONFIG,
                 "method.target_modules: \"%s\" matches no linear; there are q_proj, k_proj, "
                 "v_proj, o_proj, gate_proj, up_proj, down_proj, all-linear",
                 targets->item[i]);
    for (int i = 0; i < saved->count; i++)
        MR_CHECK(
            lists->saved_used[i], MR_ERR_CONFIG,
            "method.modules_to_save: \"%s\" matches no module; there are embed_tokens, "
            "lm_head, norm, input_layernorm, post_attention_layernorm, q_proj, k_proj, v_proj, "
            "o_proj, gate_proj, up_proj, down_proj",
            saved->item[i]);
    return MR_OK;
}

/* Creates the adapter of a site and lays out its tensors: the k-th of every linear one after
 * another. */
static mr_status add_adapter(mr_model *model, const mr_adapter_config *config, int index, int site,
                             int count, const int64_t *outs, int64_t in, const char *const *names)
{
    mr_layer *layer = &model->layer[index];
    MR_TRY(mr_adapter_create(model->be, model->compute, model->method, config, count, in, outs,
                             names, &layer->adapter[site]));
    const mr_adapter *adapter = layer->adapter[site];
    for (int p = 0; p < adapter->params; p++)
        for (int i = 0; i < count; i++)
            MR_TRY(mr_params_add_adapter(model->params, mr_model_layer_unit(index), names[i],
                                         &adapter->param[i][p], &layer->adapter_param[site][i][p]));
    return MR_OK;
}

static mr_status add_adapters(mr_model *model, module_lists *lists, int index)
{
    mr_layer *layer = &model->layer[index];
    for (int s = 0; s < MR_SITES; s++) {
        int64_t outs[MR_SITE_LINEARS], in = 0;
        char names[MR_SITE_LINEARS][MR_PARAM_NAME];
        const char *name_of[MR_SITE_LINEARS];
        int count = 0;
        for (int j = 0; j < mr_sites[s].count; j++) {
            mr_linear_id linear = mr_sites[s].linear[j];
            bool target;
            snprintf(names[count], sizeof names[count], "model.layers.%d.%s", index,
                     linear_names[linear]);
            MR_TRY(is_target(lists, names[count], &target));
            /* As in PEFT, a module that is trained itself gets no adapter. */
            if (!target || mr_params_at(model->params, layer->linear[linear])->trained) continue;
            name_of[count] = names[count];
            layer->target[s][count] = linear;
            linear_shape(&model->arch, (int)linear, &outs[count], &in);
            count++;
        }
        layer->adapted[s] = count;
        if (count > 0)
            MR_TRY(add_adapter(model, lists->options->adapter, index, s, count, outs, in, name_of));
    }
    return MR_OK;
}

/* Appends the weight of a module of the base. alias is another name it goes by, or NULL. */
static mr_status add_base(mr_model *model, module_lists *lists, int unit, const char *module,
                          const char *alias, int64_t rows, int64_t cols, mr_init_kind init, int *id)
{
    char name[MR_PARAM_NAME + 8];
    const bool trained = model->method->trains_base && !lists->options->frozen;
    mr_flat_kind kind = trained ? MR_FLAT_TRAINED : MR_FLAT_FROZEN;
    if (!model->method->trains_base) {
        MR_TRY(mark_saved(lists, module, &kind));
        if (alias) MR_TRY(mark_saved(lists, alias, &kind));
    }
    snprintf(name, sizeof name, "%s.weight", module);
    return mr_params_add(model->params, unit, kind, name, rows, cols, init,
                         model->arch.initializer_range, id);
}

static mr_status add_layer(mr_model *model, module_lists *lists, int index)
{
    mr_layer *layer = &model->layer[index];
    int unit = mr_model_layer_unit(index);
    char name[MR_PARAM_NAME];
    static const char *const norms[2] = {"input_layernorm", "post_attention_layernorm"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", index, norms[i]);
        MR_TRY(add_base(model, lists, unit, name, NULL, 1, model->arch.hidden_size, MR_INIT_ONE,
                        &layer->norm[i]));
    }
    for (int l = 0; l < MR_LINEARS; l++) {
        int64_t out, in;
        linear_shape(&model->arch, l, &out, &in);
        snprintf(name, sizeof name, "model.layers.%d.%s", index, linear_names[l]);
        MR_TRY(
            add_base(model, lists, unit, name, NULL, out, in, MR_INIT_NORMAL, &layer->linear[l]));
    }
    return model->method->trains_base ? MR_OK : add_adapters(model, lists, index);
}

/* Applies train.lr_scale: each item to the tensors whose name contains its name; factors on top of
 * what the method asks for, rates in its place. */
static mr_status apply_lr_scale(mr_model *model, const mr_string_list *scales, double lr)
{
    for (int i = 0; scales && i < scales->count; i++) {
        char part[MR_CONFIG_NAME];
        double number;
        bool is_rate;
        MR_TRY(mr_config_lr_scale(scales->item[i], part, &number, &is_rate));
        int matched = 0;
        for (int p = 0; p < model->params->param_count; p++) {
            mr_param *param = &model->params->param[p];
            if (!param->trained || !strstr(param->name, part)) continue;
            param->lr_scale = is_rate ? number / lr : number * param->lr_scale;
            matched++;
        }
        MR_CHECK(matched > 0, MR_ERR_CONFIG,
                 "train.lr_scale: \"%s\" is part of no trained tensor's name", part);
    }
    return MR_OK;
}

/* How gradients come, of a step of this geometry. */
static mr_reduce_cut cut_of(const mr_geometry *g, bool tied)
{
    return (mr_reduce_cut){.leaves = g->meet_in_waves ? g->in_wave : g->micros,
                           .meetings = g->meet_in_waves ? mr_geometry_waves(g) : 1,
                           .stretches = g->stretches,
                           .whole = !g->meet_in_waves,
                           .long_unit = tied ? 0 : -1};
}

/* Types of what is not there say nothing. */
static mr_status check_states(const mr_model *model, const mr_model_options *options)
{
    if (options->states != MR_BF16) return MR_OK;
    for (mr_params_walk at = {0}; mr_params_next(model->params, &at);)
        if (at.param->trained && !at.param->adapter) return MR_OK;
    return mr_fail(MR_ERR_CONFIG,
                   "train.optimizer_dtype: bf16 is for trained weights of the base, and method %s "
                   "trains none of them: its adapters stay f32",
                   model->method->name);
}

mr_status mr_model_lay_out(mr_model *model, const mr_model_options *options)
{
    const mr_hf_config *a = &model->arch;
    int layers = (int)a->num_hidden_layers;
    bool tied = a->tie_word_embeddings;
    model->head_unit = tied ? 0 : layers + 1;
    const mr_params_types types = {.compute = model->compute,
                                   .states = options->states,
                                   .keeps_frozen = model->method->merges};
    MR_TRY(mr_params_create(model->comm, model->be, options->shard, types, layers + (tied ? 1 : 2),
                            &model->params));
    if (options->nodes) mr_params_share_memory(model->params, options->nodes);
    module_lists lists = {.options = options};
    MR_TRY(add_base(model, &lists, 0, "model.embed_tokens", tied ? "lm_head" : NULL, a->vocab_size,
                    a->hidden_size, MR_INIT_NORMAL, &model->embed));
    for (int l = 0; l < layers; l++)
        MR_TRY(add_layer(model, &lists, l));
    MR_TRY(add_base(model, &lists, model->head_unit, "model.norm", NULL, 1, a->hidden_size,
                    MR_INIT_ONE, &model->final_norm));
    model->head = model->embed;
    if (!tied)
        MR_TRY(add_base(model, &lists, model->head_unit, "lm_head", NULL, a->vocab_size,
                        a->hidden_size, MR_INIT_NORMAL, &model->head));
    if (!model->method->trains_base) MR_TRY(check_used(&lists));
    MR_TRY(check_states(model, options));
    MR_TRY(mr_eight_check(model));
    model->below = mr_params_at(model->params, model->embed)->trained ||
                   mr_params_at(model->params, model->layer[0].norm[0])->trained;
    MR_TRY(apply_lr_scale(model, options->lr_scale, options->lr));
    const mr_reduce_cut cut = cut_of(&model->geometry, tied);
    mr_reduce_layout(model->params, &cut);
    return mr_reduce_create(model->params, &cut, &model->reduce);
}
