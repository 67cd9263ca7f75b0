#ifndef MR_TESTS_SHAPE_H
#define MR_TESTS_SHAPE_H

/** @file
 * The shape of a LLaMA whose steps tests look at: three layers, keys of two of four heads, a
 * vocabulary for bytes. */

#include "store/hf.h"

static const mr_hf_config shape = {.hidden_size = 32,
                                   .intermediate_size = 48,
                                   .num_hidden_layers = 3,
                                   .num_attention_heads = 4,
                                   .num_key_value_heads = 2,
                                   .head_dim = 8,
                                   .vocab_size = 260,
                                   .max_position_embeddings = 128,
                                   .rms_norm_eps = 1e-6,
                                   .rope_theta = 10000,
                                   .initializer_range = 0.1};

#endif
