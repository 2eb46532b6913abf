/* Every file that a command reads or writes. Two names are one file if device and inode are the same; for a file that
 * does not exist yet, if its folder's are, and its name in the folder. */
#include "tools/run/paths.h"
#include "tools/options_table.h"
#include "tools/run/earlier.h"
#include "tools/run/file_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The folder that a path is in: "a/b" of "a/b/c", "." of "c"; vdm_free. */
static char *folder_of(const char *path, vdm_error *err)
{
    size_t n = (size_t)(last_name(path) - path);
    char *folder = vdm_alloc(n + 2, 1, "a path", err);
    if (!folder) return NULL;
    memcpy(folder, n ? path : ".", n ? n : 1);
    return folder;
}

/* Which file it is; -1 if it can't be compared: a device, a pipe, a file in a folder that does not exist. */
static int identify(struct known_path *k, vdm_error *err)
{
    struct stat st;
    k->last = NULL;
    if (stat(k->name, &st) == 0) {
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return -1;
    } else {
        char *folder = folder_of(k->name, err);
        int status = folder ? stat(folder, &st) : -1;
        vdm_free(folder);
        if (status) return -1;
        k->last = last_name(k->name);
    }
    k->device = st.st_dev;
    k->inode = st.st_ino;
    return 0;
}

static int add(paths *p, struct known_path k, vdm_error *err)
{
    if (!k.name) return 0;
    if (k.use != WRITE && (identify(&k, err) || k.last))
        return 0; /* its reader rejects a file that does not exist */
    if (p->n == p->capacity) {
        int capacity = p->capacity ? 2 * p->capacity : 32;
        struct known_path *all = vdm_alloc((size_t)capacity, sizeof *all, "the files of a command", err);
        if (!all) return -1;
        if (p->n) memcpy(all, p->all, (size_t)p->n * sizeof *all);
        vdm_free(p->all);
        p->all = all;
        p->capacity = capacity;
    }
    p->all[p->n++] = k;
    return 0;
}

int paths_read(paths *p, const char *path, vdm_error *err)
{
    return add(p, (struct known_path){.name = path, .use = READ}, err);
}

int paths_read_folder(paths *p, const char *path, vdm_error *err)
{
    return add(p, (struct known_path){.name = path, .use = READ_BELOW}, err);
}

int paths_write(paths *p, const char *path, enum output_kind kind, vdm_error *err)
{
    return add(p, (struct known_path){.name = path, .kind = kind, .use = WRITE}, err);
}

/* FILE or FILE:WEIGHT: the name is stored with and without the part after the colon. */
static int read_lora(paths *p, const char *text, vdm_error *err)
{
    struct known_path k = {.name = text, .use = READ};
    const char *colon = strrchr(text, ':');
    struct stat st;
    if (!colon || stat(text, &st) == 0) return add(p, k, err);
    size_t n = (size_t)(colon - text);
    char *path = vdm_alloc(n + 1, 1, "a path", err);
    if (!path) return -1;
    memcpy(path, text, n);
    k.name = path;
    int before = p->n, status = add(p, k, err);
    if (p->n > before) p->all[before].name = text; /* it exists: the text is for the message */
    vdm_free(path);
    return status;
}

static int read_model(paths *p, const char *model, int command, vdm_error *err)
{
    static const char *const parts[] = {"transformer", "vae", "scheduler", "text_encoder", "tokenizer"};
    static const char *const files[] = {"vdm.json", "model_index.json", "view_embeds.safetensors",
                                        "prompt_embeds.safetensors"};
    const size_t n_files = command == PROMPT ? 3 : 4; /* vdm prompt may write the model's own prompt */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char *path = vdm_path(model, parts[i], err);
        if (!path) return -1;
        int before = p->n, status = paths_read_folder(p, path, err);
        if (p->n > before) p->all[before].name = model;
        vdm_free(path);
        if (status) return -1;
    }
    for (size_t i = 0; i < n_files; i++) {
        char *path = vdm_path(model, files[i], err);
        if (!path) return -1;
        int before = p->n, status = paths_read(p, path, err);
        if (p->n > before) p->all[before].name = model;
        vdm_free(path);
        if (status) return -1;
    }
    return 0;
}

static enum output_kind kind_of(const struct option_row *r, int command)
{
    if (r->flags & VIDEO) return VIDEO_FILE;
    if (r->offset == offsetof(options, dump)) return command == FIT ? FIT_DUMP : PREDICT_DUMP;
    if (r->offset == offsetof(options, compare.html)) return COMPARE_PAGE;
    if (r->offset == offsetof(options, bench.json)) return MEASUREMENTS;
    return ANY_FILE; /* arc --out, which shard.c checks */
}

int paths_of_options(paths *p, const options *o, int command, vdm_error *err)
{
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        if (!(r->commands & command) || r->kind != TEXT) continue;
        const char *path = *(const char *const *)((const char *)o + r->offset);
        if ((r->flags & READS) && paths_read(p, path, err)) return -1;
        if ((r->flags & WRITES) && paths_write(p, path, kind_of(r, command), err)) return -1;
    }
    for (int i = 0; i < o->sample.n_loras; i++)
        if (read_lora(p, o->sample.loras[i], err)) return -1;
    if (o->compare.weights && read_model(p, o->compare.weights, command, err)) return -1;
    return o->model ? read_model(p, o->model, command, err) : 0;
}

int paths_read_task(paths *p, const vdm_task *t, vdm_error *err)
{
    static const char *const parts[] = {"train", "test"};
    if (t->arc.path) return paths_read(p, t->arc.path, err);
    if (paths_read(p, t->path, err)) return -1;
    for (int i = 0; i < 2; i++) {
        char *path = vdm_path(t->path, parts[i], err);
        if (!path) return -1;
        int before = p->n, status = paths_read_folder(p, path, err);
        if (p->n > before) p->all[before].name = t->path;
        vdm_free(path);
        if (status) return -1;
    }
    return 0;
}

/* Whether a file is in this folder, or below it: the folders from its own up to the root are compared. */
static bool lies_below(const struct known_path *file, const struct known_path *folder)
{
    vdm_error err;
    struct stat st, above;
    if (!file->last && file->device == folder->device && file->inode == folder->inode) return true;
    char *first = folder_of(file->name, &err);
    size_t n = first ? strlen(first) : 0, capacity = n + 3 * 256 + 1;
    char *at = first ? vdm_alloc(capacity, 1, "a path", &err) : NULL;
    if (at) memcpy(at, first, n + 1);
    vdm_free(first);
    bool below = false;
    for (int up = 0; at && up < 256 && stat(at, &st) == 0; up++) {
        below = st.st_dev == folder->device && st.st_ino == folder->inode;
        memcpy(at + n, "/..", 4);
        n += 3;
        if (below || stat(at, &above) || (above.st_dev == st.st_dev && above.st_ino == st.st_ino)) break;
    }
    vdm_free(at);
    return below;
}

static bool same_file(const struct known_path *a, const struct known_path *b)
{
    if (a->device != b->device || a->inode != b->inode || !a->last != !b->last) return false;
    return !a->last || strcmp(a->last, b->last) == 0;
}

/* The output i against everything that was named. */
static int compare(const paths *p, int i, vdm_error *err)
{
    const struct known_path *mine = &p->all[i];
    for (int k = 0; k < p->n; k++) {
        const struct known_path *other = &p->all[k];
        if (other->use == READ_BELOW && lies_below(mine, other))
            return vdm_fail(
                err, "%s: this output would be among the files of %s, which are read; choose another folder",
                mine->name, other->name);
        if (other->use == READ && same_file(mine, other))
            return vdm_fail(err, "%s: this output would replace %s, which is read; choose another name",
                            mine->name, other->name);
        if (other->use == WRITE && k < i && same_file(mine, other))
            return vdm_fail(err, "%s and %s: expected two files for two outputs, found one", other->name,
                            mine->name);
    }
    return 0;
}

int paths_make_folder(const paths *p, const char *folder, vdm_error *err)
{
    char *name = vdm_copy_text(folder, err);
    if (!name) return -1;
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--) name[n - 1] = '\0';
    struct known_path mine = {.name = name, .use = WRITE};
    int status = 0;
    bool known = !identify(&mine, err);
    for (int i = 0; i < p->n && known && !status; i++)
        if (p->all[i].use == READ_BELOW && lies_below(&mine, &p->all[i]))
            status = vdm_fail(
                err, "%s: this folder would be among the files of %s, which are read; choose another", folder,
                p->all[i].name);
    vdm_free(name);
    return status ? -1 : make_folder(folder, err);
}

static int check_name(const struct known_path *k, vdm_error *err)
{
    vdm_error other;
    switch (k->kind) {
    case PICTURE_FILE:
        return vdm_picture_name_check(k->name, err);
    case VIDEO_FILE:
        return vdm_video_name_check(k->name, err);
    case PICTURE_OR_VIDEO_FILE:
        return vdm_picture_name_check(k->name, &other) ? vdm_video_name_check(k->name, err) : 0;
    default:
        return check_ending(k->name, k->kind, err);
    }
}

static int check_output(const struct known_path *k, vdm_error *err)
{
    if (check_name(k, err) || check_earlier(k->name, k->kind, err)) return -1;
    return check_outside_tasks(k->name, err);
}

int paths_check(paths *p, vdm_error *err)
{
    int status = 0;
    for (int i = 0; i < p->n && !status; i++)
        if (p->all[i].use == WRITE && !identify(&p->all[i], err)) status = compare(p, i, err);
    for (int i = 0; i < p->n && !status; i++)
        if (p->all[i].use == WRITE) status = check_output(&p->all[i], err);
    for (int i = 0; i < p->n && !status; i++)
        if (p->all[i].use == WRITE) status = writable(p->all[i].name, err);
    paths_free(p);
    return status;
}

int paths_check_command(const options *o, int command, enum output_kind kind, vdm_error *err)
{
    paths p = {0};
    int status = paths_of_options(&p, o, command, err);
    for (int i = 0; i < o->n_operands && !status; i++) status = paths_read(&p, o->operands[i], err);
    if (!status) status = paths_write(&p, o->output, kind, err);
    if (!status) return paths_check(&p, err);
    paths_free(&p);
    return -1;
}

void paths_free(paths *p)
{
    vdm_free(p->all);
    *p = (paths){0};
}
