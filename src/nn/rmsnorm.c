#include "nn/nn.h"

void mr_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum, mr_tensor x,
                        mr_tensor addend, mr_tensor w, double eps)
{
    MR_INVARIANT(mr_tensor_alike(y, x) && w.cols == x.cols && rstd.cols == x.rows);
    MR_INVARIANT(!mr_tensor_exists(addend) ||
                 (mr_tensor_alike(addend, x) && mr_tensor_alike(sum, x)));
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->rmsnorm_forward(be, y, rstd, sum, x, addend, w, eps);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}

void mr_rmsnorm_backward(mr_backend *be, mr_tensor d_x, mr_tensor d_w, mr_tensor d_y, mr_tensor x,
                         mr_tensor rstd, mr_tensor w)
{
    MR_INVARIANT(mr_tensor_alike(d_x, x) && mr_tensor_alike(d_y, x) && w.cols == x.cols);
    MR_INVARIANT(!mr_tensor_exists(d_w) || mr_tensor_count(d_w) == w.cols);
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->rmsnorm_backward(be, d_x, d_w, d_y, x, rstd, w);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}
