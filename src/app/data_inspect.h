#ifndef MR_APP_DATA_INSPECT_H
#define MR_APP_DATA_INSPECT_H

/** @file
 * mora data inspect: a look at token shards, at what a template makes of records, at tokens. */

#include "app/command.h"

extern const mr_command mr_command_data_inspect;

#endif
