mr_add_test(runlog LINK mr_store)
