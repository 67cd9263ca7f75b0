mr_add_test(base LINK mr_base Threads::Threads)
mr_add_test(node_memory LINK mr_base)
