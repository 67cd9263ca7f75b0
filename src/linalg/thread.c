#include "linalg/thread.h"

#include <omp.h>

void mr_linalg_use_one_thread(void)
{
    omp_set_num_threads(1);
}
