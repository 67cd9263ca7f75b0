#include "app/info.h"
#include "base/file.h"
#include "config/schema.h"
#include "data/template.h"
#include "eval/row_file.h"
#include "report/description.h"
#include "store/hf.h"
#include "store/json.h"
#include "store/runlog.h"
#include "store/spectra_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 65536 };

/* The first bytes of a file. */
typedef struct head {
    const char *path;
    size_t count;   /* in data */
    uint64_t bytes; /* of the file */
    char data[HEAD + 1];
} head;

static mr_status unknown(const char *path, const char *found)
{
    return mr_fail(
        MR_ERR_FORMAT,
        "%s: not a file this program knows: expected a run log, spectra, checkpoints, token "
        "shards, safetensors, a model folder, its config.json, rows of an evaluation or the YAML "
        "of runs or of a template, found %s",
        path, found);
}

static mr_status read_head(const char *path, const struct stat *about, head *out)
{
    FILE *file = fopen(path, "rb");
    MR_CHECK(file, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    out->path = path;
    out->bytes = (uint64_t)about->st_size;
    out->count = fread(out->data, 1, HEAD, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    MR_CHECK(!failed, MR_ERR_IO, "cannot read '%s'", path);
    return MR_OK;
}

static const char *first_word(const head *h)
{
    return h->data + strspn(h->data, " \t\r\n");
}

/* Whether a line is of a key that every template has: also a YAML with errors is one. */
static bool is_template(const head *h)
{
    static const char key[] = "reads:";
    const char *line = h->data;
    while (line && strncmp(line, key, sizeof key - 1) != 0) {
        line = strchr(line, '\n');
        if (line) line++;
    }
    return line != NULL;
}

/* Whether a line starts with a section of the schema: also a YAML with errors is one of runs. */
static bool is_runs(const head *h)
{
    for (const char *line = h->data; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        char word[64];
        size_t length = strcspn(line, ":. \t\r\n");
        if (length == 0 || length >= sizeof word || (line[length] != ':' && line[length] != '.'))
            continue;
        memcpy(word, line, length);
        word[length] = '\0';
        if (strcmp(word, "matrix") == 0 || mr_schema_is_section(word)) return true;
    }
    return false;
}

static bool is_mark(const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    return format && strcmp(format, MR_HF_MARK_FORMAT) == 0;
}

static mr_status recognise_json(const char *path, mr_info_kind *kind)
{
    json_t *root = NULL;
    MR_TRY(mr_json_read(path, &root));
    bool index = json_object_get(root, "weight_map") != NULL, mark = is_mark(root);
    bool model = json_object_get(root, "model_type") || json_object_get(root, "architectures") ||
                 json_object_get(root, "hidden_size");
    json_decref(root);
    *kind = mark ? MR_INFO_MARK : index ? MR_INFO_INDEX : MR_INFO_MODEL;
    return mark || index || model
               ? MR_OK
               : unknown(path, "a JSON object without model_type and weight_map");
}

static mr_status recognise_file(const head *h, mr_info_kind *kind)
{
    if (h->count == 0) return unknown(h->path, "an empty file");
    bool log = mr_runlog_is(h->data, h->count);
    bool spectra = log && mr_spectra_file_is(h->path);
    *kind = spectra ? MR_INFO_SPECTRA : log ? MR_INFO_RUN_LOG : MR_INFO_SAFETENSORS;
    if (log || mr_safetensors_is(h->data, h->count)) return MR_OK;
    if (memchr(h->data, '\0', h->count)) {
        char found[64];
        snprintf(found, sizeof found, "bytes %02x %02x %02x %02x ...", (unsigned char)h->data[0],
                 (unsigned char)h->data[1], (unsigned char)h->data[2], (unsigned char)h->data[3]);
        return unknown(h->path, found);
    }
    *kind = MR_INFO_ROWS;
    if (mr_row_file_is(h->data, h->count)) return MR_OK;
    if (*first_word(h) == '{') return recognise_json(h->path, kind);
    *kind = is_template(h) ? MR_INFO_TEMPLATE : MR_INFO_RUNS;
    return *kind == MR_INFO_TEMPLATE || is_runs(h)
               ? MR_OK
               : unknown(h->path, "text without a section of a configuration");
}

static mr_status recognise_folder(const char *path, mr_info_kind *kind)
{
    char config[PATH_MAX];
    bool known;
    MR_TRY(mr_file_path(config, "%s/%s", path, "config.json"));
    *kind = MR_INFO_FOLDER;
    if (access(config, F_OK) == 0) return MR_OK;
    MR_TRY(mr_info_recognise_folder(path, kind, &known));
    return known ? MR_OK : unknown(path, "a folder without config.json and manifest.json");
}

mr_status mr_info_recognise(const char *path, mr_info_kind *kind)
{
    struct stat about;
    MR_CHECK(stat(path, &about) == 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (S_ISDIR(about.st_mode)) return recognise_folder(path, kind);
    if (!S_ISREG(about.st_mode)) return unknown(path, "neither a file nor a folder");
    head *h = mr_alloc(MR_MEM_OTHER, sizeof *h);
    if (!h) return MR_ERR_MEMORY;
    mr_status status = read_head(path, &about, h);
    if (status == MR_OK) status = recognise_file(h, kind);
    mr_free(h);
    return status;
}

static json_t *metadata_json(const mr_safetensors *file)
{
    json_t *metadata = json_object();
    int64_t count;
    const mr_safetensors_pair *pairs = mr_safetensors_pairs(file, &count);
    for (int64_t i = 0; i < count; i++)
        mr_description_put(metadata, pairs[i].key, json_string(pairs[i].value));
    return metadata;
}

static json_t *shape_json(const mr_safetensors_entry *entry)
{
    json_t *shape = json_array();
    for (int i = 0; i < entry->dims; i++)
        json_array_append_new(shape, json_integer(entry->shape[i]));
    return shape;
}

/* Adds a file's tensors to a list and its elements to totals by type. */
static void add_tensor(const mr_safetensors_entry *entry, json_t *tensors,
                       int64_t totals[MR_SAFETENSORS_DTYPES])
{
    json_array_append_new(tensors,
                          json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", entry->name, "dtype",
                                    mr_safetensors_dtype_name(entry->dtype), "shape",
                                    shape_json(entry), "elements", (json_int_t)entry->count,
                                    "bytes", (json_int_t)(entry->end - entry->begin)));
    totals[entry->dtype] += entry->count;
}

static void put_totals(json_t *object, const int64_t totals[MR_SAFETENSORS_DTYPES])
{
    json_t *by_type = json_object();
    int64_t sum = 0;
    for (int d = 0; d < MR_SAFETENSORS_DTYPES; d++) {
        if (totals[d] == 0) continue;
        mr_description_put(by_type, mr_safetensors_dtype_name((mr_safetensors_dtype)d),
                           json_integer(totals[d]));
        sum += totals[d];
    }
    mr_description_put(object, "elements", json_integer(sum));
    mr_description_put(object, "elements_by_dtype", by_type);
}

static mr_status describe_safetensors(const char *path, json_t *object)
{
    mr_safetensors *file = NULL;
    int64_t totals[MR_SAFETENSORS_DTYPES] = {0};
    MR_TRY(mr_safetensors_open(path, &file));
    json_t *tensors = json_array();
    int64_t count = mr_safetensors_count(file);
    for (int64_t i = 0; i < count; i++)
        add_tensor(mr_safetensors_at(file, i), tensors, totals);
    mr_description_put(object, "tensors", json_integer(count));
    put_totals(object, totals);
    mr_description_put(object, "metadata", metadata_json(file));
    mr_description_put(object, "tensor", tensors);
    mr_safetensors_close(&file);
    return MR_OK;
}

static mr_status describe_index(const char *path, json_t *object)
{
    json_t *root = NULL;
    MR_TRY(mr_json_read(path, &root));
    json_t *map = json_object_get(root, "weight_map"), *files = json_object(), *value;
    const char *key;
    mr_status status = MR_OK;
    if (!json_is_object(map))
        status = mr_fail(MR_ERR_FORMAT, "%s: weight_map: expected an object, found %s", path,
                         mr_json_kind(map));
    json_object_foreach(map, key, value)
    {
        if (!json_is_string(value)) {
            status = mr_fail(MR_ERR_FORMAT, "%s: weight_map: '%.64s': expected a file, found %s",
                             path, key, mr_json_kind(value));
            break;
        }
        const char *file = json_string_value(value);
        json_int_t tensors = json_integer_value(json_object_get(files, file));
        json_object_set_new(files, file, json_integer(tensors + 1));
    }
    mr_description_put(object, "tensors", json_integer((json_int_t)json_object_size(map)));
    json_t *metadata = json_object_get(root, "metadata");
    mr_description_put(object, "metadata", metadata ? json_incref(metadata) : json_object());
    mr_description_put(object, "tensors_by_file", files);
    json_decref(root);
    return status;
}

/* Parameters of the architecture: embedding, L layers, final norm, head where it is not tied. */
static double count_parameters(const mr_hf_config *c)
{
    double hidden = (double)c->hidden_size, words = (double)c->vocab_size * hidden;
    double heads = (double)c->num_attention_heads * (double)c->head_dim;
    double shared = (double)c->num_key_value_heads * (double)c->head_dim;
    double layer = 2 * hidden * heads + 2 * hidden * shared +
                   3 * hidden * (double)c->intermediate_size + 2 * hidden;
    return words + (double)c->num_hidden_layers * layer + hidden +
           (c->tie_word_embeddings ? 0 : words);
}

static mr_status describe_model(const char *path, json_t *object)
{
    mr_hf_config c;
    MR_TRY(mr_hf_config_read(path, &c));
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"hidden_size", c.hidden_size},
        {"intermediate_size", c.intermediate_size},
        {"num_hidden_layers", c.num_hidden_layers},
        {"num_attention_heads", c.num_attention_heads},
        {"num_key_value_heads", c.num_key_value_heads},
        {"head_dim", c.head_dim},
        {"vocab_size", c.vocab_size},
        {"max_position_embeddings", c.max_position_embeddings},
    };
    json_t *config = json_object(), *ends = json_array();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        mr_description_put(config, sizes[i].key, json_integer(sizes[i].value));
    mr_description_put(config, "rms_norm_eps", json_real(c.rms_norm_eps));
    mr_description_put(config, "rope_theta", json_real(c.rope_theta));
    mr_description_put(config, "rope_type", json_string(mr_hf_rope_name(c.rope.type)));
    if (c.rope.type != MR_HF_ROPE_DEFAULT)
        mr_description_put(config, "rope_factor", json_real(c.rope.factor));
    mr_description_put(config, "tie_word_embeddings", json_boolean(c.tie_word_embeddings));
    mr_description_put(config, "bos_token_id",
                       c.bos_token_id < 0 ? json_null() : json_integer(c.bos_token_id));
    for (int i = 0; i < c.eos_count; i++)
        json_array_append_new(ends, json_integer(c.eos_token_id[i]));
    mr_description_put(config, "eos_token_id", ends);
    double parameters = count_parameters(&c);
    mr_description_put(object, "parameters",
                       parameters < 9e15 ? json_integer((json_int_t)parameters)
                                         : json_real(parameters));
    mr_description_put(object, "config", config);
    return MR_OK;
}

static mr_status describe_weights(const char *folder, json_t *object)
{
    mr_hf *weights = NULL;
    int64_t totals[MR_SAFETENSORS_DTYPES] = {0}, count = 0;
    json_t *files = json_object(), *tensors = json_array();
    mr_status status = mr_hf_open(folder, &weights);
    if (status == MR_OK) count = mr_hf_count(weights);
    for (int64_t i = 0; status == MR_OK && i < count; i++) {
        const mr_safetensors *file;
        const mr_safetensors_entry *entry;
        status = mr_hf_find(weights, mr_hf_name(weights, i), &file, &entry);
        if (status != MR_OK) break;
        const char *path = mr_safetensors_path(file), *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        json_int_t before = json_integer_value(json_object_get(files, name));
        json_object_set_new(files, name, json_integer(before + 1));
        add_tensor(entry, tensors, totals);
    }
    mr_description_put(object, "tensors", json_integer(count));
    put_totals(object, totals);
    mr_description_put(object, "tensors_by_file", files);
    mr_description_put(object, "tensor", tensors);
    mr_hf_close(&weights);
    return status;
}

/* A folder may hold config.json alone, for a model that starts from random weights. */
static mr_status describe_folder(const char *folder, json_t *object)
{
    static const char *const weights[] = {"model.safetensors", "model.safetensors.index.json"};
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/%s", folder, "config.json"));
    MR_TRY(describe_model(path, object));
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        MR_TRY(mr_file_path(path, "%s/%s", folder, weights[i]));
        if (access(path, F_OK) == 0) return describe_weights(folder, object);
    }
    mr_description_put(object, "tensors", json_integer(0));
    return MR_OK;
}

/* What a mark says, in its order; its configuration where it is asked for. */
static mr_status describe_mark(const char *path, bool config, json_t *object)
{
    json_t *root = NULL, *value;
    const char *key;
    MR_TRY(mr_json_read(path, &root));
    json_object_foreach(root, key, value)
    {
        bool shown = strcmp(key, "format") != 0 && (config || strcmp(key, "config") != 0);
        if (shown) mr_description_put(object, key, json_incref(value));
    }
    json_decref(root);
    return MR_OK;
}

static mr_status describe_saved(const char *folder, bool config, json_t *object)
{
    char path[PATH_MAX];
    MR_TRY(describe_folder(folder, object));
    MR_TRY(mr_file_path(path, "%s/%s", folder, MR_HF_MARK));
    if (access(path, F_OK) != 0) return MR_OK;
    json_t *saved = json_object();
    mr_description_put(object, "saved", saved);
    return describe_mark(path, config, saved);
}

static mr_status describe_template(const char *path, json_t *object)
{
    mr_template *t;
    mr_text names = {0};
    MR_TRY(mr_template_load(path, &t));
    mr_template_add_names(t, &names);
    mr_description_put(object, "about", json_string(mr_template_about(t)));
    mr_description_put(object, "sha256", json_string(mr_template_hash(t)));
    mr_description_put(object, "names", json_string(mr_text_get(&names)));
    mr_text_free(&names);
    mr_template_destroy(&t);
    return MR_OK;
}

static mr_status describe_bytes(const char *path, json_t *object)
{
    struct stat about;
    MR_CHECK(stat(path, &about) == 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    mr_description_put(object, "bytes", json_integer((json_int_t)about.st_size));
    return MR_OK;
}

mr_status mr_info_describe(const char *path, mr_info_kind kind, bool config, json_t **out)
{
    static const char *const names[] = {
        [MR_INFO_SAFETENSORS] = "safetensors",    [MR_INFO_INDEX] = "index of safetensors",
        [MR_INFO_FOLDER] = "model folder",        [MR_INFO_MODEL] = "model configuration",
        [MR_INFO_MARK] = "mark of a saved model", [MR_INFO_TEMPLATE] = "template",
        [MR_INFO_ROWS] = "rows of an evaluation",
    };
    if (kind == MR_INFO_RUN_LOG) return mr_info_run_log(path, config, out);
    if (kind == MR_INFO_SPECTRA) return mr_info_spectra(path, out);
    if (kind == MR_INFO_SHARDS) return mr_info_shards(path, out);
    json_t *object = json_object();
    mr_description_put(object, "kind", json_string(names[kind]));
    mr_description_put(object, "file", mr_json_text(path));
    mr_status status = MR_OK;
    if (kind != MR_INFO_FOLDER) status = describe_bytes(path, object);
    if (status == MR_OK && kind == MR_INFO_SAFETENSORS) status = describe_safetensors(path, object);
    if (status == MR_OK && kind == MR_INFO_INDEX) status = describe_index(path, object);
    if (status == MR_OK && kind == MR_INFO_FOLDER) status = describe_saved(path, config, object);
    if (status == MR_OK && kind == MR_INFO_MARK) status = describe_mark(path, config, object);
    if (status == MR_OK && kind == MR_INFO_ROWS) status = mr_info_rows(path, object);
    if (status == MR_OK && kind == MR_INFO_TEMPLATE) status = describe_template(path, object);
    if (status == MR_OK && kind == MR_INFO_MODEL) status = describe_model(path, object);
    if (status != MR_OK) {
        json_decref(object);
        object = NULL;
    }
    *out = object;
    return status;
}
