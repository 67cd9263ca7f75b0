# The commands, links and printed output of every README.md.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  add_test(NAME documents COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/check_documents.py
    $<TARGET_FILE:mora> ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  set_tests_properties(documents PROPERTIES TIMEOUT 300 LABELS unit)
  mr_set_environment(documents)
endif()
