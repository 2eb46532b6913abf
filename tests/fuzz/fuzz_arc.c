/* ARC-AGI files: a task's grids are drawn and read again, in two views; and the tasks of a collection are listed. */
#include "tests/fuzz/script.h"
#include "vdm_task.h"

static int arc_files_read; /* how many were good */

/* The grid that is read from its picture is the one that was drawn. */
static void arc_draw(const vdm_grid *g, const vdm_grid_layout *layout)
{
    vdm_picture p = {0};
    vdm_grid found = {.rows = g->rows, .cols = g->cols};
    vdm_error err;
    if (vdm_arc_render(&p, g, layout, 70, 70, &err)) return;
    if (vdm_arc_decode(&found, &p, layout, NULL, &err)) __builtin_trap();
    if (memcmp(found.cells, g->cells, (size_t)(g->rows * g->cols)) != 0) __builtin_trap();
    if (vdm_arc_infer_size(&found, &p, layout, &err)) __builtin_trap();
    vdm_picture_free(&p);
}

static void arc_use(const vdm_arc *a)
{
    const vdm_arc_canvas canvas = {.height = 70, .width = 70, .border = 1, .align = 1};
    vdm_grid_layout layout;
    vdm_view views[2];
    vdm_arc more;
    vdm_error err;
    int rows, cols;
    vdm_arc_largest(a, true, &rows, &cols);
    if (vdm_arc_layout(&layout, &canvas, rows, cols, &err)) return;
    for (int i = 0; i < a->n_train && i < 4; i++) arc_draw(&a->train[i].x, &layout);
    vdm_views_make(views, 2, rows == cols, 1, 10, 7);
    if (!vdm_arc_augment(&more, a, views, 2, &err)) vdm_arc_free(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[SCRIPT_PATH];
    vdm_arc a;
    vdm_arc_ids ids;
    vdm_error err = {""};
    script_bytes(script_path(path, "arc.json"), data, size);
    int status = vdm_arc_read(&a, path, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    if (!status) {
        arc_use(&a);
        vdm_arc_free(&a);
        arc_files_read++;
    }
    if (!vdm_arc_ids_read(&ids, path, &err)) vdm_arc_ids_free(&ids);
    script_remove(path);
    return 0;
}
