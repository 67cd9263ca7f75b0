#ifndef MR_TESTS_TINY_H
#define MR_TESTS_TINY_H

/** @file
 * A model small enough to be made many times over, with a batch that every rank sees alike. */

#include "adapter/mora.h"
#include "model/model.h"

/** What a tiny model is to be; start from tiny_defaults. */
typedef struct tiny_options {
    const mr_comm *comm;
    mr_shard shard;
    mr_recompute recompute;
    mr_dtype compute;
    bool tied;
    const char *method;
    mr_mora_operator operator;
    const char *cycle; /**< of ReMoRA; NULL: the default */
    double dropout;
    bool freeze_a;
    double lr_ratio; /**< of LoRA+; 0 for the default */
    mr_string_list targets, saved, lr_scale;
} tiny_options;

/** A model with its weights drawn. Owns all but comm. */
typedef struct tiny {
    const mr_comm *comm;
    mr_config *config;
    mr_backend *be;
    mr_hf_config arch;
    mr_model *model;
    float *logits; /**< [tokens, vocabulary] of tiny_evaluate */
    int64_t logit_count;
} tiny;

/** Returns options of a method on one communicator: every linear adapted, sharded. */
tiny_options tiny_defaults(const mr_comm *comm, const char *method);

/** Lays a model out; its weights are not allocated. Local. @return as mr_model_create */
MR_NODISCARD mr_status tiny_lay_out(const tiny_options *options, tiny *out);

/** Makes a model with weights drawn from a seed and adapters prepared; failing is fatal.
 * Collective. */
tiny tiny_create(const tiny_options *options);

/** Frees what it owns. */
void tiny_destroy(tiny *t);

/** Gives every adapter tensor that is not frozen random values, of a stream of their own. Local. */
void tiny_stir(tiny *t, uint64_t stream);

/** Evaluates the batch into t->logits. Collective. */
void tiny_evaluate(tiny *t);

/** Runs the batch forward and backward, one sequence a rank of several that differ: gradients are
 * whole after it. Collective. */
void tiny_train(tiny *t);

/** Returns a whole parameter, or the whole gradient of a trained one, on every rank; to be freed
 * with mr_free. Collective. */
float *tiny_weights(tiny *t, int id);
float *tiny_gradient(tiny *t, int id);

/** Returns the elements of a parameter. */
int64_t tiny_count(const tiny *t, int id);

#endif
