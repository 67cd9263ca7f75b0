mr_add_test(layers LINK mr_base)
target_sources(test_layers PRIVATE circles.c)
