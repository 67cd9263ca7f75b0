#include "data/recipe.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

static const char *const fault_names[MR_FAULTS] = {"utf8",      "json",  "field", "long", "type",
                                                   "surrogate", "empty", "role",  "order"};

const char *const mr_input_format_names[MR_INPUTS] = {"auto", "text", "jsonl", "json"};

const char *mr_fault_name(mr_fault fault)
{
    return fault_names[fault];
}

void mr_fault_tell(char what[MR_FAULT_TEXT], const char *fmt, va_list args)
{
    vsnprintf(what, MR_FAULT_TEXT, fmt, args);
    what[mr_utf8_valid(what, strlen(what))] = '\0'; /* no half of a character */
}
