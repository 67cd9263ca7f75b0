#include "backend/planned.h"

#include <stdio.h>

static bool computes(mr_backend *be, mr_dtype dtype)
{
    (void)be;
    return dtype == MR_F32 || dtype == MR_BF16 || dtype == MR_E4M3;
}

static mr_backend_memory memory(mr_backend *be)
{
    (void)be;
    mr_backend_memory assumed = {.each.bytes = (size_t)139 << 30, .devices = 8};
    snprintf(assumed.each.what, sizeof assumed.each.what,
             "an H200's, assumed as there is no CUDA device here,");
    return assumed;
}

/* There are none. */
static void buffer_destroy(mr_backend *be, mr_buffer **buffer)
{
    (void)be;
    *buffer = NULL;
}

static void destroy(mr_backend *be)
{
    (void)be;
}

void mr_planned_init(mr_backend *be)
{
    static const mr_backend_ops planned_ops = {.name = "cuda",
                                               .computes = computes,
                                               .memory = memory,
                                               .own_bytes = mr_device_own_bytes,
                                               .buffer_destroy = buffer_destroy,
                                               .destroy = destroy};
    be->ops = &planned_ops;
    be->chunk_bytes = MR_DEVICE_CHUNK;
    be->pass_rows = MR_DEVICE_PASS;
}
