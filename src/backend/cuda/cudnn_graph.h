#ifndef MR_BACKEND_CUDA_CUDNN_GRAPH_H
#define MR_BACKEND_CUDA_CUDNN_GRAPH_H

/** @file
 * Graphs of cuDNN's backend, put together operation by operation and made into a plan that runs.
 * The first failure sticks: what follows does nothing, and `mr_cudnn_finish` tells it. */

#include <cudnn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_CUDNN_PARTS = 128, MR_CUDNN_OPERATIONS = 32 };

/** A graph being put together, and its plan. Owns its descriptors. */
typedef struct mr_cudnn_graph {
    cudnnHandle_t handle; /**< borrowed */
    cudnnStatus_t status; /**< of the first failure */
    const char *failed;   /**< what failed */
    cudnnBackendDescriptor_t part[MR_CUDNN_PARTS];
    int parts;
    cudnnBackendDescriptor_t operation[MR_CUDNN_OPERATIONS];
    int operations;
    int64_t next_id; /**< of tensors without memory */
    cudnnBackendDescriptor_t plan;
    int64_t workspace; /**< bytes that the plan asks for */
} mr_cudnn_graph;

/** A tensor of a graph: four extents and strides, elements. */
typedef struct mr_cudnn_tensor {
    cudnnDataType_t type;
    int64_t extent[4], stride[4];
    int64_t id;    /**< of memory that is given when the plan runs, from 1; 0 for none */
    bool by_value; /**< one number of the host */
} mr_cudnn_tensor;

cudnnBackendDescriptor_t mr_cudnn_add_tensor(mr_cudnn_graph *g, mr_cudnn_tensor tensor);

/** Operations. Where a pointwise one has fewer inputs, the rest are NULL. */
void mr_cudnn_matmul(mr_cudnn_graph *g, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b,
                     cudnnBackendDescriptor_t c);
void mr_cudnn_pointwise(mr_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t math,
                        cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x,
                        cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t t);
/** y = the index of each element along an axis; x gives the shape. */
void mr_cudnn_index(mr_cudnn_graph *g, int64_t axis, cudnnBackendDescriptor_t y,
                    cudnnBackendDescriptor_t x);
void mr_cudnn_reduce(mr_cudnn_graph *g, cudnnReduceTensorOp_t how, cudnnBackendDescriptor_t y,
                     cudnnBackendDescriptor_t x);
void mr_cudnn_reshape(mr_cudnn_graph *g, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x);

/** Makes the plan. @return whether there is one; else g->failed and g->status say why not */
bool mr_cudnn_finish(mr_cudnn_graph *g);

/** Runs a plan with memory for the tensors of ids[count]. */
cudnnStatus_t mr_cudnn_run(const mr_cudnn_graph *g, int count, const int64_t *ids, void **memory,
                           void *workspace);

/** Frees what a graph holds. */
void mr_cudnn_forget(mr_cudnn_graph *g);

#endif
