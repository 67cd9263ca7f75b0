#include "app/data_records.h"

#include "app/data_sample.h"
#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "data/template.h"
#include "store/json.h"

#include <stdio.h>
#include <string.h>

/* A command being done. Owns all but `what`. */
typedef struct viewer {
    const mr_data_records *what;
    mr_template *template;
    mr_tokenizer *tokenizer; /* NULL: none */
    mr_rendered sample;
    mr_text text; /* as it is shown */
    mr_text end;  /* the token that ends what is learned, by its name */
    mr_sample_marks marks;
    json_t *items; /* NULL: plain text */
} viewer;

static json_t *numbers(const mr_rendered *r, bool learned)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < r->count; i++)
        mr_json_append(&list, json_integer(learned ? r->learned[i] : r->ids[i]));
    return list;
}

/* Shows the sample that stands in v->sample. */
static mr_status show_sample(viewer *v, int64_t line)
{
    const mr_rendered *r = &v->sample;
    const mr_sample_facts facts =
        mr_sample_facts_of(r->ids, r->learned, r->count, mr_template_end(v->template, NULL));
    MR_TRY(mr_sample_text(v->tokenizer, r->ids, r->learned, r->count, v->marks, &v->text));
    if (v->items) {
        mr_json_append(&v->items,
                       json_pack("{s:I, s:I, s:I, s:I, s:b, s:s%, s:o, s:o}", "line",
                                 (json_int_t)line, "tokens", (json_int_t)facts.tokens, "learned",
                                 (json_int_t)facts.learned, "spans", (json_int_t)facts.spans,
                                 "end_learned", facts.end_learned, "text", mr_text_get(&v->text),
                                 v->text.length, "ids", numbers(r, false), "mask",
                                 numbers(r, true)));
        return v->items ? MR_OK : MR_ERR_MEMORY;
    }
    mr_text head = {0};
    mr_text_add(&head, "\n%s:%lld: ", v->what->path, (long long)line);
    mr_sample_add_facts(&facts, mr_text_get(&v->end), &head);
    mr_text_add(&head, "\n");
    mr_status status = mr_print_text(&head);
    mr_text_free(&head);
    printf("%s\n", mr_text_get(&v->text));
    return status;
}

static mr_status show_text(viewer *v, int64_t line)
{
    if (v->items) {
        mr_json_append(&v->items, json_pack("{s:I, s:s%}", "line", (json_int_t)line, "text",
                                            mr_text_get(&v->text), v->text.length));
        return v->items ? MR_OK : MR_ERR_MEMORY;
    }
    mr_text clean = {0};
    mr_text_add_clean(&clean, mr_text_get(&v->text), v->text.length);
    printf("\n%s:%lld:\n%s\n", v->what->path, (long long)line, mr_text_get(&clean));
    mr_status status = clean.failed ? MR_ERR_MEMORY : MR_OK;
    mr_text_free(&clean);
    return status;
}

static mr_status show_fault(viewer *v, int64_t line, mr_fault fault, const char *what)
{
    mr_text message = {0};
    if (v->items) {
        mr_json_append(&v->items, json_pack("{s:I, s:s, s:o}", "line", (json_int_t)line, "fault",
                                            mr_fault_name(fault), "message", mr_json_text(what)));
        return v->items ? MR_OK : MR_ERR_MEMORY;
    }
    mr_text_add(&message, "\n%s:%lld: left out (%s): %s\n", v->what->path, (long long)line,
                mr_fault_name(fault), what);
    mr_status status = mr_print_text(&message);
    mr_text_free(&message);
    return status;
}

static mr_status show_record(viewer *v, const mr_document *document)
{
    mr_fault fault = document->fault;
    char what[MR_FAULT_TEXT];
    mr_text_clear(&v->text);
    if (document->faulty) return show_fault(v, document->line, fault, document->what);
    if (v->tokenizer)
        MR_TRY(mr_template_render(v->template, document->record, &v->sample, &fault, what));
    else
        MR_TRY(mr_template_text(v->template, document->record, &v->text, &fault, what));
    if (fault != MR_FAULTS) return show_fault(v, document->line, fault, what);
    return v->tokenizer ? show_sample(v, document->line) : show_text(v, document->line);
}

static mr_status show_documents(viewer *v, mr_documents *documents)
{
    for (int64_t shown = 0; shown < v->what->items;) {
        mr_document document;
        MR_TRY(mr_documents_next(documents, &document));
        if (!document.text && !document.faulty) return MR_OK;
        if (document.blank) continue;
        MR_TRY(show_record(v, &document));
        shown++;
    }
    return MR_OK;
}

static mr_status show_file(viewer *v)
{
    enum { LONGEST = 1 << 28 };
    mr_lines_place place = {.path = v->what->path, .longest = LONGEST};
    mr_documents *documents;
    mr_input_format format;
    MR_TRY(mr_compressed_probe(place.path, &place.compressed));
    MR_TRY(mr_documents_probe(place.path, place.compressed, true, &format));
    MR_TRY(mr_documents_open(&place, format, &documents));
    mr_status status = show_documents(v, documents);
    mr_documents_close(&documents);
    return status;
}

static mr_status open_all(viewer *v)
{
    MR_TRY(mr_template_load(v->what->template, &v->template));
    for (int i = 0; i < v->what->fields->count; i++)
        if (mr_template_rename(v->template, v->what->fields->item[i]) != MR_OK)
            return mr_fail_in(MR_ERR_USAGE, "mora data inspect: --field");
    if (!v->what->tokenizer) return MR_OK;
    MR_TRY(mr_tokenizer_create(v->what->tokenizer, &v->tokenizer));
    MR_TRY(mr_template_bind(v->template, v->tokenizer));
    const int32_t end = mr_template_end(v->template, NULL);
    return end < 0 ? MR_OK : mr_tokenizer_piece(v->tokenizer, end, &v->end);
}

/* What the template is, and what it does at the end of an answer. */
static mr_status print_head(const viewer *v)
{
    mr_text head = {0};
    bool learned;
    mr_text_add(&head, "template %s: %s; SHA-256 %s\n", mr_template_name(v->template),
                mr_template_about(v->template), mr_template_hash(v->template));
    if (v->tokenizer) {
        const int32_t end = mr_template_end(v->template, &learned);
        mr_text_add(&head, "tokenizer %s, %d ids; ", v->tokenizer->name, v->tokenizer->vocabulary);
        if (end < 0)
            mr_text_add(&head, "no token ends what is learned\n");
        else
            mr_text_add(&head, "what is learned ends with %s (%d), %s\n", mr_text_get(&v->end), end,
                        learned ? "learned too" : "which is not learned");
    }
    mr_status status = mr_print_text(&head);
    mr_text_free(&head);
    return status;
}

static mr_status print_json(viewer *v)
{
    bool learned = false;
    const int32_t end = v->tokenizer ? mr_template_end(v->template, &learned) : -1;
    json_t *root = json_pack("{s:o, s:s, s:i, s:b, s:O}", "template",
                             mr_json_text(mr_template_name(v->template)), "sha256",
                             mr_template_hash(v->template), "end", (int)end, "end_learned", learned,
                             "items", v->items);
    MR_CHECK(root, MR_ERR_MEMORY, "cannot allocate the samples");
    mr_status status = mr_print_json(root);
    json_decref(root);
    return status;
}

mr_status mr_data_show_records(const mr_data_records *what)
{
    viewer v = {.what = what, .marks = mr_sample_marks_here(what->json)};
    if (what->json) v.items = json_array();
    mr_status status = open_all(&v);
    if (status == MR_OK && !what->json) status = print_head(&v);
    if (status == MR_OK) status = show_file(&v);
    if (status == MR_OK && what->json) status = print_json(&v);
    json_decref(v.items);
    mr_text_free(&v.text);
    mr_text_free(&v.end);
    mr_rendered_free(&v.sample);
    mr_template_destroy(&v.template);
    mr_tokenizer_destroy(&v.tokenizer);
    return status;
}
