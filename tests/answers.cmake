mr_add_test(answers LINK mr_eval)
target_sources(test_answers PRIVATE golden_find.c golden_lines.c)
