foreach(name config matrix)
  mr_add_test(${name} LINK mr_config NPROCS 1 2 4)
  target_sources(test_${name} PRIVATE config_case.c ranks.c)
endforeach()
