mr_add_test(hf LINK mr_store)
mr_add_test(hf_check LINK mr_store NPROCS 1 2 4)
mr_use(hf_check model_files ranks)
