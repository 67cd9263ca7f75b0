#include "data/hf_special.h"

#include "base/file.h"
#include "base/log.h"
#include "store/json.h"

#include <string.h>
#include <unistd.h>

/* Reads a file beside another; NULL where there is none. */
static mr_status read_beside(const char *path, const char *name, json_t **out)
{
    char beside[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const int folder = slash ? (int)(slash + 1 - path) : 0;
    *out = NULL;
    MR_TRY(mr_file_path(beside, "%.*s%s", folder, path, name));
    return access(beside, F_OK) == 0 ? mr_json_read(beside, out) : MR_OK;
}

static void take_number(const json_t *root, const char *key, int32_t ids, int32_t *id)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (*id >= 0 || !json_is_integer(value)) return;
    if (json_integer_value(value) >= 0 && json_integer_value(value) < ids)
        *id = (int32_t)json_integer_value(value);
}

/* A token by its text, which may stand in an object that says more of it. One that there is not,
 * and one that is not what config.json says, are told. */
static void take_text(const json_t *root, const char *file, const char *key,
                      const mr_hf_added *added, const mr_hf_vocabulary *vocabulary, int32_t *id)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (!json_is_string(value)) return;
    const mr_hf_string text = {json_string_value(value), json_string_length(value)};
    const mr_hf_added_token *token = mr_hf_added_of_text(added, text);
    const int32_t found =
        token ? token->id : mr_hf_vocabulary_find(vocabulary, text.text, text.bytes);
    if (found < 0)
        mr_warn("tokenizer: %s: %s: '%.64s' is no token of the tokenizer", file, key, text.text);
    else if (*id >= 0 && *id != found && strcmp(key, "pad_token") != 0) /* which says nothing */
        mr_warn("tokenizer: %s: %s: '%.64s' is id %d, but %d is taken, which another file says",
                file, key, text.text, (int)found, (int)*id);
    if (*id < 0) *id = found;
}

mr_status mr_hf_special_read(const char *path, const mr_hf_added *added,
                             const mr_hf_vocabulary *vocabulary, int32_t ids, int32_t *bos,
                             int32_t *eos, int32_t *pad)
{
    static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json"};
    json_t *root;
    MR_TRY(read_beside(path, "config.json", &root));
    take_number(root, "bos_token_id", ids, bos);
    take_number(root, "eos_token_id", ids, eos);
    take_number(root, "pad_token_id", ids, pad);
    json_decref(root);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        MR_TRY(read_beside(path, files[i], &root));
        take_text(root, files[i], "bos_token", added, vocabulary, bos);
        take_text(root, files[i], "eos_token", added, vocabulary, eos);
        take_text(root, files[i], "pad_token", added, vocabulary, pad);
        json_decref(root);
    }
    return MR_OK;
}
