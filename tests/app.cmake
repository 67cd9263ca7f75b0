# Tests of `mora info`, `mora approximate`, `mora bench` and `mora table`, which they start, and of the figure.
foreach(name app_info app_approximate bench info_spectra report)
  mr_add_test(${name} LINK mr_train TIMEOUT 300)
  target_sources(test_${name} PRIVATE program.c)
  target_compile_definitions(test_${name} PRIVATE MR_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}")
  add_dependencies(test_${name} mora)
endforeach()
target_sources(test_report PRIVATE report_logs.c)
target_sources(test_info_spectra PRIVATE report_logs.c spectra_case.c)
add_test(NAME plot COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/test_plot.sh)
set_tests_properties(plot PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 LABELS unit
  ENVIRONMENT "${MR_TEST_ENVIRONMENT}")
