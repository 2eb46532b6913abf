/* An adapter answers well only if it is used as it was learned. Its file says how (files/adapter_facts.c): what an option
 * may follow is followed, a contradiction is rejected, and every other difference is printed. */
#include "tools/run/adapters.h"
#include "files/hash.h"
#include "tools/messages.h"
#include "tools/run/canvas.h"
#include "tools/run/multi_view.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

/* --image-scale is the one with the factor that the adapter was learned with. */
static int apply_image_scale(options *o, const char *path, double learned, vdm_error *err)
{
    static const char *const names[] = {"pipeline", "trainer"}; /* vdm_image_scale */
    vdm_model_config c;
    if (vdm_model_config_read(&c, o->model, err)) return -1;
    vdm_image_scale here = image_scale_of(o), other = !here;
    double factor = vdm_image_latent_scale(&c.vae, here), second = vdm_image_latent_scale(&c.vae, other);
    if (!(fabs(factor - learned) > 0)) return 0;
    if (fabs(second - learned) > 0)
        return vdm_fail(
            err, "%s: learned with image latents times %g: expected a model that has them times %g or %g",
            path, learned, factor, second);
    if (option_given(o, "--image-scale"))
        return vdm_fail(err, "%s: learned with --image-scale %s: expected the same here, found %s", path,
                        names[other], names[here]);
    snprintf(o->image_scale, sizeof o->image_scale, "%s", names[other]);
    fprintf(stderr, "%s: learned with --image-scale %s, which is used here\n", clean(path), names[other]);
    return 0;
}

int adapter_apply(options *o, const char *path, int command, vdm_error *err)
{
    vdm_lora_facts f;
    if (vdm_lora_facts_read(&f, path, err)) return -1;
    if (!f.frames) return 0;
    if (apply_image_scale(o, path, f.image_latent_scale, err)) return -1;
    canvas_allow(o, f.height > f.width ? f.height : f.width);
    if (f.frames != o->frames && !option_given(o, "--frames")) {
        o->frames = f.frames;
        fprintf(stderr, "%s: learned with --frames %d, which is used here\n", clean(path), f.frames);
    }
    if (command == EVAL && f.view && f.view < MAX_VIEWS && !option_given(o, "--view")) {
        o->eval.view = f.view;
        fprintf(stderr, "%s: learned with --view %d, which is used here\n", clean(path), f.view);
    }
    return 0;
}

int adapters_apply(options *o, int command, vdm_error *err)
{
    struct stat files[MAX_LORAS];
    int status = 0;
    for (int i = 0; i < o->sample.n_loras && !status; i++) {
        double weight;
        char *path = lora_path(&weight, o->sample.loras[i], err);
        status = path ? adapter_apply(o, path, command, err) : -1;
        bool known = !status && stat(path, &files[i]) == 0;
        for (int k = 0; k < i && known && !status; k++)
            if (files[k].st_dev == files[i].st_dev && files[k].st_ino == files[i].st_ino)
                status = vdm_fail(
                    err, "--lora %s: found this file twice, expected once, with the sum of its weights",
                    path);
        vdm_free(path);
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Pairs and grids */

/* The facts of adapter i of --lora, and its path (vdm_free); NULL: a failure. */
static char *read_facts(vdm_lora_facts *f, const options *o, int i, vdm_error *err)
{
    double weight;
    char *path = lora_path(&weight, o->sample.loras[i], err);
    if (!path || !vdm_lora_facts_read(f, path, err)) return path;
    vdm_free(path);
    return NULL;
}

int adapters_pairs(int *pairs, const options *o, const vdm_task *t, vdm_error *err)
{
    *pairs = o->sample.n_loras ? 0 : t->n_train;
    for (int i = 0; i < o->sample.n_loras; i++) {
        vdm_lora_facts f;
        char *path = read_facts(&f, o, i, err);
        if (!path) return -1;
        vdm_free(path);
        int own = f.pairs && f.pairs < t->n_train ? f.pairs : t->n_train;
        if (own > *pairs) *pairs = own;
    }
    return 0;
}

/* An option that contradicts the grids that the adapter was learned on */
static int check_given(const vdm_grid_layout *g, const options *o, const char *path, vdm_error *err)
{
    const char *palette = canvas_palette_name(g->palette);
    if (option_given(o, "--cell") && o->canvas.cell != g->cell)
        return vdm_fail(err, "%s: learned with cells of %d pixels: expected the same here, found --cell %d",
                        path, g->cell, o->canvas.cell);
    if (option_given(o, "--border") && o->canvas.border != g->border)
        return vdm_fail(err,
                        "%s: learned with borders of %d pixels: expected the same here, found --border %d",
                        path, g->border, o->canvas.border);
    if (option_given(o, "--palette") && strcmp(o->canvas.palette, palette) != 0)
        return vdm_fail(err, "%s: learned with the palette %s: expected the same here, found --palette %s",
                        path, palette, o->canvas.palette);
    return 0;
}

/* The grid of an older file, which has neither rows and columns nor the palette maze, fills the picture. */
static void fill(vdm_grid_layout *g, const char *path, const vdm_geometry *size)
{
    canvas_fill(g, size->height, size->width);
    if (g->rows)
        fprintf(
            stderr,
            "%s: an older file, without the size of its grids: the picture is read as one that fills it, of "
            "%d rows and %d columns, palette %s\n",
            clean(path), g->rows, g->cols, canvas_palette_name(g->palette));
}

/* The grid that the adapter was learned on, in a picture of that size. */
static int grid_of(vdm_grid_layout *g, const vdm_lora_facts *f, const options *o, const char *path,
                   const vdm_geometry *size, vdm_error *err)
{
    vdm_pixel first;
    if (*f->grid && !canvas_grid_read(g, f->grid))
        return vdm_fail(err,
                        "%s: metadata vdm_learned: grid: found '%s', expected \"cell 8, border 0, align 1, "
                        "palette arc, 7 rows, 7 columns\"",
                        path, f->grid);
    if (*f->grid && check_given(g, o, path, err)) return -1;
    bool sized = *f->grid && g->rows;
    if (sized && !vdm_grid_place(&first, g, f->height, f->width))
        return vdm_fail(err, "%s: metadata vdm_learned: grid: found '%s', expected one that fits into %dx%d",
                        path, f->grid, f->height, f->width);
    if (!sized && f->pairs)
        return vdm_fail(err,
                        "%s: learned on grids of several sizes (ARC-AGI): expected --views 1, or vdm eval of "
                        "such a task, which has the size of every grid",
                        path);
    if (sized && (f->height != size->height || f->width != size->width))
        return vdm_fail(err,
                        "%s: learned on grids of %d rows and %d columns in pictures of %dx%d: expected such "
                        "a picture, or --size %dx%d, found %dx%d",
                        path, g->rows, g->cols, f->height, f->width, f->height, f->width, size->height,
                        size->width);
    if (!sized) fill(g, path, size);
    return 0;
}

int adapters_grid(vdm_grid_layout *g, const options *o, const vdm_geometry *size, vdm_error *err)
{
    vdm_lora_facts f;
    char first[sizeof f.grid] = "";
    *g = canvas_of_options(o, size->height, size->width);
    for (int i = 0; i < o->sample.n_loras; i++) {
        vdm_grid_layout own = *g;
        char *path = read_facts(&f, o, i, err);
        if (!path) return -1;
        bool known = *f.grid || f.views > 1,
             same = !*first || !*f.grid || canvas_same_grid(first, f.grid, false);
        int status = 0;
        if (known && !same)
            status =
                vdm_fail(err, "%s: learned with grids of %s, the adapter before it of %s: expected the same",
                         path, f.grid, first);
        else if (known)
            status = grid_of(&own, &f, o, path, size, err);
        if (known && !*first) *g = own;
        if (known && !*first) snprintf(first, sizeof first, "%s", f.grid);
        vdm_free(path);
        if (status) return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Differences */

struct list {
    char text[600];
};

static void add(struct list *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct list *l, const char *format, ...)
{
    size_t n = strlen(l->text);
    va_list args;
    n += (size_t)snprintf(l->text + n, sizeof l->text - n, "%s", n ? ", " : "");
    va_start(args, format);
    if (n < sizeof l->text) vsnprintf(l->text + n, sizeof l->text - n, format, args);
    va_end(args);
}

/* Hashes of the session's model, which take seconds for a large one; 0: not computed yet. */
struct hashes {
    uint64_t model, vae;
};

/* Adds which of prompt, transformer and VAE differ from those that the file was learned with. */
static void add_parts(struct list *l, const vdm_lora_facts *f, const session *s, struct hashes *here)
{
    uint64_t prompt = 0;
    if (f->prompt)
        prompt = f->views > 1 ? views_hash(s, f->views) : vdm_hash_prompt(s->prompt, &s->config.transformer);
    if (f->prompt != prompt) add(l, "another prompt");
    if (!here->model) here->model = vdm_hash_whole_model(&s->transformer, &s->schedule);
    if (f->model != here->model) add(l, "another model");
    if (f->vae && !here->vae) here->vae = s->vae_hash ? s->vae_hash : vdm_hash_vae(&s->vae);
    if (f->vae && f->vae != here->vae) add(l, "another VAE");
}

static int report(const session *s, const char *path, const vdm_task *t, int n_views, struct hashes *here,
                  vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    struct list l = {""};
    vdm_lora_facts f;
    char grid[sizeof f.grid] = "";
    if (vdm_lora_facts_read(&f, path, err)) return -1;
    if (!f.frames) return 0;
    if (t) canvas_grid_text(grid, sizeof grid, t);
    if (f.frames != g->frames || f.height != g->height || f.width != g->width)
        add(&l, "%d frames of %dx%d (here %d of %dx%d)", f.frames, f.height, f.width, g->frames, g->height,
            g->width);
    add_parts(&l, &f, s, here);
    int learned = f.views > 1 ? f.views : 1;
    if (learned != n_views) add(&l, "--views %d (here %d)", learned, n_views);
    if (f.view != s->options->eval.view) add(&l, "--view %d (here %d)", f.view, s->options->eval.view);
    if (*f.grid && *grid && !canvas_same_grid(f.grid, grid, !f.pairs))
        add(&l, "grids of %s (here %s)", f.grid, grid);
    if (*l.text) fprintf(stderr, "%s: learned with %s\n", clean(path), clean(l.text));
    return 0;
}

int adapter_report(const session *s, const char *path, const vdm_task *t, int n_views, vdm_error *err)
{
    struct hashes here = {0};
    return report(s, path, t, n_views, &here, err);
}

int adapters_report(const session *s, const vdm_task *t, int n_views, vdm_error *err)
{
    struct hashes here = {0};
    int status = 0;
    for (int i = 0; i < s->options->sample.n_loras && !status; i++) {
        double weight;
        char *path = lora_path(&weight, s->options->sample.loras[i], err);
        status = path ? report(s, path, t, n_views, &here, err) : -1;
        vdm_free(path);
    }
    return status;
}
