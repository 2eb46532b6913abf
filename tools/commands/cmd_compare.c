/* vdm compare: the first tensor of a port that differs from the reference's, and why. */
#include "tools/commands/commands.h"
#include "tools/golden/compare.h"
#include "tools/messages.h"
#include "tools/run/paths.h"

#include <sys/stat.h>

/* A file agrees with itself in every tensor. */
static int check_two_files(const char *ref, const char *got, vdm_error *err)
{
    struct stat a, b;
    if (stat(ref, &a) || stat(got, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino) return 0;
    return vdm_fail(err, "%s and %s: expected two files, the reference and a port's, found one", ref, got);
}

int command_compare(int argc, char **argv)
{
    options o;
    vdm_error err;
    bool differs = false;
    int status = options_read(&o, COMPARE, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 2) return misuse("compare: expected two files, the reference first");
    char *command = command_line("compare", argc, argv, &err);
    if (!command || check_two_files(o.operands[0], o.operands[1], &err) ||
        paths_check_command(&o, COMPARE, ANY_FILE, &err) || compare_run(&o, command, &differs, &err))
        status = fail(&err);
    else
        status = differs ? BELOW : DONE;
    vdm_free(command);
    return status;
}
