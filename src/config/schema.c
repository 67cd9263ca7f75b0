#include "config/schema.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* Texts of the enumerations of config.h, by their values. */
static const char *const init_texts[] = {
    [MR_INIT_PRETRAINED] = "pretrained", [MR_INIT_RANDOM] = "random", NULL};
static const char *const keep_texts[] = {
    [MR_KEEP_TRAINED] = "trained", [MR_KEEP_ALL] = "all", [MR_KEEP_NONE] = "none", NULL};
static const char *const dtype_texts[] = {"f32", "bf16", NULL};
static const char *const operator_texts[] = {[MR_MORA_AUTO] = "auto",
                                             [MR_MORA_TRUNCATION] = "truncation",
                                             [MR_MORA_SHARING] = "sharing",
                                             [MR_MORA_SHARING_2] = "sharing_2",
                                             [MR_MORA_SHARING_3] = "sharing_3",
                                             [MR_MORA_SHARING_4] = "sharing_4",
                                             [MR_MORA_DECOUPLING] = "decoupling",
                                             [MR_MORA_ROTATION] = "rotation",
                                             NULL};
static const char *const schedule_texts[] = {[MR_SCHEDULE_LINEAR] = "linear",
                                             [MR_SCHEDULE_COSINE] = "cosine",
                                             [MR_SCHEDULE_CONSTANT] = "constant",
                                             [MR_SCHEDULE_JAGGED_COSINE] = "jagged_cosine",
                                             [MR_SCHEDULE_REBASED_COSINE] = "rebased_cosine",
                                             NULL};
static const char *const recompute_texts[] = {
    [MR_RECOMPUTE_NONE] = "none", [MR_RECOMPUTE_LAYER] = "layer", NULL};
static const char *const shard_texts[] = {
    [MR_SHARD_FULL] = "full", [MR_SHARD_OPTIMIZER] = "optimizer", [MR_SHARD_NONE] = "none", NULL};

static const char *const nonfinite_texts[] = {
    [MR_GUARD_STOP] = "stop", [MR_GUARD_SKIP] = "skip", NULL};
static const char *const spike_texts[] = {
    [MR_GUARD_STOP] = "stop", [MR_GUARD_SKIP] = "skip", [MR_GUARD_LOG] = "log", NULL};
static const char *const cycle_texts[] = {
    [MR_REMORA_PAPER] = "paper", [MR_REMORA_CODE] = "code", NULL};
static const char *const signal_texts[] = {
    [MR_SIGNAL_USR2] = "USR2", [MR_SIGNAL_USR1] = "USR1", [MR_SIGNAL_INT] = "INT", NULL};

#define BILLION 1000000000

#define FIELD(member)                                                                              \
    .key = #member, .offset = offsetof(mr_config, member),                                         \
    .bytes = sizeof(((mr_config *)NULL)->member)

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
    {FIELD(model.tokenizer), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help = "A SentencePiece model file, or bytes; empty: tokenizer.model of model.path where it "
             "is, else bytes, unless other files of a tokenizer or its vocab_size say otherwise."},

    {FIELD(task.name), .type = MR_KEY_STRING, .fallback = "uuid",
     .help = "What is learned and scored."},
    {FIELD(task.pairs), .type = MR_KEY_INT, .fallback = "256", .min = 1, .max = BILLION,
     .unit = "pairs", .help = "Key-value pairs to memorise; for the copy task, samples."},
    {FIELD(task.data_seed), .type = MR_KEY_INT, .fallback = "0", .max = INT64_MAX,
     .help = "Seed of synthetic data; apart from run.seed, so that runs share their data."},
    {FIELD(task.prompt), .type = MR_KEY_STRING,
     .fallback = "{key}:", .help = "Text before the answer; {key} stands for the key of the pair."},
    {FIELD(task.copies), .type = MR_KEY_INT, .fallback = "1", .min = 1, .max = 1000000,
     .unit = "pairs", .help = "Pairs in one sample of the copy task; each stands twice."},
    {FIELD(task.data), .type = MR_KEY_STRING, .is_path = true, .fallback = "",
     .help = "Folder of token shards that `mora data prepare` wrote, for the pretrain task."},

    {FIELD(method.name), .type = MR_KEY_STRING, .fallback = "mora",
     .help = "How the model is updated."},
    {FIELD(method.r), .type = MR_KEY_INT, .fallback = "8", .min = 1, .max = 65536,
     .help = "Budget of the update: as many parameters as LoRA has at this r."},
    {FIELD(method.lora_alpha), .type = MR_KEY_FLOAT, .fallback = "16", .low_open = true,
     .high = INFINITY, .help = "The update is scaled by lora_alpha / r where the method scales."},
    {FIELD(method.lora_dropout), .type = MR_KEY_FLOAT, .fallback = "0", .high = 1,
     .high_open = true, .help = "Probability that an input of the update is dropped in training."},
    {FIELD(method.target_modules), .type = MR_KEY_STRINGS, .fallback = "[all-linear]",
     .help = "Linear layers that are updated, by name (q_proj, ...), or all-linear."},
    {FIELD(method.modules_to_save), .type = MR_KEY_STRINGS, .fallback = "[]",
     .help = "Further modules whose own weights are trained, by name (embed_tokens, lm_head, "
             "norm, ...)."},
    {FIELD(method.operator), .type = MR_KEY_ENUM, .fallback = "auto", .choices = operator_texts,
     .help = "How MoRA compresses its input and decompresses its output."},
    {FIELD(method.loraplus_lr_ratio), .type = MR_KEY_FLOAT, .fallback = "4", .low = 1,
     .high = INFINITY, .help = "LoRA+: learning rate of B over that of A (lambda)."},
    {FIELD(method.freeze_a), .type = MR_KEY_BOOL, .fallback = "true",
     .help = "AsyLoRA: keep the orthonormal A as it was drawn; the MoRA paper trains it too."},
    {FIELD(method.merge_every), .type = MR_KEY_INT, .fallback = "2000", .min = 1, .max = BILLION,
     .unit = "optimizer steps",
     .help = "ReLoRA, ReMoRA: steps from one merge into the weights to the next."},
    {FIELD(method.remora_cycle), .type = MR_KEY_ENUM, .fallback = "paper", .choices = cycle_texts,
     .help = "ReMoRA: groupings from merge to merge, sharing 1 2 1 2 ... or 1 2 3 4 1 ..."},

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
     .help = "Length of a sample; 0: as long as the samples of the task."},
    {FIELD(train.lr), .type = MR_KEY_FLOAT, .fallback = "1e-3", .low_open = true, .high = INFINITY,
     .help = "Peak learning rate."},
    {FIELD(train.lr_scale), .type = MR_KEY_STRINGS, .fallback = "[]",
     .help = "Items name=factor: tensors whose name contains name learn at factor times lr."},
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
    {FIELD(train.eps), .type = MR_KEY_FLOAT, .fallback = "1e-8", .low_open = true, .high = INFINITY,
     .help = "Added to the denominator of AdamW."},
    {FIELD(train.clip_norm), .type = MR_KEY_FLOAT, .fallback = "1", .high = INFINITY,
     .help = "Largest norm of the gradient, above which it is scaled down; 0: off."},
    {FIELD(train.recompute), .type = MR_KEY_ENUM, .fallback = "none", .choices = recompute_texts,
     .help = "What the backward pass computes again instead of keeping it in memory."},
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

    {FIELD(parallel.shard), .type = MR_KEY_ENUM, .fallback = "full", .choices = shard_texts,
     .help = "What is split over the ranks: weights too, optimizer state alone, or nothing."},
    {FIELD(parallel.threads), .type = MR_KEY_INT, .fallback = "0", .max = 65536,
     .unit = "threads a rank", .help = "0: the cores of the node divided by the ranks on it."},
    {FIELD(parallel.backend), .type = MR_KEY_STRING, .fallback = "cpu", .help = "What computes."},
    {FIELD(parallel.memory_gib), .type = MR_KEY_FLOAT, .fallback = "0", .high = INFINITY,
     .unit = "GiB a rank",
     .help = "Memory the plan must fit; 0: 0.8 of what the node or job has, divided by the node's "
             "ranks."},

    {FIELD(log.every), .type = MR_KEY_INT, .fallback = "1", .min = 1, .max = BILLION,
     .unit = "optimizer steps",
     .help = "Steps from one record of loss and learning rate to the next."},

    {FIELD(checkpoint.every_steps), .type = MR_KEY_INT, .fallback = "0", .max = BILLION,
     .unit = "optimizer steps", .help = "Steps from one checkpoint to the next; 0: off."},
    {FIELD(checkpoint.every_minutes), .type = MR_KEY_FLOAT, .fallback = "30", .high = INFINITY,
     .unit = "minutes", .help = "Time from one checkpoint to the next; 0: off."},
    {FIELD(checkpoint.keep), .type = MR_KEY_INT, .fallback = "2", .min = 1, .max = 1000,
     .unit = "checkpoints", .help = "Newest checkpoints that stay; older ones are removed."},
    {FIELD(checkpoint.signal), .type = MR_KEY_ENUM, .fallback = "USR2", .choices = signal_texts,
     .help = "Signal that, as TERM does, stops the run at a checkpoint; it exits with 75."},
};

enum { KEYS = (int)(sizeof table / sizeof *table) };

int mr_schema_count(void)
{
    return KEYS;
}

const mr_key *mr_schema_at(int index)
{
    MR_INVARIANT(index >= 0 && index < KEYS);
    return &table[index];
}

int mr_schema_find(const char *key)
{
    for (int i = 0; i < KEYS; i++)
        if (strcmp(table[i].key, key) == 0) return i;
    return -1;
}

static bool key_is_in(const char *key, const char *section, size_t length)
{
    return strncmp(key, section, length) == 0 && key[length] == '.';
}

bool mr_schema_is_section(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (key_is_in(table[i].key, name, strlen(name))) return true;
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

static bool starts_section(int index)
{
    if (index == 0) return true;
    size_t length = strcspn(table[index].key, ".");
    return !key_is_in(table[index - 1].key, table[index].key, length);
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

/* The known name nearest to an unknown one so far; name is not zero-terminated. */
typedef struct nearest {
    const char *name;
    size_t length;
    int distance;
} nearest;

static void consider(nearest *best, const char *unknown, const char *name, size_t length)
{
    char known[64];
    MR_INVARIANT(length < sizeof known);
    memcpy(known, name, length);
    known[length] = '\0';
    int distance = mr_text_distance(unknown, known);
    /* A known key in a wrong section, or without one, is as near as one letter. */
    if (distance > 1 && strcmp(last_part(unknown), last_part(known)) == 0) distance = 1;
    if (distance < best->distance) *best = (nearest){name, length, distance};
}

static bool suggest_nearest(const char *unknown, mr_text *out)
{
    static const char matrix[] = "matrix";
    nearest best = {.distance = INT_MAX};
    consider(&best, unknown, matrix, strlen(matrix));
    for (int i = 0; i < KEYS; i++) {
        consider(&best, unknown, table[i].key, strlen(table[i].key));
        if (starts_section(i)) consider(&best, unknown, table[i].key, strcspn(table[i].key, "."));
    }
    int third = (int)strlen(unknown) / 3;
    if (best.distance > (third > 2 ? third : 2)) return false;
    mr_text_add(out, "; did you mean \"%.*s\"?", (int)best.length, best.name);
    return true;
}

/* Appends the keys of a section, if it is one; tells whether. */
static bool suggest_keys(const char *section, size_t length, mr_text *out)
{
    const char *separator = "";
    for (int i = 0; i < KEYS; i++) {
        if (!key_is_in(table[i].key, section, length)) continue;
        if (*separator == '\0') mr_text_add(out, "; the keys of %.*s are ", (int)length, section);
        mr_text_add(out, "%s%s", separator, table[i].key + length + 1);
        separator = ", ";
    }
    return *separator != '\0';
}

void mr_schema_suggest(const char *unknown, mr_text *out)
{
    size_t length = strcspn(unknown, ".");
    bool section = unknown[length] == '\0' || unknown[length + 1] == '\0';
    if (section && suggest_keys(unknown, length, out)) return;
    if (suggest_nearest(unknown, out)) return;
    if (unknown[length] == '.' && suggest_keys(unknown, length, out)) return;
    mr_text_add(out, "; the sections are ");
    for (int i = 0; i < KEYS; i++)
        if (starts_section(i))
            mr_text_add(out, "%.*s, ", (int)strcspn(table[i].key, "."), table[i].key);
    mr_text_add(out, "matrix");
}
