mr_add_test(golden LINK mr_train NPROCS 1 2 LABELS golden)
mr_use(golden golden_find golden_case golden_rows golden_check ranks)
