# Tests of the program as a whole: they start it on up to four ranks themselves.
foreach(name run failures resume)
  mr_add_test(${name} LINK mr_store TIMEOUT 900 LABELS mpi)
  target_sources(test_${name} PRIVATE program.c logs.c)
  target_compile_definitions(test_${name} PRIVATE MR_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}")
  set_tests_properties(${name} PROPERTIES PROCESSORS 4)
  add_dependencies(test_${name} mora)
endforeach()
