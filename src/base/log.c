#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE = 4096 };

static bool quiet_process;
static bool bar_stands;
static double bar_drawn_at;
static int64_t tenth_printed = -1;
static double plain_printed_at;

void mr_log_set_quiet(bool quiet)
{
    quiet_process = quiet;
}

static void wipe_bar(void)
{
    if (!bar_stands) return;
    fputs("\r\033[K", stderr);
    bar_stands = false;
}

/* Prints one line. What it quotes may be of others, a name in a file or a text in a configuration,
 * and must not steer the terminal. Memory may be what is short. */
static void print_line(const char *prefix, const char *text)
{
    char line[LINE];
    size_t length = 0, left = strlen(text);
    line[0] = '\0';
    while (left > 0 && length + MR_TEXT_CLEAN <= sizeof line) {
        int taken = mr_text_clean(text, left, false, line + length);
        length += strlen(line + length);
        text += taken;
        left -= (size_t)taken;
    }
    wipe_bar();
    fprintf(stderr, "%s%s\n", prefix, line);
}

void mr_log(const char *fmt, ...)
{
    char text[LINE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!quiet_process) print_line("mora: ", text);
}

void mr_warn(const char *fmt, ...)
{
    static char last[LINE];
    char text[LINE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (quiet_process || strcmp(text, last) == 0) return;
    memcpy(last, text, sizeof last);
    print_line("mora: warning: ", text);
}

void mr_log_error(mr_status status)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "mora: error: %s: ", mr_status_name(status));
    if (!quiet_process) print_line(prefix, mr_message());
}

static int terminal_columns(void)
{
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) return window.ws_col;
    return 80;
}

void mr_log_progress(const char *what, int64_t done, int64_t total, const char *text)
{
    if (quiet_process || total <= 0) return;
    if (!isatty(STDERR_FILENO)) {
        /* A line each tenth, and each minute where that is sooner. */
        int64_t tenth = done * 10 / total;
        double time = mr_clock();
        if ((tenth == tenth_printed && time - plain_printed_at < 60) || done == 0) return;
        tenth_printed = tenth;
        plain_printed_at = time;
        fprintf(stderr, "mora: %s %lld/%lld %s\n", what, (long long)done, (long long)total, text);
        return;
    }
    double now = mr_clock();
    if (bar_stands && done < total && now - bar_drawn_at < 0.1) return;
    bar_drawn_at = now;

    enum { CELLS = 20 };
    char cells[CELLS + 1];
    int filled = (int)(done * CELLS / total);
    memset(cells, '.', CELLS);
    memset(cells, '=', (size_t)filled);
    cells[CELLS] = '\0';
    char line[512];
    int length = snprintf(line, sizeof line, " [%s] %lld/%lld %s", cells, (long long)done,
                          (long long)total, text);
    /* Where there is no room for all, the name is cut, not the figures. */
    int columns = terminal_columns() - 1, named = columns - length;
    fprintf(stderr, "\r\033[K%.*s%.*s", named > 8 ? named : 8, what, columns, line);
    fflush(stderr);
    bar_stands = true;
}

void mr_log_progress_end(void)
{
    if (bar_stands) fputc('\n', stderr);
    bar_stands = false;
    tenth_printed = -1;
    plain_printed_at = 0;
}
