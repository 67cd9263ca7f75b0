#include "app/data_sample.h"

#include <unistd.h>

mr_sample_marks mr_sample_marks_here(bool json)
{
    if (json) return (mr_sample_marks){"", ""};
    if (isatty(STDOUT_FILENO) == 1) return (mr_sample_marks){"\033[30;102m", "\033[0m"};
    return (mr_sample_marks){"[[", "]]"};
}

/* Whether an id stands for no text: it is shown by its name. */
static bool is_special(const mr_tokenizer *t, int32_t id)
{
    return id == t->bos || id == t->eos || id == t->pad;
}

/* Appends what the text of ids [count] has beyond `shown` bytes: decoded as one, for a token may
 * hold half of a character, and of the first one a blank is left out. */
static mr_status add_beyond(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                            size_t *shown, mr_text *out)
{
    mr_text decoded = {0};
    mr_status status = mr_tokenizer_decode_special(tokenizer, ids, count, &decoded);
    if (status == MR_OK && decoded.length > *shown) {
        mr_text_add_clean(out, decoded.data + *shown, decoded.length - *shown);
        *shown = decoded.length;
    }
    mr_text_free(&decoded);
    return status;
}

static mr_status add_special(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    mr_text piece = {0};
    mr_status status = mr_tokenizer_piece(tokenizer, id, &piece);
    mr_text_add_line(out, mr_text_get(&piece), piece.length);
    mr_text_free(&piece);
    return status;
}

mr_status mr_sample_text(const mr_tokenizer *tokenizer, const int32_t *ids, const uint8_t *learned,
                         int64_t count, mr_sample_marks marks, mr_text *out)
{
    int64_t start = 0; /* of the stretch of text that goes on */
    size_t shown = 0;  /* bytes of it */
    for (int64_t i = 0; i < count; i++) {
        const bool here = learned && learned[i], before = i > 0 && learned && learned[i - 1];
        const bool last = i + 1 == count,
                   changes = !last && learned && learned[i + 1] != learned[i];
        if (!tokenizer && i > 0) mr_text_add(out, " ");
        if (here && !before) mr_text_add(out, "%s", marks.on);
        if (!tokenizer) {
            mr_text_add(out, "%d", ids[i]);
        } else if (is_special(tokenizer, ids[i])) {
            MR_TRY(add_special(tokenizer, ids[i], out));
            start = i + 1;
            shown = 0;
        } else if (last || changes || is_special(tokenizer, ids[i + 1])) {
            MR_TRY(add_beyond(tokenizer, ids + start, i + 1 - start, &shown, out));
        }
        if (here && (last || changes)) mr_text_add(out, "%s", marks.off);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

mr_sample_facts mr_sample_facts_of(const int32_t *ids, const uint8_t *learned, int64_t count,
                                   int32_t end)
{
    mr_sample_facts facts = {.tokens = count};
    for (int64_t i = 0; i < count; i++) {
        if (!learned[i]) continue;
        facts.learned++;
        facts.spans += i == 0 || !learned[i - 1];
        facts.end_learned = facts.end_learned || (end >= 0 && ids[i] == end);
    }
    return facts;
}

void mr_sample_add_facts(const mr_sample_facts *f, const char *end, mr_text *out)
{
    mr_text_add(out, "%lld tokens, %lld learned in %lld %s", (long long)f->tokens,
                (long long)f->learned, (long long)f->spans, f->spans == 1 ? "span" : "spans");
    if (end[0] != '\0') mr_text_add(out, ", %s %slearned", end, f->end_learned ? "" : "not ");
    if (f->learned == 0 || f->learned == f->tokens)
        mr_text_add(out, ": %s is learned", f->learned == 0 ? "nothing" : "all");
}
