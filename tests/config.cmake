foreach(name config matrix)
  mr_add_test(${name} LINK mr_config NPROCS 1 2 4)
  mr_use(${name} config_case ranks)
endforeach()
