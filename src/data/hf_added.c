#include "data/hf_added.h"

#include "base/memory.h"

#include <string.h>

/* A node of a tree of bytes: texts that begin the same share the way. */
typedef struct node {
    int32_t child, sibling; /* 0: none */
    int32_t token;          /* that ends here, -1: none */
    unsigned char byte;
} node;

typedef struct tree {
    node *nodes; /* [count], the root first; owned; NULL: no tokens */
    int64_t count, room;
    bool begins[256]; /* a token begins with the byte */
} tree;

enum { AS_IT_IS, NORMALIZED, ALL, TREES };

struct mr_hf_added {
    mr_hf_added_token *token; /* [count], owned */
    int64_t count;
    int32_t *of_id; /* [ids], places in token, -1: none; owned */
    int32_t ids;
    size_t shortest;  /* bytes of a token */
    tree tree[TREES]; /* of what is looked for in a text, in a normalised one; of all texts */
};

/* The tree. */

static mr_status add_node(tree *t, unsigned char byte, int32_t *made)
{
    MR_TRY(mr_grow(MR_MEM_DATA, &t->nodes, &t->room, t->count + 1, sizeof *t->nodes));
    *made = (int32_t)t->count;
    t->nodes[t->count++] = (node){.token = -1, .byte = byte};
    return MR_OK;
}

static int32_t child_of(const tree *t, int32_t parent, unsigned char byte)
{
    int32_t at = t->nodes[parent].child;
    while (at > 0 && t->nodes[at].byte != byte)
        at = t->nodes[at].sibling;
    return at;
}

static mr_status add_text(tree *t, mr_hf_string text, int32_t token)
{
    int32_t at = 0;
    if (t->count == 0) MR_TRY(add_node(t, 0, &at));
    t->begins[(unsigned char)text.text[0]] = true;
    for (size_t i = 0; i < text.bytes; i++) {
        const unsigned char byte = (unsigned char)text.text[i];
        int32_t next = child_of(t, at, byte);
        if (next == 0) {
            MR_TRY(add_node(t, byte, &next));
            t->nodes[next].sibling = t->nodes[at].child;
            t->nodes[at].child = next;
        }
        at = next;
    }
    if (t->nodes[at].token < 0) t->nodes[at].token = token;
    return MR_OK;
}

/* The longest token that begins at a place, or -1; *end gets its end. */
static int32_t longest_at(const tree *t, mr_hf_string text, size_t place, size_t *end)
{
    int32_t found = -1, at = 0;
    while (place < text.bytes && (at = child_of(t, at, (unsigned char)text.text[place])) > 0) {
        place++;
        if (t->nodes[at].token < 0) continue;
        found = t->nodes[at].token;
        *end = place;
    }
    return found;
}

/* Reading. */

static mr_status read_token(const mr_hf_place *at, const json_t *value, mr_hf_added_token *token)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    int64_t id;
    mr_hf_string text;
    const mr_hf_place content = mr_hf_key(at, "content");
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_number(at, value, "id", 0, INT32_MAX - 1, &id));
    MR_TRY(mr_hf_read_string(at, value, "content", &text));
    if (text.bytes == 0)
        return mr_hf_expected(&content, json_object_get(value, "content"), "a text");
    MR_TRY(mr_hf_read_bool(at, value, "single_word", -1, &token->single_word));
    MR_TRY(mr_hf_read_bool(at, value, "lstrip", -1, &token->lstrip));
    MR_TRY(mr_hf_read_bool(at, value, "rstrip", -1, &token->rstrip));
    MR_TRY(mr_hf_read_bool(at, value, "normalized", -1, &token->normalized));
    MR_TRY(mr_hf_read_bool(at, value, "special", -1, &token->special));
    token->text = mr_alloc(MR_MEM_DATA, text.bytes);
    if (!token->text) return MR_ERR_MEMORY;
    memcpy(token->text, text.text, text.bytes);
    token->bytes = text.bytes;
    token->id = (int32_t)id;
    return MR_OK;
}

/* Checks a token's id: that of the piece of its text, else the next number. */
static mr_status check_id(const mr_hf_place *at, const json_t *value, const json_t *vocab,
                          const mr_hf_vocabulary *vocabulary, const mr_hf_added_token *token,
                          int64_t next)
{
    const mr_hf_place place = mr_hf_key(at, "id");
    const json_t *piece = mr_hf_look_up(at, vocab, (mr_hf_string){token->text, token->bytes});
    if (piece && json_integer_value(piece) != token->id)
        return mr_hf_expected(&place, json_object_get(value, "id"),
                              "%lld, which the vocabulary has for it",
                              (long long)json_integer_value(piece));
    if (!piece && token->id != next)
        return mr_hf_expected(&place, json_object_get(value, "id"),
                              "%lld, the next behind the pieces and tokens before",
                              (long long)next);
    const mr_hf_string other = mr_hf_vocabulary_piece(vocabulary, token->id);
    MR_CHECK(piece || !other.text, MR_ERR_FORMAT,
             "tokenizer: '%s': %s: expected an id of its own, found %d, which is that of the piece "
             "\"%.*s\"",
             place.file, place.at, token->id, (int)(other.bytes < 64 ? other.bytes : 64),
             other.text);
    return MR_OK;
}

/* Takes a token into the trees. */
static mr_status index_token(const mr_hf_place *at, mr_hf_added *added, int32_t place,
                             const mr_hf_normalizer *normalizer, mr_hf_normalizer_room *room)
{
    mr_hf_added_token *token = &added->token[place];
    mr_hf_string text = {token->text, token->bytes};
    MR_CHECK(!mr_hf_added_of_text(added, text), MR_ERR_FORMAT,
             "tokenizer: '%s': %s.content: expected a text that no other token has, found one of "
             "id %d",
             at->file, at->at, mr_hf_added_of_text(added, text)->id);
    MR_TRY(add_text(&added->tree[ALL], text, place));
    if (token->normalized) MR_TRY(mr_hf_normalize(normalizer, room, text, &text, NULL));
    token->shown = mr_alloc(MR_MEM_DATA, text.bytes);
    if (!token->shown) return MR_ERR_MEMORY;
    if (text.bytes > 0) memcpy(token->shown, text.text, text.bytes);
    token->shown_bytes = text.bytes;
    if (text.bytes == 0) return MR_OK; /* no text has what normalises to nothing */
    return add_text(&added->tree[token->normalized ? NORMALIZED : AS_IT_IS], text, place);
}

static mr_status read_tokens(const mr_hf_place *at, const json_t *root,
                             const mr_hf_vocabulary *vocabulary, const mr_hf_normalizer *normalizer,
                             mr_hf_normalizer_room *room, mr_hf_added *added)
{
    const json_t *list = json_object_get(root, "added_tokens");
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const size_t count = json_array_size(list);
    int64_t next = (int64_t)json_object_size(vocab);
    const int64_t most = (next > vocabulary->ids ? next : vocabulary->ids) + (int64_t)count;
    MR_CHECK(most < INT32_MAX, MR_ERR_FORMAT, "tokenizer: '%s': %s: too many", at->file, at->at);
    added->token = mr_alloc_array(MR_MEM_DATA, count, sizeof *added->token);
    added->of_id = mr_alloc_array(MR_MEM_DATA, (size_t)most, sizeof *added->of_id);
    if (!added->token || !added->of_id) return MR_ERR_MEMORY;
    for (int64_t id = 0; id < most; id++)
        added->of_id[id] = -1;
    for (size_t i = 0; i < count; i++) {
        const mr_hf_place item = mr_hf_item(at, i);
        const json_t *value = json_array_get(list, i);
        mr_hf_added_token *token = &added->token[added->count++];
        MR_TRY(read_token(&item, value, token));
        MR_TRY(check_id(&item, value, vocab, vocabulary, token, next));
        MR_TRY(index_token(&item, added, (int32_t)i, normalizer, room));
        added->of_id[token->id] = (int32_t)i;
        if (token->id >= next) next = token->id + 1;
        if (token->id >= added->ids) added->ids = token->id + 1;
        if (i == 0 || token->bytes < added->shortest) added->shortest = token->bytes;
    }
    for (size_t i = 0; i < count; i++) {
        mr_hf_added_token *token = &added->token[i];
        const mr_hf_added_token *same =
            mr_hf_added_of_text(added, (mr_hf_string){token->shown, token->shown_bytes});
        token->skipped = same && same->special;
    }
    return MR_OK;
}

mr_status mr_hf_added_read(const mr_hf_place *at, const json_t *root,
                           const mr_hf_vocabulary *vocabulary, const mr_hf_normalizer *normalizer,
                           mr_hf_normalizer_room *room, mr_hf_added **out)
{
    const json_t *list = json_object_get(root, "added_tokens");
    const mr_hf_place here = mr_hf_key(at, "added_tokens");
    *out = NULL;
    if (list && !json_is_array(list)) return mr_hf_expected(&here, list, "a list");
    mr_hf_added *added = mr_alloc(MR_MEM_DATA, sizeof *added);
    if (!added) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    if (json_array_size(list) > 0)
        status = read_tokens(&here, root, vocabulary, normalizer, room, added);
    if (status == MR_OK)
        *out = added;
    else
        mr_hf_added_destroy(&added);
    return status;
}

void mr_hf_added_destroy(mr_hf_added **added)
{
    mr_hf_added *a = *added;
    if (!a) return;
    for (int64_t i = 0; i < a->count; i++) {
        mr_free(a->token[i].text);
        mr_free(a->token[i].shown);
    }
    for (int i = 0; i < TREES; i++)
        mr_free(a->tree[i].nodes);
    mr_free(a->token);
    mr_free(a->of_id);
    mr_free(a);
    *added = NULL;
}

const mr_hf_added_token *mr_hf_added_of_id(const mr_hf_added *added, int32_t id)
{
    if (id < 0 || id >= added->ids || added->of_id[id] < 0) return NULL;
    return &added->token[added->of_id[id]];
}

const mr_hf_added_token *mr_hf_added_of_text(const mr_hf_added *added, mr_hf_string text)
{
    size_t end = 0;
    const tree *t = &added->tree[ALL];
    if (t->count == 0) return NULL;
    const int32_t token = longest_at(t, text, 0, &end);
    return token >= 0 && end == text.bytes ? &added->token[token] : NULL;
}

int32_t mr_hf_added_ids(const mr_hf_added *added)
{
    return added->ids;
}

size_t mr_hf_added_shortest(const mr_hf_added *added)
{
    return added->shortest;
}

/* Splitting. */

mr_status mr_hf_added_split(const mr_hf_added *added, bool normalized, mr_hf_string text,
                            mr_hf_stretch_sink *sink, void *context)
{
    const tree *t = &added->tree[normalized ? NORMALIZED : AS_IT_IS];
    size_t done = 0, at = 0;
    while (t->count > 0 && at < text.bytes) {
        size_t end = 0;
        int32_t place = -1;
        if (t->begins[(unsigned char)text.text[at]]) place = longest_at(t, text, at, &end);
        if (place < 0) {
            at++;
            continue;
        }
        const mr_hf_added_token *token = &added->token[place];
        size_t from = at, to = end;
        at = end;
        if (token->single_word && (mr_hf_ends_with_word(text.text, from) ||
                                   mr_hf_starts_with_word(text.text + to, text.bytes - to)))
            continue;
        if (token->lstrip) {
            from -= mr_hf_spaces_at_end(text.text, from);
            if (from < done) from = done; /* blanks that the token before has taken */
        }
        if (token->rstrip) to += mr_hf_spaces_at_start(text.text + to, text.bytes - to);
        if (done < from) MR_TRY(sink(context, NULL, done, from));
        MR_TRY(sink(context, token, from, to));
        done = to;
    }
    return done < text.bytes ? sink(context, NULL, done, text.bytes) : MR_OK;
}
