mr_add_test(approximate LINK mr_train)
