#include "app/data_inspect.h"

#include "app/data_folder.h"
#include "app/data_records.h"
#include "app/data_text.h"
#include "data/template.h"

typedef struct inspect_options {
    const char *path, *tokenizer, *text, *template;
    mr_option_list fields;
    int64_t items, seq_len; /* -1: not given */
    bool verify, json;
} inspect_options;

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
    if (!o->template) {
        const mr_data_folder folder = {.path = o->path,
                                       .tokenizer = o->tokenizer,
                                       .items = o->items,
                                       .seq_len = o->seq_len,
                                       .verify = o->verify,
                                       .json = o->json};
        return mr_data_show_folder(&folder);
    }
    const mr_data_records records = {.path = o->path,
                                     .template = o->template,
                                     .tokenizer = o->tokenizer,
                                     .fields = &o->fields,
                                     .items = o->items,
                                     .json = o->json};
    return mr_data_show_records(&records);
}

/* What --help says of the program's templates. */
static mr_status add_templates(mr_text *out)
{
    const char *name;
    mr_text_add(out, "Templates (experiments/README.md tells how to write another):\n");
    for (int i = 0; (name = mr_template_own(i)); i++) {
        mr_template *t;
        MR_TRY(mr_template_load(name, &t));
        mr_text_add(out, "  %-18s %s\n", name, mr_template_about(t));
        mr_template_destroy(&t);
    }
    return MR_OK;
}

static mr_status run_inspect(const mr_comm *comm, int argc, char **argv)
{
    enum { LONGEST = 1 << 24 };
    inspect_options o = {.items = -1, .seq_len = -1};
    mr_text more = {0};
    bool help;
    int count;
    const mr_option options[] = {
        {"items", MR_OPTION_INT, &o.items, "N", "samples to show, of a folder of each split (1)"},
        {"seq-len", MR_OPTION_INT, &o.seq_len, "TOKENS",
         "to show of a sample of a folder (128 of all its text; whole documents)"},
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
    mr_status status = mr_options_help(argc, argv) ? add_templates(&more) : MR_OK;
    if (status == MR_OK)
        status = mr_options_parse(comm, &mr_command_data_inspect, options,
                                  sizeof options / sizeof options[0], argc, argv, &o.path, 1,
                                  &count, mr_text_get(&more), &help);
    mr_text_free(&more);
    if (status != MR_OK || help) return status;
    MR_CHECK(count == (o.text ? 0 : 1), MR_ERR_USAGE,
             "mora data inspect: expected a folder, a file or --text; usage: mora %s %s",
             mr_command_data_inspect.name, mr_command_data_inspect.usage);
    MR_TRY(check_inspect(&o));
    if (o.items < 0) o.items = 1;
    MR_CHECK(o.seq_len != 0 && o.seq_len <= LONGEST, MR_ERR_USAGE,
             "mora data inspect: --seq-len: expected 1..%d", LONGEST);
    return mr_comm_agree_root(comm, comm->rank == 0 ? show(&o) : MR_OK);
}

const mr_command mr_command_data_inspect = {
    .name = "data inspect",
    .usage = "DIR | FILE --template NAME|FILE | --text TEXT [--items N] [--field NAME=OTHER] "
             "[--seq-len TOKENS] [--tokenizer FILE] [--verify] [--json]",
    .summary = "tell what a folder of token shards holds, and show samples of it; what a template "
               "makes of records; or how a tokenizer cuts a text",
    .run = run_inspect,
};
