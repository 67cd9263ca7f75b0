foreach(name backend backend_attention backend_gradients backend_harness backend_scale backend_types)
  mr_add_test(${name} LINK mr_backend)
  target_sources(test_${name} PRIVATE reference.c)
endforeach()
