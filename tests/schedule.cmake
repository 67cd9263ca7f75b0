mr_add_test(schedule LINK mr_optim)
