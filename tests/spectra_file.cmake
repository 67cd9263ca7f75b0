mr_add_test(spectra_file LINK mr_store hdf5::hdf5)
target_sources(test_spectra_file PRIVATE spectra_case.c)
