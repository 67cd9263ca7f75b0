#include "eval/generate.h"

mr_status mr_generator_create(mr_model *model, int64_t batch, int64_t prompt, int64_t new_tokens,
                              mr_generator **out)
{
    *out = NULL;
    mr_generator *g = mr_alloc(MR_MEM_OTHER, sizeof *g);
    if (!g) return MR_ERR_MEMORY;
    *g = (mr_generator){
        .model = model, .batch = batch, .prompt = prompt, .capacity = prompt + new_tokens};
    mr_status status = mr_session_create(model, batch, prompt, g->capacity, &g->session);
    if (status == MR_OK)
        *out = g;
    else
        mr_generator_destroy(&g);
    return status;
}

void mr_generator_bytes(const mr_generator *g, size_t bytes[MR_MEM_PURPOSES])
{
    mr_session_bytes(g->session, bytes);
    bytes[MR_MEM_EVAL] = mr_bytes_add(bytes[MR_MEM_EVAL], g->batch, sizeof *g->ids);
}

mr_status mr_generator_allocate(mr_generator *g)
{
    g->ids = mr_alloc_array(MR_MEM_EVAL, (size_t)g->batch, sizeof *g->ids);
    return g->ids ? mr_session_allocate(g->session) : MR_ERR_MEMORY;
}

void mr_generator_destroy(mr_generator **out)
{
    mr_generator *g = *out;
    if (!g) return;
    mr_session_destroy(&g->session);
    mr_free(g->ids);
    mr_free(g);
    *out = NULL;
}

void mr_generator_run(mr_generator *g, const int32_t *prompts, const int32_t *lengths,
                      int64_t count, int32_t *out)
{
    mr_session_start(g->session, prompts, lengths);
    for (int64_t t = 0;; t++) {
        mr_session_best(g->session, g->ids);
        for (int64_t b = 0; b < g->batch; b++)
            out[b * count + t] = g->ids[b];
        if (t + 1 == count) return;
        mr_session_append(g->session, g->ids);
    }
}
