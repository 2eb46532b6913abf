/* vdm golden: the tensors of a computation, to check a port against. */
#include "tools/commands/commands.h"
#include "tools/golden/golden.h"
#include "tools/messages.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/paths.h"

#include <string.h>

int command_golden(int argc, char **argv)
{
    options o;
    vdm_error err;
    int status = options_read(&o, GOLDEN, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.golden.names && o.output) return misuse("golden: -o, --names: expected one of the two");
    if (o.golden.names) {
        golden_names();
        return DONE;
    }
    if (o.n_operands > 1) return misuse("golden: '%s': expected one model", o.operands[1]);
    if (o.n_operands && option_given(&o, "--model"))
        return misuse("golden: '%s': expected one model, found --model too", o.operands[0]);
    if (!o.output) return misuse("golden: expected -o FILE");
    bool former = o.learn.steps && strcmp(o.golden.what, "sample") == 0;
    if (former && option_given(&o, "--sample-steps"))
        return misuse("golden: --steps and --sample-steps: expected one of the two");
    if (former) o.sample.steps = o.learn.steps; /* its former name */
    console_watch_signals();
    char *command = command_line("golden", argc, argv, &err);
    bool checked = command && !check_utf8(command, &err) && !check_utf8(o.model, &err) &&
                   !paths_check_command(&o, GOLDEN, GOLDEN_TENSORS, &err);
    status = checked && !golden_run(&o, command, &err) ? DONE : fail(&err);
    vdm_free(command);
    return status;
}
