#include "config/source.h"

#include <string.h>

mr_status mr_config_value_text(const mr_config *config, const char *key, mr_text *out)
{
    int index = mr_schema_find(key);
    if (index < 0) {
        mr_text hint = {0};
        mr_schema_suggest(key, &hint);
        mr_status status = mr_fail(MR_ERR_ARG, "unknown key \"%.100s\"%s", key, mr_text_get(&hint));
        mr_text_free(&hint);
        return status;
    }
    mr_value_text(mr_schema_at(index), config, MR_VALUE_PLAIN, out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Returns whether key opens another section than the key before it, and the section's length. */
static bool opens_section(int index, int *length)
{
    const char *key = mr_schema_at(index)->key;
    *length = (int)strcspn(key, ".");
    return index == 0 || strncmp(mr_schema_at(index - 1)->key, key, (size_t)*length + 1) != 0;
}

mr_status mr_config_resolved(const mr_config *config, mr_text *out)
{
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        int section;
        if (opens_section(i, &section)) mr_text_add(out, "%.*s:\n", section, key->key);
        mr_text_add(out, "  %s: ", key->key + section + 1);
        mr_value_text(key, config, MR_VALUE_YAML, out);
        mr_text_add(out, "\n");
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

mr_status mr_config_parse_resolved(const char *text, mr_config *out)
{
    static const char name[] = "resolved configuration";
    mr_yaml yaml = {0};
    mr_source source = {0};
    mr_status status = mr_yaml_parse(name, text, strlen(text), MR_YAML_ROOT_MAPPING, &yaml);
    if (status != MR_OK) goto cleanup;
    status = mr_source_create(name, NULL, 0, &source);
    if (status != MR_OK) goto cleanup;
    status = mr_source_read(&source, &yaml, NULL);
    if (status == MR_OK) {
        *out = source.config;
        mr_config_trim_paths(out);
    }
cleanup:
    mr_source_free(&source);
    mr_yaml_free(&yaml);
    return status;
}

enum { HELP_INDENT = 30, HELP_WIDTH = 96 };

/* Appends words from the indented column on, wrapped. */
static void add_wrapped(const char *text, mr_text *out)
{
    int column = HELP_INDENT;
    while (*text) {
        int length = (int)strcspn(text, " ");
        bool first = column == HELP_INDENT;
        if (!first && column + 1 + length > HELP_WIDTH) {
            mr_text_add(out, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
            first = true;
        }
        mr_text_add(out, "%s%.*s", first ? "" : " ", length, text);
        column += length + !first;
        text += length;
        text += strspn(text, " ");
    }
    mr_text_add(out, "\n");
}

static void add_key_help(const mr_key *key, const char *const *names, mr_text *out)
{
    mr_text line = {0};
    if (names)
        mr_value_one_of(names, &line);
    else
        mr_value_expected(key, &line);
    if (key->unit) mr_text_add(&line, ", %s", key->unit);
    mr_text_add(&line, " (default %s)", key->fallback[0] ? key->fallback : "empty");
    mr_text_add(out, "  %-*s", HELP_INDENT - 2, key->key);
    add_wrapped(mr_text_get(&line), out);
    mr_text_add(out, "%*s", HELP_INDENT, "");
    add_wrapped(key->help, out);
    out->failed = out->failed || line.failed;
    mr_text_free(&line);
}

mr_status mr_config_help(const mr_config_choices *choices, int count, mr_text *out)
{
    mr_text_add(out, "Keys of a run's YAML file, and of --set key=value:\n");
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        int section;
        if (opens_section(i, &section)) mr_text_add(out, "\n%.*s\n", section, key->key);
        const char *const *names = NULL;
        for (int c = 0; c < count; c++)
            if (strcmp(choices[c].key, key->key) == 0) names = choices[c].names;
        add_key_help(key, names, out);
    }
    mr_text_add(out, "\nA path may start with ~/, your home folder.\n");
    mr_text_add(out,
                "\nmatrix\n"
                "  A mapping of keys to lists of values runs every combination, the first key\n"
                "  varying slowest; a list of such mappings runs one after another. --set of a\n"
                "  key of the matrix puts its one value in place of the list.\n"
                "    matrix: {method.name: [lora, mora], train.lr: [1e-4, 3e-4]}\n");
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}
