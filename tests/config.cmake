mr_add_test(config LINK mr_config NPROCS 1 2 4)
target_sources(test_config PRIVATE ranks.c)
