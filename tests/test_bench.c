/* vdm bench, from its command line: every job at the sizes of --quick, the JSON, wrong options.
 * No speed is tested. */
#include "program.h"

#include <math.h>
#include <string.h>

static double number(const vdm_json *j, const vdm_json_node *object, const char *key)
{
    const vdm_json_node *n = object ? vdm_json_get(j, object, key) : NULL;
    return n && n->kind == VDM_JSON_NUMBER ? n->number : (double)NAN;
}

/* {"median", "min", "max", "runs"} of positive numbers in order */
static void check_spread(const vdm_json *j, const vdm_json_node *job, const char *key, int runs)
{
    const vdm_json_node *s = vdm_json_get(j, job, key), *all = s ? vdm_json_get(j, s, "runs") : NULL;
    double min = number(j, s, "min"), median = number(j, s, "median"), max = number(j, s, "max");
    const char *name = vdm_json_get(j, job, "name")->text;
    CHECK(min > 0 && min <= median && median <= max && isfinite(max), "%s: %s: %g, %g, %g", name, key, min,
          median, max);
    CHECK(all && all->kind == VDM_JSON_ARRAY && all->children == runs, "%s: %s: expected %d runs", name, key,
          runs);
}

static void check_job(const vdm_json *j, const vdm_json_node *job, int runs)
{
    const vdm_json_node *name = vdm_json_get(j, job, "name"), *limit = vdm_json_get(j, job, "limit");
    if (!CHECK(name && name->kind == VDM_JSON_STRING, "a job without a name")) return;
    const vdm_json_node *sizes = vdm_json_get(j, job, "sizes");
    CHECK(sizes && sizes->kind == VDM_JSON_ARRAY && sizes->children == 8, "%s: sizes", name->text);
    if (vdm_json_get(j, job, "absent")) {
        bool may = strncmp(name->text, "peak.bf16", 9) == 0 || strncmp(name->text, "peak.amx", 8) == 0;
        CHECK(may, "%s is absent", name->text);
        return;
    }
    check_spread(j, job, "seconds", runs);
    bool counted = number(j, job, "operations") > 0 || number(j, job, "bytes") > 0;
    CHECK(counted, "%s: nothing is counted", name->text);
    bool machine = strncmp(name->text, "peak.", 5) == 0 || strncmp(name->text, "memory.", 7) == 0;
    CHECK(machine == !limit, "%s: limit", name->text);
    if (limit) check_spread(j, job, "share", runs);
}

/* Reads @/b.json: its jobs are `names`, one a line and followed by a space. Gives the jobs' array. */
static const vdm_json_node *read_jobs(vdm_json *j, const char *names, int runs)
{
    vdm_error err;
    if (!CHECK(vdm_json_read(j, path_of("b.json"), &err) == 0, "%s", err.text)) return NULL;
    CHECK((int)number(j, j->nodes, "runs") == runs, "runs");
    const vdm_json_node *jobs = vdm_json_get(j, j->nodes, "jobs");
    if (!CHECK(jobs && jobs->kind == VDM_JSON_ARRAY && jobs->children > 0, "no jobs")) return NULL;
    for (const vdm_json_node *job = jobs + 1; job; job = vdm_json_next(j, job)) {
        check_job(j, job, runs);
        const vdm_json_node *name = vdm_json_get(j, job, "name");
        size_t length = strlen(name->text);
        CHECK(strncmp(names, name->text, length) == 0 && names[length] == ' ', "expected %.30s, found %s",
              names, name->text);
        names += strcspn(names, "\n");
        if (*names) names++;
    }
    CHECK(*names == '\0' || strncmp(names, "growth.", 7) == 0, "missing: %s", names);
    return jobs;
}

/* Every job that is listed is run, but for growth's. */
static void check_all(void)
{
    static char list[sizeof printed];
    vdm_json j = {0};
    expect(0, "block.forward.1476.f32 ", "bench --list");
    memcpy(list, printed, sizeof printed);
    expect(0, "share of a peak", "bench --quick --runs 1 --json @/b.json");
    read_jobs(&j, list, 1);
    vdm_json_free(&j);
}

static void check_names(void)
{
    vdm_json j = {0};
    expect(0, "matmul.up.f32",
           "bench matmul.up.f32 matmul.up.input --quick --runs 3 --threads 1 --json @/b.json");
    read_jobs(&j, "matmul.up.f32 \nmatmul.up.input \nmatmul.up.input.bf16w \n", 3);
    vdm_json_free(&j);
    if (shell("command -v taskset") == 0) /* as many threads as processors that it may use */
        expect_shell(0, ", 1 thread", "taskset -c 0 \"$VDM\" bench matmul.up.f32 --quick --runs 1");
    expect(0, ", bf16, ", "bench matmul.up.f32 --quick --runs 1 --precision bf16");
    expect(0, ", amx, ", "bench matmul.up.f32 --quick --runs 1 --precision amx");
    expect(0, "growth.8182", "bench growth --quick --runs 1");
    CHECK(strstr(printed, "matmul") == NULL, "growth: %s", printed);
    expect(0, "growth.8182", "bench --list growth");
    CHECK(strstr(printed, "matmul") == NULL, "--list growth: %s", printed);
    expect(2, "'matmul.u' names no job", "bench matmul.u --quick");
    expect(2, "'nothing' names no job", "bench matmul nothing --quick");
    expect(2, "--runs", "bench --quick --runs 0");
    expect(1, "'norm.layer': expected a job that arithmetic limits, found none", "bench norm --plan 8");
    expect(1, "nowhere", "bench peak --quick --json @/nowhere/b.json");
    expect(0, "vdm bench [NAME...]", "bench --help");
}

/* Operations of a block, counted by hand: D = 64, 8 video and 2 text tokens, E = 64. */
static void check_operations(void)
{
    vdm_json j = {0};
    double block = 24.0 * 64 * 64 * 10 + 4.0 * 10 * 10 * 64;       /* linear layers, attention */
    double ends = 2.0 * 8 * 64 * (256 + 128) + 2.0 * 2 * 32 * 64;  /* patches in and out, text */
    double time = 2.0 * 64 * (64 + 64) + 2.0 * 64 * (12 + 2) * 64; /* its embedding, modulation */
    expect(0, "block", "bench block.forward.1476.f32 --quick --runs 1 --json @/b.json");
    const vdm_json_node *jobs = read_jobs(&j, "block.forward.1476.f32 \n", 1);
    if (jobs) {
        double found = number(&j, jobs + 1, "operations");
        CHECK(found == block + ends + time, "expected %.0f operations, found %.0f", block + ends + time,
              found);
    }
    vdm_json_free(&j);
}

int main(void)
{
    if (!find_program()) return check_end("bench");
    check_all();
    check_names();
    check_operations();
    return check_end("bench");
}
