mr_add_test(structure LINK mr_spectra)
target_sources(test_structure PRIVATE reference.c)
mr_add_test(measures LINK mr_spectra)
mr_add_test(leading LINK mr_linalg)
