foreach(name checkpoint checkpoint_faults)
  mr_add_test(${name} LINK mr_store NPROCS 1 2 4)
  target_sources(test_${name} PRIVATE checkpoint_case.c ranks.c)
endforeach()
