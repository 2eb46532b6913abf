/* A folder of ARC-AGI tasks, or a part of it: a line of results for every task, as each is done.
 *
 * Nothing is lost and nothing counted twice: a line is written at once and synced; a lock excludes a second run; a line
 * that a killed run began is cut off, tasks with a line are skipped, and the task that was being learned resumes from
 * its state (FILE.work). A file whose lines are of other settings, another model or other tasks is rejected before the
 * work. */
#define _XOPEN_SOURCE 700
#include "tools/arc/shard.h"
#include "files/hash.h"
#include "tools/arc/identity.h"
#include "tools/arc/solve.h"
#include "tools/messages.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
 * The tasks of a folder */

enum { DEEPEST = 16, MAX_TASKS = 1000000 };

static int list_add(arc_list *l, const char *prefix, const char *file, size_t n, vdm_error *err)
{
    if (l->n == l->capacity) {
        int capacity = l->capacity ? 2 * l->capacity : 256;
        char **names =
            capacity > MAX_TASKS ? NULL : vdm_alloc((size_t)capacity, sizeof *names, "the tasks", err);
        if (!names) return capacity > MAX_TASKS ? vdm_fail(err, "more than %d tasks", MAX_TASKS) : -1;
        if (l->n) memcpy(names, l->names, (size_t)l->n * sizeof *names);
        vdm_free(l->names);
        l->names = names;
        l->capacity = capacity;
    }
    size_t size = strlen(prefix) + n + 1;
    char *name = vdm_alloc(size, 1, "a task's name", err);
    if (!name) return -1;
    snprintf(name, size, "%s%.*s", prefix, (int)n, file);
    l->names[l->n++] = name;
    return 0;
}

/* The tasks of a collection, ARC Prize's challenges; *found: it is one. */
static int list_collection(arc_list *l, const char *path, const char *prefix, bool *found, vdm_error *err)
{
    vdm_arc_ids ids;
    if (vdm_arc_ids_read(&ids, path, err)) return -1;
    *found = ids.n > 0;
    int status = *found ? vdm_arc_solutions_check(path, err) : 0; /* once, not as the failure of every task */
    for (int i = 0; i < ids.n && !status; i++)
        status = list_add(l, prefix, ids.id[i], strlen(ids.id[i]), err);
    vdm_arc_ids_free(&ids);
    return status;
}

/* A folder, and the one that it is in. */
struct place {
    dev_t device;
    ino_t inode;
    int depth;
    const struct place *above;
};

static int list_folder(arc_list *l, const char *dir, const char *prefix, const struct place *above,
                       vdm_error *err);

/* Whether a file "x_solutions.json" has its "x_challenges.json" next to it, and is read with that. */
static int has_challenges(bool *found, const char *path, vdm_error *err)
{
    static const char challenges[] = "challenges", solutions[] = "solutions";
    size_t folder = (size_t)(strrchr(path, '/') - path), size = strlen(path) + sizeof challenges;
    char *to = vdm_alloc(size, 1, "a path", err);
    *found = false;
    if (!to) return -1;
    for (const char *at = path + folder; (at = strstr(at, solutions)) && !*found; at++) {
        snprintf(to, size, "%.*s%s%s", (int)(at - path), path, challenges, at + strlen(solutions));
        *found = access(to, F_OK) == 0 && !vdm_is_folder(to);
    }
    vdm_free(to);
    return 0;
}

/* Whether a file with "solutions" in its name is one of solutions, {"ID": [grid, ...], ...}, which is not a task of its
 * own; any other is a task, whatever it is called. Solutions to nothing are reported. */
static int is_solutions(bool *is, const char *path, vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    bool read;
    if (has_challenges(&read, path, err)) return -1;
    *is = read;
    if (vdm_json_read(&j, path, &why)) return is_machine_fault(&why) ? vdm_fail(err, "%s", why.text) : 0;
    *is = j.nodes->kind == VDM_JSON_OBJECT && !vdm_json_get(&j, j.nodes, "train");
    vdm_json_free(&j);
    if (*is && !read)
        fprintf(
            stderr,
            "%s is left out: expected a task, with train and test, or solutions with a file of challenges "
            "next to them, found neither\n",
            clean(path));
    return 0;
}

/* Whether a file with "submission" in its name is one, {"ID": [{"attempt_1": grid, ...}, ...], ...}, as vdm and Kaggle
 * write it. It is not a task; that is reported. */
static int is_submission(bool *is, const char *path, vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    *is = false;
    if (vdm_json_read(&j, path, &why)) return is_machine_fault(&why) ? vdm_fail(err, "%s", why.text) : 0;
    const vdm_json_node *root = j.nodes,
                        *first = root->kind == VDM_JSON_OBJECT && root->children ? root + 1 : NULL;
    if (first && first->kind == VDM_JSON_ARRAY && first->children && first[1].kind == VDM_JSON_OBJECT)
        *is = vdm_json_get(&j, first + 1, "attempt_1") != NULL;
    vdm_json_free(&j);
    if (*is) fprintf(stderr, "%s is left out: it is a submission, not a task\n", clean(path));
    return 0;
}

/* A file of a folder: a task; challenges, whose tasks are DIR/FILE/ID; solutions, which are read with
 * those; or a submission. */
static int list_file(arc_list *l, const char *path, const char *prefix, const char *file, vdm_error *err)
{
    char longer[1024];
    size_t n = strlen(file);
    bool collection = false, other = false;
    if (strstr(file, "solutions") && is_solutions(&other, path, err)) return -1;
    if (!other && strstr(file, "submission") && is_submission(&other, path, err)) return -1;
    if (other) return 0;
    if (strstr(file, "challenges")) {
        int length = snprintf(longer, sizeof longer, "%s%s/", prefix, file);
        if (length >= (int)sizeof longer) return vdm_fail(err, "%s: too long a path", path);
        if (list_collection(l, path, longer, &collection, err)) return -1;
    }
    return collection ? 0 : list_add(l, prefix, file, n - 5, err);
}

static int list_entry(arc_list *l, const char *dir, const char *prefix, const char *file,
                      const struct place *here, vdm_error *err)
{
    struct stat st;
    char longer[1024];
    char *path = vdm_path(dir, file, err);
    if (!path) return -1;
    int status = 0;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (folder && here->depth == DEEPEST) {
        status = vdm_fail(err, "%s: expected folders nested at most %d deep", path, DEEPEST);
    } else if (folder) {
        int length = snprintf(longer, sizeof longer, "%s%s/", prefix, file);
        status = length < (int)sizeof longer ? list_folder(l, path, longer, here, err)
                                             : vdm_fail(err, "%s: too long a path", path);
    } else if (has_ending(file, ".json")) {
        status = list_file(l, path, prefix, file, err);
    }
    vdm_free(path);
    return status;
}

/* A link to a folder above would list all tasks again. */
static int list_folder(arc_list *l, const char *dir, const char *prefix, const struct place *above,
                       vdm_error *err)
{
    struct stat st = {0};
    DIR *d = opendir(dir);
    if (!d) return vdm_fail(err, "%s: %s", dir, strerror(errno));
    int status = stat(dir, &st) ? vdm_fail(err, "%s: %s", dir, strerror(errno)) : 0;
    const struct place here = {st.st_dev, st.st_ino, above ? above->depth + 1 : 0, above};
    for (const struct place *p = above; p && !status; p = p->above)
        if (p->device == here.device && p->inode == here.inode)
            status =
                vdm_fail(err, "%s: expected a folder of tasks, found a link to a folder that it is in", dir);
    while (!status) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e && errno) status = vdm_fail(err, "%s: %s", dir, strerror(errno));
        if (!e) break;
        if (e->d_name[0] != '.') status = list_entry(l, dir, prefix, e->d_name, &here, err);
    }
    closedir(d);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int list_read(arc_list *l, const char *dir, vdm_error *err)
{
    bool collection = false;
    *l = (arc_list){0};
    if (vdm_is_folder(dir) ? list_folder(l, dir, "", NULL, err)
                           : list_collection(l, dir, "", &collection, err))
        return -1;
    if (!l->n) return vdm_fail(err, "%s: expected ARC-AGI tasks, NAME.json, found none", dir);
    qsort(l->names, (size_t)l->n, sizeof *l->names, compare_names);
    return 0;
}

bool list_is(const char *path)
{
    vdm_arc_ids ids;
    vdm_error err;
    if (vdm_is_folder(path)) return true;
    if (vdm_arc_ids_read(&ids, path, &err)) return false;
    bool collection = ids.n > 0;
    vdm_arc_ids_free(&ids);
    return collection;
}

int list_limit(const arc_list *l, const options *o)
{
    if (o->limit > l->n)
        fprintf(stderr, "--limit %d: %s has %d task%s\n", o->limit, clean(o->operands[0]), l->n,
                plural(l->n));
    return o->limit && o->limit < l->n ? o->limit : l->n;
}

char *list_path(const char *dir, const char *name, vdm_error *err)
{
    size_t size = strlen(name) + sizeof ".json";
    char *file = vdm_alloc(size, 1, "a task's path", err);
    if (!file) return NULL;
    snprintf(file, size, "%s.json", name);
    char *path = vdm_path(dir, file, err);
    vdm_free(file);
    return path;
}

void list_free(arc_list *l)
{
    for (int i = 0; i < l->n; i++) vdm_free(l->names[i]);
    vdm_free(l->names);
    *l = (arc_list){0};
}

/* ------------------------------------------------------------------------------------------------
 * The file of results */

typedef struct shard {
    const options *o;
    arc_list list;
    int index, of, tasks; /* this part, from 0; parts; tasks of all parts */
    arc_results done;
    char *run, *work;                      /* settings; the folder of the task being worked on */
    char configuration[HASH_TEXT];         /* of the model */
    int fd;                                /* the results */
    lock lock;                             /* of FILE.work */
    int solved, failed, answered, unknown; /* unknown: answered, but the truth is not known */
    int failed_unknown;                    /* failed, and the truth is not known */
    int known_since; /* results whose truth is in the task's file, but not in their line */
} shard;

static bool read_part(const char *text, int *index, int *of)
{
    int n = 0;
    if (strspn(text, "0123456789/") != strlen(text)) return false;
    return sscanf(text, "%7d/%7d%n", index, of, &n) == 2 && !text[n] && *of >= 1 && *index >= 1 &&
           *index <= *of;
}

bool shard_is_legal(const char *text)
{
    int index, of;
    return read_part(text, &index, &of);
}

/* The result of that task; NULL: it has none. */
static const arc_result *find_result(const shard *s, const char *name)
{
    for (int i = 0; i < s->done.n; i++)
        if (strcmp(s->done.all[i].task, name) == 0) return &s->done.all[i];
    return NULL;
}

/* The rest after the last complete line is cut off, but only if it is the beginning of a line of results. */
static int check_rest(const shard *s, size_t complete, vdm_error *err)
{
    static const char begin[] = "{\"task\": \"";
    char rest[sizeof begin - 1];
    ssize_t n = pread(s->fd, rest, sizeof rest, (off_t)complete);
    if (n < 0) return vdm_fail(err, "%s: %s", s->o->arc.out, strerror(errno));
    if (memcmp(rest, begin, (size_t)n) == 0) return 0;
    return vdm_fail(
        err, "%s: expected a new file or results of vdm arc, found something else; it is left as it is",
        s->o->arc.out);
}

/* Whether the task is one of this run: of the folder, or of its first --limit tasks. */
static bool is_listed(const shard *s, const char *name)
{
    return bsearch(&name, s->list.names, (size_t)s->tasks, sizeof *s->list.names, compare_names) != NULL;
}

static int check_line(const shard *s, int i, vdm_error *err)
{
    const arc_result *r = &s->done.all[i];
    const char *path = s->o->arc.out;
    char difference[400];
    if (r->of != s->tasks)
        return vdm_fail(
            err,
            "%s: line %d is from another run: found a result of a set of %d tasks, expected %d (--limit, or files were added or removed)",
            path, r->line, r->of, s->tasks);
    if (strcmp(r->run, s->run) != 0) {
        run_difference(difference, sizeof difference, r->run, s->run);
        return vdm_fail(err, "%s: line %d is from another run: %s", path, r->line, difference);
    }
    if (*r->configuration && strcmp(r->configuration, s->configuration) != 0)
        return vdm_fail(err,
                        "%s: line %d is from another run: a configuration of %s was changed since "
                        "(transformer/, vae/ or scheduler/)",
                        path, r->line, s->o->model);
    if (!is_listed(s, r->task))
        return vdm_fail(err,
                        "%s: line %d: found a result of task '%.200s', expected one of the %d tasks of %s; "
                        "choose another file",
                        path, r->line, r->task, s->tasks, s->o->operands[0]);
    for (int k = 0; k < i; k++)
        if (strcmp(s->done.all[k].task, r->task) == 0)
            return vdm_fail(err,
                            "%s: line %d: found a second result of task '%.200s', expected one (line %d)",
                            path, r->line, r->task, s->done.all[k].line);
    return 0;
}

/* The file is made to end after its last result, and to end with "\n". */
static int end_results(shard *s, size_t complete, vdm_error *err)
{
    const char *path = s->o->arc.out;
    if (s->done.rest)
        fprintf(stderr,
                "%s: the last line is cut off: %zu bytes, without its end; its task is solved again\n",
                clean(path), s->done.rest);
    if (ftruncate(s->fd, (off_t)complete) || (s->done.unended && write(s->fd, "\n", 1) != 1))
        return vdm_fail(err, "%s: %s", path, strerror(errno));
    return 0;
}

static int open_results(shard *s, vdm_error *err)
{
    const char *path = s->o->arc.out;
    size_t complete = 0;
    s->fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0666);
    if (s->fd < 0) return vdm_fail(err, "%s: can't be written: %s", path, strerror(errno));
    if (results_read(&s->done, path, &complete, err)) return -1;
    for (int i = 0; i < s->done.n; i++)
        if (check_line(s, i, err)) return -1;
    return check_rest(s, complete, err) ? -1 : end_results(s, complete, err);
}

/* Writes the lines again, with the right answers that are known since. */
static int rewrite_results(shard *s, vdm_error *err)
{
    const char *path = s->o->arc.out;
    vdm_file f;
    struct stat info;
    if (vdm_file_open(&f, path, err)) return -1;
    int status = fstat(s->fd, &info) || fchmod(fileno(f.stream), info.st_mode & 0777)
                     ? vdm_fail(err, "%s: its permissions: %s", path, strerror(errno))
                     : 0;
    for (int i = 0; i < s->done.n && !status; i++) {
        char *line = NULL;
        size_t size = 0;
        status = result_write(&s->done.all[i], &line, &size, err);
        if (!status) fwrite(line, 1, size, f.stream); /* vdm_file_commit finds an error */
        free(line);
    }
    if (status) vdm_file_abandon(&f);
    if (status || vdm_file_commit(&f, err)) return -1;
    close(s->fd);
    s->fd = open(path, O_RDWR | O_APPEND);
    if (s->fd < 0) return vdm_fail(err, "%s: can't be written: %s", path, strerror(errno));
    fprintf(stderr, "%s: the right answers of %d task%s are known since: they are added to the results\n",
            clean(path), s->known_since, plural(s->known_since));
    return 0;
}

static int append(shard *s, const arc_result *r, vdm_error *err)
{
    char *line = NULL;
    size_t size = 0, at = 0;
    int status = result_write(r, &line, &size, err);
    while (!status && at < size) {
        ssize_t n = write(s->fd, line + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            status = vdm_fail(err, "%s: %s", s->o->arc.out, strerror(errno));
    }
    free(line);
    if (!status && fsync(s->fd)) status = vdm_fail(err, "%s: %s", s->o->arc.out, strerror(errno));
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The work of a task is in FILE.work/HASH, which is removed when its line is written */

/* Other settings, another model or another task: another folder. */
static char *work_folder(const shard *s, const char *name, const char *task_hash, vdm_error *err)
{
    uint64_t hash = vdm_hash_text(vdm_hash_text(VDM_HASH_START, s->run), s->configuration);
    char text[24];
    hash = vdm_hash_text(vdm_hash_text(hash, task_hash), name);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return vdm_path(s->work, text, err);
}

/* Removes the files that a run makes, and the folder if nothing else is in it. */
static void clear_work(const char *folder)
{
    static const char *const names[] = {"lora.safetensors", "train.csv", "state.safetensors", "lock"};
    vdm_error err;
    struct stat st;
    if (lstat(folder, &st) || !S_ISDIR(st.st_mode)) return;
    remove_leftovers(folder, names, 4);
    for (int i = 0; i < 4; i++) {
        char *path = vdm_path(folder, names[i], &err);
        if (path) unlink(path);
        vdm_free(path);
    }
    rmdir(folder);
}

/* The folder for the work must be the run's own, not a link to another. */
static int check_work(const char *folder, vdm_error *err)
{
    struct stat st;
    if (lstat(folder, &st) || S_ISDIR(st.st_mode)) return 0;
    return vdm_fail(err, "%s: expected a folder of this run, found %s", folder,
                    S_ISLNK(st.st_mode) ? "a link" : "something else");
}

/* ------------------------------------------------------------------------------------------------
 * One task after the other */

static void count(shard *s, const arc_result *r)
{
    s->failed += r->error != NULL;
    s->failed_unknown += r->error && !arc_known(r);
    s->answered += !r->error && arc_known(r);
    s->unknown += !r->error && !arc_known(r);
    s->solved += !r->error && arc_known(r) && arc_solved(r, r->attempts);
}

static void report_task(shard *s, const arc_result *r, int at, int all)
{
    char text[256], seconds[32] = "resumed";
    result_text(r, text, sizeof text);
    if (isfinite(r->seconds)) format_seconds(seconds, sizeof seconds, r->seconds);
    count(s, r);
    printf("%d of %d  %s: %s (%s); solved %d of %d\n", at, all, clean(r->task),
           r->error ? clean(r->error) : text, seconds, s->solved,
           s->answered + s->failed - s->failed_unknown);
    fflush(stdout);
}

static char *path_of_task(const shard *s, const char *name, vdm_error *err)
{
    return list_path(s->o->operands[0], name, err);
}

static int known_tests(const vdm_arc *a)
{
    int known = 0;
    for (int i = 0; i < a->n_test; i++) known += a->test[i].y.rows > 0;
    return known;
}

/* What the line of a task has if it fails. */
struct facts {
    char hash[HASH_TEXT];
    int tests, known; /* tests; those with a right answer */
};

/* The facts of a task; "", 0 and -1 if it can't be read: then a line will have the reason. */
static int read_task(struct facts *t, const char *path, vdm_error *err)
{
    vdm_arc a;
    vdm_error why;
    *t = (struct facts){.known = -1};
    if (vdm_arc_read(&a, path, &why)) return is_machine_fault(&why) ? vdm_fail(err, "%s", why.text) : 0;
    hash_task(t->hash, &a);
    t->tests = a.n_test;
    t->known = known_tests(&a);
    vdm_arc_free(&a);
    return 0;
}

/* A task that can't be answered has a line with the reason. */
static int keep_error(arc_result *r, const struct facts *t, const char *why, vdm_error *err)
{
    double seconds = r->seconds;
    result_free(r);
    r->seconds = seconds;
    r->error = vdm_copy_text(why, err);
    r->failed_tests = t->tests;
    r->failed_known = t->known;
    return r->error ? 0 : -1;
}

/* Names the result, and writes its line. */
static int keep_result(shard *s, arc_result *r, const char *name, const char *task_hash, vdm_error *err)
{
    vdm_free(r->task);
    vdm_free(r->run);
    r->task = vdm_copy_text(name, err);
    r->run = vdm_copy_text(s->run, err);
    r->of = s->tasks;
    snprintf(r->configuration, HASH_TEXT, "%s", s->configuration);
    snprintf(r->task_hash, HASH_TEXT, "%s", task_hash);
    return r->task && r->run ? append(s, r, err) : -1;
}

/* Whether a task failed because its state can't be used: damaged, or of another version. Then it begins again. */
static bool is_bad_state(const solver *v, const char *work, const char *why)
{
    size_t n = strlen(work);
    return v->options.learn.resume && strncmp(why, work, n) == 0 &&
           strncmp(why + n, "/state.safetensors: ", 20) == 0;
}

/* solver_run, from the task's state if it has one that can be used. */
static int solve(shard *s, solver *v, const char *path, const char *work, vdm_error *why)
{
    if (!solver_run(v, s->o, path, work, true, false, why)) return 0;
    if (console_stopped() || is_machine_fault(why) || !is_bad_state(v, work, why->text)) return -1;
    fprintf(stderr, "%s: this state is not used, the task begins again\n", clean(why->text));
    solver_free(v);
    clear_work(work);
    return solver_run(v, s->o, path, work, true, false, why);
}

static int one_task(shard *s, const char *name, int at, int all, vdm_error *err)
{
    solver v;
    vdm_error why;
    struct facts t;
    char *path = path_of_task(s, name, err), *work = NULL;
    int status = path ? read_task(&t, path, err) : -1;
    if (!status) status = (work = work_folder(s, name, t.hash, err)) ? check_work(work, err) : -1;
    if (!status) {
        bool failed = solve(s, &v, path, work, &why) != 0;
        if (failed && console_stopped())
            status = vdm_fail(err, "%.900s; the same command continues", why.text);
        else if (failed && is_machine_fault(&why))
            status = vdm_fail(err, "%.900s", why.text);
        else if (failed)
            status = keep_error(&v.result, &t, why.text, err);
        if (!status) status = keep_result(s, &v.result, name, t.hash, err);
        if (!status) report_task(s, &v.result, at, all);
        solver_free(&v);
        if (!status) clear_work(work);
    }
    vdm_free(path);
    vdm_free(work);
    return status;
}

static bool is_of_task(const arc_result *r, const vdm_arc *a)
{
    char hash[HASH_TEXT];
    bool earlier = !*r->configuration; /* an earlier version's line, without hashes */
    hash_task(hash, a);
    if (!earlier && strcmp(hash, r->task_hash) != 0) return false;
    if (earlier && !r->error && (a->n_test != r->n_tests || a->n_train != r->pairs)) return false;
    for (int i = 0; i < r->n_tests; i++) {
        const arc_test *t = &r->tests[i];
        const vdm_grid *truth = &a->test[i].y;
        if (!vdm_grid_equal(&a->test[i].x, &t->input)) return false;
        if (truth->rows && t->truth.rows && !vdm_grid_equal(truth, &t->truth)) return false;
    }
    return true;
}

/* Adds the right answers that the task's file has and the result does not; whether there are any. */
static bool add_truths(arc_result *r, const vdm_arc *a)
{
    bool added = false;
    if (r->error && r->failed_tests == a->n_test && known_tests(a) > r->failed_known) {
        added = known_tests(a) > 0;
        r->failed_known = known_tests(a);
    }
    for (int i = 0; i < r->n_tests; i++) {
        const vdm_grid *truth = &a->test[i].y;
        if (!truth->rows || r->tests[i].truth.rows) continue;
        r->tests[i].truth = *truth;
        added = true;
    }
    return added;
}

/* The task's file still is the one that was answered, or still can't be read. */
static int check_task(shard *s, vdm_arc_collection *c, int i, vdm_error *err)
{
    arc_result *r = &s->done.all[i];
    vdm_arc a;
    vdm_error why;
    char *path = path_of_task(s, r->task, err);
    if (!path) return -1;
    int status = 0;
    bool readable = !vdm_arc_read_from(&a, c, path, &why), same = r->error && !*r->task_hash;
    if (!readable && is_machine_fault(&why)) status = vdm_fail(err, "%s", why.text);
    if (readable) same = is_of_task(r, &a);
    if (readable && same) s->known_since += add_truths(r, &a);
    if (readable) vdm_arc_free(&a);
    if (!status && !same && !readable)
        status = vdm_fail(err, "%s: line %d: the task of this result can't be read any more: %.600s",
                          s->o->arc.out, r->line, why.text);
    else if (!status && !same)
        status =
            vdm_fail(err,
                     "%s: line %d: the result of '%.200s' is that of another task: %s was changed since; "
                     "without this line it is solved again",
                     s->o->arc.out, r->line, r->task, path);
    vdm_free(path);
    return status;
}

/* Before the work. */
static int check_tasks(shard *s, vdm_error *err)
{
    vdm_arc_collection c = {0};
    int old = 0, status = 0;
    for (int i = 0; i < s->done.n && !status; i++) {
        status = check_task(s, &c, i, err);
        old += !*s->done.all[i].configuration;
    }
    vdm_arc_collection_close(&c);
    if (old && !status)
        fprintf(
            stderr,
            "%s: %d result%s of an earlier version, without hashes of task and configurations: only the test grids "
            "and the number of pairs are compared, of failed tasks nothing\n",
            clean(s->o->arc.out), old, old == 1 ? " is" : "s are");
    return !status && s->known_since ? rewrite_results(s, err) : status;
}

static int all_tasks(shard *s, vdm_error *err)
{
    int mine = (s->tasks - s->index + s->of - 1) / s->of, at = 0;
    for (int i = s->index; i < s->tasks; i += s->of) {
        const char *name = s->list.names[i];
        at++;
        const arc_result *done = find_result(s, name);
        if (done) {
            char *work = work_folder(s, name, done->task_hash, err);
            if (work) clear_work(work); /* of a run that was killed between the line and this */
            vdm_free(work);
            continue;
        }
        if (one_task(s, name, at, mine, err)) return -1;
    }
    return 0;
}

/* What would stop every task (the model, the folder for the work) stops the run before the first. */
static int try_out(shard *s, vdm_error *err)
{
    session m = {0};
    size_t n = strlen(s->o->arc.out) + 8;
    s->work = vdm_alloc(n, 1, "a path", err);
    if (!s->work) return -1;
    snprintf(s->work, n, "%s.work", s->o->arc.out);
    int status = check_work(s->work, err);
    if (!status) status = make_folder(s->work, err);
    if (!status) status = session_plan(&m, s->o, NULL, s->o->height, s->o->width, err);
    session_free(&m);
    return status;
}

/* Names become part of the results, which are JSON. */
static int check_names(const shard *s, vdm_error *err)
{
    for (int i = 0; i < s->list.n; i++)
        if (check_utf8(s->list.names[i], err)) return -1;
    return check_utf8(s->run, err);
}

static int prepare(shard *s, vdm_error *err)
{
    const options *o = s->o;
    if (list_read(&s->list, o->operands[0], err)) return -1;
    s->of = s->index = 1;
    if (o->arc.shard) read_part(o->arc.shard, &s->index, &s->of);
    s->index--;
    s->tasks = list_limit(&s->list, o);
    if (try_out(s, err)) return -1;
    s->run = run_of(o, err);
    if (!s->run || hash_configuration(s->configuration, o->model, err) || check_names(s, err)) return -1;
    if (lock_take(&s->lock, s->work, o->arc.out, err) || open_results(s, err)) return -1;
    return check_tasks(s, err);
}

int shard_run(const options *o, vdm_error *err)
{
    shard s = {.o = o, .fd = -1};
    int status = prepare(&s, err);
    for (int i = 0; i < s.done.n && !status; i++) count(&s, &s.done.all[i]);
    if (!status && s.done.n)
        printf("%s: %d task%s already %s a result\n", clean(o->arc.out), s.done.n, plural(s.done.n),
               s.done.n == 1 ? "has" : "have");
    if (!status) status = all_tasks(&s, err);
    if (!status) {
        const int all = s.answered + s.failed + s.unknown;
        printf("%s: %d task%s, solved %d, failed %d", clean(o->arc.out), all, plural(all), s.solved,
               s.failed);
        if (s.unknown + s.failed_unknown) printf(", without known answer %d", s.unknown + s.failed_unknown);
        printf("; 'vdm arc --report' makes a page of them\n");
    }
    if (!status && s.failed)
        status = vdm_fail(err, "%s: %d task%s could not be answered; the reasons are in the results",
                          o->arc.out, s.failed, plural(s.failed));
    if (s.fd >= 0) close(s.fd);
    lock_release(&s.lock);
    /* unless a state to resume from is left in it */
    if (s.work && rmdir(s.work) && !status && (errno == ENOTEMPTY || errno == EEXIST))
        fprintf(stderr,
                "%s is not removed: it has states of tasks that are not finished, or were changed since\n",
                clean(s.work));
    results_free(&s.done);
    list_free(&s.list);
    vdm_free(s.run);
    vdm_free(s.work);
    return status;
}
