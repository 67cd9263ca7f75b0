#include "train/plan.h"

/* The purposes up to and including MR_MEM_EVAL are planned. */
enum { PLANNED = MR_MEM_EVAL + 1 };

/* Multiply-adds a token, forward, of the base linears of a layer. */
static double linear_macs(const mr_model *model, int layer)
{
    double macs = 0;
    for (int i = 0; i < MR_LINEARS; i++) {
        const mr_param *param = &model->params->param[model->layer[layer].linear[i]];
        macs += (double)param->rows * (double)param->cols;
    }
    return macs;
}

static double qkv_macs(const mr_model *model)
{
    double macs = 0;
    for (int i = MR_LINEAR_Q; i <= MR_LINEAR_V; i++) {
        const mr_param *param = &model->params->param[model->layer[0].linear[i]];
        macs += (double)param->rows * (double)param->cols;
    }
    return macs;
}

static double step_flops(const mr_model *model)
{
    const mr_hf_config *a = &model->arch;
    const mr_geometry *g = &model->geometry;
    double macs = 0; /* a token */
    bool trained = model->method->trains_base;
    for (int64_t l = 0; l < a->num_hidden_layers; l++) {
        macs += linear_macs(model, (int)l) * (trained ? 3 : 2);
        for (int s = 0; s < MR_SITES; s++)
            if (model->layer[l].adapter[s]) macs += 3.0 * (double)model->layer[l].adapter[s]->macs;
        /* Two products forward, five backward, each over half of T x T. */
        macs += 7.0 * 0.5 * (double)(g->tokens * a->num_attention_heads * a->head_dim);
    }
    if (!model->below) macs -= qkv_macs(model);
    bool head = mr_params_trained(model->params, model->head);
    macs += (double)a->vocab_size * (double)a->hidden_size * (head ? 3 : 2);
    double tokens =
        (double)(g->batch * g->tokens * g->in_wave * g->waves) * (double)model->comm->size;
    return 2 * macs * tokens;
}

static void count_traffic(const mr_model *model, mr_plan *plan)
{
    const mr_params *params = model->params;
    double others = (double)(params->comm->size - 1) / params->comm->size * sizeof(float);
    double waves = (double)model->geometry.waves;
    if (params->comm->size == 1) return;
    for (int u = 0; u < params->unit_count; u++) {
        const mr_flat *flat = params->unit[u].flat;
        double base = (double)(flat[MR_FLAT_FROZEN].count + flat[MR_FLAT_TRAINED].count);
        double leaf = (double)(flat[MR_FLAT_TRAINED].count + flat[MR_FLAT_ADAPTER].count);
        if (params->shard == MR_SHARD_FULL) {
            /* Forward and backward; the pass turns round at the head, which stays. */
            int times = u == model->head_unit ? 1 : 2;
            plan->traffic += base * others * waves * times;
            plan->gathers += model->geometry.waves * times;
            plan->traffic += (double)flat[MR_FLAT_ADAPTER].count * others;
        } else {
            plan->traffic += leaf * others; /* updated weights, or whole gradients */
        }
        plan->traffic += leaf * others * waves;
    }
}

mr_plan mr_plan_of(const mr_model *model, const mr_generator *generator)
{
    mr_plan plan = {.flops = step_flops(model)};
    mr_model_bytes(model, plan.bytes);
    if (generator) mr_generator_bytes(generator, plan.bytes);
    for (int i = 0; i < PLANNED; i++)
        plan.total += plan.bytes[i];
    count_traffic(model, &plan);
    return plan;
}

void mr_plan_print(const mr_plan *plan, const mr_model *model, mr_text *text)
{
    const mr_geometry *g = &model->geometry;
    const double mib = 1024.0 * 1024.0;
    mr_text_add(text, "%-14s %14s\n", "bytes a rank", "MiB");
    for (int i = 0; i < PLANNED; i++)
        mr_text_add(text, "  %-12s %14.2f  (%zu bytes)\n", mr_purpose_name((mr_purpose)i),
                    (double)plan->bytes[i] / mib, plan->bytes[i]);
    mr_text_add(text, "  %-12s %14.2f  (%zu bytes)\n", "total", (double)plan->total / mib,
                plan->total);
    mr_text_add(text, "parameters     %lld, trained %lld (%.3f %%)\n",
                (long long)mr_params_count(model->params, false),
                (long long)mr_params_count(model->params, true),
                100.0 * (double)mr_params_count(model->params, true) /
                    (double)mr_params_count(model->params, false));
    mr_text_add(text,
                "step           %d ranks x %lld waves x %lld micro-batches of %lld x %lld tokens\n",
                model->comm->size, (long long)g->waves, (long long)g->in_wave, (long long)g->batch,
                (long long)g->tokens);
    mr_text_add(text,
                "               %.4g FLOP, %.2f MiB received a rank, %lld gathers of a unit\n",
                plan->flops, plan->traffic / mib, (long long)plan->gathers);
}

void mr_plan_check(const mr_plan *plan)
{
    for (int i = 0; i < PLANNED; i++)
        if (mr_memory_live((mr_purpose)i) != plan->bytes[i])
            mr_abort("%s: planned %zu bytes, allocated %zu", mr_purpose_name((mr_purpose)i),
                     plan->bytes[i], mr_memory_live((mr_purpose)i));
}
