mr_add_test(layers LINK mr_base)
mr_use(layers circles)
add_test(NAME symbols COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/test_symbols.sh)
set_tests_properties(symbols PROPERTIES SKIP_RETURN_CODE 77 LABELS unit
  ENVIRONMENT "MR_SOURCE_DIR=${PROJECT_SOURCE_DIR};MR_OBJECTS=${PROJECT_BINARY_DIR}/CMakeFiles")
