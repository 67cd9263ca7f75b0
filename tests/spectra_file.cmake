foreach(name spectra_file spectra_foreign)
  mr_add_test(${name} LINK mr_store hdf5::hdf5)
  target_sources(test_${name} PRIVATE spectra_case.c)
endforeach()
