#include "base/signals.h"

#include "base/status.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught;

static void note(int number)
{
    if (!caught) caught = number;
}

static void catch_one(int number)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    int failed = sigaction(number, &action, NULL);
    MR_INVARIANT(!failed);
}

void mr_signals_catch(int also)
{
    catch_one(SIGTERM);
    catch_one(also);
}

int mr_signals_caught(void)
{
    return caught;
}
