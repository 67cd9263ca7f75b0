#include "store/names.h"

mr_status mr_names_add(mr_names *names, const char *name)
{
    if (names->count == names->room) {
        int64_t room = names->room > 0 ? 2 * names->room : 8;
        char **item = mr_realloc(MR_MEM_OTHER, names->item, (size_t)room * sizeof *item);
        if (!item) return MR_ERR_MEMORY;
        names->item = item;
        names->room = room;
    }
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
