foreach(name backend backend_attention backend_gradients backend_harness backend_scale backend_spare
    backend_types)
  mr_add_test(${name} LINK mr_backend)
  mr_use(${name} reference)
endforeach()
mr_use(backend_harness harness_eight)

# The same on a device, where there is one, and what it alone takes as one.
if(MR_CUDA)
  mr_add_test(backend_site LINK mr_backend)
  mr_use(backend_site reference)
  mr_add_test(device LINK mr_store)
  mr_use(device program logs)
  add_dependencies(test_device mora)
  foreach(name backend backend_attention backend_gradients backend_harness backend_scale backend_site
      backend_spare backend_types device golden)
    add_test(NAME ${name}.cuda COMMAND sh -c
      "test -e /dev/nvidia0 || { echo 'skipped: no device of NVIDIA'; exit 77; }; exec $<TARGET_FILE:test_${name}>")
    set_tests_properties(${name}.cuda PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 LABELS cuda)
    mr_set_environment(${name}.cuda MORA_BACKEND=cuda)
  endforeach()
  set_tests_properties(device.cuda PROPERTIES TIMEOUT 900)
endif()
