mr_add_test(hf LINK mr_store)
mr_add_test(hf_check LINK mr_store NPROCS 1 2 4)
target_sources(test_hf_check PRIVATE model_files.c ranks.c)
