#include "nn/nn.h"

void mr_embedding_forward(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids)
{
    MR_INVARIANT(y.cols == w.cols && ids.cols == y.rows && ids.dtype == MR_I32);
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->gather_rows(be, y, w, ids);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}

void mr_embedding_backward(mr_backend *be, mr_tensor d_w, mr_tensor d_y, mr_tensor ids)
{
    MR_INVARIANT(d_y.cols == d_w.cols && ids.cols == d_y.rows && ids.dtype == MR_I32);
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->scatter_add_rows(be, d_w, d_y, ids);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}
