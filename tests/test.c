#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static bool peers_wait;

void test_set_peers(bool peers)
{
    peers_wait = peers;
}

void test_must(mr_status status, const char *file, int line)
{
    if (status == MR_OK) return;
    if (peers_wait) mr_abort("%s:%d: %s", file, line, mr_message());
    print_error("%s:%d: %s\n", file, line, mr_message());
    _fail(file, line);
}

const char *test_backend(void)
{
    const char *name = getenv("MORA_BACKEND");
    return name && *name ? name : "cpu";
}

void test_nap(double seconds)
{
    const double whole = floor(seconds);
    const struct timespec time = {.tv_sec = (time_t)whole,
                                  .tv_nsec = (long)(1e9 * (seconds - whole))};
    nanosleep(&time, NULL);
}

void test_put_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void form_shared(const char *name, char out[TEST_PATH])
{
    const char *source = getenv("MR_SOURCE_DIR");
    snprintf(out, TEST_PATH, "%s/../shared/%s", source ? source : ".", name);
}

bool test_has_shared(void)
{
    char path[TEST_PATH];
    form_shared("", path);
    return access(path, R_OK) == 0;
}

const char *test_shared(const char *name, char out[TEST_PATH])
{
    form_shared(name, out);
    if (!test_has_shared()) skip_because("needs ../shared/%s", name);
    if (access(out, R_OK) != 0) fail_msg("../shared is there, but %s is not", out);
    return out;
}

/* Fisher-Yates. */
void test_permutation(const mr_random *random, int64_t *order, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)mr_random_below(random, (uint64_t)i, (uint64_t)i + 1);
        int64_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}
