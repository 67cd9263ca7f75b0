#include "config_case.h"

#include "base/file.h"

static const char *const method_names[] = {"fft", "lora", "mora", NULL};
static const char *const task_names[] = {"uuid", "math", NULL};
const mr_config_choices config_choices[] = {{"method.name", method_names},
                                            {"task.name", task_names}};

void config_write(const char *text)
{
    if (world.rank == 0) must(mr_file_write("uuid.yaml", text, strlen(text)));
}

mr_status config_load(const char *text, const char *const *sets, int set_count, mr_run_list *out)
{
    config_write(text);
    mr_status status =
        mr_config_load(&world, "uuid.yaml", sets, set_count, config_choices, CONFIG_CHOICES, out);
    if (status == MR_OK) status = mr_run_list_check(out);
    if (status != MR_OK) mr_run_list_free(out);
    return status;
}

mr_config config_run(const mr_run_list *list, int run)
{
    mr_config config;
    must(mr_run_list_get(list, run, &config));
    return config;
}

void config_assert_error(const char *text, const char *message)
{
    mr_run_list list;
    assert_int_equal(config_load(text, NULL, 0, &list), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), message);
    assert_null(list.recipe);
}
