/* Writes a task folder (vdm_task_read describes the layout). */
#define _GNU_SOURCE /* syncfs */
#include "tools/generate/task_folder.h"
#include "files/hash.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char TASK_UNFINISHED[] = "unfinished";

/* Removes the pictures DIR/PART/NAME.in.ppm and .out.ppm, and then the part if nothing else is in it. */
static void remove_part(const char *dir, const char *part)
{
    vdm_error err;
    char *path = vdm_path(dir, part, &err);
    DIR *d = path ? opendir(path) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *in = strstr(e->d_name, ".in.ppm"), *out = strstr(e->d_name, ".out.ppm");
        char *file = in || out ? vdm_path(path, e->d_name, &err) : NULL;
        if (file) unlink(file);
        vdm_free(file);
    }
    if (d) closedir(d);
    if (path) rmdir(path);
    vdm_free(path);
}

/* Removes all that was written of a task: the folder was empty before. */
static void remove_parts(const task_folder *f)
{
    static const char *const settings[] = {"task.json"};
    vdm_error err;
    char *file = vdm_path(f->dir, settings[0], &err), *partial = vdm_path(f->unfinished, settings[0], &err);
    if (file) unlink(file);
    if (partial) unlink(partial);
    vdm_free(file);
    vdm_free(partial);
    remove_leftovers(f->unfinished, settings, 1);
    for (int i = 0; i < 2; i++) {
        remove_part(f->dir, i ? "train" : "test");
        remove_part(f->unfinished, i ? "train" : "test");
    }
}

/* If something in the unfinished folder could not be removed, it keeps the lock's file: the mark by which the next run
 * knows that it may remove the rest. */
static void release(task_folder *f)
{
    char mark[4096] = "";
    if (f->lock.path) snprintf(mark, sizeof mark, "%s", f->lock.path);
    lock_release(&f->lock);
    if (f->unfinished && rmdir(f->unfinished) && *mark) {
        int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd >= 0) close(fd);
    }
    vdm_free(f->unfinished);
    *f = (task_folder){0};
}

void task_abandon(task_folder *f)
{
    if (f->lock.path) remove_parts(f);
    release(f);
}

/* Removes what a killed run left: its lock shows that the folder was empty when it began. A folder of that name without
 * a lock belongs to somebody else, and nothing is removed. */
static int remove_unfinished(const char *dir, vdm_error *err)
{
    task_folder f = {.dir = dir, .unfinished = vdm_path(dir, TASK_UNFINISHED, err)};
    char *mark = f.unfinished ? vdm_path(f.unfinished, "lock", err) : NULL;
    int status = mark ? 0 : -1;
    if (mark && access(mark, F_OK) == 0) {
        status = lock_take(&f.lock, f.unfinished, dir, err);
        task_abandon(&f);
    }
    vdm_free(mark);
    vdm_free(f.unfinished);
    return status;
}

int make_empty(const char *dir, vdm_error *err)
{
    if (make_folder(dir, err) || remove_unfinished(dir, err)) return -1;
    DIR *d = opendir(dir);
    if (!d) return vdm_fail(err, "%s: %s", dir, strerror(errno));
    int status = 0;
    errno = 0;
    for (const struct dirent *e; !status && (e = readdir(d)); errno = 0)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            status =
                vdm_fail(err, "%s: found '%.100s' in it, expected a new or empty folder", dir, e->d_name);
    if (!status && errno) status = vdm_fail(err, "%s: %s", dir, strerror(errno));
    closedir(d);
    return status;
}

int task_picture(const vdm_picture *p, const char *dir, const char *name, const char *ending, vdm_error *err)
{
    char file[256];
    snprintf(file, sizeof file, "%s.%s.ppm", name, ending);
    char *path = vdm_path(dir, file, err);
    FILE *f = path ? fopen(path, "wb") : NULL;
    if (f) vdm_ppm_write(p, f);
    bool written = f && !ferror(f);
    if (f && fclose(f)) written = false;
    if (path && !written) vdm_fail(err, "%s: can't be written: %s", path, strerror(errno));
    vdm_free(path);
    return written ? 0 : -1;
}

static int write_picture(const vdm_picture *p, const char *dir, int i, const char *ending, vdm_error *err)
{
    char name[16];
    snprintf(name, sizeof name, "%04d", i);
    return task_picture(p, dir, name, ending, err);
}

static int write_part(const vdm_picture *x, const vdm_picture *y, int n, const char *dir, const char *name,
                      vdm_error *err)
{
    if (!n) return 0;
    char *path = vdm_path(dir, name, err);
    int status = path ? make_folder(path, err) : -1;
    for (int i = 0; i < n && !status; i++) {
        status = write_picture(&x[i], path, i, "in", err);
        if (!status) status = write_picture(&y[i], path, i, "out", err);
    }
    vdm_free(path);
    return status;
}

static void print_settings(FILE *f, const vdm_task *t)
{
    fprintf(f, "{\"name\": \"%s\", \"phi\": \"discrete\", \"metric\": \"%s\"", t->name,
            vdm_metric_name(t->metric));
    if (t->grid.rows)
        fprintf(f, ",\n \"grid\": {\"rows\": %d, \"cols\": %d, \"cell\": %d, \"border\": %d%s}", t->grid.rows,
                t->grid.cols, t->grid.cell, t->grid.border,
                t->grid.palette == VDM_PALETTE_MAZE ? ", \"palette\": \"maze\"" : "");
    fputs("}\n", f);
}

static int write_settings(const vdm_task *t, const char *dir, vdm_error *err)
{
    vdm_file f;
    char *path = vdm_path(dir, "task.json", err);
    int status = path ? vdm_file_open(&f, path, err) : -1;
    vdm_free(path);
    if (status) return -1;
    print_settings(f.stream, t);
    return vdm_file_commit(&f, err);
}

int task_begin(task_folder *f, const char *dir, vdm_error *err)
{
    *f = (task_folder){.dir = dir};
    if (make_empty(dir, err)) return -1;
    f->unfinished = vdm_path(dir, TASK_UNFINISHED, err);
    if (f->unfinished && !make_folder(f->unfinished, err) && !lock_take(&f->lock, f->unfinished, dir, err))
        return 0;
    release(f);
    return -1;
}

/* Syncs all files below, with one call for their whole file system: a sync of each of hundreds takes a disk minutes. */
static int sync_below(const char *dir, vdm_error *err)
{
#ifdef __linux__
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = fd < 0 ? -1 : syncfs(fd);
    if (status) vdm_fail(err, "%s: can't be written: %s", dir, strerror(errno));
    if (fd >= 0) close(fd);
    return status;
#else
    (void)dir, (void)err;
    sync();
    return 0;
#endif
}

/* from/name -> to/name, if it exists. */
static int move(const char *from, const char *to, const char *name, vdm_error *err)
{
    char *a = vdm_path(from, name, err), *b = a ? vdm_path(to, name, err) : NULL;
    int status = b ? 0 : -1;
    if (b && rename(a, b) && errno != ENOENT)
        status = vdm_fail(err, "%s: can't be moved to %s: %s", a, b, strerror(errno));
    vdm_free(a);
    vdm_free(b);
    return status;
}

int task_end(task_folder *f, const vdm_task *t, vdm_error *err)
{
    if (write_settings(t, f->unfinished, err) || sync_below(f->unfinished, err) ||
        move(f->unfinished, f->dir, "task.json", err) || move(f->unfinished, f->dir, "test", err) ||
        move(f->unfinished, f->dir, "train", err) || sync_below(f->dir, err))
        return -1;
    release(f);
    return 0;
}

int task_write(const made_task *t, const char *dir, vdm_error *err)
{
    task_folder f;
    int status = task_begin(&f, dir, err);
    if (!status) status = write_part(t->train_x, t->train_y, t->n_train, f.unfinished, "train", err);
    if (!status) status = write_part(t->test_x, t->test_y, t->n_test, f.unfinished, "test", err);
    if (!status) status = task_end(&f, &t->task, err);
    task_abandon(&f);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * A hash of a task */

static uint64_t hash_named(uint64_t h, const char *file, const vdm_picture *p)
{
    return vdm_hash_step(vdm_hash_text(h, file), hash_picture(p));
}

static uint64_t hash_part(uint64_t h, const vdm_picture *x, const vdm_picture *y, int n)
{
    char file[32];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            snprintf(file, sizeof file, "%04d.%s.ppm", i, k ? "out" : "in");
            h = hash_named(h, file, k ? &y[i] : &x[i]);
        }
    return vdm_hash_step(h, (uint64_t)n);
}

int task_hash(uint64_t *hash, const made_task *t, vdm_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f) print_settings(f, &t->task);
    int status = f ? vdm_memory_close(f, &text, &size) : -1;
    if (status) {
        vdm_fail(err, "no memory for the settings of a task");
    } else {
        uint64_t h = hash_part(vdm_hash_text(VDM_HASH_START, text), t->train_x, t->train_y, t->n_train);
        *hash = hash_part(h, t->test_x, t->test_y, t->n_test);
    }
    free(text);
    return status ? -1 : 0;
}

/* What a link names may be anywhere. */
static int check_no_link(const char *path, vdm_error *err)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) return vdm_fail(err, "%s: found a link", path);
    return 0;
}

static int hash_file(uint64_t *hash, const char *path, vdm_error *err)
{
    vdm_picture p = {0};
    if (!path) return vdm_fail(err, "expected an output for every input, found none");
    if (check_no_link(path, err) || vdm_picture_read(&p, path, err)) return -1;
    *hash = hash_named(*hash, strrchr(path, '/') + 1, &p);
    vdm_picture_free(&p);
    return 0;
}

static int hash_examples(uint64_t *hash, const char *dir, const char *part, const vdm_example *list, int n,
                         vdm_error *err)
{
    char *path = vdm_path(dir, part, err);
    int status = path ? check_no_link(path, err) : -1;
    vdm_free(path);
    for (int i = 0; i < n && !status; i++)
        if (hash_file(hash, list[i].input, err) || hash_file(hash, list[i].output, err)) status = -1;
    *hash = vdm_hash_step(*hash, (uint64_t)n);
    return status;
}

static int hash_settings(uint64_t *hash, const char *dir, vdm_error *err)
{
    char *path = vdm_path(dir, "task.json", err), *text = NULL;
    size_t size;
    int status = path ? check_no_link(path, err) : -1;
    if (!status) status = vdm_read_file(path, VDM_MAX_JSON, &text, &size, err);
    if (!status) *hash = vdm_hash_text(VDM_HASH_START, text);
    vdm_free(text);
    vdm_free(path);
    return status;
}

/* Entries of dir/part (part NULL: of dir) but "." and "..": 0 if there is no such folder */
static int count_entries(const char *dir, const char *part)
{
    vdm_error none;
    char *path = part ? vdm_path(dir, part, &none) : NULL;
    DIR *d = part && !path ? NULL : opendir(path ? path : dir);
    int n = d ? -2 : 0;
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    vdm_free(path);
    return n;
}

/* Whether the folder has nothing but the task: task.json, and train/ and test/ with two pictures for each example */
static bool has_only_task(const char *dir, const vdm_task *t)
{
    int train = count_entries(dir, "train"), test = count_entries(dir, "test");
    return train == 2 * t->n_train && test == 2 * t->n_test && count_entries(dir, NULL) <= 3;
}

int task_hash_folder(uint64_t *hash, const char *dir, vdm_error *err)
{
    vdm_task t;
    if (check_no_link(dir, err) || hash_settings(hash, dir, err) || vdm_task_read(&t, dir, err)) return -1;
    int status =
        has_only_task(dir, &t) ? 0 : vdm_fail(err, "%s: expected a task only, found other files", dir);
    if (!status) status = hash_examples(hash, dir, "train", t.train, t.n_train, err);
    if (!status) status = hash_examples(hash, dir, "test", t.test, t.n_test, err);
    vdm_task_free(&t);
    return status;
}
