#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE = 4096, MOST_CELLS = 20 /* of a bar */ };

static bool quiet_process;
static mr_progress progress;
static char part[64];  /* what stands before names, or "" */
static char bar[2048]; /* as it was last put together; "": none since the last end */
static bool bar_stands;
static int figures_room; /* columns of the bar */
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

void mr_log_set_progress(mr_progress how)
{
    progress = how;
}

void mr_log_set_part(const char *text)
{
    snprintf(part, sizeof part, "%s", text);
}

/* Columns of the terminal that stderr is, or leads to. */
static int terminal_columns(void)
{
    enum { DEFAULT = 80, LEAST = 20, MOST = 400 };
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) return window.ws_col;
    const char *said = getenv("COLUMNS");
    long columns = said ? strtol(said, NULL, 10) : 0;
    return columns >= LEAST && columns <= MOST ? (int)columns : DEFAULT;
}

/* A line being put together, with the columns it takes. */
typedef struct line {
    char text[2048];
    size_t length;
    int columns;
} line;

/* Columns of a character, cleaned: two of those of East Asia and of pictures. */
static int columns_of_one(const char *clean)
{
    static const uint32_t wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},  {0xac00, 0xd7a3},
                                       {0xf900, 0xfaff},   {0xfe30, 0xfe6f},  {0xff00, 0xff60},
                                       {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
    uint32_t point = 0;
    size_t length = strlen(clean);
    if (mr_utf8_decode(clean, length, &point) != (int)length) return (int)length; /* \xNN */
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (point >= wide[i][0] && point <= wide[i][1]) return 2;
    return 1;
}

/* Appends what of a text has room in so many columns. */
static void add(line *to, const char *text, int most)
{
    for (size_t left = strlen(text); left > 0 && to->length + MR_TEXT_CLEAN <= sizeof to->text;) {
        char clean[MR_TEXT_CLEAN];
        int taken = mr_text_clean(text, left, false, clean), columns = columns_of_one(clean);
        if (columns > most) return;
        memcpy(to->text + to->length, clean, strlen(clean));
        to->length += strlen(clean);
        to->columns += columns;
        most -= columns;
        text += taken;
        left -= (size_t)taken;
    }
}

static int columns_of(const char *text)
{
    line measured = {.length = 0};
    add(&measured, text, INT_MAX);
    return measured.columns;
}

/* Appends a text; of one that has no room its end, which is where names differ. */
static void add_end(line *to, const char *text, int most)
{
    bool cut = columns_of(text) > most && most > 2;
    if (cut) add(to, "..", 2);
    most -= cut ? 2 : 0;
    while (columns_of(text) > most) {
        char clean[MR_TEXT_CLEAN];
        text += mr_text_clean(text, strlen(text), false, clean);
    }
    add(to, text, most);
}

/* Appends " [===...]", or nothing where there are no cells. */
static void add_cells(line *to, int cells, int64_t done, int64_t total)
{
    char row[MOST_CELLS + 4] = " [";
    int filled = (int)((double)done / (double)total * cells);
    if (cells == 0) return;
    for (int i = 0; i < cells; i++)
        row[2 + i] = i < filled ? '=' : '.';
    memcpy(row + 2 + cells, "]", 2);
    add(to, row, INT_MAX);
}

/* Draws the bar as it was last put together. The cursor goes back to its start, so that whatever
 * else comes to the terminal, by other ways, is written over it. One write: a launcher passes on
 * what it reads. */
static void draw_bar(void)
{
    char all[sizeof bar + 16];
    int length = snprintf(all, sizeof all, "\r%s\033[K\r", bar);
    fflush(stderr);
    if (write(STDERR_FILENO, all, (size_t)length) < 0) return;
    bar_stands = true;
}

static void show_bar(const char *what, int64_t done, int64_t total, const char *text)
{
    enum { LEAST_CELLS = 5, LEAST_NAME = 8, BRACKETS = 3 };
    line drawn = {.length = 0};
    char figures[512];
    snprintf(figures, sizeof figures, " %lld/%lld %s", (long long)done, (long long)total, text);
    int width = terminal_columns() - 1, name = columns_of(what);
    /* The widest figures so far keep their room: what stands before them does not move. */
    if (columns_of(figures) > figures_room) figures_room = columns_of(figures);
    int room = width - figures_room - columns_of(part) - (part[0] ? 1 : 0);
    int cells = room - name - BRACKETS;
    if (cells < LEAST_CELLS) cells = LEAST_CELLS;
    if (cells > MOST_CELLS) cells = MOST_CELLS;
    if (room - cells - BRACKETS < (name < LEAST_NAME ? name : LEAST_NAME)) cells = 0;
    if (cells > 0) room -= cells + BRACKETS;
    add(&drawn, part, width);
    if (part[0]) add(&drawn, " ", width - drawn.columns);
    add_end(&drawn, what, room > 0 ? room : 0);
    add_cells(&drawn, cells, done, total);
    add(&drawn, figures, width - drawn.columns);
    memcpy(bar, drawn.text, drawn.length);
    bar[drawn.length] = '\0';
    draw_bar();
}

/* A line each tenth, and each minute where that is sooner. */
static void show_line(const char *what, int64_t done, int64_t total, const char *text)
{
    int64_t tenth = done * 10 / total;
    double time = mr_clock();
    if ((tenth == tenth_printed && time - plain_printed_at < 60) || done == 0) return;
    tenth_printed = tenth;
    plain_printed_at = time;
    mr_log("%s%s%s %lld/%lld%s%s", part, part[0] ? " " : "", what, (long long)done,
           (long long)total, text[0] ? " " : "", text);
}

void mr_log_progress(const char *what, int64_t done, int64_t total, const char *text)
{
    if (quiet_process || total <= 0 || progress == MR_PROGRESS_NONE) return;
    /* What is worked on may have grown since it was measured. */
    if (done > total) done = total;
    if (progress == MR_PROGRESS_LINES || (progress == MR_PROGRESS_AUTO && !isatty(STDERR_FILENO))) {
        show_line(what, done, total, text);
        return;
    }
    double now = mr_clock();
    if (bar_stands && done < total && now - bar_drawn_at < 0.1) return;
    bar_drawn_at = now;
    show_bar(what, done, total, text);
}

void mr_log_progress_end(void)
{
    if (bar[0]) {
        if (!bar_stands) draw_bar();
        fputc('\n', stderr);
    }
    bar[0] = '\0';
    bar_stands = false;
    figures_room = 0;
    tenth_printed = -1;
    plain_printed_at = 0;
}
