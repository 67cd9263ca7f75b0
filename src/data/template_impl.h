#ifndef MR_DATA_TEMPLATE_IMPL_H
#define MR_DATA_TEMPLATE_IMPL_H

/** @file
 * Templates inside: for data/template*.c alone. */

#include "config/yaml.h"
#include "data/template.h"

enum { MR_TEMPLATE_NAMES = 32 }; /* most fields and roles of a template */

/* Which lines of a field. */
typedef enum mr_field_lines { MR_LINES_ALL, MR_LINES_FIRST, MR_LINES_REST } mr_field_lines;

/* Where white space is left out. */
typedef enum mr_strip { MR_STRIP_NONE, MR_STRIP_START, MR_STRIP_END, MR_STRIP_BOTH } mr_strip;

/* A name of the template, and what a file calls it. */
typedef struct mr_template_name_of {
    const char *name; /* borrowed from the YAML or the program */
    char *real;       /* owned; NULL: the same */
    bool optional;
} mr_template_name_of;

/* A text of the record. */
typedef struct mr_template_value {
    int name; /* -1: none */
    mr_field_lines lines;
    mr_strip strip;
} mr_template_value;

typedef enum mr_span_kind { MR_SPAN_TEXT, MR_SPAN_FIELD, MR_SPAN_TOKEN } mr_span_kind;

typedef struct mr_template_span {
    mr_span_kind kind;
    bool learned;
    const char *text;        /* TEXT; borrowed from the YAML */
    mr_template_value value; /* FIELD */
    int token;               /* TOKEN */
} mr_template_span;

/* Some spans; owned. */
typedef struct mr_template_spans {
    mr_template_span *span; /* [count] */
    int count;
} mr_template_spans;

typedef struct mr_form {
    mr_template_value when; /* applies where this is not empty */
    int role;               /* a name; -1 where records are no messages */
    uint64_t after;         /* bits of role names it may follow, of MR_TEMPLATE_NAMES the start */
    mr_template_spans spans;
} mr_form;

/* A token by the text that names it in the template. */
typedef struct mr_template_token {
    const char *text;   /* borrowed from the YAML */
    const int32_t *ids; /* [count], what stands for it: `id`, or of the tokenizer */
    int64_t count;
    int32_t id;
    mr_text lead; /* its text, where the tokenizer reads it as the token; else empty */
} mr_template_token;

struct mr_template {
    char *title; /* owned */
    char *text;  /* of the YAML, owned */
    size_t bytes;
    mr_yaml yaml;
    const char *about;
    bool messages, strip_end, zeros;
    int list, role; /* names, where it reads messages */
    int names;
    mr_template_name_of name[MR_TEMPLATE_NAMES];
    int forms;
    mr_form *form; /* [forms], owned */
    mr_template_spans begin;
    int tokens;
    mr_template_token *token;      /* [tokens], owned */
    const mr_tokenizer *tokenizer; /* borrowed; NULL: not bound */
    char hash[MR_HASH_TEXT];
};

/* A stretch of a sample's text that is learned or not, or a token. */
typedef struct mr_rendered_piece {
    size_t end; /* byte of the text behind it */
    int token;  /* of the template; -1: text */
    bool learned;
} mr_rendered_piece;

/* Returns what a file calls a name. */
static inline const char *mr_template_real(const mr_template *t, int name)
{
    return t->name[name].real ? t->name[name].real : t->name[name].name;
}

/* Reads what the YAML of a template says; its texts are borrowed from t->yaml. Local.
 * @param name  stands before line and column in messages
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_parse(const char *name, mr_template *t);

/* Reads the spans of a list as those of every record. Local. @return as mr_template_of_spans */
MR_NODISCARD mr_status mr_template_parse_spans(const mr_yaml_taker *taker, int list,
                                               mr_template *t);

/* Puts a record's text and pieces into out. Local. @return as mr_template_text */
MR_NODISCARD mr_status mr_template_compose(const mr_template *t, const json_t *record,
                                           mr_rendered *out, mr_fault *fault,
                                           char what[MR_FAULT_TEXT]);

#endif
