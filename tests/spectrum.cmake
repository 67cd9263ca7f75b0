# Tests of `mora spectrum`, which they start.
foreach(name spectrum spectrum_golden spectrum_runs)
  mr_add_test(${name} LINK mr_train TIMEOUT 600)
  mr_use(${name} program tensor_files)
  add_dependencies(test_${name} mora)
endforeach()
mr_use(spectrum_golden golden_find)
set_tests_properties(spectrum_golden PROPERTIES LABELS "unit;golden")
set_property(TEST spectrum_golden spectrum_runs APPEND PROPERTY LABELS long)
