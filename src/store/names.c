#include "store/names.h"

mr_status mr_names_add(mr_names *names, const char *name)
{
    MR_TRY(
        mr_grow(MR_MEM_OTHER, &names->item, &names->room, names->count + 1, sizeof *names->item));
    char *copy = mr_strdup(name);
    if (!copy) return MR_ERR_MEMORY;
    names->item[names->count++] = copy;
    return MR_OK;
}

void mr_names_free(mr_names *names)
{
    for (int64_t i = 0; i < names->count; i++)
        mr_free(names->item[i]);
    mr_free(names->item);
    *names = (mr_names){0};
}
