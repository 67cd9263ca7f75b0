#include "nn/nn.h"

void mr_head_loss(mr_backend *be, const mr_head_args *args)
{
    mr_tensor x = args->x, w = args->w;
    MR_INVARIANT(x.cols == w.cols && args->logits.cols == w.rows && args->logits.rows > 0);
    MR_INVARIANT(args->targets.cols == x.rows && args->targets.dtype == MR_I32);
    MR_INVARIANT(args->losses.cols == x.rows && args->losses.dtype == MR_F64);
    bool training = mr_tensor_exists(args->d_x);
    mr_phase_begin(be, MR_PHASE_LOSS);
    for (int64_t first = 0; first < x.rows; first += args->logits.rows) {
        int64_t rows = x.rows - first < args->logits.rows ? x.rows - first : args->logits.rows;
        mr_tensor logits = mr_tensor_rows(args->logits, 0, rows);
        mr_tensor part = mr_tensor_rows(x, first, rows);
        mr_linear_forward(be, logits, part, w, 0);
        be->ops->cross_entropy(be, logits, mr_tensor_cols(args->targets, first, rows),
                               mr_tensor_cols(args->losses, first, rows), training, args->scale);
        if (!training) continue;
        mr_linear_backward_input(be, mr_tensor_rows(args->d_x, first, rows), logits, w, 0);
        if (mr_tensor_exists(args->d_w))
            mr_linear_backward_weight(be, args->d_w, logits, part, first == 0 ? 0.0f : 1.0f);
    }
    mr_phase_end(be, MR_PHASE_LOSS);
}
