/* posix_openpt and its kin */
#define _XOPEN_SOURCE 700

#include "program.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 16, WORDS = 64, LINE = 4096, SECONDS = 180, GRACE = 5 };

/* The words of a command line; text holds what was formatted. */
typedef struct command {
    const char *word[WORDS + 1];
    int count;
    char ranks[16];
    char text[LINE];
} command;

static void add_word(command *line, const char *word)
{
    assert_true(line->count < WORDS);
    line->word[line->count++] = word;
}

static void build(command *line, program_setting setting, const char *arguments, va_list args)
{
    *line = (command){.count = 0};
    if (setting.ranks > 0) {
        snprintf(line->ranks, sizeof line->ranks, "%d", setting.ranks);
        /* More ranks than processors: those that wait for a message must let the others run. */
        const char *const launcher[] = {
            MR_TEST_MPIEXEC, "-q",       "--oversubscribe",     "--bind-to",
            "none",          "--mca",    "mpi_yield_when_idle", "1",
            "-np",           line->ranks};
        for (size_t i = 0; i < sizeof launcher / sizeof launcher[0]; i++)
            add_word(line, launcher[i]);
    }
    if (setting.wrapper) add_word(line, setting.wrapper);
    add_word(line, getenv("MR_PROGRAM"));
    int length = vsnprintf(line->text, sizeof line->text, arguments, args);
    assert_true(length >= 0 && (size_t)length < sizeof line->text);
    for (char *word = strtok(line->text, " "); word; word = strtok(NULL, " "))
        add_word(line, word);
}

/* Opens a terminal of so many columns: its two ends, as those of a pipe. */
static void open_terminal(int columns, int ends[2])
{
    const struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(ends[0] >= 0 && grantpt(ends[0]) == 0 && unlockpt(ends[0]) == 0);
    ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
    assert_true(ends[1] >= 0 && ioctl(ends[1], TIOCSWINSZ, &size) == 0);
}

/* Starts the command in a process group of its own, so that all of it can be ended at once. */
static pid_t start(const command *line, const char *where, int out, int err)
{
    pid_t child = fork();
    if (child != 0) return child;
    setpgid(0, 0);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(err, STDERR_FILENO) < 0 || (where && chdir(where) != 0))
        _exit(127);
    execvp(line->word[0], (char *const *)(uintptr_t)line->word);
    _exit(127);
}

/* Takes what there is to read; tells whether more may come. */
static bool drain(int from, mr_text *into)
{
    char part[4096];
    ssize_t got = read(from, part, sizeof part);
    if (got < 0 && errno == EINTR) return true;
    if (got > 0) mr_text_add(into, "%.*s", (int)got, part);
    return got > 0;
}

/* Reads both pipes to their ends; tells whether they were reached before the deadline. */
static bool listen_until(double deadline, int out, mr_text *out_text, int err, mr_text *err_text)
{
    struct pollfd pipes[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    mr_text *texts[2] = {out_text, err_text};
    while (pipes[0].fd >= 0 || pipes[1].fd >= 0) {
        double left = deadline - mr_clock();
        if (left <= 0) return false;
        if (poll(pipes, 2, (int)(left * 1000) + 1) < 0 && errno != EINTR) return false;
        for (int i = 0; i < 2; i++)
            if (pipes[i].fd >= 0 && pipes[i].revents != 0 && !drain(pipes[i].fd, texts[i]))
                pipes[i].fd = -1;
    }
    return true;
}

/* Waits for the child; tells whether it ended before the deadline. */
static bool wait_until(double deadline, pid_t child, int *status)
{
    for (;;) {
        pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child) return true;
        if (ended < 0 || mr_clock() > deadline) return false;
        test_nap(0.005);
    }
}

/* Asked to end, mpirun ends its ranks, which stand in groups of their own. */
static void end_group(pid_t child)
{
    int status;
    kill(-child, SIGTERM);
    if (wait_until(mr_clock() + GRACE, child, &status)) return;
    kill(-child, SIGKILL);
    waitpid(child, &status, 0);
}

static char *take(mr_text *text)
{
    return text->data ? text->data : mr_strdup("");
}

static program_child begin(program_setting setting, const char *arguments, va_list args)
{
    command line;
    int out[2], err[2];
    build(&line, setting, arguments, args);
    program_child child = {.began = mr_clock(), .ranks = setting.ranks};
    child.deadline = child.began + (setting.seconds > 0 ? setting.seconds : SECONDS);
    assert_int_equal(pipe(out), 0);
    if (setting.columns > 0)
        open_terminal(setting.columns, err);
    else
        assert_int_equal(pipe(err), 0);
    for (int i = 0; i < 2; i++)
        assert_true(fcntl(out[i], F_SETFD, FD_CLOEXEC) == 0 &&
                    fcntl(err[i], F_SETFD, FD_CLOEXEC) == 0);
    child.pid = start(&line, setting.folder, setting.columns > 0 ? err[1] : out[1], err[1]);
    close(out[1]);
    close(err[1]);
    assert_true(child.pid > 0);
    child.out = out[0];
    child.err = err[0];
    return child;
}

program_child program_start(program_setting setting, const char *arguments, ...)
{
    va_list args;
    va_start(args, arguments);
    program_child child = begin(setting, arguments, args);
    va_end(args);
    return child;
}

program_result program_finish(program_child *child)
{
    int status = 0;
    mr_text out_text = {0}, err_text = {0};
    bool ended = listen_until(child->deadline, child->out, &out_text, child->err, &err_text) &&
                 wait_until(child->deadline, child->pid, &status);
    if (!ended) end_group(child->pid);
    close(child->out);
    close(child->err);
    program_result result = {
        .exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
        .out = take(&out_text),
        .err = take(&err_text),
        .seconds = mr_clock() - child->began,
    };
    assert_true(result.out && result.err);
    if (!ended)
        fail_msg("not ended after %.0f s on %d ranks; stdout:\n%s\nstderr:\n%s", result.seconds,
                 child->ranks, result.out, result.err);
    if (result.exit_code == 127) fail_msg("cannot start the program: %s", result.err);
    return result;
}

static program_result run(program_setting setting, const char *arguments, va_list args)
{
    program_child child = begin(setting, arguments, args);
    return program_finish(&child);
}

program_result program_run(program_setting setting, const char *arguments, ...)
{
    va_list args;
    va_start(args, arguments);
    program_result result = run(setting, arguments, args);
    va_end(args);
    return result;
}

program_result program_succeed(program_setting setting, const char *arguments, ...)
{
    va_list args;
    va_start(args, arguments);
    program_result result = run(setting, arguments, args);
    va_end(args);
    if (result.exit_code != 0)
        fail_msg("exit code %d on %d ranks; stderr:\n%s", result.exit_code, setting.ranks,
                 result.err);
    return result;
}

void program_fail(program_setting setting, int exit_code, const char *message,
                  const char *arguments, ...)
{
    va_list args;
    va_start(args, arguments);
    program_result result = run(setting, arguments, args);
    va_end(args);
    assert_contains(result.err, message);
    assert_int_equal(program_lines_with(result.err, "mora: error"), 1);
    assert_int_equal(result.exit_code, exit_code);
    program_free(&result);
}

/* Tells what becomes of a process: its state, a letter of ps, and its parent. */
static bool look_at(int pid, char *state, int *parent)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const char *rest = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
    fclose(file);
    return rest && sscanf(rest, ") %c %d", state, parent) == 2;
}

/* Lists the processes that another one has started, in ascending order; returns how many. */
static int children_of(int parent, int list[RANKS])
{
    int count = 0;
    DIR *all = opendir("/proc");
    assert_non_null(all);
    for (struct dirent *entry; count < RANKS && (entry = readdir(all)) != NULL;) {
        char state;
        int of;
        const int pid = (int)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && look_at(pid, &state, &of) && of == parent) list[count++] = pid;
    }
    closedir(all);
    assert_true(count > 0);
    return count;
}

/* Lists the files of /dev/shm that a process has in its memory. */
static int list_shared(int process, char list[][128], int most)
{
    static const char mark[] = "/dev/shm/";
    char path[64], line[512];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", process);
    FILE *maps = fopen(path, "re");
    assert_non_null(maps);
    while (count < most && fgets(line, sizeof line, maps)) {
        const char *name = strstr(line, mark);
        if (name) snprintf(list[count++], 128, "%.*s", (int)strcspn(name, " \n"), name);
    }
    fclose(maps);
    return count;
}

void program_kill_rank(program_child *child)
{
    enum { SHARED = 16 };
    char shared[SHARED][128], said[64];
    int ranks[RANKS];
    const int rank = ranks[children_of(child->pid, ranks) - 1];
    const int count = list_shared(rank, shared, SHARED);
    assert_true(count > 0);
    const double killed = mr_clock();
    assert_int_equal(kill(rank, SIGKILL), 0);
    program_result result = program_finish(child);
    assert_true(mr_clock() - killed < 10);
    assert_int_not_equal(result.exit_code, 0);
    snprintf(said, sizeof said, "process %d, is gone", rank);
    if (program_lines_with(result.err, said) != 1 ||
        program_lines_with(result.err, "mora: fatal") != 1)
        fail_msg("not one message \"%s\": %s", said, result.err);
    for (int i = 0; i < count; i++)
        if (access(shared[i], F_OK) == 0) fail_msg("%s is left", shared[i]);
    program_free(&result);
}

void program_kill_launcher(program_child *child)
{
    int ranks[RANKS], parent;
    char state;
    const int all = children_of(child->pid, ranks);
    const double killed = mr_clock();
    assert_int_equal(kill(child->pid, SIGKILL), 0);
    program_result result = program_finish(child);
    assert_int_equal(result.exit_code, 128 + SIGKILL);
    program_free(&result);
    for (int i = 0; i < all; i++)
        while (look_at(ranks[i], &state, &parent) && state != 'Z') {
            if (mr_clock() - killed > 10) fail_msg("process %d lives on", ranks[i]);
            test_nap(0.01);
        }
}

void program_free(program_result *result)
{
    mr_free(result->out);
    mr_free(result->err);
    *result = (program_result){0};
}

int program_lines_with(const char *text, const char *part)
{
    int lines = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at, part)) {
        lines++;
        at = strchr(at, '\n');
        if (!at) break;
    }
    return lines;
}

static bool write_file(const char *path, const char *fmt, va_list args)
{
    char text[LINE];
    int length = vsnprintf(text, sizeof text, fmt, args);
    return length >= 0 && (size_t)length < sizeof text &&
           mr_file_write(path, text, (size_t)length) == MR_OK;
}

void program_write(const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    bool written = write_file(path, fmt, args);
    va_end(args);
    if (!written) fail_msg("cannot write %s: %s", path, mr_message());
}

void program_write_shape(const char *path, int hidden, int vocabulary, bool tied)
{
    program_write(path,
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\",\n"
                  " \"hidden_size\": %d, \"intermediate_size\": 44, \"num_hidden_layers\": 2,\n"
                  " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": %d,\n"
                  " \"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-5,\n"
                  " \"rope_theta\": 10000.0, \"hidden_act\": \"silu\",\n"
                  " \"initializer_range\": 0.02, \"tie_word_embeddings\": %s}\n",
                  hidden, vocabulary, tied ? "true" : "false");
}

char *program_read(const char *path, size_t *size)
{
    char *data;
    must(mr_file_read(path, MR_MEM_OTHER, &data, size));
    return data;
}

void program_make_folder(const char *path)
{
    must(mr_file_make_folders(path));
}

int program_enter_folder(void **state)
{
    if (!getenv("MR_PROGRAM")) {
        print_error("MR_PROGRAM must name the program to be tested; ctest sets it\n");
        return -1;
    }
    if (folder_enter(state) != 0) return -1;
    program_write_shape("tiny.json", 32, 259, false);
    program_write_shape("tied.json", 32, 259, true);
    return 0;
}

void program_make_model(void)
{
    program_write("run.yaml", "run: {name: one, seed: 3, output: out, save_model: model}\n"
                              "model: {config: tiny.json, init: random}\n"
                              "task: {name: uuid, pairs: 8}\n"
                              "method: {name: fft}\n"
                              "train: {steps: 2, global_batch: 8, micro_batch: 4, lr: 0.01}\n"
                              "eval: {items: 1}\n"
                              "checkpoint: {every_minutes: 0}\n"
                              "parallel: {threads: 1}\n");
    program_result made = program_succeed((program_setting){0}, "run run.yaml");
    program_free(&made);
}
