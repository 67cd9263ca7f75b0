/* Frequencies of rotary positions, rounded to float32 wherever Hugging Face rounds.
 *
 * Source: modeling_rope_utils.py of Transformers (default, linear, llama3). */

#include "model/model_impl.h"

#include <math.h>

/* Short wavelengths stay, long ones are scaled, and those between are between. */
static float scale_by_wavelength(float frequency, const mr_hf_rope *rope)
{
    const double turn = 2 * acos(-1), original = (double)rope->original_max_position_embeddings;
    const float wavelength = 1.0F / frequency * (float)turn, factor = (float)rope->factor;
    if (wavelength > (float)(original / rope->low_freq_factor)) return frequency / factor;
    if (wavelength < (float)(original / rope->high_freq_factor)) return frequency;
    const float smooth = (1.0F / wavelength * (float)original - (float)rope->low_freq_factor) /
                         (float)(rope->high_freq_factor - rope->low_freq_factor);
    return (1.0F - smooth) * frequency / factor + smooth * frequency;
}

static float frequency_of(const mr_hf_config *arch, int64_t pair)
{
    const float exponent = (float)(2 * pair) / (float)arch->head_dim;
    const float frequency = 1.0F / (float)pow(arch->rope_theta, (double)exponent);
    if (arch->rope.type == MR_HF_ROPE_LINEAR) return frequency / (float)arch->rope.factor;
    if (arch->rope.type == MR_HF_ROPE_LLAMA3) return scale_by_wavelength(frequency, &arch->rope);
    return frequency;
}

mr_status mr_model_rope(const mr_model *model, int64_t positions, mr_purpose purpose, mr_rope *out)
{
    const int64_t half = model->arch.head_dim / 2;
    float *frequencies = mr_alloc_array(MR_MEM_OTHER, (size_t)half, sizeof *frequencies);
    *out = (mr_rope){0};
    if (!frequencies) return MR_ERR_MEMORY;
    for (int64_t c = 0; c < half; c++)
        frequencies[c] = frequency_of(&model->arch, c);
    mr_status status = mr_rope_create(model->be, positions, frequencies, half, purpose, out);
    mr_free(frequencies);
    return status;
}
