#ifndef MR_TRAIN_REGISTRY_H
#define MR_TRAIN_REGISTRY_H

/** @file
 * The keys of this program's configurations: those of every run, and those that the tables of
 * methods, tasks and backends bring. */

#include "config/registry.h"

/** Returns them; a constant of the program. Local. */
const mr_registry *mr_registry_of_program(void);

#endif
