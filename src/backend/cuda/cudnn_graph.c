#include "backend/cuda/cudnn_graph.h"

#include <stdlib.h>

typedef cudnnBackendDescriptor_t part;

static void check(mr_cudnn_graph *g, cudnnStatus_t status, const char *what)
{
    if (status == CUDNN_STATUS_SUCCESS || g->status != CUDNN_STATUS_SUCCESS) return;
    g->status = status;
    g->failed = what;
}

static part begin(mr_cudnn_graph *g, cudnnBackendDescriptorType_t type)
{
    part made = NULL;
    if (g->status != CUDNN_STATUS_SUCCESS) return NULL;
    if (g->parts == MR_CUDNN_PARTS) {
        check(g, CUDNN_STATUS_INTERNAL_ERROR, "too many parts");
        return NULL;
    }
    check(g, cudnnBackendCreateDescriptor(type, &made), "a descriptor");
    if (made) g->part[g->parts++] = made;
    return made;
}

static void set(mr_cudnn_graph *g, part p, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (g->status != CUDNN_STATUS_SUCCESS) return;
    check(g, cudnnBackendSetAttribute(p, name, type, count, values), "an attribute");
}

static void set_part(mr_cudnn_graph *g, part p, cudnnBackendAttributeName_t name, part value)
{
    if (value) set(g, p, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void end(mr_cudnn_graph *g, part p, const char *what)
{
    if (g->status == CUDNN_STATUS_SUCCESS) check(g, cudnnBackendFinalize(p), what);
}

static void end_operation(mr_cudnn_graph *g, part p, const char *what)
{
    end(g, p, what);
    if (g->status != CUDNN_STATUS_SUCCESS) return;
    if (g->operations == MR_CUDNN_OPERATIONS)
        check(g, CUDNN_STATUS_INTERNAL_ERROR, "too many operations");
    else
        g->operation[g->operations++] = p;
}

part mr_cudnn_add_tensor(mr_cudnn_graph *g, mr_cudnn_tensor tensor)
{
    enum { FIRST_VIRTUAL = 1000 };
    const int64_t alignment = 16;
    const bool yes = true;
    part p = begin(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t id = tensor.id ? tensor.id : FIRST_VIRTUAL + g->next_id++;
    set(g, p, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &tensor.type);
    set(g, p, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, tensor.extent);
    set(g, p, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, tensor.stride);
    set(g, p, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(g, p, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (!tensor.id) set(g, p, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (tensor.by_value) set(g, p, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    end(g, p, "a tensor");
    return p;
}

void mr_cudnn_matmul(mr_cudnn_graph *g, part a, part b, part c)
{
    const cudnnDataType_t math = CUDNN_DATA_FLOAT;
    part how = begin(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &math);
    end(g, how, "a product");
    part p = begin(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_part(g, p, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_part(g, p, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_part(g, p, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    set_part(g, p, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    end_operation(g, p, "a product");
}

static void pointwise(mr_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t math,
                      const int64_t *axis, part y, part x, part b, part t)
{
    part how = begin(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math);
    if (axis) set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, axis);
    end(g, how, "a pointwise operation");
    part p = begin(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_part(g, p, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_part(g, p, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    set_part(g, p, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    set_part(g, p, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(g, p, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    end_operation(g, p, "a pointwise operation");
}

void mr_cudnn_pointwise(mr_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t math, part y,
                        part x, part b, part t)
{
    pointwise(g, mode, math, NULL, y, x, b, t);
}

void mr_cudnn_index(mr_cudnn_graph *g, int64_t axis, part y, part x)
{
    pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, &axis, y, x, NULL, NULL);
}

void mr_cudnn_reduce(mr_cudnn_graph *g, cudnnReduceTensorOp_t how, part y, part x)
{
    const cudnnDataType_t math = CUDNN_DATA_FLOAT;
    part reduction = begin(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    set(g, reduction, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &math);
    set(g, reduction, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &how);
    end(g, reduction, "a reduction");
    part p = begin(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_part(g, p, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_part(g, p, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    set_part(g, p, CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction);
    end_operation(g, p, "a reduction");
}

void mr_cudnn_reshape(mr_cudnn_graph *g, part y, part x)
{
    part p = begin(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_part(g, p, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_part(g, p, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    end_operation(g, p, "a reshape");
}

/* The first proposal that a plan can be made of. */
static void choose(mr_cudnn_graph *g, part heuristics)
{
    enum { PROPOSALS = 16 };
    part proposal[PROPOSALS] = {NULL};
    int64_t count = 0;
    for (int i = 0; i < PROPOSALS; i++)
        proposal[i] = begin(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (g->status != CUDNN_STATUS_SUCCESS) return;
    check(g,
          cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, PROPOSALS, &count, proposal),
          "the heuristics");
    for (int64_t i = 0; i < count && !g->plan && g->status == CUDNN_STATUS_SUCCESS; i++) {
        part plan = begin(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        set(g, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle);
        set_part(g, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal[i]);
        if (g->status == CUDNN_STATUS_SUCCESS && cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS)
            g->plan = plan;
    }
    if (!g->plan) check(g, CUDNN_STATUS_NOT_SUPPORTED, "no engine for the graph");
}

bool mr_cudnn_finish(mr_cudnn_graph *g)
{
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    part graph = begin(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operations,
        g->operation);
    set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle);
    end(g, graph, "the graph");
    part heuristics = begin(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_part(g, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    end(g, heuristics, "the heuristics");
    choose(g, heuristics);
    if (g->status == CUDNN_STATUS_SUCCESS)
        check(g,
              cudnnBackendGetAttribute(g->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                       CUDNN_TYPE_INT64, 1, NULL, &g->workspace),
              "the workspace");
    return g->status == CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t mr_cudnn_run(const mr_cudnn_graph *g, int count, const int64_t *ids, void **memory,
                           void *workspace)
{
    part pack;
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
                                      count, ids);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                          CUDNN_TYPE_VOID_PTR, count, memory);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                          CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (status == CUDNN_STATUS_SUCCESS) status = cudnnBackendFinalize(pack);
    if (status == CUDNN_STATUS_SUCCESS) status = cudnnBackendExecute(g->handle, g->plan, pack);
    cudnnBackendDestroyDescriptor(pack);
    return status;
}

void mr_cudnn_forget(mr_cudnn_graph *g)
{
    for (int i = g->parts - 1; i >= 0; i--)
        cudnnBackendDestroyDescriptor(g->part[i]);
    *g = (mr_cudnn_graph){.handle = g->handle};
}
