#ifndef MR_ADAPTER_MORA_H
#define MR_ADAPTER_MORA_H

/** @file
 * MoRA's parts, for itself and for ReMoRA. They fill the hooks of mr_adapter_method. */

#include "adapter/adapter.h"

/** Takes a->mora_operator as it stands, which must not be auto. */
mr_status mr_mora_setup(mr_adapter *a, const mr_config *config, const char *const *names);
void mr_mora_teardown(mr_adapter *a);
void mr_mora_forward(const mr_adapter *a, const mr_adapter_call *call);
void mr_mora_backward(const mr_adapter *a, const mr_adapter_call *call);
void mr_mora_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out);
void mr_mora_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                        mr_tensor rows);
void mr_mora_describe(const mr_adapter *a, int linear, char *text, size_t room);

/** Returns an operator's name in a configuration. */
const char *mr_mora_operator_name(mr_mora_operator operator);

#endif
