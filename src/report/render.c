#include "report/render.h"

#include <string.h>

const mr_renderer *mr_renderer_find(const char *name)
{
    static const mr_renderer *const renderers[] = {&mr_renderer_text, &mr_renderer_json};
    for (size_t i = 0; i < sizeof renderers / sizeof renderers[0]; i++)
        if (strcmp(renderers[i]->name, name) == 0) return renderers[i];
    return NULL;
}
