#include "corpus/worker.h"

#include "comm/deal.h"
#include "corpus/shard_writer.h"

#include <stdio.h>
#include <string.h>

/* A stretch of one input that one rank reads: a unit of a plain file, or all of one that is read in
 * one go. */
typedef struct stretch {
    int input;
    int64_t unit; /* the first */
} stretch;

struct mr_worker {
    const mr_prepare_options *options; /* borrowed, as the next four */
    const mr_survey *survey;
    const mr_tokenizer *tokenizer;
    const mr_template *template; /* NULL: plain text */
    const mr_staging *staging;
    size_t longest;     /* bytes that a document may have */
    stretch *stretches; /* [count], this rank's; owned */
    int64_t count, next;
    mr_documents *reader; /* of stretches[next]; NULL between stretches; owned */
    int64_t done;         /* bytes of the stretches before next */
    mr_shard_writer writer[MR_SPLITS];
    mr_rendered sample; /* where there is a template */
    int32_t *ids;       /* [room], of plain text, owned */
    int64_t room;
    mr_unit_record *record; /* [records], owned */
    int64_t records, record_room;
    mr_fault_report report[MR_FAULTS * MR_PREPARE_REPORTS];
    int64_t reports, reports_of[MR_FAULTS];
};

static int64_t unit_count(const mr_survey *survey)
{
    int64_t count = 0;
    for (int i = 0; i < survey->inputs; i++)
        count += survey->input[i].units;
    return count;
}

/* Bytes of the file that belong to a stretch. */
static int64_t stretch_bytes(const mr_worker *w, const stretch *s)
{
    const mr_survey_input *in = &w->survey->input[s->input];
    if (in->units <= 1) return in->bytes;
    const int64_t unit_bytes = w->options->recipe.unit_bytes;
    const int64_t left = in->bytes - s->unit * unit_bytes;
    return left < unit_bytes ? left : unit_bytes;
}

/* Keeps the stretches that are dealt to this rank, by the bytes of text in them, about. */
static mr_status deal_all(const mr_comm *comm, mr_worker *w)
{
    enum { EXPANSION = 4 }; /* text of a compressed file, roughly */
    const int64_t all = unit_count(w->survey);
    double *cost = mr_alloc_array(MR_MEM_DATA, (size_t)all, sizeof *cost);
    int *owner = mr_alloc_array(MR_MEM_DATA, (size_t)all, sizeof *owner);
    w->stretches = mr_alloc_array(MR_MEM_DATA, (size_t)all, sizeof *w->stretches);
    mr_status status = cost && owner && w->stretches ? MR_OK : MR_ERR_MEMORY;
    int64_t at = 0;
    for (int i = 0; status == MR_OK && i < w->survey->inputs; i++)
        for (int64_t unit = 0; unit < w->survey->input[i].units; unit++) {
            w->stretches[at] = (stretch){.input = i, .unit = unit};
            cost[at] = (double)stretch_bytes(w, &w->stretches[at]) *
                       (w->survey->input[i].compressed ? EXPANSION : 1);
            at++;
        }
    if (status == MR_OK) status = mr_deal(comm->size, all, cost, owner);
    for (int64_t i = 0; status == MR_OK && i < all; i++)
        if (owner[i] == comm->rank) w->stretches[w->count++] = w->stretches[i];
    mr_free(cost);
    mr_free(owner);
    return status;
}

mr_status mr_worker_create(const mr_comm *comm, const mr_prepare_options *options,
                           const mr_survey *survey, const mr_tokenizer *tokenizer,
                           const mr_template *template, const mr_staging *staging, mr_worker **out)
{
    *out = NULL;
    mr_worker *w = mr_alloc(MR_MEM_DATA, sizeof *w);
    if (!w) return MR_ERR_MEMORY;
    w->options = options;
    w->survey = survey;
    w->tokenizer = tokenizer;
    w->template = template;
    w->staging = staging;
    w->longest =
        options->longest < tokenizer->most_bytes ? options->longest : tokenizer->most_bytes;
    mr_token_manifest identity = {.shards = 0};
    mr_token_manifest_set_origin(&identity, tokenizer, template);
    for (int s = 0; s < MR_SPLITS; s++) {
        w->writer[s].token_bytes = identity.token_bytes;
        w->writer[s].marked = identity.marked;
    }
    mr_status status = deal_all(comm, w);
    if (status == MR_OK)
        *out = w;
    else
        mr_worker_destroy(&w);
    return status;
}

void mr_worker_destroy(mr_worker **work)
{
    mr_worker *w = *work;
    if (!w) return;
    mr_documents_close(&w->reader);
    for (int s = 0; s < MR_SPLITS; s++)
        mr_shard_writer_free(&w->writer[s]);
    mr_free(w->stretches);
    mr_rendered_free(&w->sample);
    mr_free(w->ids);
    mr_free(w->record);
    mr_free(w);
    *work = NULL;
}

static mr_status open_stretch(mr_worker *w)
{
    const stretch *s = &w->stretches[w->next];
    const mr_survey_input *in = &w->survey->input[s->input];
    const mr_recipe *recipe = &w->options->recipe;
    const mr_lines_place place = {.path = in->path,
                                  .compressed = in->compressed,
                                  .whole = recipe->documents == MR_DOCUMENTS_FILES,
                                  .offset = s->unit * recipe->unit_bytes,
                                  .end = (s->unit + 1) * recipe->unit_bytes,
                                  .lines_before = in->lines_before[s->unit],
                                  .longest = w->longest};
    return mr_documents_open(&place, in->format, &w->reader);
}

static mr_status grow_ids(mr_worker *w, int64_t room)
{
    if (room <= w->room) return MR_OK;
    if (room < 2 * w->room) room = 2 * w->room;
    mr_free(w->ids);
    w->room = 0;
    w->ids = mr_alloc_array(MR_MEM_DATA, (size_t)room, sizeof *w->ids);
    if (!w->ids) return MR_ERR_MEMORY;
    w->room = room;
    return MR_OK;
}

/* Encodes a document and the EOS behind it into ids. */
static mr_status encode(mr_worker *w, const mr_document *document, int64_t *count)
{
    enum { SPARE = 16 }; /* EOS, the blank before the text, ... */
    MR_TRY(grow_ids(w, (int64_t)document->bytes + SPARE));
    MR_TRY(mr_tokenizer_encode(w->tokenizer, document->text, document->bytes, w->ids, w->room - 1,
                               count));
    if (*count > w->room - 1) {
        /* Normalisation made more of the text than it had bytes: rare, so encoded twice. */
        MR_TRY(grow_ids(w, *count + 1));
        MR_TRY(mr_tokenizer_encode(w->tokenizer, document->text, document->bytes, w->ids,
                                   w->room - 1, count));
    }
    w->ids[(*count)++] = w->tokenizer->eos;
    return MR_OK;
}

static mr_status take_fault(mr_worker *w, const mr_document *document, mr_unit_record *record)
{
    const char *path = w->survey->input[record->input].path;
    if (w->options->recipe.on_error == MR_FAULT_STOP)
        return mr_fail(MR_ERR_FORMAT, "%s:%lld: %s", path, (long long)document->line,
                       document->what);
    record->faults[document->fault]++;
    if (w->reports_of[document->fault]++ >= MR_PREPARE_REPORTS) return MR_OK;
    mr_fault_report *report = &w->report[w->reports++];
    *report =
        (mr_fault_report){.input = record->input, .line = document->line, .fault = document->fault};
    memcpy(report->what, document->what, sizeof report->what);
    return MR_OK;
}

/* Makes the sample of a record, or tells why there is none. */
static mr_status render(mr_worker *w, mr_document *document)
{
    mr_fault fault;
    MR_TRY(mr_template_render(w->template, document->record, &w->sample, &fault, document->what));
    if (fault == MR_FAULTS && w->sample.count == 0) {
        fault = MR_FAULT_EMPTY;
        snprintf(document->what, sizeof document->what, "expected a sample, found no token in it");
    }
    document->faulty = fault != MR_FAULTS;
    document->fault = fault;
    return MR_OK;
}

/* Adds a document that is in tokens to the shard of its split. */
static mr_status add_tokens(mr_worker *w, const mr_document *document, const int32_t *ids,
                            const uint8_t *learned, int64_t count, bool held,
                            mr_unit_record *record)
{
    char path[PATH_MAX];
    path[0] = '\0';
    mr_token_document about;
    const mr_split split = held ? MR_SPLIT_HELDOUT : MR_SPLIT_TRAIN;
    mr_token_totals *totals = &record->split[split];
    if (totals->documents == 0) {
        mr_token_manifest_shard *shard = &record->shard[split];
        shard->split = split;
        snprintf(shard->file, sizeof shard->file, "%s-%05lld-%06lld.bin", mr_split_name(split),
                 (long long)record->input, (long long)record->unit);
        MR_TRY(mr_file_path(path, "%s/%s", w->staging->beside, shard->file));
    }
    MR_TRY(mr_shard_writer_add(&w->writer[split], path, ids, learned, count, &about));
    mr_token_totals_add(totals, about);
    totals->bytes += (int64_t)document->bytes;
    if (about.learned == 0 && record->none_line == 0) record->none_line = document->line;
    if (about.learned == about.tokens && record->all_line == 0) record->all_line = document->line;
    return MR_OK;
}

static mr_status take_sample(mr_worker *w, const mr_document *document, mr_unit_record *record)
{
    const mr_rendered *s = &w->sample;
    const bool held = mr_tokens_held_out(s->ids, s->count, w->options->recipe.heldout);
    return add_tokens(w, document, s->ids, s->learned, s->count, held, record);
}

static mr_status take_text(mr_worker *w, const mr_document *document, mr_unit_record *record)
{
    int64_t count = 0;
    MR_TRY(encode(w, document, &count));
    const bool held =
        mr_document_held_out(document->text, document->bytes, w->options->recipe.heldout);
    return add_tokens(w, document, w->ids, NULL, count, held, record);
}

static mr_status take_document(mr_worker *w, mr_document *document, mr_unit_record *record)
{
    mr_status status = MR_OK;
    if (document->record && w->template)
        status = render(w, document);
    else if (document->record)
        mr_document_take_field(document, w->options->recipe.field);
    if (document->faulty) return take_fault(w, document, record);
    if (status == MR_OK)
        status = w->template ? take_sample(w, document, record) : take_text(w, document, record);
    if (status == MR_OK) return MR_OK;
    return mr_fail_in(status, "%s:%lld", w->survey->input[record->input].path,
                      (long long)document->line);
}

static mr_status finish_unit(mr_worker *w, mr_unit_record *record)
{
    for (int s = 0; s < MR_SPLITS; s++) {
        MR_TRY(mr_shard_writer_end(&w->writer[s], &record->shard[s]));
        MR_INVARIANT(record->shard[s].tokens == record->split[s].tokens);
    }
    MR_TRY(mr_grow(MR_MEM_DATA, &w->record, &w->record_room, w->records + 1, sizeof *w->record));
    w->record[w->records++] = *record;
    return MR_OK;
}

/* Takes the documents that start before `end` of the input's text. */
static mr_status take_documents(mr_worker *w, int64_t end, mr_unit_record *record,
                                void (*show)(void *, int64_t), void *context, bool *finished)
{
    enum { SHOW = 1 << 18 }; /* bytes of text between two calls of show */
    int64_t shown = mr_documents_offset(w->reader);
    *finished = false;
    while (mr_documents_offset(w->reader) < end) {
        mr_document document;
        MR_TRY(mr_documents_next(w->reader, &document));
        *finished = !document.text;
        if (*finished) return MR_OK;
        if (!document.blank) MR_TRY(take_document(w, &document, record));
        if (!show || mr_documents_offset(w->reader) - shown < SHOW) continue;
        shown = mr_documents_offset(w->reader);
        show(context, mr_worker_done(w));
    }
    return MR_OK;
}

static mr_status do_unit(mr_worker *w, void (*show)(void *context, int64_t done), void *context)
{
    const stretch *s = &w->stretches[w->next];
    const int64_t unit_bytes = w->options->recipe.unit_bytes;
    if (!w->reader) MR_TRY(open_stretch(w));
    const bool in_one_go = w->survey->input[s->input].in_one_go;
    mr_unit_record record = {.input = s->input, .unit = s->unit};
    /* A line longer than a unit ends beyond the units it covers, where no document starts. */
    if (in_one_go) record.unit = mr_documents_offset(w->reader) / unit_bytes;
    bool finished;
    MR_TRY(take_documents(w, (record.unit + 1) * unit_bytes, &record, show, context, &finished));
    MR_TRY(finish_unit(w, &record));
    if (finished || !in_one_go) {
        mr_documents_close(&w->reader);
        w->done += stretch_bytes(w, s);
        w->next++;
    }
    return MR_OK;
}

mr_status mr_worker_step(mr_worker *w, void (*show)(void *context, int64_t done), void *context,
                         bool *more)
{
    *more = w->next < w->count;
    if (!*more) return MR_OK;
    const mr_survey_input *in = &w->survey->input[w->stretches[w->next].input];
    const mr_status status = do_unit(w, show, context);
    /* A line that is half written, or cut off, is not what is wrong with a file that changes. */
    if (status == MR_ERR_FORMAT || status == MR_ERR_IO) MR_TRY(mr_survey_check_input(in));
    *more = w->next < w->count;
    return status;
}

int64_t mr_worker_done(const mr_worker *w)
{
    if (!w->reader) return w->done;
    const int64_t here = mr_documents_consumed(w->reader);
    const int64_t most = stretch_bytes(w, &w->stretches[w->next]);
    return w->done + (here < most ? here : most);
}

const mr_unit_record *mr_worker_records(const mr_worker *w, int64_t *count)
{
    *count = w->records;
    return w->record;
}

const mr_fault_report *mr_worker_reports(const mr_worker *w, int64_t *count)
{
    *count = w->reports;
    return w->report;
}
