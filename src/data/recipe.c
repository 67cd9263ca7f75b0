#include "data/recipe.h"

static const char *const fault_names[MR_FAULTS] = {"utf8", "json", "field", "long"};

const char *mr_fault_name(mr_fault fault)
{
    return fault_names[fault];
}
