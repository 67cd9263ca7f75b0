#include "scarce.h"

#include "base/memory.h"
#include "test.h"

static int left = -1; /* allocations that succeed; -1: all */

void *__real_mr_alloc_array(mr_purpose purpose, size_t count, size_t size);
void *__wrap_mr_alloc_array(mr_purpose purpose, size_t count, size_t size);

void *__wrap_mr_alloc_array(mr_purpose purpose, size_t count, size_t size)
{
    if (left == 0) {
        mr_fail(MR_ERR_MEMORY, "cannot allocate %zu items of %zu bytes", count, size);
        return NULL;
    }
    if (left > 0) left--;
    return __real_mr_alloc_array(purpose, count, size);
}

void scarce_try(mr_status (*function)(void *context), void *context)
{
    enum { MANY = 1000 };
    const size_t held = mr_memory_live_total();
    int tried = 0;
    mr_status status;
    do {
        left = tried;
        status = function(context);
        left = -1;
        if (status != MR_OK && status != MR_ERR_MEMORY)
            fail_msg("after %d allocations: %s", tried, mr_message());
        if (status == MR_ERR_MEMORY) assert_contains(mr_message(), "cannot allocate");
        assert_int_equal(mr_memory_live_total(), held);
        tried++;
    } while (status != MR_OK && tried < MANY);
    assert_in_range(tried, 2, MANY - 1);
}
