#include "data/recipe.h"

static const char *const fault_names[MR_FAULTS] = {"utf8",      "json",  "field", "long", "type",
                                                   "surrogate", "empty", "role",  "order"};

const char *mr_fault_name(mr_fault fault)
{
    return fault_names[fault];
}
