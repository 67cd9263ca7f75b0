# Tests of a tiny model that are MPI programs themselves.
foreach(name merge modules linears)
  mr_add_test(${name} LINK mr_model NPROCS 1 2 4)
  target_sources(test_${name} PRIVATE ranks.c tiny.c)
endforeach()
mr_add_test(site LINK mr_model NPROCS 1 2)
target_sources(test_site PRIVATE ranks.c tiny.c)
