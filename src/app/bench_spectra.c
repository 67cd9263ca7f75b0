#include "app/bench_spectra.h"

#include "base/clock.h"
#include "train/spectra.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double mr_bench_median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* Writes a snapshot that is worked off. */
static mr_status end_snapshot(mr_spectra *spectra)
{
    MR_TRY(mr_spectra_collect(spectra));
    return mr_spectra_flush(spectra);
}

mr_status mr_bench_step(mr_trainer *t, double *seconds, double *behind)
{
    mr_step_result result;
    mr_comm_barrier(t->comm);
    const double began = mr_clock();
    mr_status status = mr_trainer_compute(t, t->config->train.global_batch * t->seq_len, &result);
    /* The update is still queued on a device: the next step would wait for it. */
    if (status == MR_OK) status = t->be->ops->synchronize(t->be);
    const double done = mr_clock();
    mr_comm_barrier(t->comm);
    const double end = mr_clock();
    *seconds = end - began;
    if (behind) *behind = end - done;
    return mr_comm_agree(t->comm, status);
}

/* A snapshot, and steps until `plain` [count] of them had none under way. The first step after its
 * start counts as one beside it: it finds other things in the caches. */
static mr_status measure_pair(mr_trainer *t, mr_spectra *spectra, double *plain, int64_t count,
                              mr_spectra_cost *cost)
{
    bool under_way = true;
    *cost = (mr_spectra_cost){.linears = 0};
    mr_comm_barrier(t->comm);
    const double began = mr_clock();
    MR_TRY(mr_spectra_take(spectra));
    cost->calls = mr_clock() - began;
    for (int64_t done = 0; done < count;) {
        double seconds;
        MR_TRY(mr_bench_step(t, &seconds, NULL));
        if (!under_way) {
            plain[done++] = seconds;
            continue;
        }
        cost->beside += seconds;
        cost->steps++;
        under_way = mr_comm_any(t->comm, mr_spectra_busy(spectra));
        if (under_way) continue;
        const double idle = mr_clock();
        MR_TRY(end_snapshot(spectra));
        cost->calls += mr_clock() - idle;
    }
    cost->step = mr_bench_median(plain, count);
    cost->beside -= cost->steps * cost->step;
    cost->seconds = cost->calls + cost->beside;
    return MR_OK;
}

static int by_seconds(const void *a, const void *b)
{
    return by_value(&((const mr_spectra_cost *)a)->seconds, &((const mr_spectra_cost *)b)->seconds);
}

static mr_status measure(mr_trainer *t, mr_spectra *spectra, int64_t pairs, mr_spectra_cost *cost)
{
    double *seconds = mr_alloc_array(MR_MEM_OTHER, (size_t)pairs, sizeof *seconds);
    mr_spectra_cost *all = mr_alloc_array(MR_MEM_OTHER, (size_t)pairs, sizeof *all);
    mr_status status = mr_comm_agree(t->comm, seconds && all ? MR_OK : MR_ERR_MEMORY);
    /* The first one, which computes the facts of the base, makes the file and is not counted. */
    if (status == MR_OK) status = measure_pair(t, spectra, seconds, 1, all);
    for (int64_t i = 0; i < pairs && status == MR_OK; i++)
        status = measure_pair(t, spectra, seconds, pairs, &all[i]);
    if (status == MR_OK) {
        for (int64_t i = 0; i < pairs; i++)
            seconds[i] = all[i].step;
        qsort(all, (size_t)pairs, sizeof *all, by_seconds);
        *cost = all[pairs / 2];
        cost->step = mr_bench_median(seconds, pairs);
        for (int64_t g = 0; g < spectra->layout.groups; g++)
            cost->linears += spectra->layout.group[g].layers;
    }
    mr_free(seconds);
    mr_free(all);
    return status;
}

/* Makes the path a file of rank 0 for the time of the measurement. */
static mr_status take_file(mr_spectra *spectra)
{
    const char *place = getenv("TMPDIR");
    int length = snprintf(spectra->path, sizeof spectra->path, "%s/mora-bench-XXXXXX",
                          place && place[0] ? place : "/tmp");
    MR_CHECK(length < (int)sizeof spectra->path, MR_ERR_IO, "TMPDIR: %d bytes are too long a path",
             length);
    int handle = mkstemp(spectra->path);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot make a file '%s': %s", spectra->path, strerror(errno));
    close(handle);
    unlink(spectra->path);
    return MR_OK;
}

mr_status mr_bench_spectra(mr_trainer *t, int64_t pairs, mr_spectra_cost *cost)
{
    const bool root = t->comm->rank == 0;
    mr_record record = {.config = t->config, .trainer = t};
    mr_spectra spectra;
    *cost = (mr_spectra_cost){.linears = 0};
    mr_status status = mr_spectra_begin(&spectra, t, &record, false);
    if (status == MR_OK) status = mr_comm_agree_root(t->comm, root ? take_file(&spectra) : MR_OK);
    if (status == MR_OK) status = measure(t, &spectra, pairs, cost);
    if (root) unlink(spectra.path);
    mr_spectra_free(&spectra);
    return status;
}
