/* How well a model's VAE reconstructs grids: every pair's video (the discrete transition) is encoded and decoded, and
 * the grid in its last frame is read. Training can't recover what the VAE loses.
 *
 *   pair -> video [T,H,W,3] -> latents (the mode) -> video -> last frame -> grid; the same cells?
 *
 * One row for every size of cells on the canvas of --size, over all pairs that fit; and, with --grow,
 * for every size of the canvas with cells of --cell. */
#include "tools/arc/vae_roundtrip.h"
#include "tools/arc/results.h"
#include "tools/arc/shard.h"
#include "tools/messages.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/model_session.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 64 };
struct tally {
    int height, width, cell; /* of the canvas; pixels of a cell */
    int64_t pairs, exact, cells, recovered;
};
struct count {
    const options *o;
    session s;
    struct tally rows[MAX_ROWS];
    int n;
    int left_out;    /* tasks that can't be read, or whose grids don't fit */
    vdm_error first; /* why the first of them */
};

static struct tally *find_row(struct count *c, int height, int width, int cell)
{
    for (int i = 0; i < c->n; i++) {
        struct tally *r = &c->rows[i];
        if (r->height == height && r->width == width && r->cell == cell) return r;
    }
    if (c->n == MAX_ROWS) return NULL;
    c->rows[c->n] = (struct tally){.height = height, .width = width, .cell = cell};
    return &c->rows[c->n++];
}

/* The video through the VAE. frames [T,H,W,3] become their reconstruction. */
static int through(const struct count *c, const vdm_geometry *g, uint8_t *frames, vdm_error *err)
{
    const session *s = &c->s;
    int T = g->frames, H = g->height, W = g->width, F = g->latent_frames, C = s->config.vae.latent_channels;
    size_t floats = (size_t)T * 3 * (size_t)H * (size_t)W, latents = (size_t)(F * C * g->h * g->w);
    float *video = vdm_alloc(floats, sizeof(float), "a video", err);
    float *moments = vdm_alloc(2 * latents, sizeof(float), "moments", err);
    float *mode = vdm_alloc(latents, sizeof(float), "latents", err);
    int status = video && moments && mode ? 0 : -1;
    if (!status) vdm_video_from_bytes(video, frames, T, H, W);
    if (!status)
        status = vdm_vae_encode(&s->vae, &s->cpu, video, &(vdm_vae_size){T, H, W, c->o->tiled}, moments, NULL,
                                err);
    if (!status) {
        vdm_vae_sample(mode, moments, NULL, F, C, g->h, g->w);
        status = vdm_vae_decode(&s->vae, &s->cpu, mode, &(vdm_vae_size){F, g->h, g->w, c->o->tiled}, video,
                                NULL, err);
    }
    if (!status) status = vdm_video_check(video, T, H, W, err);
    if (!status) {
        for (size_t i = 0; i < floats; i++) { /* to 0..1 */
            float x = video[i] * 0.5f + 0.5f;
            video[i] = x < 0 ? 0 : x > 1 ? 1 : x;
        }
        vdm_bytes_from_video(frames, video, T, H, W);
    }
    vdm_free(video);
    vdm_free(moments);
    vdm_free(mode);
    return status;
}

static int measure(struct count *c, const vdm_task *t, const vdm_example *e, int height, int width,
                   vdm_error *err)
{
    vdm_geometry g;
    vdm_grid read = {.rows = e->y->rows, .cols = e->y->cols};
    vdm_phi phi = {.kind = VDM_PHI_DISCRETE};
    vdm_picture x = {0}, y = {0};
    uint8_t *frames = NULL;
    int status = vdm_geometry_init(&g, &c->s.config, c->o->frames, height, width, err);
    if (!status) status = vdm_example_picture(&x, t, e, VDM_INPUT, height, width, err);
    if (!status) status = vdm_example_picture(&y, t, e, VDM_OUTPUT, height, width, err);
    size_t frame = (size_t)height * (size_t)width * 3;
    if (!status && !(frames = vdm_alloc((size_t)g.frames * frame, 1, "a video", err))) status = -1;
    if (!status) status = vdm_interp(&phi, &x, &y, g.frames, NULL, frames, err);
    if (!status) status = through(c, &g, frames, err);
    if (!status) {
        vdm_picture last = {height, width, frames + (size_t)(g.frames - 1) * frame};
        status = vdm_arc_decode(&read, &last, &t->grid, NULL, err);
    }
    struct tally *row = status ? NULL : find_row(c, height, width, t->grid.cell);
    if (!status && !row) status = vdm_fail(err, "more than %d sizes of cells and canvases", MAX_ROWS);
    if (row) {
        int wrong = arc_wrong(&read, e->y);
        row->pairs++;
        row->exact += wrong == 0;
        row->cells += read.rows * read.cols;
        row->recovered += read.rows * read.cols - wrong;
    }
    vdm_picture_free(&x);
    vdm_picture_free(&y);
    vdm_free(frames);
    return status;
}

/* The pair on the canvas with cells of each size that fits. */
static int measure_sizes(struct count *c, vdm_task *t, const vdm_example *e, vdm_error *err)
{
    static const int sizes[] = {2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 16, 20, 24, 32};
    vdm_grid larger = *e->x;
    if (e->y->rows > larger.rows) larger.rows = e->y->rows;
    if (e->y->cols > larger.cols) larger.cols = e->y->cols;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        t->grid.cell = sizes[i];
        int height = (int)vdm_grid_side(&t->grid, larger.rows),
            width = (int)vdm_grid_side(&t->grid, larger.cols);
        if (height > c->o->height || width > c->o->width) continue;
        if (measure(c, t, e, c->o->height, c->o->width, err)) return -1;
    }
    return 0;
}

/* One task among many does not end the work. */
static int leave_out(struct count *c, const char *path, const vdm_error *why, vdm_error *err)
{
    if (is_machine_fault(why)) return vdm_fail(err, "%s", why->text);
    bool named = strncmp(why->text, path, strlen(path)) == 0;
    if (c->left_out++ == 0)
        snprintf(c->first.text, sizeof c->first.text, "%.400s%s%.600s", named ? "" : path, named ? "" : ": ",
                 why->text);
    return 0;
}

static int one_task(struct count *c, const char *path, vdm_error *err)
{
    vdm_task t;
    vdm_error why;
    options grown = *c->o;
    if (vdm_task_read(&t, path, &why)) return leave_out(c, path, &why, err);
    if (canvas_lay_out(&t, &grown, true, &why)) {
        vdm_task_free(&t);
        return leave_out(c, path, &why, err);
    }
    int status = 0, cell = t.grid.cell;
    int n = c->o->learn.shots && c->o->learn.shots < t.n_train ? c->o->learn.shots : t.n_train;
    for (int i = 0; i < n && !status; i++) {
        status = measure_sizes(c, &t, &t.train[i], err);
        t.grid.cell = cell;
        if (!status && (grown.height != c->o->height || grown.width != c->o->width))
            status = measure(c, &t, &t.train[i], grown.height, grown.width, err);
    }
    vdm_task_free(&t);
    return status;
}

static int compare_rows(const void *a, const void *b)
{
    const struct tally *x = a, *y = b;
    if (x->height != y->height) return x->height < y->height ? -1 : 1;
    if (x->width != y->width) return x->width < y->width ? -1 : 1;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

static void print_rows(struct count *c)
{
    qsort(c->rows, (size_t)c->n, sizeof c->rows[0], compare_rows);
    printf("   canvas  cell  pairs  cells recovered  grids exact\n");
    for (int i = 0; i < c->n; i++) {
        const struct tally *r = &c->rows[i];
        char canvas[32];
        snprintf(canvas, sizeof canvas, "%dx%d", r->height, r->width);
        printf("%9s  %4d  %5lld  %14.2f%%  %10.2f%%\n", canvas, r->cell, (long long)r->pairs,
               100 * shown_share((double)r->recovered / (double)r->cells, 4),
               100 * shown_share((double)r->exact / (double)r->pairs, 4));
    }
}

int vae_roundtrip_run(const options *o, vdm_error *err)
{
    struct count c = {.o = o};
    arc_list list = {0};
    options settled = *o;
    int status = list_read(&list, o->operands[0], err);
    canvas_allow(&settled, VDM_MAX_SIDE); /* only the VAE computes, whose size has no limit */
    if (!status) status = session_plan(&c.s, &settled, NULL, o->height, o->width, err);
    if (!status) status = session_load(&c.s, err);
    const int n = status ? 0 : list_limit(&list, o);
    for (int i = 0; i < n && !status; i++) {
        char *path = list_path(o->operands[0], list.names[i], err);
        status = path ? one_task(&c, path, err) : -1;
        vdm_free(path);
        if (console_stopped()) status = vdm_fail(err, "interrupted");
    }
    if (c.left_out)
        fprintf(stderr, "left out: %d task%s; the first: %s\n", c.left_out, plural(c.left_out),
                clean(c.first.text));
    if (!status && !c.n)
        status =
            vdm_fail(err, "%s: --size %dx%d: expected a pair that fits with cells of 2 pixels, found none",
                     o->operands[0], o->height, o->width);
    if (!status) print_rows(&c);
    session_free(&c.s);
    list_free(&list);
    return status;
}
