mr_add_test(data LINK mr_data)
mr_add_test(packing LINK mr_data)

# Tests of compressed files, of tokenizers and of prepared folders: they work in a folder of their own.
foreach(name compressed corpus_text tokenizer model_tokenizer token_shards app_data app_records)
  mr_add_test(${name} LINK mr_corpus)
  target_sources(test_${name} PRIVATE data_files.c program.c)
  target_compile_definitions(test_${name} PRIVATE MR_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}")
endforeach()
set_tests_properties(app_data PROPERTIES LABELS mpi)
add_dependencies(test_app_data mora)
add_dependencies(test_app_records mora)
add_dependencies(test_corpus_text mora)
add_dependencies(test_model_tokenizer mora)
target_sources(test_model_tokenizer PRIVATE logs.c)

mr_add_test(prepare LINK mr_corpus NPROCS 1 2 4)
mr_add_test(prepare_records LINK mr_corpus NPROCS 1 4)
foreach(name prepare prepare_records)
  target_sources(test_${name} PRIVATE data_files.c ranks.c)
endforeach()

# tokenizer.json: what it may say, and its reference vectors.
foreach(name hf_tokenizer hf_refused)
  mr_add_test(${name} LINK mr_corpus)
  target_sources(test_${name} PRIVATE data_files.c hf_files.c)
endforeach()
mr_add_test(hf_golden LINK mr_corpus mr_adapter LABELS golden)
target_sources(test_hf_golden PRIVATE data_files.c golden_find.c)

# Templates: what they say and make of records, and the reference records.
mr_add_test(template LINK mr_corpus)
target_sources(test_template PRIVATE data_files.c hf_files.c)
mr_add_test(template_golden LINK mr_corpus mr_adapter LABELS golden)
target_sources(test_template_golden PRIVATE data_files.c golden_find.c)
