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

static double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* Takes steps to the next multiple of log.spectrum_every; *seconds gets what they took with all
 * that is under way. */
static mr_status block(mr_trainer *t, mr_spectra *spectra, bool with, double *seconds)
{
    const int64_t every = t->config->log.spectrum_every;
    const int64_t tokens = t->config->train.global_batch * t->seq_len;
    mr_status status = MR_OK;
    mr_step_result result;
    mr_comm_barrier(t->comm);
    const double began = mr_clock();
    if (with) MR_TRY(mr_spectra_take(spectra));
    do
        status = mr_trainer_compute(t, tokens, &result);
    while (status == MR_OK && t->step % every != 0);
    if (status == MR_OK) status = mr_spectra_collect(spectra);
    if (status == MR_OK) status = mr_spectra_flush(spectra);
    mr_comm_barrier(t->comm);
    *seconds = mr_clock() - began;
    return status;
}

static mr_status measure(mr_trainer *t, mr_spectra *spectra, int64_t pairs, mr_spectra_cost *cost)
{
    double *more = mr_alloc_array(MR_MEM_OTHER, 2 * (size_t)pairs, sizeof *more), with, without;
    MR_AGREE(t->comm, more ? MR_OK : MR_ERR_MEMORY);
    double *alone = more + pairs;
    /* To a multiple, and the base's facts, which are computed once. */
    mr_status status = block(t, spectra, false, &without);
    if (status == MR_OK) status = block(t, spectra, true, &with);
    for (int64_t i = 0; i < pairs && status == MR_OK; i++) {
        /* In the order A B, B A, ..: what drifts with time falls on both. */
        status = block(t, spectra, i % 2 > 0, i % 2 > 0 ? &with : &without);
        if (status == MR_OK) status = block(t, spectra, i % 2 == 0, i % 2 > 0 ? &without : &with);
        more[i] = with - without;
        mr_comm_barrier(t->comm);
        const double began = mr_clock();
        if (status == MR_OK) status = mr_spectra_take(spectra);
        if (status == MR_OK) status = mr_spectra_collect(spectra);
        if (status == MR_OK) status = mr_spectra_flush(spectra);
        alone[i] = mr_clock() - began;
        if (status == MR_OK) status = block(t, spectra, false, &without);
    }
    if (status == MR_OK) {
        cost->seconds = median(more, pairs);
        cost->alone = median(alone, pairs);
        for (int64_t g = 0; g < spectra->layout.groups; g++)
            cost->linears += spectra->layout.group[g].layers;
    }
    mr_free(more);
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
