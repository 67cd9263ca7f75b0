mr_add_test(safetensors LINK mr_store)
# Syncs and reservations fail where a test says so.
target_link_options(test_safetensors PRIVATE -Wl,--wrap=fsync,--wrap=posix_fallocate)
