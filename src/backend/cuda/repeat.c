/* Stretches of work that are queued again and again, as graphs: one launch in place of hundreds,
 * between which a device is idle longer than its shortest operations take. */

#include "backend/cuda/cuda_impl.h"

enum { RECORDINGS = 32 };

/* A stretch of a key: met once, then recorded. */
typedef struct recording {
    uint64_t key;
    bool met;
    cudaGraphExec_t graph; /* NULL until it is recorded; owned */
} recording;

struct mr_cuda_repeats {
    recording recordings[RECORDINGS];
    int next;       /* the oldest, whose place the next one takes */
    uint64_t moved; /* of the backend, when these were recorded */
};

mr_status mr_cuda_repeats_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->repeats = mr_alloc(MR_MEM_OTHER, sizeof *cu->repeats);
    return cu->repeats ? MR_OK : MR_ERR_MEMORY;
}

static void forget(recording *r)
{
    if (r->graph) cudaGraphExecDestroy(r->graph);
    *r = (recording){0};
}

static void forget_all(mr_cuda_repeats *repeats)
{
    for (int i = 0; repeats && i < RECORDINGS; i++)
        forget(&repeats->recordings[i]);
}

void mr_cuda_repeats_destroy(mr_backend *be)
{
    forget_all(mr_cuda_of(be)->repeats);
    mr_free(mr_cuda_of(be)->repeats);
}

static recording *recording_of(mr_cuda *cu, uint64_t key)
{
    mr_cuda_repeats *repeats = cu->repeats;
    if (repeats->moved != cu->moved) forget_all(repeats);
    repeats->moved = cu->moved;
    for (int i = 0; i < RECORDINGS; i++)
        if (repeats->recordings[i].met && repeats->recordings[i].key == key)
            return &repeats->recordings[i];
    recording *r = &repeats->recordings[repeats->next++ % RECORDINGS];
    forget(r);
    r->key = key;
    return r;
}

bool mr_cuda_repeat_begin(mr_backend *be, uint64_t key)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (cu->times) return true; /* events of a recording tell no time */
    recording *r = recording_of(cu, key);
    if (r->graph) {
        mr_cuda_note(be, cudaGraphLaunch(r->graph, cu->stream), "a recorded stretch");
        return false;
    }
    /* The first time kernels are loaded, products are tried and scratch grows: not to be recorded.
     */
    if (!r->met) {
        r->met = true;
        return true;
    }
    cudaError_t error = cudaStreamBeginCapture(cu->stream, cudaStreamCaptureModeThreadLocal);
    mr_cuda_note(be, error, "recording a stretch");
    if (error == cudaSuccess) cu->recording = r;
    return true;
}

void mr_cuda_repeat_end(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    recording *r = cu->recording;
    cudaGraph_t graph = NULL;
    if (!r) return;
    cu->recording = NULL;
    cudaError_t error = cudaStreamEndCapture(cu->stream, &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&r->graph, graph, 0);
    if (error == cudaSuccess) error = cudaGraphLaunch(r->graph, cu->stream);
    if (graph) cudaGraphDestroy(graph);
    mr_cuda_note(be, error, "recording a stretch");
    if (error != cudaSuccess) forget(r);
}
