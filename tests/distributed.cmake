mr_add_test(distributed LINK mr_linalg NPROCS 1 2 3 4)
target_sources(test_distributed PRIVATE ranks.c)
mr_scarce_memory(distributed)
# What ScaLAPACK answers, spoiled on the way: tests/test_distributed.c.
target_link_options(test_distributed PRIVATE -Wl,--wrap=pdgesvd_,--wrap=pdgebrd_,--wrap=dlasq1_)

mr_add_test(distributed_golden LINK mr_linalg mr_store NPROCS 1 2 3 4)
target_sources(test_distributed_golden PRIVATE golden_spectra.c golden_find.c ranks.c)
