#include "config/source.h"

#include <string.h>

mr_status mr_config_value_text(const mr_config *config, const char *key, mr_text *out)
{
    size_t base;
    int index = mr_registry_find(config->registry, key);
    if (index < 0) return mr_registry_fail_unknown(config->registry, key, MR_ERR_ARG);
    const mr_key *about = mr_registry_bind(config, index, &base);
    if (about) mr_value_text(about, (const char *)config + base, MR_VALUE_PLAIN, out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Returns whether a key is of another section than the one before, and the section's length. */
static bool opens_section(const char *before, const char *key, int *length)
{
    *length = (int)strcspn(key, ".");
    return !before || strncmp(before, key, (size_t)*length + 1) != 0;
}

mr_status mr_config_resolved(const mr_config *config, mr_text *out)
{
    const char *before = NULL;
    mr_text_add(out, "version: %d\n", (int)MR_CONFIG_VERSION);
    for (int i = 0; i < config->registry->count; i++) {
        size_t base;
        int section;
        const mr_key *key = mr_registry_bind(config, i, &base);
        if (!key) continue;
        if (opens_section(before, key->key, &section))
            mr_text_add(out, "%.*s:\n", section, key->key);
        mr_text_add(out, "  %s: ", key->key + section + 1);
        mr_value_text(key, (const char *)config + base, MR_VALUE_YAML, out);
        mr_text_add(out, "\n");
        before = key->key;
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status read_resolved(mr_source *source, const mr_yaml *yaml)
{
    uint64_t chosen[MR_REGISTRY_TABLES];
    MR_TRY(mr_source_read(source, yaml, 1, NULL));
    MR_TRY(mr_source_fill(source, &source->config));
    mr_registry_chosen(&source->config, chosen);
    return mr_source_check_choices(source, chosen, chosen);
}

mr_status mr_config_parse_resolved(const mr_registry *registry, const char *text, mr_config *out)
{
    static const char name[] = "resolved configuration";
    mr_yaml yaml = {0};
    mr_source source = {0};
    mr_status status = mr_yaml_parse(name, text, strlen(text), MR_YAML_ROOT_MAPPING, &yaml);
    if (status != MR_OK) goto cleanup;
    status = mr_source_create(name, registry, &source);
    if (status != MR_OK) goto cleanup;
    status = read_resolved(&source, &yaml);
    if (status == MR_OK) {
        *out = source.config;
        mr_config_trim_paths(out);
    }
cleanup:
    mr_source_free(&source);
    mr_yaml_free(&yaml);
    return status;
}
