mr_add_test(answers LINK mr_eval)
target_sources(test_answers PRIVATE golden_find.c golden_lines.c)
mr_add_test(metrics LINK mr_eval)
target_sources(test_metrics PRIVATE golden_find.c golden_lines.c)
