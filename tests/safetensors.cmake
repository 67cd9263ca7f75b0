mr_add_test(safetensors LINK mr_store)
