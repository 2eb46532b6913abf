/* vdm bench: this machine's speed. */
#include "tools/bench/bench.h"
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/run/paths.h"

int command_bench(int argc, char **argv)
{
    options o;
    vdm_error err;
    int status = options_read(&o, BENCH, argc, argv);
    if (status) return status < 0 ? DONE : status;
    for (int i = 0; i < o.n_operands; i++)
        if (!bench_knows(o.operands[i]))
            return misuse("bench: '%.100s' names no job; 'vdm bench --list' lists them", o.operands[i]);
    if (o.list) {
        bench_list(&o);
        return DONE;
    }
    return paths_check_command(&o, BENCH, ANY_FILE, &err) || bench_run(&o, &err) ? fail(&err) : DONE;
}
