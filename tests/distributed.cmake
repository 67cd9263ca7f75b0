mr_add_test(distributed LINK mr_linalg NPROCS 1 2 3 4)
mr_use(distributed ranks)
mr_scarce_memory(distributed)
# What ScaLAPACK answers, spoiled on the way: tests/test_distributed.c.
target_link_options(test_distributed PRIVATE -Wl,--wrap=pdgesvd_,--wrap=pdgebrd_,--wrap=dlasq1_)

mr_add_test(distributed_golden LINK mr_linalg mr_store NPROCS 1 2 3 4)
mr_use(distributed_golden golden_spectra golden_find ranks)
