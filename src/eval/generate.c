#include "eval/generate.h"

enum { MOST_ROWS = 1920 }; /* enough to keep a device busy, in products of whole tiles */

static int64_t page_count(const mr_generator *g)
{
    return g->batch * mr_session_pages(g->capacity);
}

mr_status mr_generator_create(mr_model *model, int64_t batch, int64_t prompt, int64_t new_tokens,
                              mr_generator **out)
{
    *out = NULL;
    mr_generator *g = mr_alloc(MR_MEM_OTHER, sizeof *g);
    if (!g) return MR_ERR_MEMORY;
    *g = (mr_generator){.model = model,
                        .batch = mr_session_outputs(model, batch),
                        .prompt = prompt,
                        .capacity = prompt + new_tokens};
    g->rows = mr_session_even(g->batch * prompt < MOST_ROWS ? g->batch * prompt : MOST_ROWS);
    const mr_session_shape shape = {.rows = g->rows > g->batch ? g->rows : g->batch,
                                    .sequences = g->batch,
                                    .tokens = g->capacity,
                                    .pages = page_count(g),
                                    .outputs = g->batch};
    mr_status status = mr_session_create(model, &shape, &g->session);
    if (status == MR_OK)
        *out = g;
    else
        mr_generator_destroy(&g);
    return status;
}

void mr_generator_bytes(const mr_generator *g, size_t bytes[MR_MEM_PURPOSES])
{
    mr_session_bytes(g->session, bytes);
    bytes[MR_MEM_EVAL] = mr_bytes_add(bytes[MR_MEM_EVAL], page_count(g), sizeof *g->pages);
}

mr_status mr_generator_allocate(mr_generator *g)
{
    g->pages = mr_alloc_array(MR_MEM_EVAL, (size_t)page_count(g), sizeof *g->pages);
    return g->pages ? mr_session_allocate(g->session) : MR_ERR_MEMORY;
}

void mr_generator_destroy(mr_generator **out)
{
    mr_generator *g = *out;
    if (!g) return;
    mr_session_destroy(&g->session);
    mr_free(g->pages);
    mr_free(g);
    *out = NULL;
}
