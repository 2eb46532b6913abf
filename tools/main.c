/* vdm: the program. Each command has its own file. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int bit;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"demo", DEMO, command_demo, "learn a task and answer it, in a few minutes"},
    {"fit", FIT, command_fit, "learn a task from pairs of pictures"},
    {"predict", PREDICT, command_predict, "answer a picture"},
    {"eval", EVAL, command_eval, "answer a task's test pictures and score them"},
    {"vote", VOTE, command_vote, "take a majority vote over several answers to a task"},
    {"arc", ARC, command_arc, "answer ARC-AGI tasks: one, or a folder of them"},
    {"interp", INTERP, command_interp, "show the video that a pair becomes"},
    {"tasks", TASKS, command_tasks, "generate a task: training pairs and test pictures"},
    {"info", INFO, command_info, "describe a model, an adapter or a task"},
    {"prompt", PROMPT, command_prompt, "compute and store the embedding of a prompt"},
    {"bench", BENCH, command_bench, "measure this machine's speed, kernel by kernel"},
    {"golden", GOLDEN, command_golden, "write every tensor of a computation, to check a port against"},
    {"compare", COMPARE, command_compare,
     "find the first tensor of a port that differs from the reference, and why"},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void help(void)
{
    printf("vdm %s: few-shot learning with video diffusion models\n\n", VDM_VERSION);
    for (int i = 0; i < N_COMMANDS; i++) printf("  vdm %-8s %s\n", commands[i].name, commands[i].what);
    printf(
        "\nvdm COMMAND --help lists its options. Exit status: 0 done, 1 failed, 2 wrong usage,\n"
        "3 a score worse than --at-least, tensors that differ, no results to compare. VDM_MODEL=DIR: the default model;\n"
        "VDM_ISA=plain|scalar|avx2|avx512|avx512bf16|avx512amx|neon: the instruction set.\n");
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        help();
        return DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("vdm %s\n", VDM_VERSION);
        return DONE;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(argc - 2, argv + 2);
    return misuse("'%s' is not a command; 'vdm help' lists them", name);
}

/* If one of the descriptors 0 to 2 is closed, the next file that is opened gets its number, and what is printed is
 * written into that file. */
static void open_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            _exit(FAILED);
}

/* What was printed is lost if the disk is full or the reader is gone: that is a failure too. */
static int flush_output(int status)
{
    errno = 0;
    bool failed = ferror(stdout) != 0;
    if (!fflush(stdout) && !failed) return status;
    fprintf(stderr, "vdm: standard output can't be written: %s\n",
            errno ? strerror(errno) : "an earlier write failed");
    return status == DONE || status == BELOW ? FAILED : status;
}

/* A file that would grow past the user's limit (ulimit -f) is an error of its write, not the end of the process. */
static void ignore_file_limit(void)
{
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN);
#endif
}

int main(int argc, char **argv)
{
    open_standard_streams();
    ignore_file_limit();
    remember_program(argv[0]);
    return flush_output(run(argc, argv));
}
