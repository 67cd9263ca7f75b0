mr_add_test(runlog LINK mr_store)
mr_add_test(runlog_foreign LINK mr_store hdf5::hdf5)
