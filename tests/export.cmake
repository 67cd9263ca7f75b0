# Tests of `mora export`, which they start.
mr_add_test(export LINK mr_train TIMEOUT 300)
target_sources(test_export PRIVATE program.c model_files.c)
target_compile_definitions(test_export PRIVATE MR_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}")
set_tests_properties(export PROPERTIES PROCESSORS 2)
add_dependencies(test_export mora)
