#include "nn/nn.h"

#include <math.h>

/* Writes the angles of positions first..first+count-1. */
static void fill_angles(float *cosine, float *sine, int64_t first, int64_t count,
                        const float *frequencies, int64_t half)
{
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < half; c++) {
            /* Rounded where Hugging Face rounds: the angle is float32. */
            float angle = (float)(first + t) * frequencies[c];
            cosine[t * half + c] = (float)cos((double)angle);
            sine[t * half + c] = (float)sin((double)angle);
        }
}

mr_status mr_rope_create(mr_backend *be, int64_t positions, const float *frequencies, int64_t half,
                         mr_purpose purpose, mr_rope *out)
{
    enum { PIECE = 1024 }; /* positions: there may be many */
    *out = (mr_rope){0};
    int64_t room = positions < PIECE ? positions : PIECE;
    float *cosine = mr_alloc_array(MR_MEM_OTHER, (size_t)(room * half), sizeof *cosine);
    float *sine = mr_alloc_array(MR_MEM_OTHER, (size_t)(room * half), sizeof *sine);
    mr_status status = cosine && sine ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_backend_tensor(be, purpose, MR_F32, positions, half, &out->cosine);
    if (status == MR_OK)
        status = mr_backend_tensor(be, purpose, MR_F32, positions, half, &out->sine);
    for (int64_t first = 0; status == MR_OK && first < positions; first += room) {
        int64_t count = positions - first < room ? positions - first : room;
        fill_angles(cosine, sine, first, count, frequencies, half);
        be->ops->upload(be, mr_tensor_rows(out->cosine, first, count), cosine);
        be->ops->upload(be, mr_tensor_rows(out->sine, first, count), sine);
    }
    mr_free(cosine);
    mr_free(sine);
    if (status != MR_OK) mr_rope_destroy(be, out);
    return status;
}

void mr_rope_destroy(mr_backend *be, mr_rope *rope)
{
    mr_backend_free(be, &rope->cosine);
    mr_backend_free(be, &rope->sine);
}

void mr_rope_apply(mr_backend *be, const mr_rope *rope, mr_tensor q, mr_tensor k,
                   mr_tensor positions, int64_t head_size, bool inverse)
{
    MR_INVARIANT(q.rows == k.rows && positions.cols == q.rows && positions.dtype == MR_I32);
    MR_INVARIANT(q.cols % head_size == 0 && k.cols % head_size == 0);
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    be->ops->rope(be, q, rope->cosine, rope->sine, positions, head_size, inverse);
    be->ops->rope(be, k, rope->cosine, rope->sine, positions, head_size, inverse);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}
