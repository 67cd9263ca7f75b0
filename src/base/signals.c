#include "base/signals.h"

#include "base/clock.h"
#include "base/status.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

static const double SLIP_SECONDS = 0.5;

static volatile sig_atomic_t caught;

static void note(int number)
{
    if (!caught) caught = number;
}

/* Once may be a slip and asks; twice is meant. `timeout -s INT` sends two at once: those are one.
 */
static void note_interrupt(int number)
{
    static const char said[] =
        "\nmora: asked to stop: it ends after this step, at a checkpoint; once more ends it now\n";
    static double first;
    int kept = errno;
    double now = mr_clock();
    if (first == 0) {
        first = now;
        bool told = isatty(STDERR_FILENO) && write(STDERR_FILENO, said, sizeof said - 1) > 0;
        (void)told;
    } else if (now - first > SLIP_SECONDS) {
        signal(number, SIG_DFL);
        raise(number);
    }
    note(number);
    errno = kept;
}

static void set(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    int failed = sigaction(number, &action, NULL);
    MR_INVARIANT(!failed);
}

static bool is_ignored(int number)
{
    struct sigaction action;
    int failed = sigaction(number, NULL, &action);
    MR_INVARIANT(!failed);
    return action.sa_handler == SIG_IGN;
}

void mr_signals_ignore_failed_writes(void)
{
    set(SIGPIPE, SIG_IGN);
    set(SIGXFSZ, SIG_IGN);
}

void mr_signals_catch(int also)
{
    set(SIGTERM, note);
    set(SIGXCPU, note);
    if (!is_ignored(SIGHUP)) set(SIGHUP, note);
    if (!is_ignored(SIGINT)) set(SIGINT, note_interrupt);
    set(also, note);
}

int mr_signals_caught(void)
{
    return caught;
}
