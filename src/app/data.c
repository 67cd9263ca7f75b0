/* mora data: token shards from text, and a look at them. Each verb is a command of its own, with
 * its options and its --help. */

#include "app/command.h"
#include "app/data_inspect.h"
#include "app/data_manifest.h"
#include "base/log.h"
#include "corpus/prepare.h"
#include "store/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mr_command prepare_command;

static const char prepare_more[] =
    "Text: each line is a document, an empty one too, or with --documents file each file. Lines\n"
    "end as on any system (LF, CR LF, CR); a byte-order mark at the start is no text; UTF-16 and\n"
    "UTF-32 are refused. Names in .jsonl, .ndjson or .json (also before .gz, .zst or .xz) hold a\n"
    "JSON object a line, as do others whose first line is one, or an array of objects, as files\n"
    "that begin with [; --format says it of all files.\n"
    "With --template each record becomes a sample, some of its tokens marked as learned;\n"
    "mora data inspect FILE --template shows the first ones, its --help names the templates.\n"
    "Files are read through gzip, zstd or xz where their content says so; a name that says so\n"
    "must be right. JSON is read as Unicode text and numbers of double precision: a line with\n"
    "1e999, half a surrogate pair, a field twice or \\u0000 in its name is told as faulty.\n"
    "A document, or a JSON line, has at most 1 GiB, or 64 MiB unless the tokenizer is bytes.\n\n"
    "The tokens of each document and one EOS, or of each sample, are joined into shards, one\n"
    "for 16 MiB of text or less; sequences of train.seq_len are cut from the whole of a split\n"
    "when a run reads them, and what is left over at its end is dropped, or its documents are\n"
    "read each by itself, as the task says. What is held out is decided by a hash of the\n"
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

/* Megabytes of text a second on each rank. */
static double rate(const mr_token_manifest *m, double seconds, int ranks)
{
    const int64_t bytes = m->split[MR_SPLIT_TRAIN].bytes + m->split[MR_SPLIT_HELDOUT].bytes;
    return seconds > 0 ? (double)bytes / 1e6 / seconds / ranks : 0;
}

static mr_status print_prepared(const char *folder, const mr_prepare_outcome *o, int ranks,
                                bool json)
{
    const mr_token_manifest *m = &o->manifest;
    const mr_token_totals *train = &m->split[MR_SPLIT_TRAIN];
    const mr_token_totals *held = &m->split[MR_SPLIT_HELDOUT];
    if (json) {
        json_t *root = mr_manifest_json(m);
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
    mr_manifest_print_origin(m);
    mr_manifest_print_totals(m);
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

static const mr_command prepare_command = {
    .name = "data prepare",
    .usage = "FILE... --to DIR [--tokenizer bytes|FILE] [--template NAME|FILE] "
             "[--field NAME|NAME=OTHER] [--heldout FRACTION] "
             "[--documents lines|file] [--format auto|text|jsonl|json] [--on-error error|skip] "
             "[--progress auto|bar|lines|none] [--json]",
    .summary = "turn text and JSON into token shards, streaming, over the ranks",
    .run = run_prepare,
};

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    static const mr_command *const verbs[] = {&prepare_command, &mr_command_data_inspect};
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
