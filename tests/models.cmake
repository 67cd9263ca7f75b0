mr_add_test(models LINK mr_train NPROCS 1 2 LABELS golden)
target_sources(test_models PRIVATE golden_find.c ranks.c)
