#ifndef MR_APP_COMMAND_H
#define MR_APP_COMMAND_H

/** @file
 * Subcommands and their options: one table a command, from which parsing and --help follow. */

#include "base/text.h"
#include "comm/comm.h"
#include "config/config.h"

#include <jansson.h>

enum { MR_OPTION_SETS = 64 }; /**< most repetitions of one option */

typedef enum mr_option_kind {
    MR_OPTION_FLAG,   /**< bool */
    MR_OPTION_TEXT,   /**< const char * */
    MR_OPTION_PATH,   /**< const char *, not empty; a leading ~/ is expanded */
    MR_OPTION_INT,    /**< int64_t, not negative */
    MR_OPTION_CHOICE, /**< int, the number of the word in argument, "auto|never" */
    MR_OPTION_LIST,   /**< mr_option_list, may be repeated */
} mr_option_kind;

typedef struct mr_option_list {
    int count;
    const char *item[MR_OPTION_SETS];
} mr_option_list;

/** One long option. */
typedef struct mr_option {
    const char *name; /**< without the dashes */
    mr_option_kind kind;
    void *target;         /**< of the kind's type */
    const char *argument; /**< its name in --help, NULL for flags */
    const char *help;     /**< one line */
} mr_option;

/** A subcommand. */
typedef struct mr_command {
    const char *name;
    const char *usage;   /**< what stands behind the name */
    const char *summary; /**< one line */
    /** Runs it. argv holds what stands behind the name. Collective. */
    mr_status (*run)(const mr_comm *comm, int argc, char **argv);
} mr_command;

extern const mr_command mr_command_run, mr_command_data, mr_command_table, mr_command_info,
    mr_command_bench, mr_command_approximate, mr_command_spectrum, mr_command_generate,
    mr_command_export, mr_command_compare, mr_command_eval;

/** Parses argv by a table; what is no option goes to operands, which are paths. `--help` prints
 * usage, options and `more` on rank 0's stdout and sets *help. Local.
 * @param[out] operands  [at most limit], count in *operand_count
 * @return MR_OK, MR_ERR_USAGE (unknown option, missing or bad value, too many operands) */
MR_NODISCARD mr_status mr_options_parse(const mr_comm *comm, const mr_command *command,
                                        const mr_option *options, int option_count, int argc,
                                        char **argv, const char **operands, int limit,
                                        int *operand_count, const char *more, bool *help);

/** Tells whether --help is asked for, for what costs to be told there. Local. */
bool mr_options_help(int argc, char **argv);

/** Prints text on stdout; what it quotes of others does not steer a terminal. Local.
 * @return MR_OK, MR_ERR_MEMORY (also where an allocation for the text failed) */
MR_NODISCARD mr_status mr_print_text(const mr_text *text);

/** As mr_print_text, for text that is JSON. Local. */
void mr_print_json_text(const char *text);

/** Frees the paths that mr_options_parse expanded. Local. */
void mr_options_free(void);

/** Prints a value as JSON on stdout. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_print_json(const json_t *value);

#endif
