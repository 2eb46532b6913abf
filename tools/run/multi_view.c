/* Views of a task of grids that one adapter learns and answers in.
 *
 *   pair  ->  N views: mirrored, transposed, colours exchanged  ->  one adapter, each view with its own prompt
 *   input ->  N views  ->  N answers, undone  ->  the majority vote of each cell
 *
 * A rule such as "fall down" is another rule in a mirrored view: the prompt marks the view of a video, so that one set
 * of weights can learn all. The prompts belong to the model, view_embeds [N,L,Dt]: fixed vectors without a meaning of
 * their own. The background, colour 0, is the same in all views. */
#include "tools/run/multi_view.h"
#include "files/hash.h"

/* Prompts of the first n views, from the model's folder. */
static int read_text(views *v, const session *s, vdm_error *err)
{
    const vdm_transformer_config *c = &s->config.transformer;
    vdm_safetensors f;
    char *path = vdm_path(s->options->model, "view_embeds.safetensors", err);
    int status = path ? vdm_safetensors_open(&f, path, err) : -1;
    if (!status) {
        const vdm_tensor *t = vdm_safetensors_find(&f, "view_embeds");
        int64_t shape[] = {t && t->rank == 3 ? t->shape[0] : v->n, c->text_tokens, c->text_dim};
        v->text = vdm_safetensors_floats(&f, "view_embeds", 3, shape, err);
        status = v->text ? 0 : -1;
        if (!status && shape[0] < v->n)
            status = vdm_fail(err, "%s: view_embeds: expected the prompts of %d views, found %lld", path,
                              v->n, (long long)shape[0]);
        vdm_safetensors_close(&f);
    }
    vdm_free(path);
    return status;
}

static bool has_grids(const vdm_task *t)
{
    return t->metric == VDM_METRIC_CELLS && (t->arc.path || t->grid.rows);
}

/* The number of views that the adapters of --lora were learned in; 1 if their files do not contain it. */
static int adapter_views(int *n, const options *o, vdm_error *err)
{
    *n = 1;
    for (int i = 0; i < o->sample.n_loras; i++) {
        double weight;
        vdm_lora_facts facts = {0};
        char *path = lora_path(&weight, o->sample.loras[i], err);
        int status = path ? vdm_lora_facts_read(&facts, path, err) : -1;
        vdm_free(path);
        if (status) return -1;
        int own = facts.views ? facts.views : 1;
        if (i && own != *n)
            return vdm_fail(err, "%s: learned in %d views, the adapter before it in %d: expected the same",
                            o->sample.loras[i], own, *n);
        *n = own;
    }
    return 0;
}

int views_number(int *n, const options *o, bool grids, vdm_error *err)
{
    int learned = 1, asked = o->eval.asked_views;
    if (o->eval.view && asked > 1)
        return vdm_fail(err, "--view %d, --views %d: expected one of the two", o->eval.view, asked);
    if (adapter_views(&learned, o, err)) return -1;
    if (asked > learned && learned > 1)
        return vdm_fail(err, "--views %d: expected at most %d, in which the adapter was learned", asked,
                        learned);
    *n = asked ? asked : o->eval.view ? 1 : o->sample.n_loras ? learned : grids ? o->eval.views : 1;
    if (*n > MAX_VIEWS)
        return vdm_fail(err, "%s: learned in %d views: expected at most %d", o->sample.loras[0], *n,
                        MAX_VIEWS);
    return 0;
}

static int count_views(int *n, const options *o, const vdm_task *t, vdm_error *err)
{
    if (views_number(n, o, has_grids(t), err)) return -1;
    if (*n > 1 && t->metric != VDM_METRIC_CELLS)
        return vdm_fail(err, "%s: %d views: expected a task of grids, metric cells, found metric %s", t->path,
                        *n, vdm_metric_name(t->metric));
    if (*n > 1 && !has_grids(t))
        return vdm_fail(err,
                        "%s: %d views: expected a grid of whole cells (--cell, --border), found another size",
                        t->path, *n);
    return 0;
}

/* The prompt of an answer in the first view only: if the adapter was learned in several views, that of the first. */
static int first_text(views *v, const session *s, vdm_error *err)
{
    int learned;
    if (adapter_views(&learned, s->options, err)) return -1;
    if (learned <= 1 || !read_text(v, s, err)) return 0;
    return vdm_fail(
        err,
        "--views 1: expected the prompt of the first of %d views, which the adapter was learned in, found %.800s; "
        "--prompt-embeds gives another",
        learned, err->text);
}

int views_plan(views *v, const session *s, const vdm_task *t, vdm_error *err)
{
    int colours = 0;
    *v = (views){.n = 1};
    if (count_views(&v->n, s->options, t, err)) return -1;
    const options *o = s->options;
    bool prompt = o->prompt.text || o->prompt.embeds || s->texts[0];
    if (v->n == 1) return prompt || o->eval.view ? 0 : first_text(v, s, err);
    if (prompt)
        return vdm_fail(err, "%d views: expected no prompt (each view has one of the model's), found %s",
                        v->n, s->texts[0] && !o->prompt.text ? "the task's" : "--prompt");
    bool square = t->arc.path ? s->geometry.height == s->geometry.width : t->grid.rows == t->grid.cols;
    while (colours < 10 && vdm_palette_colour(t->grid.palette, colours)) colours++;
    vdm_views_make(v->list, v->n, square, 1, colours, 42);
    return read_text(v, s, err);
}

void views_free_text(views *v)
{
    vdm_free(v->text);
    v->text = NULL;
}

void views_free(views *v)
{
    views_free_text(v);
    *v = (views){0};
}

const float *views_text(const views *v, const session *s, int k)
{
    const vdm_transformer_config *c = &s->config.transformer;
    return v->text ? v->text + (int64_t)k * c->text_tokens * c->text_dim : s->prompt;
}

uint64_t views_hash(const session *s, int n)
{
    const vdm_transformer_config *c = &s->config.transformer;
    views v = {.n = n};
    vdm_error none;
    uint64_t h = 0;
    size_t floats = (size_t)n * (size_t)c->text_tokens * (size_t)c->text_dim;
    if (!read_text(&v, s, &none)) h = vdm_hash(VDM_HASH_START, v.text, floats, sizeof *v.text);
    views_free(&v);
    return h;
}

vdm_task views_show(const views *v, const vdm_task *t, int k)
{
    vdm_task shown = *t;
    if (v->n > 1) shown.view = &v->list[k];
    return shown;
}

/* ------------------------------------------------------------------------------------------------
 * The vote */

int cell_votes_new(cell_votes *b, int rows, int cols, vdm_error *err)
{
    *b = (cell_votes){rows, cols, vdm_alloc((size_t)rows * (size_t)cols * 10, sizeof(int), "a vote", err)};
    return b->count ? 0 : -1;
}

void cell_votes_free(cell_votes *b)
{
    vdm_free(b->count);
    *b = (cell_votes){0};
}

int cell_votes_add(cell_votes *b, const vdm_view *v, const vdm_picture *p, const vdm_grid_layout *grid,
                   vdm_error *err)
{
    int cells = b->rows * b->cols;
    uint8_t *seen = vdm_alloc((size_t)cells, 2, "a grid", err);
    if (!seen) return -1;
    uint8_t *answer = seen + cells;
    int status = vdm_grid_read(seen, p, grid);
    if (status)
        vdm_fail(err, "a view: expected a picture that holds a grid of %d x %d", grid->rows, grid->cols);
    else
        vdm_view_cells(answer, seen, grid->rows, grid->cols, v, VDM_OUT_OF_VIEW);
    for (int i = 0; i < cells && !status; i++) b->count[10 * i + answer[i]]++;
    vdm_free(seen);
    return status;
}

int cell_votes_draw(float *frame, int height, int width, const cell_votes *b, const vdm_grid_layout *grid,
                    vdm_error *err)
{
    int cells = b->rows * b->cols, pixels = height * width;
    uint8_t *answer = vdm_alloc((size_t)cells, 1, "a grid", err);
    vdm_picture drawn = {0};
    if (!answer) return -1;
    for (int i = 0; i < cells; i++) answer[i] = (uint8_t)vdm_majority(&b->count[10 * i], 10);
    int status = vdm_grid_render(&drawn, answer, grid, height, width, err);
    for (int i = 0; i < 3 * pixels && !status; i++)
        frame[i] = (float)drawn.rgb[i % pixels * 3 + i / pixels] / 255;
    vdm_picture_free(&drawn);
    vdm_free(answer);
    return status;
}
