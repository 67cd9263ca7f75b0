#include "ranks.h"

#include "folder.h"

#include <stdlib.h>
#include <unistd.h>

mr_comm world;

void ranks_begin(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    must(mr_comm_create(MPI_COMM_WORLD, &world));
    test_set_peers(world.size > 1);
    if (world.rank > 0 && !freopen("/dev/null", "w", stdout)) mr_abort("cannot silence stdout");
}

int ranks_end(int failed_tests)
{
    int failed = failed_tests != 0, any = 0;
    if (mr_memory_live_total() != 0) {
        fprintf(stderr, "rank %d: %zu bytes are still held\n", world.rank, mr_memory_live_total());
        failed = 1;
    }
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, world.handle);
    mr_comm_destroy(&world);
    MPI_Finalize();
    return any ? EXIT_FAILURE : EXIT_SUCCESS;
}

int ranks_enter_folder(void **state)
{
    char path[4096] = "";
    if (world.rank == 0 && folder_enter(state) == 0 && !getcwd(path, sizeof path)) path[0] = '\0';
    mr_comm_broadcast(&world, path, sizeof path, 0);
    return path[0] && (world.rank == 0 || chdir(path) == 0) ? 0 : -1;
}

int ranks_leave_folder(void **state)
{
    if (world.rank > 0 && chdir("..") != 0) return -1;
    mr_comm_barrier(&world);
    return world.rank == 0 ? folder_leave(state) : 0;
}

void ranks_assert(bool holds, const char *condition, const char *file, int line)
{
    int mine = holds ? world.size : world.rank, first;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world.handle);
    if (first == world.size) return;
    if (world.rank == first)
        print_error("%s:%d: does not hold on rank %d of %d: %s\n", file, line, first, world.size,
                    condition);
    _fail(file, line);
}
