mr_add_test(layers LINK mr_base)
