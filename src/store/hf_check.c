/* What config.json says against what the files hold. */

#include "base/log.h"
#include "base/text.h"
#include "store/hf_impl.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an extent of a tensor is, in the words of config.json. */
typedef enum side { NO_SIDE, VOCABULARY, HIDDEN, QUERIES, KEYS, INTERMEDIATE } side;

typedef struct tensor_kind {
    const char *name; /* behind "model.layers.<i>." in a layer */
    side side[2];     /* NO_SIDE: a vector */
} tensor_kind;

static const tensor_kind of_model[] = {
    {"model.embed_tokens.weight", {VOCABULARY, HIDDEN}},
    {"model.norm.weight", {HIDDEN, NO_SIDE}},
    {MR_HF_HEAD, {VOCABULARY, HIDDEN}}, /* the last: not there where it is tied */
};

static const tensor_kind of_layer[] = {
    {"input_layernorm.weight", {HIDDEN, NO_SIDE}},
    {"self_attn.q_proj.weight", {QUERIES, HIDDEN}},
    {"self_attn.k_proj.weight", {KEYS, HIDDEN}},
    {"self_attn.v_proj.weight", {KEYS, HIDDEN}},
    {"self_attn.o_proj.weight", {HIDDEN, QUERIES}},
    {"post_attention_layernorm.weight", {HIDDEN, NO_SIDE}},
    {"mlp.gate_proj.weight", {INTERMEDIATE, HIDDEN}},
    {"mlp.up_proj.weight", {INTERMEDIATE, HIDDEN}},
    {"mlp.down_proj.weight", {HIDDEN, INTERMEDIATE}},
};

enum { NAMED = 8 }; /* tensors that nothing uses, at most in the warning of them */

enum {
    OF_MODEL = sizeof of_model / sizeof *of_model,
    OF_LAYER = sizeof of_layer / sizeof *of_layer
};

static int64_t extent_of(const mr_hf_config *arch, side what)
{
    switch (what) {
    case VOCABULARY:
        return arch->vocab_size;
    case HIDDEN:
        return arch->hidden_size;
    case QUERIES:
        return arch->num_attention_heads * arch->head_dim;
    case KEYS:
        return arch->num_key_value_heads * arch->head_dim;
    case INTERMEDIATE:
        return arch->intermediate_size;
    case NO_SIDE:
        break;
    }
    return 0;
}

static void add_side(const mr_hf_config *arch, side what, mr_text *out)
{
    static const char *const keys[] = {[VOCABULARY] = "vocab_size",
                                       [HIDDEN] = "hidden_size",
                                       [QUERIES] = "num_attention_heads",
                                       [KEYS] = "num_key_value_heads",
                                       [INTERMEDIATE] = "intermediate_size"};
    if (what == QUERIES || what == KEYS)
        mr_text_add(out, "%s %" PRId64 " x head_dim %" PRId64, keys[what],
                    extent_of(arch, what) / arch->head_dim, arch->head_dim);
    else
        mr_text_add(out, "%s %" PRId64, keys[what], extent_of(arch, what));
}

/* Reads "model.layers.<i>."; returns what follows, or NULL where a name does not begin so. */
static const char *behind_layer(const char *name, int64_t *layer)
{
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || !isdigit((unsigned char)name[13]))
        return NULL;
    char *end;
    *layer = strtoll(name + 13, &end, 10);
    bool plain = name[13] != '0' || end == name + 14; /* 00 is no other name of 0 */
    return *end == '.' && plain ? end + 1 : NULL;
}

/* The tensor of a model that has a name, or NULL. */
static const tensor_kind *kind_of(const mr_hf_config *arch, const char *name)
{
    int64_t layer = 0;
    const char *rest = behind_layer(name, &layer);
    if (rest && layer >= arch->num_hidden_layers) return NULL;
    const tensor_kind *kinds = rest ? of_layer : of_model;
    int count = rest ? OF_LAYER : OF_MODEL - arch->tie_word_embeddings;
    for (int i = 0; i < count; i++)
        if (strcmp(kinds[i].name, rest ? rest : name) == 0) return &kinds[i];
    return NULL;
}

bool mr_hf_uses(const mr_hf_config *arch, const char *name)
{
    return kind_of(arch, name) != NULL;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

/* Buffers that older programs saved: they follow from the configuration. */
static bool is_buffer(const mr_safetensors_entry *entry)
{
    static const char *const endings[] = {"rotary_emb.inv_freq",   "rotary_emb.cos_cached",
                                          "rotary_emb.sin_cached", "position_ids",
                                          "masked_bias",           "causal_mask"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(entry->name, endings[i])) return true;
    /* The mask of attention went by the name that its bias, numbers, would have. */
    return entry->dtype == MR_SAFETENSORS_BOOL && ends_with(entry->name, "attn.bias");
}

static bool is_float(mr_safetensors_dtype dtype)
{
    return dtype == MR_SAFETENSORS_F32 || dtype == MR_SAFETENSORS_F16 ||
           dtype == MR_SAFETENSORS_BF16 || dtype == MR_SAFETENSORS_F64;
}

/* Whether a tensor that no parameter takes would change what the model computes: a number in the
 * decoder or the head, or an update of one. */
static bool is_missed(const mr_safetensors_entry *entry)
{
    if (!is_float(entry->dtype)) return false;
    return strncmp(entry->name, "model.", 6) == 0 || strncmp(entry->name, "lm_head.", 8) == 0 ||
           ends_with(entry->name, "_proj.bias") || strstr(entry->name, "lora_") != NULL;
}

/* What looks at the tensors of a folder. */
typedef struct check {
    const mr_hf_config *arch;
    const char *config;
    int64_t found;  /* tensors of the model */
    mr_text unused; /* names, of those that are warned of */
    int unused_count;
} check;

static mr_status refuse_missed(const check *c, const mr_safetensors *file,
                               const mr_safetensors_entry *entry)
{
    int64_t layer;
    bool bias = ends_with(entry->name, ".bias");
    const char *path = mr_safetensors_path(file), *why = "";
    if (behind_layer(entry->name, &layer))
        MR_CHECK(layer < c->arch->num_hidden_layers, MR_ERR_FORMAT,
                 "%s: tensor '%s', but %s says num_hidden_layers %" PRId64, path, entry->name,
                 c->config, c->arch->num_hidden_layers);
    if (bias && strstr(entry->name, ".self_attn."))
        why = ", where attention_bias is not set";
    else if (bias && strstr(entry->name, ".mlp."))
        why = ", where mlp_bias is not set";
    return mr_fail(MR_ERR_FORMAT,
                   "%s: tensor '%s' is no part of the model that %s describes%s; without it "
                   "another model would be trained",
                   path, entry->name, c->config, why);
}

static mr_status check_shape(const check *c, const tensor_kind *kind, const mr_safetensors *file,
                             const mr_safetensors_entry *entry)
{
    int dims = kind->side[1] == NO_SIDE ? 1 : 2;
    const int64_t shape[2] = {extent_of(c->arch, kind->side[0]), extent_of(c->arch, kind->side[1])};
    mr_status status = mr_safetensors_expect(file, entry, dims, shape);
    if (status == MR_OK) return mr_safetensors_read_f32(file, entry, 0, 0, NULL); /* its type */
    char message[MR_MESSAGE_MAX];
    mr_text sides = {0};
    snprintf(message, sizeof message, "%s", mr_message());
    for (int i = 0; i < dims; i++) {
        if (i > 0) mr_text_add(&sides, ", ");
        add_side(c->arch, kind->side[i], &sides);
    }
    status = mr_fail(status, "%.600s (%s of %.200s)", message, mr_text_get(&sides), c->config);
    mr_text_free(&sides);
    return status;
}

/* Judges one tensor; used is false where the index leads another way. */
static mr_status check_tensor(check *c, const mr_safetensors *file,
                              const mr_safetensors_entry *entry, bool used)
{
    const tensor_kind *kind = kind_of(c->arch, entry->name);
    int64_t layer;
    bool tied = c->arch->tie_word_embeddings && strcmp(entry->name, MR_HF_HEAD) == 0;
    c->found += kind && used;
    if (kind && used) return check_shape(c, kind, file, entry);
    if (is_buffer(entry) || (tied && used)) return MR_OK;
    bool beyond = behind_layer(entry->name, &layer) && layer >= c->arch->num_hidden_layers;
    if (beyond || (!kind && !tied && is_missed(entry))) return refuse_missed(c, file, entry);
    if (c->unused_count < NAMED)
        mr_text_add(&c->unused, "%s%s", c->unused_count > 0 ? ", " : "", entry->name);
    c->unused_count++;
    return MR_OK;
}

static mr_status check_tensors(check *c, const mr_hf *weights)
{
    for (int64_t f = 0; f < weights->n_files; f++) {
        const mr_safetensors *file = weights->files[f];
        for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
            const mr_safetensors_entry *entry = mr_safetensors_at(file, i), *known = NULL;
            const mr_safetensors *other;
            if (mr_hf_has(weights, entry->name))
                MR_TRY(mr_hf_find(weights, entry->name, &other, &known));
            MR_TRY(check_tensor(c, file, entry, known == entry));
        }
    }
    return MR_OK;
}

/* Names the first tensor that is not there. */
static mr_status refuse_incomplete(const check *c, const mr_hf *weights)
{
    const char *folder = weights->folder;
    char name[MR_HF_NAME];
    int count = OF_MODEL - c->arch->tie_word_embeddings;
    int64_t layers = 0, layer;
    MR_CHECK(c->found > 0 || weights->count == 0, MR_ERR_FORMAT,
             "model folder '%s': no tensor of a LLaMA in its weights: expected '%s' and others, "
             "found '%.256s'",
             folder, of_model[0].name, mr_hf_name(weights, 0));
    for (int64_t i = 0; i < weights->count; i++)
        if (behind_layer(mr_hf_name(weights, i), &layer) && layer >= layers) layers = layer + 1;
    MR_CHECK(layers >= c->arch->num_hidden_layers, MR_ERR_FORMAT,
             "model folder '%s': its files hold %" PRId64
             " layers, but %s says num_hidden_layers %" PRId64,
             folder, layers, c->config, c->arch->num_hidden_layers);
    for (int i = 0; i < count; i++)
        MR_CHECK(mr_hf_has(weights, of_model[i].name), MR_ERR_FORMAT,
                 "model folder '%s': no tensor '%s' in its weights%s%s%s", folder, of_model[i].name,
                 i == OF_MODEL - 1 ? ", and tie_word_embeddings of " : "",
                 i == OF_MODEL - 1 ? c->config : "", i == OF_MODEL - 1 ? " is not true" : "");
    for (layer = 0; layer < c->arch->num_hidden_layers; layer++)
        for (int i = 0; i < OF_LAYER; i++) {
            snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s", layer, of_layer[i].name);
            MR_CHECK(mr_hf_has(weights, name), MR_ERR_FORMAT,
                     "model folder '%s': no tensor '%s' in its weights", folder, name);
        }
    return MR_OK;
}

static mr_status check_here(const mr_hf *weights, const mr_hf_config *arch, const char *config)
{
    check c = {.arch = arch, .config = config};
    int64_t wanted = OF_MODEL - arch->tie_word_embeddings + OF_LAYER * arch->num_hidden_layers;
    mr_status status = check_tensors(&c, weights);
    if (status == MR_OK && c.found < wanted) status = refuse_incomplete(&c, weights);
    if (status == MR_OK && c.unused_count > 0)
        mr_warn("model folder '%s': nothing uses %d of its tensors: %s%s", weights->folder,
                c.unused_count, mr_text_get(&c.unused), c.unused_count > NAMED ? ", ..." : "");
    mr_text_free(&c.unused);
    return status;
}

/* Compares a head with the embedding it is tied to, every `ranks`-th piece from this rank's on. A
 * shape of its own differs as well; mr_hf_check judges it. */
static mr_status compare_tied(const mr_comm *comm, const mr_hf *weights, bool *differs)
{
    enum { PIECE = 1 << 18 };
    char shape[2][MR_SAFETENSORS_SHAPE];
    static const char *const names[2] = {"model.embed_tokens.weight", MR_HF_HEAD};
    const mr_safetensors *file[2];
    const mr_safetensors_entry *entry[2];
    if (!mr_hf_has(weights, MR_HF_HEAD)) return MR_OK;
    for (int i = 0; i < 2; i++)
        MR_TRY(mr_hf_find(weights, names[i], &file[i], &entry[i]));
    for (int i = 0; i < 2; i++)
        mr_safetensors_shape(shape[i], entry[i]->dims, entry[i]->shape);
    *differs = strcmp(shape[0], shape[1]) != 0;
    if (*differs) return MR_OK;
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)2 * PIECE, sizeof *values);
    if (!values) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    for (int64_t at = comm->rank * (int64_t)PIECE;
         at < entry[0]->count && status == MR_OK && !*differs; at += comm->size * (int64_t)PIECE) {
        int64_t count = entry[0]->count - at < PIECE ? entry[0]->count - at : PIECE;
        for (int i = 0; i < 2 && status == MR_OK; i++)
            status = mr_safetensors_read_f32(file[i], entry[i], at, count, values + i * PIECE);
        *differs = memcmp(values, values + PIECE, (size_t)count * sizeof *values) != 0;
    }
    mr_free(values);
    return status;
}

mr_status mr_hf_untie(const mr_comm *comm, const char *folder, mr_hf_config *arch)
{
    mr_hf *weights = NULL;
    bool differs = false;
    bool there = mr_hf_holds(folder, MR_HF_INDEX) || mr_hf_holds(folder, MR_HF_WEIGHTS);
    if (!arch->tie_word_embeddings) return MR_OK;
    mr_status status = there ? mr_hf_open(folder, &weights) : MR_OK;
    if (weights) status = compare_tied(comm, weights, &differs);
    mr_hf_close(&weights);
    MR_AGREE(comm, status);
    if (!mr_comm_any(comm, differs)) return MR_OK;
    arch->tie_word_embeddings = false;
    mr_warn("model folder '%s': " MR_HF_HEAD " differs from the embedding, though its config.json "
            "says tie_word_embeddings: it is kept, and the model is not tied",
            folder);
    return MR_OK;
}

mr_status mr_hf_check(const mr_comm *comm, const mr_hf *weights, const mr_hf_config *arch,
                      const char *config)
{
    return mr_comm_agree(comm, check_here(weights, arch, config));
}
