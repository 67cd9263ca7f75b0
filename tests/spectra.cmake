# Spectra of a tiny model's updates.
mr_add_test(snapshot LINK mr_spectra NPROCS 1 2 4)
mr_use(snapshot ranks tiny)
