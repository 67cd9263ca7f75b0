#include "checkpoint_case.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const case_names[CASE_TENSORS] = {"weights", "moments/first", "moments/none", "tail"};
const int64_t case_extents[CASE_TENSORS] = {CASE_LARGEST, 3, 0, 37};

enum { CASE_ROWS = 200 /* of tensor 0 */, CASE_HALVES = 1 /* a tensor in BF16 */ };

const char case_folder[] = "sub/run.checkpoints";
mr_comm case_groups[4 + 1];
mr_status case_status;
const mr_comm case_alone = {.handle = MPI_COMM_NULL, .rank = 0, .size = 1};

static float case_value(int tensor, int64_t step, int64_t i)
{
    if (tensor == CASE_HALVES) return (float)(i * 7 + step % 64);
    return (float)(i * 7 + tensor) + (float)step / 1024.0f;
}

mr_checkpoint_slab case_slab(int tensor, int64_t first, int64_t count)
{
    mr_checkpoint_slab slab = {
        .name = case_names[tensor], .dims = 1, .first = first, .count = count};
    if (tensor == CASE_HALVES) slab.dtype = MR_SAFETENSORS_BF16;
    slab.shape[0] = case_extents[tensor];
    if (tensor == 0) {
        slab.dims = 2;
        slab.shape[0] = CASE_ROWS;
        slab.shape[1] = case_extents[tensor] / CASE_ROWS;
    }
    return slab;
}

void case_cut(const mr_comm *comm, mr_checkpoint_slab slabs[CASE_TENSORS])
{
    for (int i = 0; i < CASE_TENSORS; i++) {
        int64_t first = case_extents[i] * comm->rank / comm->size;
        int64_t end = case_extents[i] * (comm->rank + 1) / comm->size;
        if (i == 1) {
            first = 0;
            end = comm->rank == comm->size - 1 ? case_extents[i] : 0;
        }
        slabs[i] = case_slab(i, first, end - first);
    }
}

void case_read(void *context, int slab, int64_t first, int64_t count, float *out)
{
    int64_t step = *(const int64_t *)context;
    for (int64_t i = 0; i < count; i++)
        out[i] = case_value(slab, step, first + i);
}

mr_checkpointer *case_writer(const mr_comm *comm, int64_t keep, bool staged)
{
    mr_checkpoint_slab slabs[CASE_TENSORS];
    mr_checkpointer *cp;
    case_cut(comm, slabs);
    size_t staging = staged ? CASE_TENSORS * CASE_LARGEST * sizeof(float) : 0;
    must(mr_checkpointer_create(comm, case_folder, keep, slabs, CASE_TENSORS, staging, &cp));
    return cp;
}

mr_status case_save(mr_checkpointer *cp, int64_t step)
{
    json_t *state = json_pack("{s:I, s:f}", "data_position", (json_int_t)3 * step, "lr", 0.1);
    mr_status result = mr_checkpointer_start(cp, step, state, case_read, &step);
    json_decref(state);
    return result == MR_OK ? mr_checkpointer_finish(cp) : result;
}

void case_save_steps(const mr_comm *comm, int count, const int64_t *steps)
{
    mr_checkpointer *cp = case_writer(comm, 2, true);
    for (int i = 0; i < count; i++)
        must(case_save(cp, steps[i]));
    mr_checkpointer_destroy(&cp);
}

/* What a sink has been given. */
typedef struct taken {
    int64_t next;
    float values[CASE_LARGEST];
} taken;

static void take(void *context, int slab, int64_t first, int64_t count, const float *values)
{
    taken *out = context;
    if (slab != 0 || first != out->next) mr_abort("piece of slab %d out of order", slab);
    memcpy(&out->values[first], values, (size_t)count * sizeof *values);
    out->next += count;
}

bool case_reads_range(mr_checkpoint *checkpoint, int tensor, int64_t first, int64_t count)
{
    static taken out;
    const mr_checkpoint_slab slab = case_slab(tensor, first, count);
    memset(&out, 0xff, sizeof out);
    out.next = first;
    if (mr_checkpoint_read(checkpoint, &slab, 1, take, &out) != MR_OK) return false;
    if (out.next != first + count) return false;
    for (int64_t i = first; i < first + count; i++)
        if (out.values[i] != case_value(tensor, mr_checkpoint_step(checkpoint), i)) return false;
    return true;
}

/* Tells whether all of a checkpoint is as it was saved. */
static bool is_intact(mr_checkpoint *checkpoint)
{
    for (int i = 0; i < CASE_TENSORS; i++)
        if (!case_reads_range(checkpoint, i, 0, case_extents[i])) return false;
    return json_integer_value(json_object_get(mr_checkpoint_state(checkpoint), "data_position")) ==
           3 * mr_checkpoint_step(checkpoint);
}

int64_t case_find(const mr_comm *comm, mr_text *passed_over)
{
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(comm, case_folder, &checkpoint, passed_over);
    if (case_status != MR_OK) return -2;
    if (!checkpoint) return -1;
    int64_t step = is_intact(checkpoint) ? mr_checkpoint_step(checkpoint) : -2;
    mr_checkpoint_close(&checkpoint);
    return step;
}

int64_t case_found(void)
{
    return case_find(&world, NULL);
}

mr_checkpoint *case_open_newest(void)
{
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(&world, case_folder, &checkpoint, NULL);
    assert_on_all_ranks(case_status == MR_OK && checkpoint);
    return checkpoint;
}

const char *case_below(const char *name)
{
    static char path[2 * CASE_PATH];
    snprintf(path, sizeof path, "%s/%s", case_folder, name);
    return path;
}

bool case_there(const char *name)
{
    return access(case_below(name), F_OK) == 0;
}

const char *case_last_shard(const char *step)
{
    static char name[CASE_PATH];
    snprintf(name, sizeof name, "%s/shard-%05d-of-%05d.safetensors", step, world.size - 1,
             world.size);
    return name;
}

void case_command(const char *fmt, ...)
{
    char text[4 * CASE_PATH];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    mr_comm_barrier(&world);
    int code = world.rank == 0 ? system(text) : 0;
    MPI_Bcast(&code, 1, MPI_INT, 0, world.handle);
    assert_int_equal(code, 0);
}

void case_flip(const char *name, long at)
{
    mr_comm_barrier(&world);
    if (world.rank == 0) {
        FILE *file = fopen(case_below(name), "r+b");
        int byte = EOF;
        if (file && fseek(file, at, at < 0 ? SEEK_END : SEEK_SET) == 0) byte = fgetc(file);
        if (byte == EOF || fseek(file, -1, SEEK_CUR) != 0 || fputc(byte ^ 0x10, file) == EOF)
            mr_abort("cannot flip a byte of %s", name);
        fclose(file);
    }
    mr_comm_barrier(&world);
}

int case_make(void **unused)
{
    for (int n = 1; n <= world.size; n++) {
        MPI_Comm part;
        MPI_Comm_split(world.handle, world.rank < n ? 0 : MPI_UNDEFINED, world.rank, &part);
        if (part == MPI_COMM_NULL) continue;
        if (mr_comm_create(part, &case_groups[n]) != MR_OK) return -1;
        MPI_Comm_free(&part);
    }
    return ranks_enter_folder(unused);
}

int case_clear(void **unused)
{
    (void)unused;
    mr_comm_barrier(&world);
    int code = world.rank == 0 ? system("rm -rf sub") : 0;
    mr_comm_barrier(&world);
    return code;
}

int case_remove(void **unused)
{
    case_clear(unused);
    for (int n = 1; n <= world.size; n++)
        if (world.rank < n) mr_comm_destroy(&case_groups[n]);
    return ranks_leave_folder(unused);
}

int case_wait(pid_t child)
{
    int code;
    while (waitpid(child, &code, 0) < 0)
        assert_int_equal(errno, EINTR);
    return code;
}
