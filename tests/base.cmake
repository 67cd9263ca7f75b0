mr_add_test(base LINK mr_base)
mr_add_test(node_memory LINK mr_base)
