# Tests that are MPI programs themselves.
mr_add_test(comm LINK mr_comm NPROCS 1 2 4)
mr_add_test(params LINK mr_model NPROCS 1 2 4)
mr_add_test(guard LINK mr_train NPROCS 1 2 4)
mr_add_test(host_reads LINK mr_train NPROCS 1 2)
mr_add_test(memory_limit LINK mr_train NPROCS 1 2)
foreach(name comm params guard host_reads memory_limit)
  target_sources(test_${name} PRIVATE ranks.c)
endforeach()
