# The job scripts on a real Slurm of two nodes on this machine.
add_test(NAME slurm COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/test_slurm.sh)
set_tests_properties(slurm PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS slurm COST 1)
mr_set_environment(slurm)
