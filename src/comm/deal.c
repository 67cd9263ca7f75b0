#include "comm/deal.h"

#include <stdlib.h>

typedef struct item {
    double cost;
    int64_t index;
} item;

static int costliest_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

mr_status mr_deal(int ranks, int64_t count, const double *cost, int *owner)
{
    double *load = mr_alloc_array(MR_MEM_OTHER, (size_t)ranks, sizeof *load);
    item *order = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *order);
    mr_status status = load && order ? MR_OK : MR_ERR_MEMORY;
    for (int64_t i = 0; status == MR_OK && i < count; i++)
        order[i] = (item){cost[i], i};
    if (status == MR_OK && count > 0) qsort(order, (size_t)count, sizeof *order, costliest_first);
    for (int64_t i = 0; status == MR_OK && i < count; i++) {
        int least = 0;
        for (int rank = 1; rank < ranks; rank++)
            if (load[rank] < load[least]) least = rank;
        owner[order[i].index] = order[i].cost < 0 ? -1 : least;
        if (order[i].cost >= 0) load[least] += order[i].cost;
    }
    mr_free(load);
    mr_free(order);
    return status;
}
