# Tests of the program as a whole: they start it themselves, mostly on one rank, now and then on up to
# four that yield, so that two of them share two cores.
foreach(name run matmul plan pretrain prepared failures paths progress resume streams folders disturbed
    spectra_run eval_run)
  mr_add_test(${name} LINK mr_store TIMEOUT 900 LABELS mpi)
  mr_use(${name} program logs)
  add_dependencies(test_${name} mora)
endforeach()
foreach(name pretrain prepared progress)
  mr_use(${name} data_files)
  target_link_libraries(test_${name} PRIVATE mr_corpus)
endforeach()
set_property(TEST resume spectra_run APPEND PROPERTY LABELS long)
# The longest start first, and others run beside them.
set_tests_properties(resume spectra_run PROPERTIES COST 1)
mr_use(folders model_files)
target_link_libraries(test_spectra_run PRIVATE mr_linalg)

# What is loaded before the program to let its calls fail.
add_library(test_faults MODULE faults.c)
target_link_libraries(test_faults PRIVATE MPI::MPI_C ${CMAKE_DL_LIBS})
foreach(name disturbed spectra_run eval eval_run)
  add_dependencies(test_${name} test_faults)
  target_compile_definitions(test_${name} PRIVATE MR_TEST_FAULTS="$<TARGET_FILE:test_faults>")
endforeach()
