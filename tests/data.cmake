mr_add_test(data LINK mr_data)
