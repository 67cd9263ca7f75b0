# Spectra of a tiny model's updates.
mr_add_test(snapshot LINK mr_spectra NPROCS 1 2 4)
target_sources(test_snapshot PRIVATE ranks.c tiny.c)
