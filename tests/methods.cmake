mr_add_test(methods LINK mr_adapter)
target_sources(test_methods PRIVATE reference.c)
