#include "base/file.h"
#include "base/node_memory.h"
#include "folder.h"
#include "test.h"

#include <stdlib.h>

static const size_t gib = (size_t)1 << 30;

/* The present folder is the root that /proc and /sys are looked up below. */
static void write_file(const char *path, const char *text)
{
    char folder[256];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    must(mr_file_make_folders(folder));
    must(mr_file_write(path, text, strlen(text)));
}

static void write_machine(long long total_gib, long long available_gib)
{
    char text[256];
    snprintf(text, sizeof text,
             "MemTotal:       %lld kB\nMemFree:        1024 kB\nMemAvailable:   %lld kB\n",
             total_gib << 20, available_gib << 20);
    write_file("proc/meminfo", text);
}

static void forget_job(void)
{
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_MEM_PER_CPU");
    unsetenv("SLURM_CPUS_ON_NODE");
}

/* Each test has a root of its own: a folder in the one of this file. */
static int enter(void **state)
{
    forget_job();
    return folder_enter(state);
}

static int leave(void **state)
{
    forget_job();
    return folder_leave(state);
}

static void assert_bound(size_t bytes, const char *what)
{
    mr_node_memory found = mr_node_memory_find(".");
    assert_int_equal(found.bytes, bytes);
    assert_string_equal(found.what, what);
}

static void what_is_available_bounds_what_is_there(void **state)
{
    (void)state;
    write_machine(64, 48);
    assert_bound(48 * gib, "available memory");
    write_machine(64, 64);
    assert_bound(64 * gib, "physical memory");
}

static void a_group_of_version_2_is_found(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_7/step_0\n");
    write_file("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max",
               "8589934592\n");
    assert_bound(
        8 * gib,
        "the limit in /sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max");
}

static void the_groups_above_are_looked_at_too(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "0::/job_7/step_0/task_0\n");
    write_file("sys/fs/cgroup/job_7/step_0/task_0/memory.max", "max\n");
    write_file("sys/fs/cgroup/job_7/step_0/memory.max", "8589934592\n");
    write_file("sys/fs/cgroup/job_7/memory.max", "4294967296\n");
    write_file("sys/fs/cgroup/job_77/memory.max", "1073741824\n");
    assert_bound(4 * gib, "the limit in /sys/fs/cgroup/job_7/memory.max");
    write_file("sys/fs/cgroup/memory.max", "2147483648\n");
    assert_bound(2 * gib, "the limit in /sys/fs/cgroup/memory.max");
}

/* Where a group is slowed down rather than ended, a run would never end either. */
static void a_limit_that_throttles_is_a_limit(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "0::/job\n");
    write_file("sys/fs/cgroup/job/memory.max", "8589934592\n");
    write_file("sys/fs/cgroup/job/memory.high", "6442450944\n");
    assert_bound(6 * gib, "the limit in /sys/fs/cgroup/job/memory.high");
}

static void a_group_of_version_1_is_found(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "12:cpu,cpuacct:/slurm/uid_1/job_9\n"
                                   "9:blkio,memory:/slurm/uid_1/job_9/step_0\n"
                                   "1:name=systemd:/memory\n");
    write_file("sys/fs/cgroup/memory/slurm/uid_1/job_9/step_0/memory.limit_in_bytes",
               "9223372036854771712\n");
    write_file("sys/fs/cgroup/memory/slurm/uid_1/job_9/memory.limit_in_bytes", "3221225472\n");
    assert_bound(3 * gib,
                 "the limit in /sys/fs/cgroup/memory/slurm/uid_1/job_9/memory.limit_in_bytes");
}

static void a_controller_of_a_like_name_is_none(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "5:memory2,hugememory:/job\n");
    write_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "3221225472\n");
    assert_bound(48 * gib, "available memory");
}

/* Of the outside path nothing is there; the container's own group is mounted as the root. */
static void a_container_is_bounded_by_what_it_sees(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup",
               "4:memory:/docker/0123456789abcdef\n0::/docker/0123456789abcdef");
    write_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "5368709120\n");
    assert_bound(5 * gib, "the limit in /sys/fs/cgroup/memory/memory.limit_in_bytes");
}

static void a_hybrid_of_both_versions_is_looked_at(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "0::/job\n");
    write_file("sys/fs/cgroup/unified/job/memory.max", "1073741824\n");
    assert_bound(gib, "the limit in /sys/fs/cgroup/unified/job/memory.max");
}

static void files_that_cannot_be_understood_bound_nothing(void **state)
{
    (void)state;
    write_machine(64, 48);
    write_file("proc/self/cgroup", "\n:\n0\n0::\nnonsense\n0::/job\n");
    write_file("sys/fs/cgroup/job/memory.max", "-1\n");
    write_file("sys/fs/cgroup/job/memory.high", "12 bananas\n");
    write_file("sys/fs/cgroup/memory.max", "99999999999999999999999999\n");
    write_file("sys/fs/cgroup/memory.high", "");
    assert_bound(48 * gib, "available memory");
}

static void a_job_of_slurm_bounds_its_node(void **state)
{
    (void)state;
    write_machine(64, 48);
    setenv("SLURM_MEM_PER_NODE", "4096", 1);
    assert_bound(48 * gib, "available memory"); /* a stray variable is no job */
    setenv("SLURM_JOB_ID", "7", 1);
    assert_bound(4 * gib, "the Slurm job's memory (SLURM_MEM_PER_NODE)");
    setenv("SLURM_MEM_PER_NODE", "0", 1); /* all of the node */
    assert_bound(48 * gib, "available memory");
    unsetenv("SLURM_MEM_PER_NODE");
    setenv("SLURM_MEM_PER_CPU", "1024", 1);
    assert_bound(48 * gib, "available memory");
    setenv("SLURM_CPUS_ON_NODE", "6", 1);
    assert_bound(6 * gib, "the Slurm job's memory (SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE)");
    setenv("SLURM_MEM_PER_CPU", "18446744073709551615", 1);
    assert_bound(48 * gib, "available memory");
}

/* Without any of the files there still is an answer. */
static void a_root_with_nothing_in_it_is_this_machine(void **state)
{
    (void)state;
    mr_node_memory found = mr_node_memory_find(".");
    assert_string_equal(found.what, "physical memory");
    assert_true(found.bytes > 64 << 20);
    mr_node_memory real = mr_node_memory_find("");
    assert_true(real.bytes > 0 && real.bytes <= found.bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(what_is_available_bounds_what_is_there),
        TEST(a_group_of_version_2_is_found),
        TEST(the_groups_above_are_looked_at_too),
        TEST(a_limit_that_throttles_is_a_limit),
        TEST(a_group_of_version_1_is_found),
        TEST(a_controller_of_a_like_name_is_none),
        TEST(a_container_is_bounded_by_what_it_sees),
        TEST(a_hybrid_of_both_versions_is_looked_at),
        TEST(files_that_cannot_be_understood_bound_nothing),
        TEST(a_job_of_slurm_bounds_its_node),
        TEST(a_root_with_nothing_in_it_is_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
