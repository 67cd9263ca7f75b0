mr_add_test(methods LINK mr_adapter)
mr_use(methods reference)
