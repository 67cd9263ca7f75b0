# Tests of a tiny model that are MPI programs themselves.
foreach(name merge modules linears)
  mr_add_test(${name} LINK mr_model NPROCS 1 2 4)
  mr_use(${name} ranks tiny)
endforeach()
mr_add_test(site LINK mr_model NPROCS 1 2)
mr_use(site ranks tiny)
