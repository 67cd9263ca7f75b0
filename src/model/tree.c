#include "model/tree.h"

#include "base/status.h"

int64_t mr_tree_stretches(int64_t count, int64_t most)
{
    int64_t stretches = 1;
    while (count % (2 * stretches) == 0 && (most == 0 || 2 * stretches <= most))
        stretches *= 2;
    return stretches;
}

mr_tree mr_tree_of(int64_t stretches, int64_t length)
{
    mr_tree tree = {.length = length};
    while (stretches > (int64_t)1 << tree.levels)
        tree.levels++;
    MR_INVARIANT(stretches == (int64_t)1 << tree.levels && length > 0);
    return tree;
}

int mr_tree_slots(const mr_tree *tree)
{
    return tree->length == 1 && tree->levels > 0 ? tree->levels : tree->levels + 1;
}

/* How often the top two slots are added once so many leaves are in. */
static int additions_at(const mr_tree *tree, int64_t pushed)
{
    int additions = (pushed - 1) % tree->length > 0;
    if (pushed % tree->length > 0) return additions;
    int64_t stretches = pushed / tree->length;
    for (int level = 0; level < tree->levels && stretches % 2 == 0; level++, additions++)
        stretches /= 2;
    return additions;
}

bool mr_tree_joins(const mr_tree *tree)
{
    return additions_at(tree, tree->pushed + 1) > 0;
}

bool mr_tree_has_joins(const mr_tree *tree)
{
    return tree->levels > 0 || tree->length > 1;
}

int mr_tree_push(mr_tree *tree)
{
    tree->pushed++;
    tree->depth++;
    return additions_at(tree, tree->pushed);
}

int mr_tree_pop(mr_tree *tree)
{
    tree->depth--;
    return tree->depth - 1;
}

bool mr_tree_complete(const mr_tree *tree)
{
    return tree->pushed == tree->length << tree->levels;
}
