#include "data/template.h"

#include "base/embedded.h"
#include "base/file.h"
#include "data/template_impl.h"

#include <string.h>

static const mr_embedded own[] = {
#include "mr_templates.h"
};

enum { OWN = sizeof own / sizeof own[0] };

const char *mr_template_own(int number)
{
    return number < OWN ? own[number].name : NULL;
}

/* Takes the text of one of the program's. */
static mr_status take_own(mr_template *t, int which)
{
    t->bytes = own[which].bytes;
    t->title = mr_strdup(own[which].name);
    t->text = mr_alloc(MR_MEM_DATA, t->bytes);
    if (!t->title || !t->text) return MR_ERR_MEMORY;
    memcpy(t->text, own[which].text, t->bytes);
    return MR_OK;
}

static mr_status read_file(mr_template *t, const char *path)
{
    mr_status status = mr_file_read(path, MR_MEM_DATA, &t->text, &t->bytes);
    if (status == MR_ERR_IO) {
        mr_text names = {0};
        for (int i = 0; i < OWN; i++)
            mr_text_add(&names, "%s%s", i > 0 ? ", " : "", own[i].name);
        status = mr_fail_in(status, "template: expected one of %s, or the file of one",
                            mr_text_get(&names));
        mr_text_free(&names);
    }
    MR_TRY(status);
    const char *slash = strrchr(path, '/');
    t->title = mr_strdup(slash ? slash + 1 : path);
    if (!t->title) return MR_ERR_MEMORY;
    char *dot = strrchr(t->title, '.');
    if (dot && dot > t->title) *dot = '\0';
    return MR_OK;
}

static mr_status set_hash(mr_template *t)
{
    mr_hash *hash;
    MR_TRY(mr_hash_create(&hash));
    mr_hash_add(hash, t->text, t->bytes);
    for (int n = 0; n < t->names; n++) {
        const mr_template_name_of *name = &t->name[n];
        if (!name->real) continue;
        mr_hash_add(hash, name->name, strlen(name->name));
        mr_hash_add(hash, "=", 1);
        mr_hash_add(hash, name->real, strlen(name->real));
        mr_hash_add(hash, "\n", 1);
    }
    mr_hash_finish(&hash, t->hash);
    return MR_OK;
}

static mr_status load(mr_template *t, const char *source)
{
    int which = 0;
    while (which < OWN && strcmp(own[which].name, source) != 0)
        which++;
    MR_TRY(which < OWN ? take_own(t, which) : read_file(t, source));
    MR_TRY(mr_template_parse(source, t));
    return set_hash(t);
}

mr_status mr_template_load(const char *source, mr_template **out)
{
    *out = NULL;
    mr_template *t = mr_alloc(MR_MEM_DATA, sizeof *t);
    if (!t) return MR_ERR_MEMORY;
    mr_status status = load(t, source);
    if (status == MR_OK)
        *out = t;
    else
        mr_template_destroy(&t);
    return status;
}

mr_status mr_template_of_spans(const mr_yaml_taker *taker, int list, mr_template **out)
{
    *out = NULL;
    mr_template *t = mr_alloc(MR_MEM_DATA, sizeof *t);
    if (!t) return MR_ERR_MEMORY;
    mr_status status = mr_template_parse_spans(taker, list, t);
    if (status == MR_OK)
        *out = t;
    else
        mr_template_destroy(&t);
    return status;
}

void mr_template_destroy(mr_template **template)
{
    mr_template *t = *template;
    if (!t) return;
    for (int f = 0; f < t->forms; f++)
        mr_free(t->form[f].spans.span);
    for (int i = 0; i < t->tokens; i++)
        mr_text_free(&t->token[i].lead);
    for (int n = 0; n < t->names; n++)
        mr_free(t->name[n].real);
    mr_free(t->begin.span);
    mr_free(t->form);
    mr_free(t->token);
    mr_yaml_free(&t->yaml);
    mr_free(t->text);
    mr_free(t->title);
    mr_free(t);
    *template = NULL;
}

mr_status mr_template_rename(mr_template *t, const char *name_is)
{
    const size_t length = strcspn(name_is, "=");
    MR_CHECK(length > 0 && name_is[length] == '=' && name_is[length + 1] != '\0', MR_ERR_USAGE,
             "expected NAME=AS THE FILE CALLS IT, found \"%s\"", name_is);
    for (int n = 0; n < t->names; n++) {
        mr_template_name_of *name = &t->name[n];
        if (strlen(name->name) != length || memcmp(name->name, name_is, length) != 0) continue;
        MR_CHECK(!name->real, MR_ERR_USAGE, "\"%s\" is told twice, as \"%s\" and \"%s\"",
                 name->name, name->real, name_is + length + 1);
        char *real = mr_strdup(name_is + length + 1);
        if (!real) return MR_ERR_MEMORY;
        name->real = real;
        return set_hash(t);
    }
    mr_text known = {0};
    mr_template_add_names(t, &known);
    mr_status status = mr_fail(MR_ERR_USAGE, "template %s has no \"%.*s\"; it has %s", t->title,
                               (int)length, name_is, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

/* The piece of an id; its text is kept in out. */
static mr_status piece_of(const mr_tokenizer *of, int32_t id, mr_text *out)
{
    out->length = 0;
    if (out->data) out->data[0] = '\0';
    return mr_tokenizer_piece(of, id, out);
}

/* Finds the id that the vocabulary has of a text; -1: none. */
static mr_status find_piece(const mr_tokenizer *of, const char *text, int32_t *id)
{
    mr_text piece = {0};
    mr_status status = MR_OK;
    bool found = false;
    for (*id = 0; *id < of->vocabulary && status == MR_OK; ++*id) {
        status = piece_of(of, *id, &piece);
        found = status == MR_OK && strcmp(mr_text_get(&piece), text) == 0;
        if (found) break;
    }
    mr_text_free(&piece);
    if (!found) *id = -1;
    return status;
}

/* Keeps the text of a token where the tokenizer reads that as the token alone. */
static mr_status set_lead(const mr_tokenizer *of, mr_template_token *token)
{
    int32_t id = -1;
    int64_t count = 0;
    MR_TRY(piece_of(of, token->id, &token->lead));
    MR_TRY(mr_tokenizer_encode(of, mr_text_get(&token->lead), token->lead.length, &id, 1, &count));
    if (count != 1 || id != token->id) mr_text_free(&token->lead);
    return MR_OK;
}

static mr_status bind_token(const mr_template *t, const mr_tokenizer *of, mr_template_token *token)
{
    token->id = -1;
    token->ids = &token->id;
    token->count = 1;
    mr_text_free(&token->lead);
    if (strcmp(token->text, "before") == 0) {
        token->ids = of->before;
        token->count = of->before_count;
        return MR_OK;
    }
    if (strcmp(token->text, "bos") == 0)
        token->id = of->bos;
    else if (strcmp(token->text, "eos") == 0)
        token->id = of->eos;
    else
        MR_TRY(find_piece(of, token->text, &token->id));
    MR_CHECK(token->id >= 0, MR_ERR_CONFIG, "template %s: the tokenizer '%s' has no token \"%s\"",
             t->title, of->name, token->text);
    return set_lead(of, token);
}

mr_status mr_template_bind(mr_template *t, const mr_tokenizer *tokenizer)
{
    t->tokenizer = NULL;
    for (int i = 0; i < t->tokens; i++)
        MR_TRY(bind_token(t, tokenizer, &t->token[i]));
    t->tokenizer = tokenizer;
    return MR_OK;
}

const char *mr_template_name(const mr_template *t)
{
    return t->title;
}

void mr_template_add_names(const mr_template *t, mr_text *out)
{
    for (int n = 0; n < t->names; n++)
        mr_text_add(out, "%s%s", n > 0 ? ", " : "", t->name[n].name);
}

const char *mr_template_about(const mr_template *t)
{
    return t->about;
}

const char *mr_template_hash(const mr_template *t)
{
    return t->hash;
}

/* Looks for a token behind learned text in a form: its id, -1 where there is none. */
static int32_t end_of(const mr_template *t, const mr_template_spans *spans, bool *text,
                      bool *learned)
{
    int32_t end = -1;
    *text = false;
    *learned = true;
    for (int i = 0; i < spans->count; i++) {
        const mr_template_span *span = &spans->span[i], *before = i > 0 ? span - 1 : NULL;
        if (span->kind != MR_SPAN_TOKEN) *text = *text || span->learned;
        if (span->kind != MR_SPAN_TOKEN || !before || before->kind == MR_SPAN_TOKEN ||
            !before->learned)
            continue;
        if (end < 0) end = t->token[span->token].id;
        *learned = *learned && span->learned;
    }
    return end;
}

int32_t mr_template_end(const mr_template *t, bool *learned)
{
    int32_t end = -1;
    bool always = true, text, so;
    for (int f = 0; f < t->forms; f++) {
        const int32_t id = end_of(t, &t->form[f].spans, &text, &so);
        if (end < 0) end = id;
        if (text) always = always && id >= 0 && so;
    }
    if (learned) *learned = end >= 0 && always;
    return end;
}
