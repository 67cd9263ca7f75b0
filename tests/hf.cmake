mr_add_test(hf LINK mr_store)
