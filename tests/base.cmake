mr_add_test(base LINK mr_base)
