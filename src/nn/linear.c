#include "nn/nn.h"

void mr_linear_forward(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor w, float beta)
{
    MR_INVARIANT(y.rows == x.rows && y.cols == w.rows && x.cols == w.cols);
    be->ops->gemm(be, false, true, 1, x, w, beta, y);
}

void mr_linear_backward_input(mr_backend *be, mr_tensor d_x, mr_tensor d_y, mr_tensor w, float beta)
{
    MR_INVARIANT(d_x.rows == d_y.rows && d_y.cols == w.rows && d_x.cols == w.cols);
    be->ops->gemm(be, false, false, 1, d_y, w, beta, d_x);
}

void mr_linear_backward_weight(mr_backend *be, mr_tensor d_w, mr_tensor d_y, mr_tensor x,
                               float beta)
{
    MR_INVARIANT(d_y.rows == x.rows && d_w.rows == d_y.cols && d_w.cols == x.cols);
    be->ops->gemm(be, true, false, 1, d_y, x, beta, d_w);
}

void mr_linear_scaled(mr_backend *be, mr_tensor y, mr_scaled x, mr_scaled w, float beta)
{
    MR_INVARIANT(y.rows == x.values.rows && y.cols == w.values.rows &&
                 x.values.cols == w.values.cols && x.scale.cols == y.rows &&
                 w.scale.cols == y.cols);
    be->ops->gemm_scaled(be, x, w, beta, y);
}
