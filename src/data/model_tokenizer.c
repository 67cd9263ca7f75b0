#include "data/model_tokenizer.h"

#include "base/file.h"
#include "base/log.h"
#include "store/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char json_file[] = "tokenizer.json", model_file[] = "tokenizer.model";

/* Files that a tokenizer has beside or in place of these. */
static const char *const foreign_files[] = {
    "spiece.model", "sentencepiece.bpe.model", "vocab.json",        "merges.txt",
    "vocab.txt",    "tokenizer_config.json",   "added_tokens.json", "special_tokens_map.json",
    "tekken.json",
};

/* Ids of a table that is one of bytes, however it is padded. */
enum { MOST_OF_BYTES = 2 * MR_BYTES_VOCABULARY };

/* Whether a folder has a name, be it that of a link that leads nowhere. */
static mr_status has_file(const char *folder, const char *name, bool *there)
{
    char path[PATH_MAX];
    struct stat about;
    MR_TRY(mr_file_path(path, "%s/%s", folder, name));
    *there = lstat(path, &about) == 0;
    return MR_OK;
}

/* The first file of a tokenizer that is not read; NULL where there is none. */
static mr_status find_foreign(const char *folder, const char **found)
{
    *found = NULL;
    for (size_t i = 0; i < sizeof foreign_files / sizeof foreign_files[0] && !*found; i++) {
        bool there;
        MR_TRY(has_file(folder, foreign_files[i], &there));
        if (there) *found = foreign_files[i];
    }
    return MR_OK;
}

/* The tokenizer of a folder that holds a model. */
static mr_status choose_of_folder(const mr_config *config, int64_t vocab_size,
                                  char source[PATH_MAX], const char **reason)
{
    const char *folder = config->model.path, *foreign;
    bool json, model;
    MR_TRY(has_file(folder, json_file, &json));
    MR_TRY(has_file(folder, model_file, &model));
    *reason = json && model ? "from model.path, before its tokenizer.model, which has no added "
                              "tokens"
                            : "from model.path";
    if (json || model) return mr_file_path(source, "%s/%s", folder, json ? json_file : model_file);
    MR_TRY(find_foreign(folder, &foreign));
    MR_CHECK(!foreign, MR_ERR_CONFIG,
             "model.path: '%s' has neither %s nor %s, and its tokenizer (%s) is not one that is "
             "read; set model.tokenizer to such a file of the same ids, or to bytes",
             folder, json_file, model_file, foreign);
    MR_CHECK(
        config->model.init == MR_INIT_RANDOM || vocab_size <= MOST_OF_BYTES, MR_ERR_CONFIG,
        "model.path: '%s' has neither %s nor %s, and its vocab_size %lld is not one of bytes (%d "
        "ids); set model.tokenizer to such a file, or to bytes",
        folder, json_file, model_file, (long long)vocab_size, (int)MR_BYTES_VOCABULARY);
    *reason = "as model.path has no tokenizer";
    return MR_OK;
}

/* A configuration alone is a shape, which says nothing of text; but a tokenizer that stands beside
 * it is likely to be meant. */
static mr_status choose_beside(const mr_config *config, const char **reason)
{
    char folder[PATH_MAX];
    const char *path = config->model.config, *slash = strrchr(path, '/'), *foreign = json_file;
    bool there = false;
    *reason = "as model.tokenizer is not set";
    if (path[0] == '\0') return MR_OK;
    MR_TRY(mr_file_path(folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : "."));
    MR_TRY(has_file(folder, json_file, &there));
    if (!there) MR_TRY(has_file(folder, foreign = model_file, &there));
    if (!there) MR_TRY(find_foreign(folder, &foreign));
    MR_CHECK(!foreign, MR_ERR_CONFIG,
             "model.config: beside '%s' stands %s; set model.tokenizer to that, another "
             "tokenizer.json or SentencePiece model, or to bytes",
             path, foreign);
    return MR_OK;
}

/* Creates the tokenizer of a folder; where its tokenizer.json cannot be read, its tokenizer.model
 * is not taken in silence. */
static mr_status create(const mr_config *config, const char *source, bool asked, mr_tokenizer **out)
{
    bool model = false;
    mr_status status = mr_tokenizer_create(source, out);
    if (status != MR_ERR_FORMAT || asked || config->model.path[0] == '\0') return status;
    const size_t folder = strlen(config->model.path);
    if (strcmp(source + folder + 1, json_file) == 0)
        MR_TRY(has_file(config->model.path, model_file, &model));
    if (!model) return status;
    return mr_fail(status, "%s; model.tokenizer can name '%s/%s' in its place", mr_message(),
                   config->model.path, model_file);
}

/* The text of a token that a file of a folder adds behind those of the tokenizer; NULL: none, or
 * one that is no matter. added_tokens.json says ids of texts, tokenizer_config.json texts of ids.
 */
static const char *added_behind(const char *key, const json_t *value, int64_t vocabulary)
{
    const char *text = json_string_value(json_object_get(value, "content"));
    const int64_t id = text ? strtoll(key, NULL, 10) : json_integer_value(value);
    return id >= vocabulary ? text ? text : key : NULL;
}

/* Warns of tokens that others would add to the tokenizer, and that are text here. */
static mr_status warn_of_added(const char *folder, const char *name, const char *list,
                               const mr_tokenizer *tokenizer)
{
    char path[PATH_MAX];
    bool there;
    json_t *root, *value;
    const char *key, *first = NULL;
    int count = 0;
    MR_TRY(has_file(folder, name, &there));
    if (!there) return MR_OK;
    MR_TRY(mr_file_path(path, "%s/%s", folder, name));
    MR_TRY(mr_json_read(path, &root));
    json_object_foreach(list ? json_object_get(root, list) : root, key, value)
    {
        const char *text = added_behind(key, value, tokenizer->vocabulary);
        count += text != NULL;
        if (!first) first = text;
    }
    if (first)
        mr_warn("%s: adds '%.64s'%s to the %d ids of %s: it is read as any text", path, first,
                count > 1 ? " and others" : "", (int)tokenizer->vocabulary, tokenizer->name);
    json_decref(root);
    return MR_OK;
}

/* Adds the ids that the model's folder says end a text. */
static mr_status add_ends(const mr_config *config, const mr_hf_config *arch,
                          mr_tokenizer *tokenizer)
{
    mr_hf_config told = *arch;
    MR_TRY(warn_of_added(config->model.path, "added_tokens.json", NULL, tokenizer));
    MR_TRY(warn_of_added(config->model.path, "tokenizer_config.json", "added_tokens_decoder",
                         tokenizer));
    MR_TRY(mr_hf_generation_read(config->model.path, &told));
    for (int i = 0; i < told.eos_count; i++)
        mr_tokenizer_add_end(tokenizer, told.eos_token_id[i]);
    return MR_OK;
}

mr_status mr_model_tokenizer_create(const mr_config *config, const mr_hf_config *arch,
                                    mr_tokenizer **out)
{
    const int64_t vocab_size = arch->vocab_size;
    char source[PATH_MAX] = "bytes";
    const char *reason = "from model.tokenizer";
    const bool asked = config->model.tokenizer[0] != '\0';
    *out = NULL;
    if (asked)
        MR_TRY(mr_file_path(source, "%s", config->model.tokenizer));
    else if (config->model.path[0])
        MR_TRY(choose_of_folder(config, vocab_size, source, &reason));
    else
        MR_TRY(choose_beside(config, &reason));
    MR_TRY(create(config, source, asked, out));
    (*out)->reason = reason;
    if (!asked && config->model.path[0]) {
        mr_status status = add_ends(config, arch, *out);
        if (status != MR_OK) mr_tokenizer_destroy(out);
        MR_TRY(status);
    }
    if (!asked && (*out)->hash[0] == '\0' && vocab_size > MOST_OF_BYTES)
        mr_warn("model.tokenizer: not set, so that text is read as bytes: %d of the model's %lld "
                "ids are used",
                (int)MR_BYTES_VOCABULARY, (long long)vocab_size);
    return MR_OK;
}
