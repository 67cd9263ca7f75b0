mr_add_test(report_paper LINK mr_report)
target_sources(test_report_paper PRIVATE report_logs.c)
