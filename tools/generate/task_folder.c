/* A task folder as it is written (vdm_task_read tells the layout). */
#define _GNU_SOURCE /* syncfs */
#include "tools/generate/task_folder.h"
#include "tools/run/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* dir, new or empty, and nothing else. */
int make_empty(const char *dir, vdm_error *err)
{
    if (make_folder(dir, err)) return -1;
    DIR *d = opendir(dir);
    if (!d) return vdm_fail(err, "%s: %s", dir, strerror(errno));
    int status = 0;
    errno = 0;
    for (const struct dirent *e; !status && (e = readdir(d)); errno = 0)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            status =
                vdm_fail(err, "%s: found '%.100s' in it, expected a new or an empty folder", dir, e->d_name);
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
    char *path = n ? vdm_path(dir, name, err) : NULL;
    int status = n && (!path || make_folder(path, err)) ? -1 : 0;
    for (int i = 0; i < n && !status; i++)
        status =
            write_picture(&x[i], path, i, "in", err) || write_picture(&y[i], path, i, "out", err) ? -1 : 0;
    vdm_free(path);
    return status;
}

static int task_write_settings(const vdm_task *t, const char *dir, vdm_error *err)
{
    vdm_file f;
    char *path = vdm_path(dir, "task.json", err);
    int status = path ? vdm_file_open(&f, path, err) : -1;
    vdm_free(path);
    if (status) return -1;
    fprintf(f.stream, "{\"name\": \"%s\", \"phi\": \"discrete\", \"metric\": \"%s\"", t->name,
            vdm_metric_name(t->metric));
    if (t->grid.rows)
        fprintf(f.stream, ",\n \"grid\": {\"rows\": %d, \"cols\": %d, \"cell\": %d, \"border\": %d%s}",
                t->grid.rows, t->grid.cols, t->grid.cell, t->grid.border,
                t->grid.palette == VDM_PALETTE_MAZE ? ", \"palette\": \"maze\"" : "");
    fputs("}\n", f.stream);
    return vdm_file_commit(&f, err);
}

const char TASK_UNFINISHED[] = "unfinished";

char *task_begin(const char *dir, vdm_error *err)
{
    char *unfinished = make_empty(dir, err) ? NULL : vdm_path(dir, TASK_UNFINISHED, err);
    if (!unfinished || !make_folder(unfinished, err)) return unfinished;
    vdm_free(unfinished);
    return NULL;
}

/* All files below, with one call for their whole file system: a sync of each of hundreds takes a disk
 * minutes. */
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

/* from/name -> to/name, where there is one. */
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

int task_end(const vdm_task *t, const char *dir, const char *unfinished, vdm_error *err)
{
    if (task_write_settings(t, unfinished, err) || sync_below(unfinished, err) ||
        move(unfinished, dir, "task.json", err) || move(unfinished, dir, "test", err) ||
        move(unfinished, dir, "train", err))
        return -1;
    remove(unfinished);
    return sync_below(dir, err);
}

int task_write(const made_task *t, const char *dir, vdm_error *err)
{
    char *unfinished = task_begin(dir, err);
    int status = !unfinished || write_part(t->train_x, t->train_y, t->n_train, unfinished, "train", err) ||
                         write_part(t->test_x, t->test_y, t->n_test, unfinished, "test", err) ||
                         task_end(&t->task, dir, unfinished, err)
                     ? -1
                     : 0;
    vdm_free(unfinished);
    return status;
}
