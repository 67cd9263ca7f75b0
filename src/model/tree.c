#include "model/tree.h"

mr_tree mr_tree_of(int64_t count)
{
    mr_tree tree = {.blocks = count};
    while (tree.blocks % 2 == 0) {
        tree.blocks /= 2;
        tree.levels++;
    }
    return tree;
}

int mr_tree_slots(int64_t count)
{
    mr_tree tree = mr_tree_of(count);
    return tree.levels + 1 + (tree.blocks > 1);
}

int mr_tree_push(mr_tree *tree)
{
    tree->pushed++;
    tree->depth++;
    int additions = 0;
    int64_t pushed = tree->pushed;
    while (additions < tree->levels && pushed % 2 == 0) {
        pushed /= 2;
        additions++;
    }
    bool block_done = additions == tree->levels;
    bool first_block = tree->pushed == (int64_t)1 << tree->levels;
    return block_done && !first_block ? additions + 1 : additions;
}

int mr_tree_pop(mr_tree *tree)
{
    tree->depth--;
    return tree->depth - 1;
}

bool mr_tree_complete(const mr_tree *tree)
{
    return tree->pushed == tree->blocks << tree->levels;
}
