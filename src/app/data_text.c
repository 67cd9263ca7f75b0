#include "app/data_text.h"

#include "app/command.h"
#include "data/tokenizer.h"
#include "store/json.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A text in tokens. Owns ids. */
typedef struct tokens {
    const mr_tokenizer *tokenizer;
    int32_t *ids; /* [count] */
    int64_t count;
} tokens;

static mr_status encode(const char *text, tokens *out)
{
    const size_t bytes = strlen(text);
    int64_t count;
    MR_TRY(mr_tokenizer_encode(out->tokenizer, text, bytes, NULL, 0, &count));
    out->ids = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *out->ids);
    if (!out->ids) return MR_ERR_MEMORY;
    return mr_tokenizer_encode(out->tokenizer, text, bytes, out->ids, count, &out->count);
}

/* The piece of an id on one line, as it may go to a terminal. */
static mr_status clean_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    mr_text piece = {0};
    mr_status status = mr_tokenizer_piece(tokenizer, id, &piece);
    if (status == MR_OK) mr_text_add_line(out, mr_text_get(&piece), piece.length);
    mr_text_free(&piece);
    if (status == MR_OK && out->failed) status = MR_ERR_MEMORY;
    return status;
}

/* The tokens in a row: between bars, or in two colours by turns. */
static mr_status print_row(const tokens *t, bool colours)
{
    static const char *const marks[] = {"\033[30;106m", "\033[30;103m"};
    for (int64_t i = 0; i < t->count; i++) {
        mr_text piece = {0};
        const mr_status status = clean_piece(t->tokenizer, t->ids[i], &piece);
        if (status == MR_OK)
            printf("%s%s%s", colours ? marks[i % 2] : "|", mr_text_get(&piece),
                   colours ? "\033[0m" : "");
        mr_text_free(&piece);
        MR_TRY(status);
    }
    printf("%s\n", colours ? "" : "|");
    return MR_OK;
}

static mr_status print_list(const char *what, const int32_t *ids, int64_t count,
                            const mr_tokenizer *tokenizer)
{
    for (int64_t i = 0; i < count; i++) {
        mr_text piece = {0};
        const mr_status status = clean_piece(tokenizer, ids[i], &piece);
        if (status == MR_OK) printf("%-6s %8d  %s\n", what, ids[i], mr_text_get(&piece));
        mr_text_free(&piece);
        MR_TRY(status);
    }
    return MR_OK;
}

static mr_status print_tokens(const tokens *t, size_t bytes)
{
    const mr_tokenizer *of = t->tokenizer;
    mr_text line = {0};
    mr_text_add(&line, "tokenizer %s, %d ids: %lld tokens of %zu bytes\n", of->name, of->vocabulary,
                (long long)t->count, bytes);
    mr_status status = mr_print_text(&line);
    mr_text_free(&line);
    MR_TRY(status);
    MR_TRY(print_row(t, isatty(STDOUT_FILENO) == 1));
    printf("%-6s %8s  %s\n", "", "id", "piece");
    MR_TRY(print_list("before", of->before, of->before_count, of));
    MR_TRY(print_list("", t->ids, t->count, of));
    return print_list("behind", of->behind, of->behind_count, of);
}

static json_t *ids_json(const int32_t *ids, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        mr_json_append(&list, json_integer(ids[i]));
    return list;
}

static mr_status print_json(const tokens *t, const char *text)
{
    const mr_tokenizer *of = t->tokenizer;
    json_t *pieces = json_array();
    for (int64_t i = 0; i < t->count; i++) {
        mr_text piece = {0};
        const mr_status status = mr_tokenizer_piece(of, t->ids[i], &piece);
        if (status == MR_OK) mr_json_append(&pieces, mr_json_text(mr_text_get(&piece)));
        mr_text_free(&piece);
        if (status != MR_OK) {
            json_decref(pieces);
            return status;
        }
    }
    json_t *root = json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:o}", "tokenizer",
                             mr_json_text(of->name), "vocabulary", (int)of->vocabulary, "text",
                             mr_json_text(text), "ids", ids_json(t->ids, t->count), "pieces",
                             pieces, "before", ids_json(of->before, of->before_count), "behind",
                             ids_json(of->behind, of->behind_count));
    MR_CHECK(root, MR_ERR_MEMORY, "cannot allocate the tokens of a text");
    mr_status status = mr_print_json(root);
    json_decref(root);
    return status;
}

mr_status mr_data_show_text(const char *text, const char *source, bool json)
{
    mr_tokenizer *tokenizer;
    MR_TRY(mr_tokenizer_create(source, &tokenizer));
    tokens t = {.tokenizer = tokenizer};
    mr_status status = encode(text, &t);
    if (status == MR_OK) status = json ? print_json(&t, text) : print_tokens(&t, strlen(text));
    mr_free(t.ids);
    mr_tokenizer_destroy(&tokenizer);
    return status;
}
