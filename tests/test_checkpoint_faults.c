#include "base/log.h"
#include "base/random.h"
#include "calls.h"
#include "checkpoint_case.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Checks that the newest, step 20, is passed over with this reason and that step 10 is used. */
static void check_passed_over(const char *reason)
{
    char expected[4 * CASE_PATH];
    mr_text text = {0};
    int64_t step = case_find(&world, &text);
    snprintf(expected, sizeof expected, "%s/step-00000020: %s", case_folder, reason);
    bool named = strncmp(mr_text_get(&text), expected, strlen(expected)) == 0;
    bool whole = strstr(mr_text_get(&text), "; passed over\n") != NULL;
    if (!named) print_error("%s\n", mr_text_get(&text));
    mr_text_free(&text);
    assert_on_all_ranks(case_status == MR_OK);
    assert_on_all_ranks(named && whole);
    assert_on_all_ranks(step == 10);
}

static void damage_of_the_one_checkpoint_asked_for_is_an_error(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_flip(case_last_shard("step-00000020"), -1);
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(&world, case_below("step-00000020"), &checkpoint, NULL);
    assert_on_all_ranks(case_status == MR_ERR_FORMAT && !checkpoint);
    assert_on_all_ranks(strstr(mr_message(), ".safetensors: checksum differs"));
}

static void the_one_checkpoint_asked_for_must_have_a_manifest(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command("rm %s", case_below("step-00000020/manifest.json"));
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(&world, case_below("step-00000020"), &checkpoint, NULL);
    assert_on_all_ranks(case_status == MR_ERR_FORMAT && !checkpoint);
    assert_on_all_ranks(
        strstr(mr_message(), "step-00000020: manifest.json: No such file or directory"));
}

static void a_shard_with_a_flipped_byte_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    const char *shard = case_last_shard("step-00000020");
    case_flip(shard, -9);
    char reason[CASE_PATH];
    snprintf(reason, sizeof reason, "%s: checksum differs", strchr(shard, '/') + 1);
    check_passed_over(reason);
}

static void the_first_damaged_shard_is_the_one_named(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    for (int rank = 0; rank < world.size; rank++) {
        char name[CASE_PATH];
        snprintf(name, sizeof name, "step-00000020/shard-%05d-of-%05d.safetensors", rank,
                 world.size);
        case_flip(name, 100);
    }
    check_passed_over("shard-00000-of-");
}

static void a_short_shard_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    const char *shard = case_last_shard("step-00000020");
    struct stat about = {0};
    stat(case_below(shard), &about);
    mr_comm_barrier(&world);
    if (world.rank == 0 && truncate(case_below(shard), about.st_size - 1) != 0)
        mr_abort("truncate");
    mr_comm_barrier(&world);
    char reason[2 * CASE_PATH];
    snprintf(reason, sizeof reason, "%s: %lld bytes, expected %lld", strchr(shard, '/') + 1,
             (long long)about.st_size - 1, (long long)about.st_size);
    check_passed_over(reason);
}

static void a_missing_shard_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    const char *shard = case_last_shard("step-00000020");
    case_command("rm %s", case_below(shard));
    char reason[2 * CASE_PATH];
    snprintf(reason, sizeof reason, "%s: No such file or directory", strchr(shard, '/') + 1);
    check_passed_over(reason);
}

static void a_missing_manifest_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command("rm %s", case_below("step-00000020/manifest.json"));
    check_passed_over("manifest.json: No such file or directory");
}

static void a_garbled_manifest_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command("printf '{ \"format\": mora' > %s", case_below("step-00000020/manifest.json"));
    check_passed_over("manifest.json:1:16: invalid token near 'mora'");
}

static void an_empty_manifest_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command(": > %s", case_below("step-00000020/manifest.json"));
    check_passed_over("manifest.json:1:0: '[' or '{' expected near end of file");
}

/* Checks that step 20 is passed over when a text in its manifest is replaced. */
static void check_edited(const char *from, const char *to, const char *reason)
{
    CASE_SAVE(10, 20);
    case_command("sed -i 's/%s/%s/' %s", from, to, case_below("step-00000020/manifest.json"));
    check_passed_over(reason);
}

static void a_changed_value_in_the_manifest_is_passed_over(void **unused)
{
    (void)unused;
    check_edited("\"data_position\": 60", "\"data_position\": 61",
                 "manifest.json: checksum differs");
}

static void a_damaged_version_of_a_manifest_is_passed_over(void **unused)
{
    (void)unused;
    check_edited("\"version\": 2", "\"version\": 3", "manifest.json: checksum differs");
}

/* What an earlier version wrote: whole, and not to be read. */
static const char version_1[] =
    "{\"format\":\"mora-checkpoint\",\"version\":1,\"step\":20,\"ranks\":1,\"state\":{\"step\":20},"
    "\"arrays\":[{\"name\":\"head/trained/m\",\"extent\":3}],\"files\":[{\"name\":"
    "\"shard-00000-of-00001.h5\",\"bytes\":8,\"sha256\":"
    "\"0000000000000000000000000000000000000000000000000000000000000000\"}],\"sha256\":"
    "\"47727616c31881ec9e5bd22e104cab8b5e03f9bb54b785ecbf82a7c5720f458c\"}";

static void a_checkpoint_of_another_version_ends_the_search(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command("rm %s/step-00000020/*", case_folder);
    case_command("printf '%%s' '%s' > %s", version_1, case_below("step-00000020/manifest.json"));
    mr_text text = {0};
    assert_on_all_ranks(case_find(&world, &text) == -2);
    assert_on_all_ranks(case_status == MR_ERR_ARG && text.length == 0);
    assert_on_all_ranks(
        strstr(mr_message(),
               "step-00000020: manifest.json: version: expected 2, found 1 (shards in HDF5): "
               "the version of mora that wrote it can go on from it"));
    mr_text_free(&text);
}

/* Checks that step 20, in which paths that contain part cannot be read, ends the search with this
 * reason, and is found once they can be. */
static void check_unreadable(const char *part, int open_error, int read_error, const char *reason)
{
    CASE_SAVE(10, 20);
    mr_text text = {0};
    calls_watch(part);
    calls_fail_to_open(open_error);
    calls_fail_to_read(read_error);
    int64_t step = case_find(&world, &text);
    calls_fail_to_open(0);
    calls_fail_to_read(0);
    bool named = strstr(mr_message(), "step-00000020") && strstr(mr_message(), reason);
    bool silent = text.length == 0;
    if (!named) print_error("%s\n", mr_message());
    mr_text_free(&text);
    assert_on_all_ranks(step == -2 && case_status == MR_ERR_IO);
    assert_on_all_ranks(named && silent);
    assert_on_all_ranks(case_found() == 20);
}

static void a_shard_that_cannot_be_opened_now_is_not_damaged(void **unused)
{
    (void)unused;
    check_unreadable("step-00000020/shard-", EACCES, 0, ".safetensors: Permission denied");
    check_unreadable("step-00000020/shard-", EIO, 0, ".safetensors: Input/output error");
    check_unreadable("step-00000020/shard-", EMFILE, 0, ".safetensors: Too many open files");
}

static void a_shard_that_cannot_be_read_now_is_not_damaged(void **unused)
{
    (void)unused;
    check_unreadable("step-00000020/shard-", 0, EIO, ".safetensors': Input/output error");
}

static void a_manifest_that_cannot_be_read_now_is_not_damaged(void **unused)
{
    (void)unused;
    check_unreadable("step-00000020/manifest", EACCES, 0, "manifest.json': Permission denied");
    check_unreadable("step-00000020/manifest", 0, EIO, "manifest.json': Input/output error");
}

static void a_shard_of_another_step_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    char from[CASE_PATH];
    snprintf(from, sizeof from, "%s", case_last_shard("step-00000010"));
    const char *shard = case_last_shard("step-00000020");
    case_command("cp %s/%s %s/%s", case_folder, from, case_folder, shard);
    char reason[CASE_PATH];
    snprintf(reason, sizeof reason, "%s: checksum differs", strchr(shard, '/') + 1);
    check_passed_over(reason);
}

static void shards_that_changed_places_are_passed_over(void **unused)
{
    (void)unused;
    if (world.size == 1) skip_because("for several ranks");
    CASE_SAVE(10, 20);
    case_command("cd %s/step-00000020 && mv shard-00000-* x && mv shard-00001-of-%05d.safetensors "
                 "shard-00000-of-%05d.safetensors && mv x shard-00001-of-%05d.safetensors",
                 case_folder, world.size, world.size, world.size);
    check_passed_over("shard-00000-of-");
}

static void a_folder_in_place_of_a_shard_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    const char *shard = case_last_shard("step-00000020");
    case_command("rm %s && mkdir %s", case_below(shard), case_below(shard));
    char reason[CASE_PATH];
    snprintf(reason, sizeof reason, "%s: not a regular file", strchr(shard, '/') + 1);
    check_passed_over(reason);
}

static void a_shard_that_changes_while_it_is_read_is_told(void **unused)
{
    (void)unused;
    CASE_SAVE(20);
    mr_checkpoint *checkpoint = case_open_newest();
    case_command("sleep 0.05"); /* the clock of file systems is a coarse one */
    case_flip(case_last_shard("step-00000020"), -1);
    bool read = case_reads_range(checkpoint, 3, 0, case_extents[3]);
    mr_checkpoint_close(&checkpoint);
    assert_on_all_ranks(!read);
    assert_on_all_ranks(
        strstr(mr_message(), ".safetensors: it has been changed since its checksum was tested"));
}

static void a_link_that_leads_nowhere_is_no_empty_folder(void **unused)
{
    (void)unused;
    case_command("mkdir sub && ln -s nowhere %s", case_folder);
    assert_on_all_ranks(case_found() == -2 && case_status == MR_ERR_IO);
    assert_on_all_ranks(strstr(mr_message(), "run.checkpoints' is a link that leads nowhere"));
}

static void a_manifest_of_another_format_is_passed_over(void **unused)
{
    (void)unused;
    check_edited("mora-checkpoint", "other",
                 "manifest.json: format: expected 'mora-checkpoint', found 'other'");
}

static void a_manifest_without_its_checksum_is_passed_over(void **unused)
{
    (void)unused;
    check_edited(
        "^ \"sha256\":", " \"other\":", "manifest.json: sha256: expected a string, found nothing");
}

static void a_folder_of_another_step_is_passed_over(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 15);
    case_command("mv %s/step-00000015 %s/step-00000020", case_folder, case_folder);
    check_passed_over("manifest.json: step: expected 20, found 15");
}

static void no_flipped_byte_of_a_manifest_changes_what_is_read(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    struct stat about = {0};
    stat(case_below("step-00000020/manifest.json"), &about);
    bool sound = true;
    for (long at = 0; at < (long)about.st_size; at += 3) {
        case_flip("step-00000020/manifest.json", at);
        int64_t step = case_found(); /* step 20 where only the form of the text has changed */
        sound = sound && (step == 10 || step == 20);
        case_flip("step-00000020/manifest.json", at);
    }
    assert_on_all_ranks(sound);
}

static void what_a_killed_writer_left_is_ignored_and_then_removed(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    case_command("cp -r %s/step-00000020 %s/.step-00000030.partial", case_folder, case_folder);
    assert_on_all_ranks(case_found() == 20);
    assert_on_all_ranks(case_there(".step-00000030.partial"));
    CASE_SAVE(25);
    assert_on_all_ranks(!case_there(".step-00000030.partial"));
}

static void a_checkpoint_about_to_be_replaced_is_found_and_comes_back(void **unused)
{
    (void)unused;
    CASE_SAVE(20);
    case_command("mv %s/step-00000020 %s/.step-00000020.replaced", case_folder, case_folder);
    assert_on_all_ranks(case_found() == 20);
    CASE_SAVE(30);
    assert_on_all_ranks(case_there("step-00000020") && !case_there(".step-00000020.replaced"));
}

static void what_was_replaced_is_removed_at_last(void **unused)
{
    (void)unused;
    CASE_SAVE(20);
    case_command("cp -r %s/step-00000020 %s/.step-00000020.replaced", case_folder, case_folder);
    CASE_SAVE(30);
    assert_on_all_ranks(case_there("step-00000020") && !case_there(".step-00000020.replaced"));
}

static void files_of_others_are_never_removed(void **unused)
{
    (void)unused;
    CASE_SAVE(10);
    case_command("mkdir %s/.step-00000015.partial %s/other", case_folder, case_folder);
    case_command("touch %s/.step-00000015.partial/notes.txt %s/step-notes", case_folder,
                 case_folder);
    CASE_SAVE(20, 30, 40);
    assert_on_all_ranks(case_there(".step-00000015.partial/notes.txt") &&
                        case_there("step-notes") && case_there("other"));
    assert_on_all_ranks(case_found() == 40);
}

static void a_writer_destroyed_in_the_middle_leaves_nothing(void **unused)
{
    (void)unused;
    CASE_SAVE(10);
    mr_checkpointer *cp = case_writer(&world, 2, true);
    int64_t step = 20;
    json_t *state = json_object();
    case_status = mr_checkpointer_start(cp, step, state, case_read, &step);
    mr_checkpointer_destroy(&cp);
    json_decref(state);
    assert_on_all_ranks(case_status == MR_OK && !cp);
    assert_on_all_ranks(!case_there(".step-00000020.partial") && !case_there("step-00000020"));
    assert_on_all_ranks(case_found() == 10);
}

static struct rlimit old_limit;

static void limit_files(rlim_t bytes)
{
    struct rlimit small;
    getrlimit(RLIMIT_FSIZE, &old_limit);
    small = old_limit;
    small.rlim_cur = bytes;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
}

static void lift_limit(void)
{
    setrlimit(RLIMIT_FSIZE, &old_limit);
    signal(SIGXFSZ, SIG_DFL);
}

/* Called when the shard has been created: what fails after it is the writing of its data. */
static void read_and_limit(void *context, int slab, int64_t first, int64_t count, float *out)
{
    if (slab == 0 && world.rank == world.size - 1) limit_files(4096);
    case_read(context, slab, first, count, out);
}

/* Checks that saving step 20 failed with this message on all ranks, that nothing is left of it and
 * step 10 stands, and that the writer can do it again. Destroys the writer. */
static void check_failed(mr_checkpointer **cp, mr_status result, const char *expected)
{
    char other[MR_MESSAGE_MAX];
    snprintf(other, sizeof other, "%s", mr_message());
    mr_comm_broadcast(&world, other, sizeof other, 0);
    bool told = strcmp(other, mr_message()) == 0 && strstr(other, expected);
    bool gone = !case_there(".step-00000020.partial") && case_found() == 10;
    mr_comm_barrier(&world);
    mr_status again = case_save(*cp, 20);
    mr_checkpointer_destroy(cp);
    assert_on_all_ranks(result == MR_ERR_IO && told);
    assert_on_all_ranks(gone);
    assert_on_all_ranks(again == MR_OK);
    assert_on_all_ranks(case_found() == 20);
}

static void a_writer_failing_on_one_rank_is_reported_on_all(void **unused)
{
    (void)unused;
    CASE_SAVE(10);
    char expected[3 * CASE_PATH];
    snprintf(expected, sizeof expected, "cannot write '%s/.%s': File too large", case_folder,
             case_last_shard("step-00000020.partial"));
    mr_checkpointer *cp = case_writer(&world, 2, true);
    int64_t step = 20;
    json_t *state = json_object();
    case_status = mr_checkpointer_start(cp, step, state, read_and_limit, &step);
    mr_status result = case_status == MR_OK ? mr_checkpointer_finish(cp) : MR_OK;
    if (world.rank == world.size - 1) lift_limit();
    json_decref(state);
    check_failed(&cp, result, expected);
}

static void a_shard_that_cannot_be_created_on_one_rank_is_reported_on_all(void **unused)
{
    (void)unused;
    CASE_SAVE(10);
    mr_checkpointer *cp = case_writer(&world, 2, true);
    if (world.rank == world.size - 1) limit_files(4096);
    mr_status result = case_save(cp, 20);
    if (world.rank == world.size - 1) lift_limit();
    check_failed(&cp, result, ".safetensors': File too large");
}

static void a_folder_that_cannot_be_made_is_reported(void **unused)
{
    (void)unused;
    case_command("touch sub");
    mr_checkpointer *cp = case_writer(&world, 2, true);
    case_status = case_save(cp, 20);
    mr_checkpointer_destroy(&cp);
    bool told = strstr(mr_message(), "cannot make folder '") && strstr(mr_message(), case_folder);
    case_command("rm sub");
    assert_on_all_ranks(case_status == MR_ERR_IO && told);
}

/* Leaves pages of 4096 bytes free in the small file system; returns false where it is too full. */
static bool leave_free(const char *mount_point, int pages, int all_pages)
{
    char path[2 * CASE_PATH];
    snprintf(path, sizeof path, "%s/filler", mount_point);
    unlink(path);
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    setvbuf(file, NULL, _IONBF, 0);
    static const char page[4096];
    int written = 0;
    while (written < all_pages && fwrite(page, sizeof page, 1, file) == 1)
        written++;
    fclose(file);
    return written > pages && truncate(path, (written - pages) * 4096L) == 0;
}

static void a_full_disk_leaves_the_checkpoint_before(void **unused)
{
    (void)unused;
    enum { PAGES = 256 };
    static const char disk[] = "sub";
    case_command("mkdir %s", disk);
    int mounted = 0;
    if (world.rank == 0) mounted = mount("none", disk, "tmpfs", 0, "size=1m") == 0;
    MPI_Bcast(&mounted, 1, MPI_INT, 0, world.handle);
    if (!mounted) skip_because("a file system cannot be mounted");
    CASE_SAVE(10);
    mr_checkpointer *cp = case_writer(&world, 2, true);
    int failed = 0, other_message = 0, damaged = 0;
    for (int pages = 0;; pages++) {
        if (world.rank == 0 && !leave_free(disk, pages, PAGES)) mr_abort("cannot fill the disk");
        mr_comm_barrier(&world);
        case_status = case_save(cp, 20);
        if (case_status == MR_OK) break;
        failed++;
        if (case_status != MR_ERR_IO || !strstr(mr_message(), "No space left on device"))
            other_message++;
        if (case_found() != 10 || case_there(".step-00000020.partial")) damaged++;
    }
    mr_checkpointer_destroy(&cp);
    int64_t step = case_found();
    mr_comm_barrier(&world);
    if (world.rank == 0 && umount(disk) != 0) mr_abort("cannot unmount");
    mr_comm_barrier(&world);
    assert_on_all_ranks(failed > 10 && other_message == 0 && damaged == 0);
    assert_on_all_ranks(step == 20);
}

/* Goes on from the newest checkpoint, and now and then saves a step again. */
static void save_until_killed(void)
{
    int64_t step = case_find(&case_alone, NULL);
    if (step == -2) _exit(1);
    mr_checkpointer *cp = case_writer(&case_alone, 1, true);
    for (int64_t i = 0;; i++) {
        if (i % 3 != 2) step++;
        if (case_save(cp, step < 1 ? 1 : step) != MR_OK) _exit(1);
    }
}

/* The newest step that stands under its final name, -1 where there is none. */
static int64_t newest_step(void)
{
    int64_t newest = -1;
    DIR *list = opendir(case_folder);
    if (!list) return newest;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        long long step;
        char rest;
        if (sscanf(entry->d_name, "step-%lld%c", &step, &rest) == 1 && step > newest) newest = step;
    }
    closedir(list);
    return newest;
}

static void a_killed_writer_always_leaves_a_sound_checkpoint(void **unused)
{
    (void)unused;
    enum { KILLS = 50, MOST_WAITS = 60000 };
    if (world.size > 1) skip_because("for one rank");
    mr_random random = mr_random_stream(5, MR_RANDOM_DATA, 0);
    int64_t last = -1;
    for (uint64_t i = 0; i < KILLS; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) save_until_killed();
        /* Every other time it gets as far as a new checkpoint, however slow the disk is. */
        for (int waits = 0; i % 2 == 0 && newest_step() <= last && waits < MOST_WAITS; waits++)
            test_nap(0.001);
        test_nap(0.005 + 0.075 * mr_random_uniform(&random, i));
        kill(child, SIGKILL);
        assert_true(WIFSIGNALED(case_wait(child)));
        mr_text text = {0};
        int64_t step = case_find(&case_alone, &text);
        bool clean = text.length == 0;
        mr_text_free(&text);
        assert_true(clean);
        assert_true(step >= last && step != -2);
        last = step;
    }
    assert_true(last >= KILLS / 2);
}

#define TEST(function) cmocka_unit_test_teardown(function, case_clear)

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    mr_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        TEST(damage_of_the_one_checkpoint_asked_for_is_an_error),
        TEST(the_one_checkpoint_asked_for_must_have_a_manifest),
        TEST(a_shard_with_a_flipped_byte_is_passed_over),
        TEST(the_first_damaged_shard_is_the_one_named),
        TEST(a_short_shard_is_passed_over),
        TEST(a_missing_shard_is_passed_over),
        TEST(a_missing_manifest_is_passed_over),
        TEST(a_garbled_manifest_is_passed_over),
        TEST(an_empty_manifest_is_passed_over),
        TEST(a_changed_value_in_the_manifest_is_passed_over),
        TEST(a_damaged_version_of_a_manifest_is_passed_over),
        TEST(a_checkpoint_of_another_version_ends_the_search),
        TEST(a_shard_that_cannot_be_opened_now_is_not_damaged),
        TEST(a_shard_that_cannot_be_read_now_is_not_damaged),
        TEST(a_manifest_that_cannot_be_read_now_is_not_damaged),
        TEST(a_shard_of_another_step_is_passed_over),
        TEST(shards_that_changed_places_are_passed_over),
        TEST(a_folder_in_place_of_a_shard_is_passed_over),
        TEST(a_shard_that_changes_while_it_is_read_is_told),
        TEST(a_link_that_leads_nowhere_is_no_empty_folder),
        TEST(a_manifest_of_another_format_is_passed_over),
        TEST(a_manifest_without_its_checksum_is_passed_over),
        TEST(a_folder_of_another_step_is_passed_over),
        TEST(no_flipped_byte_of_a_manifest_changes_what_is_read),
        TEST(what_a_killed_writer_left_is_ignored_and_then_removed),
        TEST(a_checkpoint_about_to_be_replaced_is_found_and_comes_back),
        TEST(what_was_replaced_is_removed_at_last),
        TEST(files_of_others_are_never_removed),
        TEST(a_writer_destroyed_in_the_middle_leaves_nothing),
        TEST(a_writer_failing_on_one_rank_is_reported_on_all),
        TEST(a_shard_that_cannot_be_created_on_one_rank_is_reported_on_all),
        TEST(a_folder_that_cannot_be_made_is_reported),
        TEST(a_full_disk_leaves_the_checkpoint_before),
        TEST(a_killed_writer_always_leaves_a_sound_checkpoint),
    };
    return ranks_end(cmocka_run_group_tests(tests, case_make, case_remove));
}
