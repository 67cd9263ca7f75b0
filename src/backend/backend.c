#include "backend/backend.h"

#include "backend/cpu/cpu.h"
#include "backend/planned.h"
#include "base/text.h"
#ifdef MR_CUDA
#include "backend/cuda/cuda.h"
#endif

#include <string.h>

#ifndef MR_CUDA
static int mr_cuda_devices(void)
{
    return 0;
}

static mr_status mr_cuda_describe(int index, mr_device_facts *out)
{
    (void)index;
    (void)out;
    return mr_fail(MR_ERR_ARG, "CUDA is not in this build; configure one that has it where nvcc "
                               "is: cmake --preset cuda && cmake --build --preset cuda");
}

static mr_status mr_cuda_init(mr_backend *be, int node_rank)
{
    (void)be;
    return mr_cuda_describe(node_rank, NULL);
}
#endif

mr_status mr_backend_device(int index, mr_device_facts *out, int *count)
{
    *count = mr_cuda_devices();
    *out = (mr_device_facts){.name = ""};
    return mr_cuda_describe(index, out);
}

static mr_status init_auto(mr_backend *be, int node_rank)
{
    return (mr_cuda_devices() > 0 ? mr_cuda_init : mr_cpu_init)(be, node_rank);
}

/* One row a name of parallel.backend. */
static const struct {
    const char *name;
    mr_status (*init)(mr_backend *be, int node_rank);
} backends[] = {
    {"cpu", mr_cpu_init},
    {"cuda", mr_cuda_init},
    {"auto", init_auto},
};

enum { BACKENDS = sizeof backends / sizeof backends[0] };

const mr_choice *mr_backend_choices(void)
{
    static mr_choice rows[BACKENDS + 1];
    for (int i = 0; i < BACKENDS; i++)
        rows[i].name = backends[i].name;
    return rows;
}

void mr_backend_prepare(char **argv)
{
    mr_cpu_choose_kernels(argv);
}

mr_status mr_backend_create(const char *name, int node_rank, int threads, mr_backend **out)
{
    *out = NULL;
    for (int i = 0; i < BACKENDS; i++) {
        if (strcmp(backends[i].name, name) != 0) continue;
        mr_backend *be = mr_alloc(MR_MEM_OTHER, sizeof *be);
        if (!be) return MR_ERR_MEMORY;
        be->threads = threads;
        /* The host computes beside a device, too: spectra, and what is measured of weights. */
        mr_cpu_blas_single_thread();
        mr_status status = backends[i].init(be, node_rank);
        if (status != MR_OK) {
            mr_free(be);
            return mr_fail_in(status, "parallel.backend: \"%s\"", name);
        }
        *out = be;
        return MR_OK;
    }
    mr_text known = {0};
    for (int i = 0; i < BACKENDS; i++)
        mr_text_add(&known, " %s", backends[i].name);
    mr_status status = mr_fail(MR_ERR_ARG, "parallel.backend: \"%s\" is unknown; there are:%s",
                               name, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

mr_status mr_backend_create_planned(const char *name, int node_rank, int threads, mr_backend **out)
{
    if (strcmp(name, "cuda") != 0 || mr_cuda_devices() > 0)
        return mr_backend_create(name, node_rank, threads, out);
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    (*out)->threads = threads;
    mr_planned_init(*out);
    return MR_OK;
}

void mr_backend_destroy(mr_backend **be)
{
    if (!*be) return;
    (*be)->ops->destroy(*be);
    mr_free(*be);
    *be = NULL;
}

mr_status mr_backend_tensor(mr_backend *be, mr_purpose purpose, mr_dtype dtype, int64_t rows,
                            int64_t cols, mr_tensor *out)
{
    mr_buffer *buffer;
    *out = (mr_tensor){0};
    MR_TRY(be->ops->buffer_create(be, purpose, (size_t)rows * (size_t)cols * mr_dtype_size(dtype),
                                  &buffer));
    *out = mr_tensor_of(buffer, dtype, 0, rows, cols);
    return MR_OK;
}

mr_scaled mr_backend_quantize(mr_backend *be, mr_scaled room, mr_tensor x)
{
    const mr_scaled rows = {.values = mr_tensor_reshape(
                                mr_tensor_cols(room.values, 0, x.rows * x.cols), x.rows, x.cols),
                            .scale = mr_tensor_cols(room.scale, 0, x.rows)};
    be->ops->quantize(be, rows, x, false);
    return rows;
}

void mr_backend_free(mr_backend *be, mr_tensor *t)
{
    be->ops->buffer_destroy(be, &t->buffer);
    *t = (mr_tensor){0};
}

const char *mr_phase_name(mr_phase phase)
{
    static const char *const names[MR_PHASES] = {
        [MR_PHASE_LINEAR] = "linears",          [MR_PHASE_ADAPTER] = "adapter",
        [MR_PHASE_ATTENTION] = "attention",     [MR_PHASE_LOSS] = "loss",
        [MR_PHASE_ELEMENTWISE] = "elementwise", [MR_PHASE_OPTIMIZER] = "optimizer",
        [MR_PHASE_COMM] = "communication",
    };
    return names[phase];
}
