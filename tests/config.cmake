mr_add_test(config LINK mr_config NPROCS 1 2 4)
