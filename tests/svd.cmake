mr_add_test(svd LINK mr_linalg)
