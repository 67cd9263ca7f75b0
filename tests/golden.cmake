mr_add_test(golden LINK mr_train NPROCS 1 2 LABELS golden)
target_sources(test_golden PRIVATE golden_find.c golden_case.c golden_rows.c golden_check.c ranks.c)
