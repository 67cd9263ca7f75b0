#include "store/hf_beside.h"

#include "base/file.h"
#include "store/hf_impl.h"
#include "store/json.h"
#include "store/peft.h"

#include <string.h>
#include <unistd.h>

/* Files that are copied as they are; those from TOKENIZER on are the tokenizer's. */
static const char *const names[] = {
    MR_HF_GENERATION,          "tokenizer.model",   "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json",     "merges.txt",
    "chat_template.jinja",     "chat_template.json"};
enum { NAMES = sizeof names / sizeof *names, TOKENIZER = 1, TOKENIZER_JSON = 2 };

struct mr_hf_beside {
    json_t *config; /* owned */
    struct {
        char *bytes; /* owned; NULL: there is none */
        size_t size;
    } file[NAMES];
};

static mr_status read_files(mr_hf_beside *beside, const char *folder, const char *tokenizer)
{
    char path[PATH_MAX];
    int count = tokenizer[0] ? TOKENIZER : NAMES;
    for (int i = 0; i < count && folder[0]; i++) {
        if (!mr_hf_holds(folder, names[i])) continue;
        MR_TRY(mr_file_path(path, "%s/%s", folder, names[i]));
        MR_TRY(mr_file_read(path, MR_MEM_OTHER, &beside->file[i].bytes, &beside->file[i].size));
    }
    if (!tokenizer[0] || strcmp(tokenizer, "bytes") == 0) return MR_OK;
    char *file;
    size_t size;
    MR_TRY(mr_file_read(tokenizer, MR_MEM_OTHER, &file, &size));
    /* A model of SentencePiece is no text, and so no object of JSON. */
    const size_t blanks = strspn(file, " \t\r\n");
    const int as = blanks < size && file[blanks] == '{' ? TOKENIZER_JSON : TOKENIZER;
    beside->file[as].bytes = file;
    beside->file[as].size = size;
    return MR_OK;
}

mr_status mr_hf_beside_read(const char *config, const char *folder, const char *tokenizer,
                            mr_hf_beside **out)
{
    mr_hf_beside *beside = mr_alloc(MR_MEM_OTHER, sizeof *beside);
    *out = beside;
    if (!beside) return MR_ERR_MEMORY;
    mr_status status = mr_json_read(config, &beside->config);
    if (status == MR_OK) status = read_files(beside, folder, tokenizer);
    if (status != MR_OK) mr_hf_beside_free(out);
    return status;
}

/* What is said of the weights' type, by the key of newer programs and that of older ones. */
static bool put_dtype(const json_t *was, json_t *out, const char *dtype)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    bool said = false, made = true;
    for (int i = 0; i < 2; i++) {
        json_t *old = json_object_get(was, keys[i]);
        said = said || old;
        json_object_del(out, keys[i]);
        if (old)
            made = made && (dtype ? json_object_set_new(out, keys[i], json_string(dtype))
                                  : json_object_set(out, keys[i], old)) == 0;
    }
    if (dtype && !said) made = json_object_set_new(out, keys[0], json_string(dtype)) == 0;
    return made;
}

/* The ids of a configuration's ends are no matter of the computation, and stay as they were. */
static bool put_ends(const json_t *was, json_t *out)
{
    json_t *ends = json_object_get(was, "eos_token_id");
    return !ends || json_object_set(out, "eos_token_id", ends) == 0;
}

static mr_status write_config(const mr_hf_beside *beside, const char *folder,
                              const mr_hf_config *arch, const char *dtype)
{
    char path[PATH_MAX];
    json_t *ours = mr_hf_config_json(arch), *whole = json_copy(beside->config);
    const bool made = ours && whole && json_object_update(whole, ours) == 0 &&
                      put_dtype(beside->config, whole, dtype) && put_ends(beside->config, whole);
    mr_status status = mr_file_path(path, "%s/config.json", folder);
    if (status == MR_OK) status = mr_json_write(path, made ? whole : NULL);
    json_decref(ours);
    json_decref(whole);
    return status;
}

mr_status mr_hf_beside_write(const mr_hf_beside *beside, const char *folder,
                             const mr_hf_config *arch, const char *dtype)
{
    char path[PATH_MAX];
    MR_TRY(write_config(beside, folder, arch, dtype));
    for (int i = 0; i < NAMES; i++) {
        MR_TRY(mr_file_path(path, "%s/%s", folder, names[i]));
        if (beside->file[i].bytes)
            MR_TRY(mr_file_write(path, beside->file[i].bytes, beside->file[i].size));
        else
            unlink(path); /* of an earlier model */
    }
    return MR_OK;
}

static bool ends_on(const char *name, size_t length, const char *tail)
{
    const size_t end = strlen(tail);
    return length > end && strncmp(name + length - end, tail, end) == 0;
}

bool mr_hf_beside_is_file(const char *name)
{
    static const char *const others[] = {"config.json", MR_HF_INDEX, MR_PEFT_CONFIG};
    size_t length = strlen(name);
    if (ends_on(name, length, ".tmp")) length -= strlen(".tmp");
    if (ends_on(name, length, ".safetensors")) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i]) == length && strncmp(others[i], name, length) == 0) return true;
    for (int i = 0; i < NAMES; i++)
        if (strlen(names[i]) == length && strncmp(names[i], name, length) == 0) return true;
    return false;
}

void mr_hf_beside_free(mr_hf_beside **beside)
{
    mr_hf_beside *old = *beside;
    if (!old) return;
    for (int i = 0; i < NAMES; i++)
        mr_free(old->file[i].bytes);
    json_decref(old->config);
    mr_free(old);
    *beside = NULL;
}

const char *mr_hf_beside_found(const char *folder)
{
    static const char *const others[] = {"config.json", MR_HF_WEIGHTS, MR_HF_INDEX,
                                         "pytorch_model.bin", "adapter_config.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (mr_hf_holds(folder, others[i])) return others[i];
    for (int i = 0; i < NAMES; i++)
        if (mr_hf_holds(folder, names[i])) return names[i];
    return NULL;
}
