# Tests of a tiny model that are MPI programs themselves.
foreach(name merge modules)
  mr_add_test(${name} LINK mr_model NPROCS 1 2 4)
  target_sources(test_${name} PRIVATE ranks.c tiny.c)
endforeach()
