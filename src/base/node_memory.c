#include "base/node_memory.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 8192 };

/* A smaller bound takes the place of a larger one. */
static void bound(mr_node_memory *least, uint64_t bytes, const char *what)
{
    if (bytes >= least->bytes) return;
    least->bytes = (size_t)bytes;
    snprintf(least->what, sizeof least->what, "%.*s", (int)sizeof least->what - 1, what);
}

static uint64_t times(uint64_t number, uint64_t unit)
{
    return number > UINT64_MAX / unit ? UINT64_MAX : number * unit;
}

/* A number and nothing else; false for "max", which is none. */
static bool parse(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*text)) return false;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || (*end != '\0' && *end != '\n')) return false;
    *out = number;
    return true;
}

static FILE *open_below(const char *root, const char *path)
{
    char whole[PATH_MAX];
    int length = snprintf(whole, sizeof whole, "%s%s", root, path);
    return length < (int)sizeof whole ? fopen(whole, "re") : NULL;
}

/* A line of /proc/meminfo: "MemTotal:   24635208 kB". */
static void bound_by_machine(const char *root, mr_node_memory *least)
{
    static const struct {
        const char *name, *what;
    } lines[] = {{"MemTotal:", "physical memory"}, {"MemAvailable:", "available memory"}};
    char line[LINE];
    FILE *file = open_below(root, "/proc/meminfo");
    while (file && fgets(line, sizeof line, file))
        for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
            unsigned long long kilobytes;
            size_t name = strlen(lines[i].name);
            if (strncmp(line, lines[i].name, name) == 0 &&
                sscanf(line + name, "%llu kB", &kilobytes) == 1)
                bound(least, times(kilobytes, 1024), lines[i].what);
        }
    if (file) fclose(file);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    if (least->bytes == SIZE_MAX && pages > 0 && page > 0)
        bound(least, times((uint64_t)pages, (uint64_t)page), "physical memory");
}

static void bound_by_file(const char *root, const char *folder, const char *name,
                          mr_node_memory *least)
{
    char path[PATH_MAX], what[sizeof least->what], line[LINE];
    uint64_t bytes;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = length < (int)sizeof path ? open_below(root, path) : NULL;
    if (!file) return;
    snprintf(what, sizeof what, "the limit in %.*s", (int)sizeof what - 16, path);
    if (fgets(line, sizeof line, file) && parse(line, &bytes)) bound(least, bytes, what);
    fclose(file);
}

/* Every group from the process's own up to the root may set a limit. What is not there is passed
 * over: in a container the path is often that of the outside, and only its root is seen. */
static void bound_by_groups(const char *root, const char *mount, const char *group,
                            const char *const *names, mr_node_memory *least)
{
    char folder[PATH_MAX];
    size_t stem = strlen(mount);
    int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (length >= (int)sizeof folder) return;
    for (;;) {
        size_t end = strlen(folder);
        while (end > stem && folder[end - 1] == '/')
            folder[--end] = '\0';
        for (int i = 0; names[i]; i++)
            bound_by_file(root, folder, names[i], least);
        if (end <= stem) return;
        while (end > stem && folder[end - 1] != '/')
            folder[--end] = '\0';
    }
}

/* Whether a list "cpu,memory" names a controller. */
static bool lists(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ','))
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0) return true;
    return false;
}

/* Lines of /proc/self/cgroup are "number:controllers:path"; version 2 has no controllers there. */
static void bound_by_cgroups(const char *root, mr_node_memory *least)
{
    static const char *const second[] = {"memory.max", "memory.high", NULL};
    static const char *const first[] = {"memory.limit_in_bytes", NULL};
    char line[LINE];
    FILE *file = open_below(root, "/proc/self/cgroup");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        if (*controllers == '\0') {
            bound_by_groups(root, "/sys/fs/cgroup", path, second, least);
            bound_by_groups(root, "/sys/fs/cgroup/unified", path, second, least);
        } else if (lists(controllers, "memory")) {
            bound_by_groups(root, "/sys/fs/cgroup/memory", path, first, least);
        }
    }
    if (file) fclose(file);
}

/* A positive number of the environment. Slurm writes 0 for all of a node's memory. */
static bool environment(const char *name, uint64_t *out)
{
    const char *text = getenv(name);
    return text && parse(text, out) && *out > 0;
}

static void bound_by_job(mr_node_memory *least)
{
    const uint64_t mebibyte = 1 << 20;
    uint64_t memory, processors;
    if (!getenv("SLURM_JOB_ID")) return;
    if (environment("SLURM_MEM_PER_NODE", &memory))
        bound(least, times(memory, mebibyte), "the Slurm job's memory (SLURM_MEM_PER_NODE)");
    if (environment("SLURM_MEM_PER_CPU", &memory) && environment("SLURM_CPUS_ON_NODE", &processors))
        bound(least, times(times(memory, mebibyte), processors),
              "the Slurm job's memory (SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE)");
}

mr_node_memory mr_node_memory_find(const char *root)
{
    mr_node_memory least = {.bytes = SIZE_MAX, .what = "nothing that is known"};
    bound_by_machine(root, &least);
    bound_by_cgroups(root, &least);
    bound_by_job(&least);
    return least;
}
