# Tests of `mora export`, which they start.
mr_add_test(export LINK mr_train TIMEOUT 300)
mr_use(export program model_files tensor_files)
add_dependencies(test_export mora)
mr_add_test(export_golden LINK mr_train TIMEOUT 600 LABELS golden)
mr_use(export_golden program tensor_files golden_find)
set_tests_properties(export_golden PROPERTIES LABELS "unit;golden;long")
add_dependencies(test_export_golden mora)
# What Transformers and PEFT make of what is written; skipped where Python does not have them.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  add_test(NAME export_foreign
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/check_export.py $<TARGET_FILE:mora>)
  set_tests_properties(export_foreign PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS unit)
  mr_set_environment(export_foreign)
endif()
