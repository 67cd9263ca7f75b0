mr_add_test(svd LINK mr_linalg)
mr_scarce_memory(svd)
