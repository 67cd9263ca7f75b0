#ifndef MR_BASE_NODE_MEMORY_H
#define MR_BASE_NODE_MEMORY_H

/** @file
 * How much memory the processes of this node may take together. */

#include <stddef.h>

/** A bound on memory, and what sets it. */
typedef struct mr_node_memory {
    size_t bytes;
    char what[192]; /**< "available memory", "the limit in /sys/fs/cgroup/job_7/memory.max", ... */
} mr_node_memory;

/** Finds the smallest of
 *  - the memory of the machine and what of it is available (/proc/meminfo);
 *  - the limits of this process's control groups, from its own up to the root: memory.max and
 *    memory.high of version 2, memory.limit_in_bytes of version 1;
 *  - the memory of its Slurm job on this node, which not every cluster enforces by groups:
 *    SLURM_MEM_PER_NODE, or SLURM_MEM_PER_CPU times SLURM_CPUS_ON_NODE.
 * Local.
 * @param root  folder that /proc and /sys are looked up below: "", other in tests */
mr_node_memory mr_node_memory_find(const char *root);

#endif
