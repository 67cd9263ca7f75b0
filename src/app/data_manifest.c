#include "app/data_manifest.h"

#include "app/command.h"
#include "base/log.h"

#include <stdio.h>

json_t *mr_manifest_json(const mr_token_manifest *m)
{
    return json_pack(
        "{s:{s:s, s:s, s:i, s:i}, s:{s:s, s:s, s:i, s:b}, s:i, s:i, s:I, s:f, s:o, s:o, s:o}",
        "tokenizer", "name", m->tokenizer, "sha256", m->tokenizer_hash, "vocabulary",
        (int)m->vocabulary, "eos", (int)m->eos, "template", "name", m->template_name, "sha256",
        m->template_hash, "end", (int)m->end, "end_learned", m->end_learned, "token_bytes",
        m->token_bytes, "inputs", m->inputs, "shards", (json_int_t)m->shards, "heldout_fraction",
        m->recipe.heldout, "train", mr_token_totals_json(&m->split[MR_SPLIT_TRAIN]), "heldout",
        mr_token_totals_json(&m->split[MR_SPLIT_HELDOUT]), "errors", mr_token_errors_json(m));
}

void mr_manifest_print_origin(const mr_token_manifest *m)
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

void mr_manifest_print_totals(const mr_token_manifest *m)
{
    printf("%-9s %14s %16s %16s %18s\n", "split", "documents", "tokens", "learned",
           m->marked ? "bytes of records" : "bytes of text");
    for (int s = 0; s < MR_SPLITS; s++)
        printf("%-9s %14lld %16lld %16lld %18lld\n", mr_split_name((mr_split)s),
               (long long)m->split[s].documents, (long long)m->split[s].tokens,
               (long long)m->split[s].learned, (long long)m->split[s].bytes);
}

void mr_manifest_print(const char *folder, const mr_token_manifest *m, bool verified)
{
    printf("%s: %lld shards of %d-byte tokens from %d files%s\n", folder, (long long)m->shards,
           m->token_bytes, m->inputs, verified ? ", every SHA-256 as stated" : "");
    mr_manifest_print_origin(m);
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
    mr_manifest_print_totals(m);
}
