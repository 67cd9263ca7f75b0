#ifndef MR_TESTS_FIND_PARAM_H
#define MR_TESTS_FIND_PARAM_H

#include "model/params.h"

#include <string.h>

/** Returns the index of a parameter's name, -1 where there is none. */
static inline int find_param(const mr_params *params, const char *name)
{
    for (int i = 0; i < mr_params_length(params); i++)
        if (strcmp(mr_params_at(params, i)->name, name) == 0) return i;
    return -1;
}

#endif
