#include "app/data_folder.h"

#include "app/command.h"
#include "app/data_manifest.h"
#include "app/data_sample.h"
#include "data/order.h"
#include "data/token_shards.h"
#include "store/json.h"

#include <stdio.h>

enum { USUAL = 128 }; /* tokens of a sequence */

/* A folder being looked at. Owns all but `what` and the manifest. */
typedef struct viewer {
    const mr_data_folder *what;
    mr_token_shards *shards;
    const mr_token_manifest *manifest;
    mr_tokenizer *tokenizer; /* NULL: none */
    mr_text end;             /* the name of what ends what is learned */
    int32_t *ids;            /* of a sample */
    uint8_t *learned;
    int64_t room, learned_room;
    json_t *samples; /* NULL: plain text */
} viewer;

/* Shows the first tokens of a sample as text. */
static mr_status show(viewer *v, mr_split split, const char *kind, int64_t index, int64_t of,
                      int64_t count, const mr_sample_facts *facts)
{
    mr_text text = {0}, head = {0};
    mr_status status = mr_sample_text(v->tokenizer, v->ids, facts ? v->learned : NULL, count,
                                      mr_sample_marks_here(v->what->json), &text);
    if (status == MR_OK && v->samples) {
        json_t *sample =
            json_pack("{s:s, s:I, s:o}", "split", mr_split_name(split), kind, (json_int_t)index,
                      v->tokenizer ? "text" : "ids", mr_json_text(mr_text_get(&text)));
        if (facts)
            json_object_update_new(
                sample, json_pack("{s:I, s:I, s:I, s:b}", "tokens", (json_int_t)facts->tokens,
                                  "learned", (json_int_t)facts->learned, "spans",
                                  (json_int_t)facts->spans, "end_learned", facts->end_learned));
        mr_json_append(&v->samples, sample);
        status = v->samples ? MR_OK : MR_ERR_MEMORY;
    } else if (status == MR_OK) {
        mr_text_add(&head, "\n%s, %s %lld of %lld:", mr_split_name(split), kind, (long long)index,
                    (long long)of);
        if (facts) {
            mr_text_add(&head, " ");
            mr_sample_add_facts(facts, mr_text_get(&v->end), &head);
        }
        mr_text_add(&head, "\n");
        status = mr_print_text(&head);
        printf("%s\n", mr_text_get(&text));
    }
    mr_text_free(&text);
    mr_text_free(&head);
    return status;
}

static mr_status show_document(viewer *v, mr_split split, int64_t index, int64_t of)
{
    const int64_t tokens = mr_token_shards_document(v->shards, split, index).tokens;
    const int64_t most = v->what->seq_len < 0 ? tokens : v->what->seq_len;
    MR_TRY(mr_grow(MR_MEM_OTHER, &v->ids, &v->room, tokens + 1, sizeof *v->ids));
    MR_TRY(mr_grow(MR_MEM_OTHER, &v->learned, &v->learned_room, tokens + 1, sizeof *v->learned));
    MR_TRY(mr_token_shards_read_document(v->shards, split, index, 0, tokens, v->ids, v->learned));
    const mr_sample_facts facts = mr_sample_facts_of(v->ids, v->learned, tokens, v->manifest->end);
    return show(v, split, "document", index, of, tokens < most ? tokens : most, &facts);
}

static mr_status show_sequence(viewer *v, mr_split split, int64_t index, int64_t of)
{
    const int64_t tokens = v->what->seq_len < 0 ? USUAL : v->what->seq_len;
    MR_TRY(mr_grow(MR_MEM_OTHER, &v->ids, &v->room, tokens, sizeof *v->ids));
    MR_TRY(mr_token_shards_read(v->shards, split, index, 0, tokens, v->ids));
    return show(v, split, "sequence", index, of, tokens, NULL);
}

static mr_status show_samples(viewer *v)
{
    const bool documents = v->manifest->marked;
    if (documents) MR_TRY(mr_token_shards_load_documents(v->shards));
    for (int s = 0; s < MR_SPLITS; s++) {
        const mr_split split = (mr_split)s;
        const int64_t of = documents ? mr_token_shards_documents(v->shards, split)
                                     : mr_token_shards_sequences(v->shards, split);
        const int64_t count = v->what->items < of ? v->what->items : of;
        for (int64_t i = 0; i < count; i++) {
            const int64_t index = mr_order_spread(of, count, i);
            MR_TRY(documents ? show_document(v, split, index, of)
                             : show_sequence(v, split, index, of));
        }
    }
    return MR_OK;
}

static mr_status open_all(viewer *v)
{
    const mr_data_folder *what = v->what;
    MR_TRY(mr_token_shards_open(what->path, what->seq_len < 0 ? USUAL : what->seq_len, &v->shards));
    v->manifest = mr_token_shards_manifest(v->shards);
    const char *source = what->tokenizer;
    /* The manifest names a model file, but not where it is. */
    if (!source && v->manifest->tokenizer_hash[0] == '\0') source = "bytes";
    if (source) {
        MR_TRY(mr_tokenizer_create(source, &v->tokenizer));
        MR_TRY(mr_token_manifest_check_tokenizer(v->manifest, what->path, v->tokenizer));
        if (v->manifest->end >= 0)
            MR_TRY(mr_tokenizer_piece(v->tokenizer, v->manifest->end, &v->end));
    } else if (v->manifest->end >= 0) {
        mr_text_add(&v->end, "%d", v->manifest->end);
    }
    return what->verify ? mr_token_shards_verify(v->shards, mr_comm_self())
                        : mr_token_shards_check(v->shards);
}

static mr_status print_json(viewer *v)
{
    json_t *root = json_pack("{s:O, s:b, s:o}", "samples", v->samples, "verified", v->what->verify,
                             "manifest", mr_manifest_json(v->manifest));
    MR_CHECK(root, MR_ERR_MEMORY, "cannot allocate what a folder holds");
    mr_status status = mr_print_json(root);
    json_decref(root);
    return status;
}

mr_status mr_data_show_folder(const mr_data_folder *what)
{
    viewer v = {.what = what};
    if (what->json) v.samples = json_array();
    mr_status status = open_all(&v);
    if (status == MR_OK && !what->json) mr_manifest_print(what->path, v.manifest, what->verify);
    if (status == MR_OK) status = show_samples(&v);
    if (status == MR_OK && what->json) status = print_json(&v);
    json_decref(v.samples);
    mr_text_free(&v.end);
    mr_free(v.ids);
    mr_free(v.learned);
    mr_tokenizer_destroy(&v.tokenizer);
    mr_token_shards_close(&v.shards);
    return status;
}
