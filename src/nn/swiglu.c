#include "nn/nn.h"

void mr_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up)
{
    MR_INVARIANT(mr_tensor_alike(y, gate) && mr_tensor_alike(up, gate));
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->swiglu_forward(be, y, gate, up);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}

void mr_swiglu_backward(mr_backend *be, mr_tensor d_gate, mr_tensor d_up, mr_tensor d_y,
                        mr_tensor gate, mr_tensor up)
{
    MR_INVARIANT(mr_tensor_alike(d_gate, gate) && mr_tensor_alike(d_up, gate));
    MR_INVARIANT(mr_tensor_alike(d_y, gate) && mr_tensor_alike(up, gate));
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->swiglu_backward(be, d_gate, d_up, d_y, gate, up);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}
