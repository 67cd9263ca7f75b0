# Tests that are MPI programs themselves.
mr_add_test(comm LINK mr_comm NPROCS 1 2 4)
mr_add_test(nodes LINK mr_comm NPROCS 1 2 4)
# What the system answers to a window that is asked for.
target_link_options(test_nodes PRIVATE LINKER:--wrap=memfd_create,--wrap=bind,--wrap=listen,--wrap=connect,--wrap=sendmsg,--wrap=getsockopt)
mr_add_test(traffic LINK mr_train NPROCS 2 4)
target_link_options(test_traffic PRIVATE LINKER:--wrap=mr_window_await)
mr_add_test(params LINK mr_model NPROCS 1 2 4)
mr_add_test(guard LINK mr_train NPROCS 1 2 4)
mr_add_test(host_reads LINK mr_train NPROCS 1 2)
mr_add_test(memory_limit LINK mr_train NPROCS 1 2)
foreach(name comm nodes traffic params guard host_reads memory_limit)
  mr_use(${name} ranks)
endforeach()
