#include "config/schema.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* Texts of the enumerations of config.h, by their values. */
static const char *const init_texts[] = {
    [MR_INIT_PRETRAINED] = "pretrained", [MR_INIT_RANDOM] = "random", NULL};
static const char *const keep_texts[] = {
    [MR_KEEP_TRAINED] = "trained", [MR_KEEP_ALL] = "all", [MR_KEEP_NONE] = "none", NULL};
static const char *const dtype_texts[] = {"f32", "bf16", NULL};
static const char *const matmul_texts[] = {
    [MR_MATMUL_DTYPE] = "dtype", [MR_MATMUL_FP8] = "fp8", NULL};
static const char *const schedule_texts[] = {[MR_SCHEDULE_LINEAR] = "linear",
                                             [MR_SCHEDULE_COSINE] = "cosine",
                                             [MR_SCHEDULE_CONSTANT] = "constant",
                                             [MR_SCHEDULE_JAGGED_COSINE] = "jagged_cosine",
                                             [MR_SCHEDULE_REBASED_COSINE] = "rebased_cosine",
                                             NULL};
static const char *const packing_texts[] = {
    [MR_PACK_NONE] = "none", [MR_PACK_SAMPLES] = "pack", NULL};
static const char *const recompute_texts[] = {[MR_RECOMPUTE_NONE] = "none",
                                              [MR_RECOMPUTE_ATTENTION] = "attention",
                                              [MR_RECOMPUTE_LAYER] = "layer",
                                              NULL};
static const char *const shard_texts[] = {
    [MR_SHARD_FULL] = "full", [MR_SHARD_OPTIMIZER] = "optimizer", [MR_SHARD_NONE] = "none", NULL};

static const char *const shared_memory_texts[] = {
    [MR_SHARED_MEMORY_AUTO] = "auto", [MR_SHARED_MEMORY_OFF] = "off", NULL};

static const char *const nonfinite_texts[] = {
    [MR_GUARD_STOP] = "stop", [MR_GUARD_SKIP] = "skip", NULL};
static const char *const spike_texts[] = {
    [MR_GUARD_STOP] = "stop", [MR_GUARD_SKIP] = "skip", [MR_GUARD_LOG] = "log", NULL};
static const char *const signal_texts[] = {
    [MR_SIGNAL_USR2] = "USR2", [MR_SIGNAL_USR1] = "USR1", [MR_SIGNAL_INT] = "INT", NULL};

#define BILLION MR_KEY_BILLION

#define FIELD(member) MR_KEY_FIELD(mr_config, #member, member)

static const mr_key table[] = {
    {FIELD(run.name), .type = MR_KEY_STRING, .fallback = "",
     .help = "Name of the run and of its log; empty: the name of the YAML file."},
    {FIELD(run.seed), .type = MR_KEY_INT, .fallback = "0", .max = INT64_MAX,
     .help = "Seed of initial weights, dropout and the order of samples."},
    {FIELD(run.output), .type = MR_KEY_STRING, .is_path = true, .fallback = "results",
     .help = "Folder of logs and checkpoints."},
    {FIELD(run.save_model), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help = "Folder the trained model is written to, its update merged into the weights, with "
             "configuration and tokenizer; of a matrix, each run to a folder of its name below. "
             "Empty: it is not saved."},
    {FIELD(run.keep), .type = MR_KEY_ENUM, .fallback = "trained", .choices = keep_texts,
     .help = "What a finished run keeps in <output>/<name>.trained.safetensors: tensors that "
             "training changed, all of the model, or none."},

    {FIELD(model.path), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help = "Folder of a model: config.json, model*.safetensors and its tokenizer."},
    {FIELD(model.config), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help = "A config.json alone, for a model with random weights."},
    {FIELD(model.init), .type = MR_KEY_ENUM, .fallback = "pretrained", .choices = init_texts,
     .help = "Weights of the folder model.path, or random ones."},
    {FIELD(model.dtype), .type = MR_KEY_ENUM, .fallback = "f32", .choices = dtype_texts,
     .help = "Type the frozen weights are kept in."},
    {FIELD(model.matmul), .type = MR_KEY_ENUM, .fallback = "dtype", .choices = matmul_texts,
     .help = "What products with frozen weights of layers take: model.dtype, or fp8, copies of "
             "weights, activations and gradients in 8 bits (e4m3) with a scale a row, for which a "
             "device must be of compute capability 9.0; the weights stay beside theirs."},
    {FIELD(model.tokenizer), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help =
         "A tokenizer.json, a SentencePiece model file, or bytes; empty: tokenizer.json of "
         "model.path where it is, else its tokenizer.model, else bytes, unless other files of a "
         "tokenizer or its vocab_size say otherwise."},

    {FIELD(task.name), .type = MR_KEY_STRING, .fallback = "uuid",
     .help = "What is learned and scored."},

    {FIELD(method.name), .type = MR_KEY_STRING, .fallback = "mora",
     .help = "How the model is updated."},

    {FIELD(train.steps), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps", .help = "Length of the run; 0: by train.epochs."},
    {FIELD(train.epochs), .type = MR_KEY_FLOAT, .fallback = "0", .high = INFINITY,
     .unit = "passes over the data", .help = "Length of the run; 0: by train.steps."},
    {FIELD(train.stop_after), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps",
     .help = "Stop early, with the schedule of the whole length; 0: off."},
    {FIELD(train.global_batch), .type = MR_KEY_INT, .fallback = "8", .min = 1, .max = BILLION,
     .unit = "samples", .help = "Samples of one optimizer step, over all ranks."},
    {FIELD(train.micro_batch), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "samples",
     .help = "Samples of one forward and backward pass; 0: train.global_batch / ranks."},
    {FIELD(train.seq_len), .type = MR_KEY_INT, .fallback = "0", .max = 1 << 24, .unit = "tokens",
     .help = "Length of a row; 0: as long as the longest sample of the task."},
    {FIELD(train.packing), .type = MR_KEY_ENUM, .fallback = "none", .choices = packing_texts,
     .help = "pack: a row holds several samples, which do not see each other, and counts as one "
             "sample of global_batch and micro_batch; none: one sample, padded."},
    {FIELD(train.lr), .type = MR_KEY_FLOAT, .fallback = "1e-3", .low_open = true, .high = INFINITY,
     .help = "Peak learning rate."},
    {FIELD(train.lr_scale), .type = MR_KEY_STRINGS, .fallback = "[]",
     .help =
         "Items name=factor or name@rate: tensors whose name contains name learn at factor times "
         "lr, or at that rate whatever lr is."},
    {FIELD(train.schedule), .type = MR_KEY_ENUM, .fallback = "linear", .choices = schedule_texts,
     .help = "Course of the learning rate after the warm-up."},
    {FIELD(train.warmup_steps), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps", .help = "Steps over which the learning rate rises to its peak."},
    {FIELD(train.restart_warmup_steps), .type = MR_KEY_INT, .fallback = "50", .max = BILLION,
     .unit = "optimizer steps",
     .help = "jagged_cosine, rebased_cosine: steps of the warm-up after a merge."},
    {FIELD(train.min_lr_ratio), .type = MR_KEY_FLOAT, .fallback = "0.1", .high = 1,
     .help = "jagged_cosine: the learning rate at the end, over its peak."},
    {FIELD(train.weight_decay), .type = MR_KEY_FLOAT, .fallback = "0", .high = INFINITY,
     .help = "Decoupled weight decay of AdamW."},
    {FIELD(train.beta1), .type = MR_KEY_FLOAT, .fallback = "0.9", .high = 1, .high_open = true,
     .help = "Decay of AdamW's first moment."},
    {FIELD(train.beta2), .type = MR_KEY_FLOAT, .fallback = "0.999", .high = 1, .high_open = true,
     .help = "Decay of AdamW's second moment."},
    {FIELD(train.eps), .type = MR_KEY_FLOAT, .fallback = "1e-8", .low = FLT_MIN, .high = INFINITY,
     .help = "Added to the denominator of AdamW."},
    {FIELD(train.clip_norm), .type = MR_KEY_FLOAT, .fallback = "1", .high = INFINITY,
     .help = "Largest norm of the gradient, above which it is scaled down; 0: off."},
    {FIELD(train.optimizer_dtype), .type = MR_KEY_ENUM, .fallback = "f32", .choices = dtype_texts,
     .help = "Type that trained weights of the base and their AdamW moments are kept in: f32, or "
             "bf16, rounded up or down at random so that the mean is right, in which full "
             "fine-tuning with model.dtype bf16 takes 6 bytes a parameter for them instead of 14."},
    {FIELD(train.recompute), .type = MR_KEY_ENUM, .fallback = "none", .choices = recompute_texts,
     .help =
         "What the backward pass computes again instead of keeping it, with the same bits. "
         "attention: its scores, which are never kept, and what norms and the gate put into "
         "products, at little cost; layer: all but a layer's input, for one more forward pass."},
    {FIELD(train.on_nonfinite), .type = MR_KEY_ENUM, .fallback = "stop", .choices = nonfinite_texts,
     .help = "What a loss or gradient that is not finite leads to: the end, or no update."},
    {FIELD(train.spike_zscore), .type = MR_KEY_FLOAT, .fallback = "0", .high = INFINITY,
     .help = "A loss so many deviations above its running mean is a spike; 0: off."},
    {FIELD(train.on_spike), .type = MR_KEY_ENUM, .fallback = "log", .choices = spike_texts,
     .help = "What a spike of the loss leads to: the end, no update, or a record."},
    {FIELD(train.check_every), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps",
     .help = "Steps from one comparison of the ranks' replicated state to the next; 0: off."},

    {FIELD(eval.at_start), .type = MR_KEY_BOOL, .fallback = "false",
     .help = "Score before the first step too: what the model knew."},
    {FIELD(eval.at_steps), .type = MR_KEY_INTS, .fallback = "[]", .min = 1, .max = BILLION,
     .unit = "optimizer steps", .help = "Steps after which the task is scored, ascending."},
    {FIELD(eval.every), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps", .help = "Steps from one scoring of the task to the next; 0: off."},
    {FIELD(eval.batch), .type = MR_KEY_INT, .fallback = "256", .min = 1, .max = BILLION,
     .unit = "items",
     .help =
         "Most items a rank scores at once; predicted ones are no more than train.micro_batch."},
    {FIELD(eval.items), .type = MR_KEY_INT, .fallback = "0", .max = BILLION, .unit = "items",
     .help = "Items scored: the first by generation, or held-out sequences spread evenly; 0: all."},
    {FIELD(eval.sets), .type = MR_KEY_ITEMS, .fallback = "[]",
     .help =
         "What is scored, one set after another; empty: what the task offers, with eval.items."},

    {FIELD(parallel.shard), .type = MR_KEY_ENUM, .fallback = "full", .choices = shard_texts,
     .help = "What is split over the ranks, or over nodes whose ranks share memory: weights too, "
             "optimizer state alone, or nothing."},
    {FIELD(parallel.threads), .type = MR_KEY_INT, .fallback = "0", .max = 65536,
     .unit = "threads a rank", .help = "0: the cores of the node divided by the ranks on it."},
    {FIELD(parallel.backend), .type = MR_KEY_STRING, .fallback = "cpu", .help = "What computes."},
    {FIELD(parallel.memory_gib), .type = MR_KEY_FLOAT, .fallback = "0", .high = INFINITY,
     .unit = "GiB a rank",
     .help = "Memory the plan must fit; 0: 0.8 of what the node, job or device has, divided by the "
             "ranks that share it."},
    {FIELD(parallel.shared_memory), .type = MR_KEY_ENUM, .fallback = "auto",
     .choices = shared_memory_texts,
     .help = "Whether ranks of a node read weights and gradients of each other in memory that they "
             "share: auto, where the backend can and the system lets them."},
    {FIELD(parallel.same_bits_up_to), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "ranks",
     .help = "A power of two: runs on 1, 2, 4 ... ranks up to it have the same bits, and sums of "
             "gradients take the less memory the smaller it is; 0: any number that divides the "
             "micro-batches."},

    {FIELD(log.every), .type = MR_KEY_INT, .fallback = "1", .min = 1, .max = BILLION,
     .unit = "optimizer steps",
     .help = "Steps from one record of loss and learning rate to the next."},
    {FIELD(log.spectrum_every), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps",
     .help = "Steps from one record of the updates' singular values to the next, in "
             "<output>/<name>.spectra.h5; at merges and at the end too; 0: off."},
    {FIELD(log.spectrum_modules), .type = MR_KEY_STRINGS, .fallback = "[all]",
     .help =
         "Linear layers whose updates are looked at, by name (q_proj, ...), or all that learn."},
    {FIELD(log.spectrum_top), .type = MR_KEY_INT, .fallback = "0", .max = 1 << 24,
     .unit = "singular values",
     .help = "Singular values that are recorded of each update, the largest; 0: all. Measures are "
             "of all of them."},
    {FIELD(log.spectrum_threshold), .type = MR_KEY_FLOAT, .fallback = "0.1", .high = INFINITY,
     .help = "Singular values above it are counted."},
    {FIELD(log.spectrum_cosines), .type = MR_KEY_INT, .fallback = "0", .max = 1024,
     .unit = "directions",
     .help = "Cosines of the principal angles between so many leading directions of update and "
             "base weight, left and right; 0: none."},
    {FIELD(log.spectrum_base), .type = MR_KEY_BOOL, .fallback = "true",
     .help =
         "Compute all singular values of the base weights once a run: the threshold of intruder "
         "dimensions needs them."},

    {FIELD(checkpoint.every_steps), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps", .help = "Steps from one checkpoint to the next; 0: off."},
    {FIELD(checkpoint.every_minutes), .type = MR_KEY_FLOAT, .fallback = "30", .high = INFINITY,
     .unit = "minutes", .help = "Time from one checkpoint to the next; 0: off."},
    {FIELD(checkpoint.keep), .type = MR_KEY_INT, .fallback = "2", .min = 1, .max = 1000,
     .unit = "checkpoints", .help = "Newest checkpoints that stay; older ones are removed."},
    {FIELD(checkpoint.signal), .type = MR_KEY_ENUM, .fallback = "USR2", .choices = signal_texts,
     .help = "Signal that, as TERM does, stops the run at a checkpoint; it exits with 75."},
};

const mr_schema mr_schema_core = MR_SCHEMA(mr_config, table);

const mr_key *mr_schema_key(const mr_schema *schema, const char *name)
{
    for (int i = 0; i < schema->count; i++)
        if (strcmp(schema->key[i].key, name) == 0) return &schema->key[i];
    return NULL;
}

bool mr_schema_is_section(const char *name)
{
    size_t length = strlen(name);
    for (int i = 0; i < mr_schema_core.count; i++) {
        const char *key = table[i].key;
        if (strncmp(key, name, length) == 0 && key[length] == '.') return true;
    }
    return false;
}

bool mr_schema_is_listed(const char *const *list, const char *key)
{
    for (; *list; list++) {
        size_t length = strlen(*list);
        bool section = (*list)[length - 1] == '.';
        if (section ? strncmp(key, *list, length) == 0 : strcmp(key, *list) == 0) return true;
    }
    return false;
}
