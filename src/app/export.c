/* mora export: what a run has learnt, for other programs. */

#include "train/export.h"

#include "app/command.h"
#include "comm/node.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What the command line says. */
typedef struct request {
    const char *run, *out, *base, *bound;
    int to, dtype;
    int64_t threads;
    bool json;
} request;

static const char *const forms[] = {
    [MR_EXPORT_MERGED] = "merged", [MR_EXPORT_PEFT] = "peft", [MR_EXPORT_FORK] = "mora-fork"};

static mr_status check(const request *r, int operands, double *bound)
{
    MR_CHECK(operands == 1, MR_ERR_USAGE, "mora export: expected a run; usage: mora export %s",
             mr_command_export.usage);
    MR_CHECK(r->to >= 0, MR_ERR_USAGE, "mora export: expected --to merged|peft|mora-fork");
    MR_CHECK(r->out, MR_ERR_USAGE, "mora export: expected --out DIR");
    const bool merged = r->to == MR_EXPORT_MERGED;
    MR_CHECK(merged || r->dtype == 0, MR_ERR_USAGE,
             "mora export: --dtype is of merged weights; adapters are written in F32");
    MR_CHECK(merged || !r->bound, MR_ERR_USAGE,
             "mora export: --bound is of merged weights; an adapter is written as it is");
    *bound = 0;
    if (!r->bound) return MR_OK;
    *bound = mr_text_is_number(r->bound) ? strtod(r->bound, NULL) : NAN;
    MR_CHECK(*bound > 0 && *bound < INFINITY, MR_ERR_USAGE,
             "mora export: --bound: expected a number above 0, found \"%s\"", r->bound);
    return MR_OK;
}

static mr_status print_json(const request *r, const mr_export_outcome *o)
{
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "run", r->run, "to",
                  forms[r->to], "folder", r->out, "method", o->method, "step", (json_int_t)o->steps,
                  "merges_before", (json_int_t)o->restart, "files", (json_int_t)o->files, "tensors",
                  (json_int_t)o->tensors, "bytes", (json_int_t)o->bytes, "types", o->types);
    json_t *logits = json_pack("{s:f, s:f, s:f, s:I, s:I}", "largest_difference", o->difference,
                               "bound", o->bound, "largest", o->most, "tokens",
                               (json_int_t)o->tokens, "same_best", (json_int_t)o->agree);
    if (r->to == MR_EXPORT_MERGED && root) json_object_set(root, "logits", logits);
    json_decref(logits);
    mr_status status = root ? mr_print_json(root) : MR_ERR_MEMORY;
    json_decref(root);
    return status;
}

static mr_status print(const request *r, const mr_export_outcome *o)
{
    mr_text text = {0};
    if (r->json) return print_json(r, o);
    mr_text_add(&text, "%s: %s of %s after %lld steps, %lld tensors in %lld file%s, %.4g MB, %s\n",
                r->out, r->to == MR_EXPORT_MERGED ? "merged weights" : "adapter", o->method,
                (long long)o->steps, (long long)o->tensors, (long long)o->files,
                o->files == 1 ? "" : "s", (double)o->bytes / 1e6, o->types);
    if (r->to == MR_EXPORT_MERGED)
        mr_text_add(&text,
                    "largest difference of a logit, adapted to merged: %.3g (bound %g), of logits "
                    "up to %.3g, on %lld tokens drawn; %lld have the same best next token\n",
                    o->difference, o->bound, o->most, (long long)o->tokens, (long long)o->agree);
    mr_status status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

static mr_status export_run(const mr_comm *comm, const request *r, double bound)
{
    char path[MR_CONFIG_STRING + 16];
    const char *sets[] = {"model.dtype=f32", "model.matmul=dtype", "parallel.backend=cpu", path,
                          "model.config="};
    mr_backend *be = NULL;
    mr_export_outcome outcome;
    MR_CHECK(snprintf(path, sizeof path, "model.path=%s", r->base ? r->base : "") <
                 (int)sizeof path,
             MR_ERR_USAGE, "mora export: --base: the path is too long");
    const int threads = mr_node_threads(comm, r->threads);
    MR_AGREE(comm, mr_backend_create("cpu", mr_node_rank(comm), threads, &be));
    mr_status status = mr_export(comm, be,
                                 &(mr_export_options){.form = (mr_export_form)r->to,
                                                      .run = r->run,
                                                      .out = r->out,
                                                      .sets = sets,
                                                      .set_count = r->base ? 5 : 3,
                                                      .f32 = r->dtype == 1,
                                                      .bound = bound},
                                 &outcome);
    mr_backend_destroy(&be);
    if (status != MR_OK) return status;
    return mr_comm_agree_root(comm, comm->rank == 0 ? print(r, &outcome) : MR_OK);
}

static const char more[] =
    "RUN is what a run left: its log, the tensors it keeps, or its checkpoints.\n"
    "merged     a model folder of Transformers: base and update in one, rounded once, in files as\n"
    "           the base has them; its logits are held against the adapted model's\n"
    "peft       an adapter folder of PEFT: lora, lora_plus, asylora, dora, relora's last adapter\n"
    "mora-fork  an adapter folder of the published MoRA fork: mora, remora's last adapter\n";

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    request r = {.to = -1};
    bool help;
    int operands;
    double bound = 0;
    const mr_option options[] = {
        {"to", MR_OPTION_CHOICE, &r.to, "merged|peft|mora-fork", "what is written"},
        {"out", MR_OPTION_PATH, &r.out, "DIR", "folder to be made"},
        {"dtype", MR_OPTION_CHOICE, &r.dtype, "base|f32",
         "merged: types of the weights; base: each as the base has it (base)"},
        {"bound", MR_OPTION_TEXT, &r.bound, "X",
         "merged: largest difference of a logit (0.001 where all weights are F32, else 0.5)"},
        {"base", MR_OPTION_PATH, &r.base, "DIR",
         "the run's base, where it is no longer where the run read it"},
        {"threads", MR_OPTION_INT, &r.threads, "N", "threads a rank; 0: all processors (0)"},
        {"json", MR_OPTION_FLAG, &r.json, NULL, "print what was written as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_export, options, sizeof options / sizeof options[0],
                            argc, argv, &r.run, 1, &operands, more, &help));
    if (help) return MR_OK;
    MR_TRY(check(&r, operands, &bound));
    return export_run(comm, &r, bound);
}

const mr_command mr_command_export = {
    .name = "export",
    .usage = "RUN --to merged|peft|mora-fork --out DIR [--dtype base|f32] [--bound X] ... [--json]",
    .summary = "write what a run has learnt as a model of Transformers or an adapter of PEFT",
    .run = run,
};
