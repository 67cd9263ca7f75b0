#include "app/command.h"
#include "base/file.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mr_status mr_print_text(const mr_text *text)
{
    mr_text clean = {0};
    mr_text_add_clean(&clean, mr_text_get(text), text->length);
    mr_status status = text->failed || clean.failed ? MR_ERR_MEMORY : MR_OK;
    if (status == MR_OK) fputs(mr_text_get(&clean), stdout);
    mr_text_free(&clean);
    return status;
}

void mr_print_json_text(const char *text)
{
    /* JSON lets DEL and C1 controls, which a terminal may obey, stand in strings as they are. */
    for (size_t left = strlen(text); left > 0;) {
        uint32_t point = 0;
        int length = mr_utf8_decode(text, left, &point);
        if (length == 0) length = 1;
        if (point >= 0x7f && point < 0xa0)
            printf("\\u%04X", (unsigned)point);
        else
            fwrite(text, 1, (size_t)length, stdout);
        text += length;
        left -= (size_t)length;
    }
}

mr_status mr_print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(1));
    MR_CHECK(text, MR_ERR_MEMORY, "cannot allocate the JSON text");
    mr_print_json_text(text);
    putchar('\n');
    free(text);
    return MR_OK;
}

/* "name ARGUMENT" of an option. */
static const char *left_of(const mr_option *option, char left[64])
{
    snprintf(left, 64, "%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    return left;
}

static void print_help(const mr_command *command, const mr_option *options, int count,
                       const char *more)
{
    char left[64];
    int width = 0;
    for (int i = 0; i < count; i++)
        if ((int)strlen(left_of(&options[i], left)) > width) width = (int)strlen(left);
    printf("usage: mora %s %s\n%s\n\noptions:\n", command->name, command->usage, command->summary);
    for (int i = 0; i < count; i++)
        printf("  --%-*s  %s\n", width, left_of(&options[i], left), options[i].help);
    printf("  --%-*s  %s\n", width, "help", "print this and stop");
    if (more) printf("\n%s", more);
}

/* Takes one of the words of "auto|bar|lines|none". */
static mr_status set_choice(const mr_command *command, const mr_option *option, const char *value)
{
    mr_text words = {0};
    const char *word = option->argument;
    for (int i = 0;; i++) {
        size_t length = strcspn(word, "|");
        bool last = word[length] == '\0';
        if (strlen(value) == length && strncmp(value, word, length) == 0) {
            *(int *)option->target = i;
            mr_text_free(&words);
            return MR_OK;
        }
        mr_text_add(&words, "%s%.*s", i == 0 ? "" : (last ? " or " : ", "), (int)length, word);
        if (last) break;
        word += length + 1;
    }
    mr_status status = mr_fail(MR_ERR_USAGE, "mora %s: --%s: expected %s, found \"%s\"",
                               command->name, option->name, mr_text_get(&words), value);
    mr_text_free(&words);
    return status;
}

/* Paths that were expanded, until mr_options_free. */
static char **expanded;
static int64_t expanded_count, expanded_room;

/* Takes a path as a user writes it. label: "mora run: --resume", for messages. */
static mr_status set_path(const char *label, const char *value, const char **out)
{
    char path[PATH_MAX];
    MR_CHECK(value[0] != '\0', MR_ERR_USAGE, "%s: expected a path, found an empty text", label);
    *out = value;
    if (value[0] != '~') return MR_OK;
    if (mr_file_expand(value, path) != MR_OK)
        return mr_fail(MR_ERR_USAGE, "%s: %s", label, mr_message());
    MR_TRY(mr_grow(MR_MEM_OTHER, &expanded, &expanded_room, expanded_count + 1, sizeof *expanded));
    char *kept = mr_strdup(path);
    if (!kept) return MR_ERR_MEMORY;
    expanded[expanded_count++] = kept;
    *out = kept;
    return MR_OK;
}

void mr_options_free(void)
{
    for (int64_t i = 0; i < expanded_count; i++)
        mr_free(expanded[i]);
    mr_free(expanded);
    expanded = NULL;
    expanded_count = expanded_room = 0;
}

static mr_status set_option(const mr_command *command, const mr_option *option, const char *value)
{
    switch (option->kind) {
    case MR_OPTION_FLAG:
        *(bool *)option->target = true;
        return MR_OK;
    case MR_OPTION_TEXT:
        *(const char **)option->target = value;
        return MR_OK;
    case MR_OPTION_PATH: {
        char label[96];
        snprintf(label, sizeof label, "mora %s: --%s", command->name, option->name);
        return set_path(label, value, option->target);
    }
    case MR_OPTION_INT: {
        char *end;
        errno = 0;
        long long number = strtoll(value, &end, 10);
        MR_CHECK(errno == 0 && end > value && *end == '\0' && number >= 0, MR_ERR_USAGE,
                 "mora %s: --%s: expected a whole number, found \"%s\"", command->name,
                 option->name, value);
        *(int64_t *)option->target = number;
        return MR_OK;
    }
    case MR_OPTION_CHOICE:
        return set_choice(command, option, value);
    case MR_OPTION_LIST: {
        mr_option_list *list = option->target;
        MR_CHECK(list->count < MR_OPTION_SETS, MR_ERR_USAGE, "mora %s: more than %d times --%s",
                 command->name, MR_OPTION_SETS, option->name);
        list->item[list->count++] = value;
        return MR_OK;
    }
    }
    return MR_OK;
}

/* The option of "--name" or "--name=value"; value points behind '=' or is NULL. */
static const mr_option *find_option(const mr_option *options, int count, const char *text,
                                    const char **value)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    *value = equals ? equals + 1 : NULL;
    for (int i = 0; i < count; i++)
        if (strlen(options[i].name) == length && strncmp(options[i].name, text, length) == 0)
            return &options[i];
    return NULL;
}

static const char *nearest(const mr_option *options, int count, const char *text)
{
    const char *best = "help";
    int distance = mr_text_distance(best, text);
    for (int i = 0; i < count; i++) {
        int other = mr_text_distance(options[i].name, text);
        if (other >= distance) continue;
        distance = other;
        best = options[i].name;
    }
    return best;
}

bool mr_options_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) return true;
    return false;
}

mr_status mr_options_parse(const mr_comm *comm, const mr_command *command, const mr_option *options,
                           int option_count, int argc, char **argv, const char **operands,
                           int limit, int *operand_count, const char *more, bool *help)
{
    *operand_count = 0;
    *help = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            if (comm->rank == 0) print_help(command, options, option_count, more);
            *help = true;
            return MR_OK;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            MR_CHECK(*operand_count < limit, MR_ERR_USAGE,
                     "mora %s: unexpected \"%s\"; usage: mora %s %s", command->name, argv[i],
                     command->name, command->usage);
            char label[96];
            snprintf(label, sizeof label, "mora %s", command->name);
            MR_TRY(set_path(label, argv[i], &operands[(*operand_count)++]));
            continue;
        }
        const char *value;
        const mr_option *option = find_option(options, option_count, argv[i] + 2, &value);
        MR_CHECK(option, MR_ERR_USAGE, "mora %s: unknown option %s; did you mean --%s?",
                 command->name, argv[i], nearest(options, option_count, argv[i] + 2));
        if (option->kind == MR_OPTION_FLAG) {
            MR_CHECK(!value, MR_ERR_USAGE, "mora %s: --%s takes no value", command->name,
                     option->name);
        } else if (!value) {
            MR_CHECK(i + 1 < argc, MR_ERR_USAGE, "mora %s: --%s needs a value (%s)", command->name,
                     option->name, option->argument);
            value = argv[++i];
        }
        MR_TRY(set_option(command, option, value));
    }
    return MR_OK;
}
