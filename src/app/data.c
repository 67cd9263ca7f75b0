/* mora data: token shards from text, and a look at them. Each verb is a command of its own, with
 * its options and its --help. */

#include "app/command.h"
#include "app/data_records.h"
#include "app/data_text.h"
#include "base/log.h"
#include "corpus/prepare.h"
#include "data/order.h"
#include "data/template.h"
#include "data/token_shards.h"
#include "store/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mr_command prepare_command, inspect_command;

static const char prepare_more[] =
    "Text: each line is a document, an empty one too, or with --documents file each file. Lines\n"
    "end as on any system (LF, CR LF, CR); a byte-order mark at the start is no text; UTF-16 and\n"
    "UTF-32 are refused. Names in .jsonl, .ndjson or .json (also before .gz, .zst or .xz) hold a\n"
    "JSON object a line, as do others whose first line is one, or an array of objects, as files\n"
    "that begin with [; --format says it of all files.\n"
    "With --template each record becomes a sample, some of its tokens marked as learned: "
    "templates\n"
    "are data, as those of the program (src/data/template.h says what their keys mean).\n"
    "Files are read through gzip, zstd or xz where their content says so; a name that says so\n"
    "must be right. JSON is read as Unicode text and numbers of double precision: a line with\n"
    "1e999, half a surrogate pair or \\u0000 in the name of a field is told as faulty.\n"
    "A document, or a JSON line, has at most 1 GiB, or 64 MiB unless the tokenizer is bytes.\n\n"
    "The tokens of each document and one EOS, or of each sample, are joined into shards, one for "
    "16 MiB of text or\n"
    "less; sequences of train.seq_len are cut from the whole of a split when a run reads them;\n"
    "what is left over at its end is dropped. What is held out is decided by a hash of the\n"
    "document, so that equal documents are never on both sides. The folder is the same on any\n"
    "number of ranks. It appears when all is done; one that is there already is left as it is.\n";

/* Reads --heldout, which the table of options takes as text. */
static mr_status read_heldout(const char *text, double *out)
{
    *out = strtod(text, NULL);
    MR_CHECK(mr_text_is_number(text) && *out >= 0 && *out < 1, MR_ERR_USAGE,
             "mora data prepare: --heldout: expected a share of 0 to below 1, found \"%s\"", text);
    return MR_OK;
}

static json_t *split_json(const mr_token_totals *of)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "documents", (json_int_t)of->documents,
                     "tokens", (json_int_t)of->tokens, "bytes", (json_int_t)of->bytes, "learned",
                     (json_int_t)of->learned, "none_learned", (json_int_t)of->none_learned,
                     "all_learned", (json_int_t)of->all_learned);
}

static json_t *manifest_json(const mr_token_manifest *m)
{
    json_t *errors = json_object();
    for (int f = 0; f < MR_FAULTS; f++)
        json_object_set_new(errors, mr_fault_name((mr_fault)f),
                            json_integer((json_int_t)m->errors[f]));
    return json_pack(
        "{s:{s:s, s:s, s:i, s:i}, s:{s:s, s:s, s:i, s:b}, s:i, s:i, s:I, s:f, s:o, s:o, s:o}",
        "tokenizer", "name", m->tokenizer, "sha256", m->tokenizer_hash, "vocabulary",
        (int)m->vocabulary, "eos", (int)m->eos, "template", "name", m->template_name, "sha256",
        m->template_hash, "end", (int)m->end, "end_learned", m->end_learned, "token_bytes",
        m->token_bytes, "inputs", m->inputs, "shards", (json_int_t)m->shards, "heldout_fraction",
        m->recipe.heldout, "train", split_json(&m->split[MR_SPLIT_TRAIN]), "heldout",
        split_json(&m->split[MR_SPLIT_HELDOUT]), "errors", errors);
}

/* Megabytes of text a second on each rank. */
static double rate(const mr_token_manifest *m, double seconds, int ranks)
{
    const int64_t bytes = m->split[MR_SPLIT_TRAIN].bytes + m->split[MR_SPLIT_HELDOUT].bytes;
    return seconds > 0 ? (double)bytes / 1e6 / seconds / ranks : 0;
}

/* What made the tokens: the tokenizer, and the template where there is one. */
static void print_origin(const mr_token_manifest *m)
{
    mr_text line = {0};
    mr_text_add(&line, "tokenizer %s, %d ids, EOS %d%s%s\n", m->tokenizer, m->vocabulary, m->eos,
                m->tokenizer_hash[0] ? ", SHA-256 " : "", m->tokenizer_hash);
    if (m->marked) {
        mr_text_add(&line, "template %s, SHA-256 %s; what is learned ends with ", m->template_name,
                    m->template_hash);
        if (m->end < 0)
            mr_text_add(&line, "no token of its own\n");
        else
            mr_text_add(&line, "%s %d, %s\n", m->end == m->eos ? "EOS" : "token", m->end,
                        m->end_learned ? "learned too" : "which is not learned");
    }
    if (mr_print_text(&line) != MR_OK) mr_warn("%s", mr_message());
    mr_text_free(&line);
}

static void print_totals(const mr_token_manifest *m)
{
    printf("%-9s %14s %16s %16s %18s\n", "split", "documents", "tokens", "learned",
           m->marked ? "bytes of records" : "bytes of text");
    for (int s = 0; s < MR_SPLITS; s++)
        printf("%-9s %14lld %16lld %16lld %18lld\n", mr_split_name((mr_split)s),
               (long long)m->split[s].documents, (long long)m->split[s].tokens,
               (long long)m->split[s].learned, (long long)m->split[s].bytes);
}

static mr_status print_prepared(const char *folder, const mr_prepare_outcome *o, int ranks,
                                bool json)
{
    const mr_token_manifest *m = &o->manifest;
    const mr_token_totals *train = &m->split[MR_SPLIT_TRAIN];
    const mr_token_totals *held = &m->split[MR_SPLIT_HELDOUT];
    if (json) {
        json_t *root = manifest_json(m);
        json_object_set_new(root, "folder", mr_json_text(folder));
        json_object_set_new(root, "already", json_boolean(o->already));
        json_object_set_new(root, "ranks", json_integer(ranks));
        json_object_set_new(root, "seconds", json_real(o->seconds));
        json_object_set_new(root, "mb_per_second_per_rank",
                            json_real(o->already ? 0 : rate(m, o->seconds, ranks)));
        mr_status status = mr_print_json(root);
        json_decref(root);
        return status;
    }
    print_origin(m);
    print_totals(m);
    const long long documents = (long long)train->documents + held->documents;
    const long long tokens = (long long)train->tokens + held->tokens;
    const long long bytes = (long long)train->bytes + held->bytes;
    if (o->already)
        printf("%s: prepared already, %lld documents, %lld tokens\n", folder, documents, tokens);
    else
        printf("%s: %lld documents, %lld tokens, %lld bytes in %.1f s, %.1f MB/s per core\n",
               folder, documents, tokens, bytes, o->seconds, rate(m, o->seconds, ranks));
    return MR_OK;
}

static mr_status prepare_with(const mr_comm *comm, int argc, char **argv, const char **inputs)
{
    const char *to = NULL, *tokenizer = "bytes", *template = NULL, *heldout = "0.01";
    mr_option_list fields = {.count = 0};
    int documents = MR_DOCUMENTS_LINES, on_error = MR_FAULT_STOP, format = MR_INPUT_AUTO;
    int progress = MR_PROGRESS_AUTO;
    bool json = false, help;
    int count;
    const mr_option options[] = {
        {"to", MR_OPTION_PATH, &to, "DIR", "folder to be made"},
        {"tokenizer", MR_OPTION_PATH, &tokenizer, "FILE",
         "tokenizer.json, SentencePiece model, or bytes (bytes)"},
        {"template", MR_OPTION_PATH, &template, "NAME|FILE",
         "that makes samples of records, with what is learned marked (plain: text and EOS)"},
        {"field", MR_OPTION_LIST, &fields, "NAME|NAME=OTHER",
         "of JSON that holds the text (text); what the files call a field or role of the template"},
        {"heldout", MR_OPTION_TEXT, &heldout, "FRACTION",
         "of documents kept from training (0.01); 0: none"},
        {"documents", MR_OPTION_CHOICE, &documents, "lines|file", "of plain text (lines)"},
        {"format", MR_OPTION_CHOICE, &format, "auto|text|jsonl|json",
         "of the files; auto: as each of them shows (auto)"},
        {"on-error", MR_OPTION_CHOICE, &on_error, "error|skip",
         "on bad UTF-8 or JSON or a long document: end, or skip it (error)"},
        {"progress", MR_OPTION_CHOICE, &progress, "auto|bar|lines|none",
         "how progress is shown; auto: a bar on a terminal, else lines"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print the result as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &prepare_command, options, sizeof options / sizeof options[0],
                            argc, argv, inputs, argc, &count, prepare_more, &help));
    if (help) return MR_OK;
    mr_log_set_progress((mr_progress)progress);
    MR_CHECK(count > 0 && to, MR_ERR_USAGE,
             "mora data prepare: expected files and --to DIR; usage: mora %s %s",
             prepare_command.name, prepare_command.usage);
    mr_prepare_options what = {.inputs = inputs,
                               .count = count,
                               .folder = to,
                               .tokenizer = tokenizer,
                               .longest = MR_PREPARE_LONGEST,
                               .template = template,
                               .fields = fields.item,
                               .field_count = fields.count,
                               .recipe = mr_prepare_defaults()};
    what.format = (mr_input_format)format;
    MR_TRY(read_heldout(heldout, &what.recipe.heldout));
    what.recipe.documents = (mr_documents_are)documents;
    what.recipe.on_error = (mr_fault_policy)on_error;
    mr_prepare_outcome outcome;
    mr_status status = mr_prepare(comm, &what, &outcome);
    if (status == MR_OK && comm->rank == 0) status = print_prepared(to, &outcome, comm->size, json);
    mr_token_manifest_free(&outcome.manifest);
    return status;
}

static mr_status run_prepare(const mr_comm *comm, int argc, char **argv)
{
    const char **inputs = mr_alloc_array(MR_MEM_OTHER, (size_t)argc, sizeof *inputs);
    mr_status status = mr_comm_agree(comm, inputs ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) status = prepare_with(comm, argc, argv, inputs);
    mr_free(inputs);
    return status;
}

/* Decodes ids document by document, as the tokenizer encoded them. */
static mr_status decode(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                        mr_text *out)
{
    for (int64_t at = 0; at < count;) {
        int64_t end = at;
        while (end < count && ids[end] != tokenizer->eos)
            end++;
        mr_text piece = {0};
        mr_status status = mr_tokenizer_decode(tokenizer, ids + at, end - at, &piece);
        if (status == MR_OK && piece.length > 0) mr_text_add_clean(out, piece.data, piece.length);
        mr_text_free(&piece);
        MR_TRY(status);
        if (end < count) mr_text_add(out, "<eos>");
        at = end + 1;
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* What is shown of a sequence; without a tokenizer its ids. */
static mr_status sample_text(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                             mr_text *out)
{
    if (tokenizer) return decode(tokenizer, ids, count, out);
    for (int64_t i = 0; i < count; i++)
        mr_text_add(out, "%s%d", i > 0 ? " " : "", ids[i]);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Shows `items` sequences of each split, spread over all of it. */
static mr_status show_samples(mr_token_shards *shards, const mr_tokenizer *tokenizer, int64_t items,
                              int64_t seq_len, json_t *list)
{
    int32_t *ids = mr_alloc_array(MR_MEM_OTHER, (size_t)seq_len, sizeof *ids);
    mr_status status = ids ? MR_OK : MR_ERR_MEMORY;
    for (int s = 0; s < MR_SPLITS && status == MR_OK; s++) {
        const mr_split split = (mr_split)s;
        const int64_t sequences = mr_token_shards_sequences(shards, split);
        const int64_t count = items < sequences ? items : sequences;
        for (int64_t i = 0; i < count && status == MR_OK; i++) {
            const int64_t index = mr_order_spread(sequences, count, i);
            mr_text text = {0};
            status = mr_token_shards_read(shards, split, index, 0, seq_len, ids);
            if (status == MR_OK) status = sample_text(tokenizer, ids, seq_len, &text);
            if (status == MR_OK && list)
                json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "split",
                                                      mr_split_name(split), "sequence",
                                                      (json_int_t)index, tokenizer ? "text" : "ids",
                                                      mr_json_text(mr_text_get(&text))));
            else if (status == MR_OK)
                printf("\n%s, sequence %lld of %lld:\n%s\n", mr_split_name(split), (long long)index,
                       (long long)sequences, mr_text_get(&text));
            mr_text_free(&text);
        }
    }
    mr_free(ids);
    return status;
}

static void print_manifest(const char *folder, const mr_token_manifest *m, bool verified)
{
    printf("%s: %lld shards of %d-byte tokens from %d files%s\n", folder, (long long)m->shards,
           m->token_bytes, m->inputs, verified ? ", every SHA-256 as stated" : "");
    print_origin(m);
    int64_t left_out = 0;
    for (int f = 0; f < MR_FAULTS; f++)
        left_out += m->errors[f];
    printf("held out %g of documents; left out %lld", m->recipe.heldout, (long long)left_out);
    for (int f = 0; f < MR_FAULTS; f++)
        if (m->errors[f] > 0)
            printf(", %s %lld", mr_fault_name((mr_fault)f), (long long)m->errors[f]);
    printf("\n");
    if (m->marked)
        printf("nothing is learned of %lld documents, every token of %lld\n",
               (long long)m->split[MR_SPLIT_TRAIN].none_learned +
                   m->split[MR_SPLIT_HELDOUT].none_learned,
               (long long)m->split[MR_SPLIT_TRAIN].all_learned +
                   m->split[MR_SPLIT_HELDOUT].all_learned);
    print_totals(m);
}

typedef struct inspect_options {
    const char *path, *tokenizer, *text, *template;
    mr_option_list fields;
    int64_t items, seq_len; /* -1: not given */
    bool verify, json;
} inspect_options;

static mr_status inspect_open(const inspect_options *o, mr_token_shards *shards,
                              const mr_tokenizer *tokenizer, json_t *root)
{
    const mr_token_manifest *m = mr_token_shards_manifest(shards);
    if (tokenizer) MR_TRY(mr_token_manifest_check_tokenizer(m, o->path, tokenizer));
    MR_TRY(o->verify ? mr_token_shards_verify(shards, mr_comm_self())
                     : mr_token_shards_check(shards));
    if (!o->json) {
        print_manifest(o->path, m, o->verify);
        return show_samples(shards, tokenizer, o->items, o->seq_len, NULL);
    }
    json_t *samples = json_array();
    json_object_set_new(root, "samples", samples);
    json_object_set_new(root, "verified", json_boolean(o->verify));
    json_object_set_new(root, "manifest", manifest_json(m));
    MR_TRY(show_samples(shards, tokenizer, o->items, o->seq_len, samples));
    return mr_print_json(root);
}

static mr_status inspect(const inspect_options *o)
{
    mr_token_shards *shards = NULL;
    mr_tokenizer *tokenizer = NULL;
    json_t *root = NULL;
    mr_status status = mr_token_shards_open(o->path, o->seq_len, &shards);
    if (status != MR_OK) goto cleanup;
    const char *source = o->tokenizer;
    /* The manifest names a model file, but not where it is. */
    if (!source && mr_token_shards_manifest(shards)->tokenizer_hash[0] == '\0') source = "bytes";
    if (source) status = mr_tokenizer_create(source, &tokenizer);
    if (status != MR_OK) goto cleanup;
    root = json_object();
    status = inspect_open(o, shards, tokenizer, root);
cleanup:
    json_decref(root);
    mr_tokenizer_destroy(&tokenizer);
    mr_token_shards_close(&shards);
    return status;
}

/* Refuses what is not for what is looked at: a text, records, or a folder. */
static mr_status check_inspect(const inspect_options *o)
{
    const struct {
        const char *name;
        bool given, of_text, of_records, of_folder;
    } rows[] = {
        {"template", o->template != NULL, false, true, false},
        {"field", o->fields.count > 0, false, true, false},
        {"items", o->items >= 0, false, true, true},
        {"seq-len", o->seq_len >= 0, false, false, true},
        {"verify", o->verify, false, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const bool fits = o->text       ? rows[i].of_text
                          : o->template ? rows[i].of_records
                                        : rows[i].of_folder;
        MR_CHECK(!rows[i].given || fits, MR_ERR_USAGE, "mora data inspect: --%s is not for %s",
                 rows[i].name,
                 o->text       ? "a text"
                 : o->template ? "records, which --template is for"
                               : "a folder; records need --template");
    }
    return MR_OK;
}

static mr_status show(const inspect_options *o)
{
    if (o->text) return mr_data_show_text(o->text, o->tokenizer ? o->tokenizer : "bytes", o->json);
    if (!o->template) return inspect(o);
    const mr_data_records records = {.path = o->path,
                                     .template = o->template,
                                     .tokenizer = o->tokenizer,
                                     .fields = &o->fields,
                                     .items = o->items,
                                     .json = o->json};
    return mr_data_show_records(&records);
}

static mr_status run_inspect(const mr_comm *comm, int argc, char **argv)
{
    enum { LONGEST = 1 << 24, USUAL = 128 };
    inspect_options o = {.items = -1, .seq_len = -1};
    mr_text more = {0};
    bool help;
    int count;
    const mr_option options[] = {
        {"items", MR_OPTION_INT, &o.items, "N", "samples to show, of a folder of each split (1)"},
        {"seq-len", MR_OPTION_INT, &o.seq_len, "TOKENS", "of a sample of a folder (128)"},
        {"tokenizer", MR_OPTION_PATH, &o.tokenizer, "FILE",
         "that decodes the samples, without it ids; that encodes records, without it their text; "
         "with --text: that cuts it (bytes)"},
        {"template", MR_OPTION_PATH, &o.template, "NAME|FILE",
         "show what this makes of the first records of a JSON file, in place of a folder"},
        {"field", MR_OPTION_LIST, &o.fields, "NAME=OTHER",
         "what the file calls a field or role of the template; may be repeated"},
        {"text", MR_OPTION_TEXT, &o.text, "TEXT",
         "show how the tokenizer cuts this, in place of a folder"},
        {"verify", MR_OPTION_FLAG, &o.verify, NULL, "read every shard and check its SHA-256"},
        {"json", MR_OPTION_FLAG, &o.json, NULL, "print the result as JSON"},
    };
    mr_text_add(&more, "Templates: ");
    mr_template_names(&more);
    mr_text_add(&more, ", or a file like\nthose (src/data/template.h says what its keys mean).\n");
    mr_status status =
        mr_options_parse(comm, &inspect_command, options, sizeof options / sizeof options[0], argc,
                         argv, &o.path, 1, &count, mr_text_get(&more), &help);
    mr_text_free(&more);
    if (status != MR_OK || help) return status;
    MR_CHECK(count == (o.text ? 0 : 1), MR_ERR_USAGE,
             "mora data inspect: expected a folder, a file or --text; usage: mora %s %s",
             inspect_command.name, inspect_command.usage);
    MR_TRY(check_inspect(&o));
    if (o.items < 0) o.items = 1;
    if (o.seq_len < 0) o.seq_len = USUAL;
    MR_CHECK(o.seq_len > 0 && o.seq_len <= LONGEST, MR_ERR_USAGE,
             "mora data inspect: --seq-len: expected 1..%d", LONGEST);
    return mr_comm_agree_root(comm, comm->rank == 0 ? show(&o) : MR_OK);
}

static const mr_command prepare_command = {
    .name = "data prepare",
    .usage = "FILE... --to DIR [--tokenizer bytes|FILE] [--template NAME|FILE] "
             "[--field NAME|NAME=OTHER] [--heldout FRACTION] "
             "[--documents lines|file] [--format auto|text|jsonl|json] [--on-error error|skip] "
             "[--progress auto|bar|lines|none] [--json]",
    .summary = "turn text and JSON into token shards, streaming, over the ranks",
    .run = run_prepare,
};

static const mr_command inspect_command = {
    .name = "data inspect",
    .usage = "DIR | FILE --template NAME|FILE | --text TEXT [--items N] [--field NAME=OTHER] "
             "[--seq-len TOKENS] [--tokenizer FILE] [--verify] [--json]",
    .summary = "tell what a folder of token shards holds, and show samples of it; what a template "
               "makes of records; or how a tokenizer cuts a text",
    .run = run_inspect,
};

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    static const mr_command *const verbs[] = {&prepare_command, &inspect_command};
    enum { VERBS = sizeof verbs / sizeof verbs[0] };
    const size_t skip = strlen("data ");
    const char *verb = argc > 0 ? argv[0] : "--help";
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verb, verbs[i]->name + skip) == 0)
            return verbs[i]->run(comm, argc - 1, argv + 1);
    MR_CHECK(strcmp(verb, "--help") == 0, MR_ERR_USAGE,
             "mora data: expected prepare or inspect, found \"%s\"", verb);
    MR_CHECK(argc > 0, MR_ERR_USAGE, "mora data: expected prepare or inspect");
    for (int i = 0; i < VERBS && comm->rank == 0; i++)
        printf("mora %s %s\n    %s\n", verbs[i]->name, verbs[i]->usage, verbs[i]->summary);
    return MR_OK;
}

const mr_command mr_command_data = {
    .name = "data",
    .usage = "prepare FILE... --to DIR ... | inspect DIR|FILE ...",
    .summary = "turn text into token shards; look at them",
    .run = run,
};
