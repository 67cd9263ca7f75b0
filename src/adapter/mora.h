#ifndef MR_ADAPTER_MORA_H
#define MR_ADAPTER_MORA_H

/** @file
 * MoRA's parts, for itself and for ReMoRA. They fill the hooks of mr_adapter_method. */

#include "adapter/adapter.h"

/** MoRA's operators; sharing_2..4 are the published code's mora_type 2..4. */
typedef enum mr_mora_operator {
    MR_MORA_AUTO,
    MR_MORA_TRUNCATION,
    MR_MORA_SHARING,   /**< mora_type 1: strided in, strided out */
    MR_MORA_SHARING_2, /**< contiguous in, contiguous out */
    MR_MORA_SHARING_3, /**< contiguous in, strided out */
    MR_MORA_SHARING_4, /**< strided in, contiguous out */
    MR_MORA_DECOUPLING,
    MR_MORA_ROTATION /**< mora_type 6 */
} mr_mora_operator;

/** Names of the operators in a configuration, by value, NULL at the end. */
extern const char *const mr_mora_operators[];

/** Returns the operator of a mora_type of the published code, MR_MORA_AUTO where it has none. */
mr_mora_operator mr_mora_of_type(int64_t mora_type);

/** Fills a hook of mr_adapter_method. */
int64_t mr_mora_published_type(const mr_adapter *a);

/** What a configuration tells the family. */
typedef struct mr_mora_config {
    mr_adapter_config adapter;
    int32_t operator; /**< mr_mora_operator */
} mr_mora_config;

#define MR_MORA_OPERATOR_KEY                                                                       \
    {                                                                                              \
        MR_KEY_FIELD(mr_mora_config, "method.operator", operator),                                 \
            .type = MR_KEY_ENUM, .fallback = "auto", .choices = mr_mora_operators,                 \
            .help = "How MoRA compresses its input and decompresses its output."                   \
    }

/** Operators that an adapter takes from restart to restart, over and over; none of them auto, and
 * all with square matrices of the same sides. */
typedef struct mr_mora_cycle {
    int length;
    mr_mora_operator operator[4];
} mr_mora_cycle;

/** Sets an adapter up; its operator is the first of the cycle. */
mr_status mr_mora_setup(mr_adapter *a, mr_mora_cycle cycle, const char *const *names);
void mr_mora_set_restart(mr_adapter *a, int64_t restart);
mr_status mr_mora_allocate(mr_adapter *a);
void mr_mora_teardown(mr_adapter *a);
void mr_mora_forward(const mr_adapter *a, const mr_adapter_call *call);
void mr_mora_backward(const mr_adapter *a, const mr_adapter_call *call);
void mr_mora_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out);
void mr_mora_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                        mr_tensor rows);
void mr_mora_describe(const mr_adapter *a, int linear, char *text, size_t room);

#endif
