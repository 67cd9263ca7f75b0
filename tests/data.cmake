mr_add_test(data LINK mr_data)
mr_add_test(packing LINK mr_data)

# Tests of compressed files, of tokenizers and of prepared folders: they work in a folder of their own.
foreach(name compressed corpus_text tokenizer model_tokenizer token_shards app_data app_records)
  mr_add_test(${name} LINK mr_corpus)
  mr_use(${name} data_files program)
endforeach()
set_tests_properties(app_data PROPERTIES LABELS mpi)
add_dependencies(test_app_data mora)
add_dependencies(test_app_records mora)
add_dependencies(test_corpus_text mora)
add_dependencies(test_model_tokenizer mora)
mr_use(model_tokenizer logs)

mr_add_test(prepare LINK mr_corpus NPROCS 1 2 4)
mr_add_test(prepare_records LINK mr_corpus NPROCS 1 4)
foreach(name prepare prepare_records)
  mr_use(${name} data_files ranks)
endforeach()

# tokenizer.json: what it may say, and its reference vectors.
foreach(name hf_tokenizer hf_refused)
  mr_add_test(${name} LINK mr_corpus)
  mr_use(${name} data_files hf_files)
endforeach()
mr_add_test(hf_golden LINK mr_corpus mr_adapter LABELS golden)
mr_use(hf_golden data_files golden_find)

# Templates: what they say and make of records, and the reference records.
mr_add_test(template LINK mr_corpus)
mr_use(template data_files hf_files)
mr_add_test(template_golden LINK mr_corpus mr_adapter LABELS golden)
mr_use(template_golden data_files golden_find)
