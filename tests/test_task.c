/* Task folders, good and bad. */
#include "check.h"
#include "vdm_task.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
 * Folders. A list of files in one string: "train/a.in.ppm train/a.out.ppm". */

static char dir[300];

static void make_file(const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "the test can't write %s", path);
}

/* A new folder, with train/ and test/ where a file is in them. */
static void make_task(const char *files, const char *json)
{
    static int count;
    char path[600], list[1000], *save = NULL;
    snprintf(dir, sizeof dir, "%s/task%d", check_folder(), count++);
    CHECK(mkdir(dir, 0777) == 0, "the test can't make %s", dir);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, i ? "test" : "train");
        if (strstr(files, i ? "test/" : "train/"))
            CHECK(mkdir(path, 0777) == 0, "the test can't make %s", path);
    }
    snprintf(list, sizeof list, "%s", files);
    for (char *name = strtok_r(list, " ", &save); name; name = strtok_r(NULL, " ", &save))
        if (name[strlen(name) - 1] != '/') make_file(name, "P6 1 1 255 abc");
    if (json) make_file("task.json", json);
}

/* Reads the folder; returns the error, or "". */
static const char *read_task(vdm_task *t)
{
    static vdm_error err;
    err.text[0] = 0;
    int status = vdm_task_read(t, dir, &err);
    CHECK((status == 0) == !err.text[0] && (status == 0) == (t->path != NULL), "status %d, '%s'", status,
          err.text);
    return err.text;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = text ? strlen(text) : 0, m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

static void test_folder(void)
{
    vdm_task t;
    make_task(
        "train/b.in.ppm train/b.out.pgm train/a.in.pgm train/a.out.ppm train/a.b.in.ppm train/a.b.out.ppm "
        "train/.hidden test/q2.in.ppm test/q1.in.ppm test/q1.out.ppm test/in.in.ppm",
        NULL);
    if (!CHECK(!*read_task(&t) && t.n_train == 3 && t.n_test == 3, "%d and %d pairs", t.n_train, t.n_test))
        return;
    static const char *const names[] = {"a", "a.b", "b"},
                             *const inputs[] = {"a.in.pgm", "a.b.in.ppm", "b.in.ppm"},
                             *const outputs[] = {"/train/a.out.ppm", "/train/a.b.out.ppm",
                                                 "/train/b.out.pgm"};
    for (int i = 0; i < 3; i++)
        CHECK(strcmp(t.train[i].name, names[i]) == 0 && ends_with(t.train[i].input, inputs[i]) &&
                  ends_with(t.train[i].output, outputs[i]),
              "pair %d: %s, %s, %s", i, t.train[i].name, t.train[i].input, t.train[i].output);
    CHECK(strcmp(t.test[0].name, "in") == 0 && !t.test[0].output && strcmp(t.test[1].name, "q1") == 0 &&
              ends_with(t.test[1].output, "/test/q1.out.ppm") && strcmp(t.test[2].name, "q2") == 0 &&
              !t.test[2].output,
          "test pairs");
    CHECK(access(t.train[1].input, R_OK) == 0, "%s can't be read", t.train[1].input);
    CHECK(strcmp(t.path, dir) == 0 && strcmp(t.name, strrchr(dir, '/') + 1) == 0 && !t.prompt,
          "path %s, name %s", t.path, t.name);
    CHECK(!t.has_phi && !t.has_metric && !t.grid.rows && !t.grid.cell, "nothing is set without task.json");
    vdm_task_free(&t);
    vdm_task_free(&t); /* twice is harmless */
    make_task("test/q.in.ppm", NULL);
    CHECK(!*read_task(&t) && t.n_train == 0 && t.n_test == 1, "only test");
    vdm_task_free(&t);
    make_task("train/q.in.ppm train/q.out.ppm test/", NULL);
    CHECK(!*read_task(&t) && t.n_train == 1 && t.n_test == 0, "only train");
    vdm_task_free(&t);
}

/* Pictures of every ending, mixed; what reading them lost is noted under the first one's name. */
static void test_endings(void)
{
    vdm_task t;
    vdm_picture p;
    vdm_error err = {""};
    make_task(
        "train/a.in.png train/a.out.ppm train/b.in.pbm train/b.out.pgm test/in.out.in.png test/out.in.ppm",
        NULL);
    CHECK(!*read_task(&t) && t.n_train == 2 && t.n_test == 2 && strcmp(t.test[0].name, "in.out") == 0 &&
              strcmp(t.test[1].name, "out") == 0 && strstr(t.train[0].input, "a.in.png") &&
              strstr(t.train[0].output, "a.out.ppm"),
          "endings");
    vdm_task_free(&t);
    make_task("test/a.in.pbm test/b.in.pgm test/c.in.pgm", NULL);
    make_file("test/a.in.pbm", "P1 1 1 0");
    make_file("test/b.in.pgm", "P2 1 1 65535 65535");
    make_file("test/c.in.pgm", "P2 1 1 65535 65535");
    if (CHECK(!*read_task(&t) && t.notes, "notes")) {
        for (int i = 0; i < 3; i++) {
            CHECK(!vdm_example_picture(&p, &t, &t.test[i], VDM_INPUT, 1, 1, &err) && p.rgb[0] == 255, "%s",
                  err.text);
            vdm_picture_free(&p);
            CHECK(!t.notes->first[0][0] && !*t.notes->first[1] == (i == 0) && t.notes->others[1] == (i == 2),
                  "notes after picture %d: '%s'", i, t.notes->first[1]);
        }
        CHECK(strstr(t.notes->first[1], "b.in.pgm") != NULL, "%s", t.notes->first[1]);
    }
    vdm_task_free(&t);
}

static void test_bad_folders(void)
{
    static const struct {
        const char *files, *sentence;
    } bad[] = {
        {"", "found no pictures, expected train/NAME.in.png"},
        {"train/ test/", "found no pictures"},
        {"train/.a.in.ppm", "found no pictures"},
        {"train/a.in.ppm", "train/a.in.ppm: found an input without its output, expected a.out.png (or .ppm, "
                           ".pgm, .pbm) next to it"},
        {"train/a.in.ppm train/a.out.ppm train/b.in.pgm",
         "train/b.in.pgm: found an input without its output"},
        {"train/a.out.ppm",
         "train/a.out.ppm: found an output without its input, expected a.in.png (or .ppm, .pgm, .pbm)"},
        {"test/a.in.ppm test/b.out.ppm", "test/b.out.ppm: found an output without its input"},
        {"train/a.in.ppm train/a.in.pgm train/a.out.ppm", "found two files of this picture ("},
        {"test/a.in.ppm test/a.out.ppm test/a.out.pgm", "found two files of this picture ("},
        {"test/a.in.png test/a.in.pbm", "found two files of this picture ("},
        {"train/a.in.jpg train/a.out.jpg", ".jpg: name: found 'a."},
        {"train/.in.png", "found no pictures"},
        {"train/in.png", "name: found 'in.png', expected"},
        {"train/a.ppm",
         "train/a.ppm: name: found 'a.ppm', expected NAME.in.png or NAME.out.png (or .ppm, .pgm, .pbm)"},
        {"train/a.in.PPM", "name: found 'a.in.PPM', expected"},
        {"test/ainppm", "name: found 'ainppm', expected"},
        {"test/README", "name: found 'README', expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vdm_task t;
        make_task(bad[i].files, NULL);
        const char *why = read_task(&t);
        CHECK(strncmp(why, dir, strlen(dir)) == 0 && strstr(why, bad[i].sentence), "'%s': '%s'", bad[i].files,
              why);
        vdm_task_free(&t);
    }
    vdm_task t;
    make_task("", NULL);
    make_file("train", "a file");
    CHECK(strstr(read_task(&t), "/train: "), "train is a file");
    snprintf(dir + strlen(dir), 10, "/train");
    CHECK(strstr(read_task(&t), "found no folder, expected a folder with train/ or test/"),
          "a file as a task");
    snprintf(dir + strlen(dir), 10, "x");
    CHECK(strstr(read_task(&t), "found nothing, expected a folder"), "no such task");
}

/* ------------------------------------------------------------------------------------------------
 * task.json */

static void test_settings(void)
{
    vdm_task t;
    make_task(
        "test/a.in.ppm",
        "{\"name\": \"flip\", \"prompt\": \"a \\u0041\", \"phi\": \"tiles:2x3\", \"metric\": \"cells\",\n"
        " \"grid\": {\"rows\": 3, \"cols\": 4, \"cell\": 30, \"border\": 0}}");
    CHECK(!*read_task(&t), "a full task.json");
    CHECK(t.name && strcmp(t.name, "flip") == 0 && t.prompt && strcmp(t.prompt, "a A") == 0,
          "name and prompt");
    CHECK(t.has_phi && t.phi.kind == VDM_PHI_TILES && t.phi.tiles_y == 2 && t.phi.tiles_x == 3, "phi");
    CHECK(t.has_metric && t.metric == VDM_METRIC_CELLS, "metric");
    CHECK(t.grid.rows == 3 && t.grid.cols == 4 && t.grid.cell == 30 && t.grid.border == 0, "grid");
    vdm_task_free(&t);
    static const char *const metrics[] = {"psnr", "iou", "cells", "pose", "miou", "pck", "ssim", "mae"};
    for (int i = 0; i < 8; i++) {
        char json[200];
        snprintf(json, sizeof json,
                 "{\"grid\":{\"border\":2,\"cell\":1,\"cols\":1,\"rows\":1},\"metric\":\"%s\"}", metrics[i]);
        make_task("test/a.in.ppm", json);
        CHECK(!*read_task(&t) && t.has_metric && t.metric == (vdm_metric)i, "metric %s", metrics[i]);
        vdm_task_free(&t);
    }
    make_task("test/a.in.ppm", "{\"metric\": \"miou\", \"palette\": \"maze\"}");
    CHECK(!*read_task(&t) && t.grid.palette == VDM_PALETTE_MAZE && !t.grid.rows, "a palette without a grid");
    vdm_task_free(&t);
    make_task("test/a.in.ppm", "{}");
    CHECK(!*read_task(&t) && !t.has_phi && !t.has_metric && t.metric == VDM_METRIC_PSNR,
          "an empty task.json");
    vdm_task_free(&t);
    make_task("test/a.in.ppm", "{\"grid\": {\"rows\": 3, \"cols\": 4, \"cell\": 30, \"border\": 0}}");
    CHECK(!*read_task(&t) && !t.has_metric && t.metric == VDM_METRIC_CELLS, "a grid without a metric");
    vdm_task_free(&t);
}

static void test_bad_settings(void)
{
    static const struct {
        const char *json, *sentence;
    } bad[] = {
        {"", "task.json: "},
        {"{", "task.json: "},
        {"[]", "document: found an array of 0, expected an object"},
        {"3", "document: found '3', expected an object"},
        {"{\"nome\": \"a\"}", "found the key 'nome', expected name, prompt, phi, metric, palette, grid"},
        {"{\"name\": \"a\", \"train\": []}", "found the key 'train', expected name"},
        {"{\"name\": 3}", "name: found '3', expected a string"},
        {"{\"prompt\": null}", "prompt: found null, expected a string"},
        {"{\"phi\": [\"linear\"]}", "phi: found an array of 1, expected a string"},
        {"{\"phi\": \"cubic\"}", "phi: found 'cubic', expected linear"},
        {"{\"phi\": \"black:0\"}", "phi: found 'black:0', expected black:B"},
        {"{\"metric\": \"mse\"}",
         "metric: found 'mse', expected psnr, iou, cells, pose, miou, pck, ssim or mae"},
        {"{\"palette\": 3}", "palette: found '3', expected \"arc\" or \"maze\""},
        {"{\"palette\": \"Maze\"}", "palette: found 'Maze', expected"},
        {"{\"metric\": true}", "metric: found true, expected psnr"},
        {"{\"metric\": \"cells\"}",
         "grid: found none, expected rows, cols, cell, border: the metric is cells"},
        {"{\"grid\": 3}", "grid: found '3', expected an object"},
        {"{\"grid\": {}}", "grid.rows: found nothing, expected an integer from 1"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 3}}",
         "grid.border: found nothing, expected an integer from 0"},
        {"{\"grid\": {\"rows\": 0, \"cols\": 3, \"cell\": 3, \"border\": 0}}",
         "grid.rows: found '0', expected an integer from 1 to 16384"},
        {"{\"grid\": {\"rows\": 3, \"cols\": -1, \"cell\": 3, \"border\": 0}}",
         "grid.cols: found '-1', expected"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 2.5, \"border\": 0}}",
         "grid.cell: found '2.5', expected"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": \"3\", \"border\": 0}}",
         "grid.cell: found '3', expected"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 3, \"border\": -1}}",
         "grid.border: found '-1', expected an integer from 0"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 1e300, \"border\": 0}}",
         "grid.cell: found '1e300', expected"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 3, \"border\": 0, \"gap\": 1}}",
         "grid: found the key 'gap', expected rows, cols, cell, border, palette"},
        {"{\"grid\": {\"rows\": 3, \"cols\": 3, \"cell\": 3, \"border\": 0, \"palette\": \"ARC\"}}",
         "grid.palette: found 'ARC', expected \"arc\" or \"maze\""},
        {"{\"grid\": {\"rows\": 16384, \"cols\": 1, \"cell\": 16384, \"border\": 16384}}",
         "expected at most 16384 a side"},
        {"{\"grid\": {\"rows\": 9000, \"cols\": 1, \"cell\": 2, \"border\": 0}}",
         "grid: found a grid of 2 x 18000 pixels"},
        {"{\"grid\": {\"rows\": 1, \"cols\": 3, \"cell\": 5461, \"border\": 1}}",
         "grid: found a grid of 16387 x 5463 pixels"},
        {"{\"name\": \"a\", \"name\": \"b\"}", "name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vdm_task t;
        make_task("test/a.in.ppm", bad[i].json);
        const char *why = read_task(&t);
        CHECK(strstr(why, "/task.json: ") && strstr(why, bad[i].sentence), "%s: '%s'", bad[i].json, why);
        vdm_task_free(&t);
    }
}

/* A good task.json with a byte changed, taken out or cut off: read or rejected, never a crash. */
static void test_mutations(void)
{
    static const char good[] = "{\"name\":\"x\",\"phi\":\"black:2\",\"metric\":\"cells\","
                               "\"grid\":{\"rows\":3,\"cols\":4,\"cell\":5,\"border\":1}}";
    make_task("test/a.in.ppm", good);
    int rejected = 0, n = (int)sizeof good - 1;
    for (int run = 0; run < 3 * n; run++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        int at = run / 3;
        if (run % 3 == 0) text[at] = "{}[]\",:09-e"[at % 11];
        if (run % 3 == 1) text[at] = 0;
        if (run % 3 == 2) memmove(text + at, text + at + 1, (size_t)(n - at));
        vdm_task t;
        char path[600];
        snprintf(path, sizeof path, "%s/task.json", dir);
        remove(path);
        make_file("task.json", text);
        rejected += *read_task(&t) != 0;
        vdm_task_free(&t);
    }
    CHECK(rejected > 2 * n, "%d of %d mutations were rejected", rejected, 3 * n);
}

/* A picture of that size in the folder. */
static void make_picture(const char *name, int height, int width)
{
    char text[64];
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(text, sizeof text, "P5 %d %d 255\n", width, height);
    FILE *f = fopen(path, "wb");
    bool good = f && fputs(text, f) >= 0;
    for (int i = 0; good && i < height * width; i++) good = fputc(0, f) != EOF;
    CHECK(f && fclose(f) == 0 && good, "the test can't write %s", path);
}

static const char GRID_4[] =
    "{\"metric\": \"cells\", \"grid\": {\"rows\": 4, \"cols\": 4, \"cell\": 8, \"border\": 0}}";

/* A task of three pictures of height x width, and one of its own. */
static void make_sizes(vdm_task *t, const char *json, int height, int width)
{
    make_task("train/a.in.pgm train/a.out.pgm test/b.in.pgm", json);
    make_picture("train/a.in.pgm", 32, 32);
    make_picture("train/a.out.pgm", 32, 32);
    make_picture("test/b.in.pgm", height, width);
    const char *text = read_task(t);
    CHECK(!*text, "%s", text);
}

static void test_resize(void)
{
    vdm_task t;
    vdm_error err = {""};
    int pictures, resized;
    make_sizes(&t, GRID_4, 32, 32);
    CHECK(!vdm_task_resize(&t, true, 32, 32, &pictures, &resized, &err) && pictures == 3 && !resized, "%s",
          err.text);
    CHECK(!vdm_task_resize(&t, false, 64, 64, &pictures, &resized, &err) && pictures == 2 && resized == 2,
          "%s", err.text);
    CHECK(t.grid.cell == 16 && t.grid.rows == 4, "cells of %d", t.grid.cell);
    CHECK(!vdm_task_resize(&t, true, 64, 64, &pictures, &resized, &err) && resized == 3 && t.grid.cell == 16,
          "a second time: cells of %d", t.grid.cell);
    CHECK(!vdm_task_resize(&t, true, 16, 16, &pictures, &resized, &err) && t.grid.cell == 4,
          "from 64 to 16: %d", t.grid.cell);
    CHECK(vdm_task_resize(&t, true, 30, 30, &pictures, &resized, &err) == -1 &&
              strstr(err.text, "cells and borders are whole pixels"),
          "%s", err.text);
    vdm_task_free(&t);
    make_sizes(&t, GRID_4, 64, 32);
    CHECK(vdm_task_resize(&t, true, 32, 32, &pictures, &resized, &err) == -1 &&
              strstr(err.text, "b.in.pgm: found another size"),
          "%s", err.text);
    CHECK(!vdm_task_resize(&t, false, 32, 32, &pictures, &resized, &err) && !resized, "train alone: %s",
          err.text);
    vdm_task_free(&t);
    make_sizes(&t, NULL, 64, 32);
    CHECK(!vdm_task_resize(&t, true, 32, 32, &pictures, &resized, &err) && pictures == 3 && resized == 1,
          "%d of %d: %s", resized, pictures, err.text);
    vdm_task_free(&t);
    make_sizes(&t, "{\"metric\": \"psnr\", \"grid\": {\"rows\": 4, \"cols\": 4, \"cell\": 8, \"border\": 0}}",
               32, 32);
    CHECK(!vdm_task_resize(&t, true, 30, 30, &pictures, &resized, &err) && !t.grid.rows,
          "psnr: the layout is dropped");
    vdm_task_free(&t);
}

/* A disc of class 2 on class 0; its radius is 0.3 of the side. */
static vdm_picture disc_of(int side)
{
    static uint8_t rgb[100 * 100 * 3];
    const vdm_picture p = {side, side, rgb};
    for (int i = 0; i < side * side; i++) {
        double y = (i / side + 0.5) / side - 0.5, x = (i % side + 0.5) / side - 0.5;
        memcpy(rgb + 3 * i, vdm_palette_colour(VDM_PALETTE_ARC, y * y + x * x < 0.09 ? 2 : 0), 3);
    }
    return p;
}

static int pixels_of_class(const vdm_picture *p, int number)
{
    vdm_colours colours;
    int n = 0;
    vdm_palette_colours(&colours, VDM_PALETTE_ARC);
    for (int i = 0; i < p->height * p->width; i++) {
        const double rgb[3] = {p->rgb[3 * i], p->rgb[3 * i + 1], p->rgb[3 * i + 2]};
        n += vdm_nearest_colour(&colours, rgb) == number;
    }
    return n;
}

/* A resized picture of classes has no class that the file lacks: half of red is dark red, class 9. */
static void test_classes(void)
{
    static const vdm_side sides[] = {VDM_OUTPUT, VDM_INPUT};
    vdm_task t;
    vdm_error err = {""};
    vdm_picture p = {0};
    make_task("train/a.in.ppm train/a.out.ppm", "{\"metric\": \"miou\"}");
    const vdm_picture file = disc_of(100);
    for (int i = 0; i < 2; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/train/a.%s.ppm", dir, i ? "in" : "out");
        CHECK(!vdm_picture_write(&file, path, &err), "%s", err.text);
    }
    CHECK(!*read_task(&t), "a task of classes");
    const vdm_picture crisp = disc_of(64);
    for (int i = 0; i < 2; i++) {
        CHECK(!vdm_example_picture(&p, &t, &t.train[0], sides[i], 64, 64, &err), "%s", err.text);
        double score = vdm_score_miou(&p, &crisp, VDM_PALETTE_ARC);
        int ring = pixels_of_class(&p, 9);
        if (i == 0) CHECK(!ring && score > 0.98, "output: %d pixels of class 9, miou %g", ring, score);
        if (i == 1) CHECK(ring > 50, "input: %d pixels of class 9, expected a picture without classes", ring);
        vdm_picture_free(&p);
    }
    CHECK(vdm_example_picture(&p, &t, &t.train[0], VDM_OUTPUT, 0, 64, &err) == -1 && !p.rgb &&
              strstr(err.text, "size: found 0 x 64"),
          "%s", err.text);
    vdm_task_free(&t);
}

int main(void)
{
    test_folder();
    test_endings();
    test_bad_folders();
    test_settings();
    test_bad_settings();
    test_mutations();
    test_resize();
    test_classes();
    return check_end("task");
}
