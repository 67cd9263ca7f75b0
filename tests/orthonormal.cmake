mr_add_test(orthonormal LINK mr_linalg)
