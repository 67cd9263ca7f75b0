/* Whether the tokens of manifests are the same, and what names them. */

#include "data/token_manifest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What tells a tokenizer apart, for messages. */
static const char *origin(const char *hash)
{
    return hash[0] != '\0' ? hash : "no file";
}

mr_status mr_token_manifest_check_tokenizer(const mr_token_manifest *m, const char *folder,
                                            const mr_tokenizer *t)
{
    const bool same_pieces = strcmp(m->tokenizer_hash, t->hash) == 0 &&
                             (t->hash[0] != '\0' || strcmp(m->tokenizer, t->name) == 0);
    MR_CHECK(same_pieces && m->vocabulary == t->vocabulary && m->eos == t->eos, MR_ERR_CONFIG,
             "'%s' was prepared with tokenizer %s (%s, %d ids, EOS %d), found %s (%s, %d ids, EOS "
             "%d)",
             folder, m->tokenizer, origin(m->tokenizer_hash), m->vocabulary, m->eos, t->name,
             origin(t->hash), t->vocabulary, t->eos);
    return MR_OK;
}

static bool same_tokenizer(const mr_token_manifest *a, const mr_token_manifest *b)
{
    return strcmp(a->tokenizer_hash, b->tokenizer_hash) == 0 &&
           (a->tokenizer_hash[0] != '\0' || strcmp(a->tokenizer, b->tokenizer) == 0) &&
           a->vocabulary == b->vocabulary && a->eos == b->eos;
}

static bool same_template(const mr_token_manifest *a, const mr_token_manifest *b)
{
    return a->marked == b->marked && strcmp(a->template_hash, b->template_hash) == 0 &&
           (a->template_hash[0] != '\0' || strcmp(a->template_name, b->template_name) == 0);
}

static bool same_inputs(const mr_token_manifest *a, const mr_token_manifest *b)
{
    if (a->inputs != b->inputs) return false;
    for (int i = 0; i < a->inputs; i++)
        if (a->input[i].format != b->input[i].format || a->input[i].bytes != b->input[i].bytes ||
            strcmp(a->input[i].sha256, b->input[i].sha256) != 0)
            return false;
    return true;
}

const char *mr_token_manifest_difference(const mr_token_manifest *a, const mr_token_manifest *b)
{
    const mr_recipe *x = &a->recipe, *y = &b->recipe;
    if (!same_inputs(a, b)) return "inputs";
    if (!same_tokenizer(a, b)) return "tokenizer";
    if (!same_template(a, b)) return "template";
    if (strcmp(x->field, y->field) != 0) return "field";
    if (x->documents != y->documents) return "documents";
    if (x->on_error != y->on_error) return "on-error";
    if (x->heldout < y->heldout || x->heldout > y->heldout) return "heldout";
    if (x->unit_bytes != y->unit_bytes) return "size of a shard";
    return NULL;
}

static void hash_line(mr_hash *hash, const char *fmt, ...) MR_PRINTF(2, 3);

static void hash_line(mr_hash *hash, const char *fmt, ...)
{
    char line[MR_TOKENIZER_NAME + MR_TOKEN_TEMPLATE_NAME + 128];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    MR_INVARIANT(length > 0 && (size_t)length < sizeof line);
    mr_hash_add(hash, line, (size_t)length);
}

mr_status mr_token_manifest_hash(const mr_token_manifest *m, bool documents, char out[MR_HASH_TEXT])
{
    const bool more = documents || m->marked;
    mr_hash *hash = NULL;
    MR_TRY(mr_hash_create(&hash));
    hash_line(hash, "mora samples %d\n", more ? 2 : 1);
    hash_line(hash, "%s %d %d %d\n", m->tokenizer_hash[0] ? m->tokenizer_hash : m->tokenizer,
              m->vocabulary, m->eos, m->token_bytes);
    if (more)
        hash_line(hash, "%s %s\n", mr_learned_name(m->marked),
                  m->template_hash[0] ? m->template_hash : m->template_name);
    for (int64_t i = 0; i < m->shards; i++) {
        const mr_token_manifest_shard *shard = &m->shard[i];
        hash_line(hash, "%s %lld %s", mr_split_name(shard->split), (long long)shard->tokens,
                  shard->sha256);
        if (more) hash_line(hash, " %lld %s", (long long)shard->documents, shard->index_sha256);
        hash_line(hash, "\n");
    }
    mr_hash_finish(&hash, out);
    return MR_OK;
}
