/* vdm demo, and the pages that fit, eval and demo write: on a tiny random model, from the command line. */
#include "program.h"
#include "vdm_task.h"
#include "tiny.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* The task's name in task.json, and as escaped on a page. */
static const char NAME[] = "<b>swap & \\\"colours\\\"", ESCAPED[] = "&lt;b&gt;swap &amp; &quot;colours&quot;";
enum { ROWS = 4, COLS = 6, CELL = 8, PAIRS = 8, QUESTIONS = 5 };

static char page[1 << 23];

/* ------------------------------------------------------------------------------------------------
 * A task of grids: red and blue change places */

static void write_grid(const char *part, int i, bool output)
{
    static const uint8_t colours[4][3] = {{0, 0, 0}, {0, 116, 217}, {255, 65, 54}, {46, 204, 64}};
    float numbers[ROWS * COLS];
    char name[64];
    vdm_error err;
    vdm_picture p = {ROWS * CELL, COLS * CELL, vdm_alloc(ROWS * CELL * COLS * CELL, 3, "a grid", &err)};
    check_random(numbers, ROWS * COLS, (uint32_t)i + (*part == 't' && part[1] == 'r' ? 0 : 100), 2);
    for (int k = 0; k < p.width * p.height; k++) {
        int cell = k / p.width / CELL * COLS + k % p.width / CELL, colour = (int)(numbers[cell] + 2) % 4;
        if (output && (colour == 1 || colour == 2)) colour = 3 - colour;
        memcpy(p.rgb + 3 * k, colours[colour], 3);
    }
    snprintf(name, sizeof name, "task/%s/%d&.%s.ppm", part, i, output ? "out" : "in");
    CHECK(vdm_picture_write(&p, name, &err) == 0, "%s", err.text);
    vdm_free(p.rgb);
}

static void write_task(void)
{
    expect_shell(0, "", "mkdir task task/train task/test");
    for (int i = 0; i < PAIRS; i++) write_grid("train", i, false), write_grid("train", i, true);
    for (int i = 0; i < QUESTIONS; i++) write_grid("test", i, false), write_grid("test", i, true);
    write_text("task/task.json",
               "{\"name\": \"%s\", \"metric\": \"cells\", "
               "\"grid\": {\"rows\": %d, \"cols\": %d, \"cell\": %d, \"border\": 0}}",
               NAME, ROWS, COLS, CELL);
}

/* ------------------------------------------------------------------------------------------------
 * Is a page well-formed? Every tag is closed (as in <img />, or by its partner), attributes are quoted, and
 * what stands between tags has no bare < > &. */

enum { DEPTH = 32, TAG = 16 };
struct reader {
    const char *at;
    char open[DEPTH][TAG];
    int depth;
};

static const char *fault(const struct reader *r, const char *what)
{
    static char text[256];
    snprintf(text, sizeof text, "%s at '%.60s'", what, r->at);
    return text;
}

static bool is_entity(const char *c)
{
    const char *names[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;", "&#10003;", "&#10007;"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(c, names[i], strlen(names[i])) == 0) return true;
    return false;
}

/* Name and attributes: from after '<' or '</' to after '>'. */
static const char *read_tag(struct reader *r)
{
    bool closing = *r->at == '/', alone = false;
    char name[TAG] = "";
    size_t n = 0;
    r->at += closing;
    while (n + 1 < TAG && strchr("abcdefghijklmnopqrstuvwxyz0123456789", *r->at) && *r->at)
        name[n++] = *r->at++;
    if (!n) return fault(r, "no name of a tag");
    while (*r->at != '>') {
        if (*r->at == '/') alone = true;
        if (*r->at == '\0' || *r->at == '<') return fault(r, "a tag that isn't ended");
        if (*r->at++ != '"') continue;
        for (; *r->at != '"'; r->at++) {
            if (*r->at == '\0' || *r->at == '<' || *r->at == '>')
                return fault(r, "an attribute that isn't ended");
            if (*r->at == '&' && !is_entity(r->at)) return fault(r, "a bare & in an attribute");
        }
        r->at++;
    }
    r->at++;
    if (alone) return NULL;
    if (!closing) {
        if (r->depth == DEPTH) return fault(r, "too deep");
        snprintf(r->open[r->depth++], TAG, "%s", name);
    } else if (!r->depth || strcmp(r->open[--r->depth], name) != 0) {
        return fault(r, "a closing tag without its partner");
    }
    return NULL;
}

/* NULL, or the fault. */
static const char *check_page(const char *text)
{
    struct reader r = {.at = text};
    const char *wrong = NULL, first[] = "<!DOCTYPE html>\n";
    if (strncmp(text, first, sizeof first - 1) != 0) return fault(&r, "no document type");
    r.at += sizeof first - 1;
    while (*r.at && !wrong) {
        if (*r.at == '<') {
            r.at++;
            wrong = read_tag(&r);
            if (r.depth && strcmp(r.open[r.depth - 1], "style") == 0 && strstr(r.at, "</style>"))
                r.at = strstr(r.at, "</style>");
        } else if (*r.at == '>' || (*r.at == '&' && !is_entity(r.at))) {
            wrong = fault(&r, "a bare character");
        } else {
            r.at++;
        }
    }
    return wrong ? wrong : r.depth ? fault(&r, "a tag without its partner") : NULL;
}

static void check_checker(void)
{
    CHECK(!check_page("<!DOCTYPE html>\n<p a=\"b&amp;\">x &lt; y <img src=\"x\" /></p>"), "a good page");
    const char *bad[] = {"<p>",
                         "<!DOCTYPE html>\n<p>",
                         "<!DOCTYPE html>\n<p></b></p>",
                         "<!DOCTYPE html>\n<p>a & b</p>",
                         "<!DOCTYPE html>\n<p>a > b</p>",
                         "<!DOCTYPE html>\n<p a=\"<\"></p>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(check_page(bad[i]) != NULL, "taken: %s", bad[i]);
}

/* A page is well-formed, contains its task's name, refers to nothing outside itself, and contains these pieces. */
/* Column `against_input` of the first answer: its cells against those of its input. */
static void check_against_input(const char *scores)
{
    double written = -1, score = -2;
    bool exact;
    vdm_error err;
    vdm_task task = {0};
    vdm_picture answer = {0}, input = {0};
    const char *line = strchr(scores, '\n');
    CHECK(line && sscanf(line, "\n0&,cells,%*f,%*d,%*f,%lf", &written) == 1, "scores.csv: %s", scores);
    bool ok = vdm_task_read(&task, "task", &err) == 0 &&
              vdm_picture_read(&answer, "answers/0&.ppm", &err) == 0 &&
              vdm_picture_read(&input, "task/test/0&.in.ppm", &err) == 0 &&
              vdm_score(&score, &exact, task.metric, &task.grid, &answer, &input, &err) == 0;
    CHECK(ok, "%s", err.text);
    CHECK(written >= 0 && fabs(written - score) < 1e-8, "against_input is %.9g, expected %.9g", written,
          score);
    vdm_free(answer.rgb);
    vdm_free(input.rgb);
    vdm_task_free(&task);
}

static void check_report(const char *name, const char *const *pieces, int n)
{
    size_t size = slurp(page, sizeof page, name);
    CHECK(size > 1000 && size < sizeof page - 1, "%s: %zu bytes", name, size);
    const char *wrong = check_page(page);
    CHECK(!wrong, "%s: %s", name, wrong);
    CHECK(strstr(page, ESCAPED) != NULL, "%s: expected the task's name", name);
    CHECK(!strstr(page, "http") && !strstr(page, "<script") && !strstr(page, "url("), "%s: asks for more",
          name);
    CHECK(strstr(page, "src=\"data:image/png;base64,iVBORw0KGgo") != NULL, "%s: expected pictures", name);
    for (int i = 0; i < n; i++) CHECK(strstr(page, pieces[i]) != NULL, "%s: expected '%s'", name, pieces[i]);
}

/* ------------------------------------------------------------------------------------------------
 * The commands */

static void check_fit_and_eval(void)
{
    const char *fit[] = {"vdm fit task", "<summary>2 more", "alt=\"frame 9 of 9: 0&amp;\"", "<polyline"};
    const char *eval[] = {"vdm eval task",           "class=\"in\"",      "alt=\"answer of 0&amp;\"",
                          "alt=\"truth of 4&amp;\"", "Copying the input", "DDIM, 2 steps"};
    const char *diagnosis[] = {"<h2>Diagnosis", "memorising</th>", "colours not corrected", "Colour map"};
    expect(0, "6 steps", "fit task --model model -o run --steps 6 --rank 2 --watch-every 2");
    check_report("run/report.html", fit, 4);
    expect(0, "exact 0 of 5 (0.0000); copying the input: mean cells 0.",
           "eval task --model model --sample-steps 2 --lora run/lora.safetensors -o answers");
    int bars = 0, step, of; /* that came to their end: a slow machine says more in between */
    for (const char *c = strstr(printed, "answer "); c; c = strstr(c + 1, "\nanswer "))
        bars += sscanf(c + (*c == '\n'), "answer %d/%d", &step, &of) == 2 && step == of;
    CHECK(bars == 1, "expected one bar over all answers, found %d: %s", bars, printed);
    check_report("answers/report.html", eval, 6);
    slurp(printed, sizeof printed, "answers/scores.csv");
    CHECK(strstr(printed, "name,metric,score,exact,copied,against_input\n0&,cells,") == printed,
          "scores.csv: %s", printed);
    check_against_input(printed);
    CHECK(strstr(printed, ",raw") == NULL, "a column of a map that wasn't asked for");
    expect(0, "exact 0 of 2", "eval task --model model --sample-steps 1 --limit 2 --train-pairs 0");
    CHECK(strstr(printed, "drift ") && !strstr(printed, "memorising"), "diagnosis: %s", printed);
    expect(0, "0 of 2 training pairs right, 0 of 1 others",
           "eval task --model model --sample-steps 1 --limit 1 --train-pairs 2 --color palette -o answers");
    CHECK(strstr(printed, "without --colour palette: mean cells 0.") != NULL, "without the map: %s", printed);
    check_report("answers/report.html", diagnosis, 4);
    slurp(printed, sizeof printed, "answers/scores.csv");
    CHECK(strstr(printed, "exact,copied,against_input,raw\n0&,cells,0.") != NULL, "scores.csv: %s", printed);
    expect(0, "of 5 training pairs right",
           "eval task --model model --sample-steps 1 --limit 1 --colour palette -o limited");
    expect(0, "", "eval task --model model --sample-steps 1 --colour palette -o unlimited");
    expect_same("limited/0&.ppm", "unlimited/0&.ppm", true); /* the same map */
    expect(0, "colour shift ",
           "eval task --model model --sample-steps 1 --limit 1 --train-pairs 9 --colour shift");
    expect(1, "--colour affine is learned from training pairs",
           "eval task --model model --train-pairs 0 --colour affine");
    expect(2, "--colour: expected none|shift|affine|palette", "eval task --model model --colour blue");
    expect(1, "cells and borders are whole pixels", "eval task --model model --sample-steps 1 --size 16x48");
}

/* The folder `small` has the task in pictures of half its height and width. */
static void write_small(void)
{
    vdm_task t;
    vdm_error err;
    expect_shell(0, "",
                 "cp -r task small && sed 's/\"cell\": %d/\"cell\": %d/' task/task.json > small/task.json",
                 CELL, CELL / 2);
    if (!CHECK(vdm_task_read(&t, "small", &err) == 0, "%s", err.text)) return;
    for (int i = 0; i < 2 * (PAIRS + QUESTIONS); i++) {
        const vdm_example *e = i / 2 < PAIRS ? &t.train[i / 2] : &t.test[i / 2 - PAIRS];
        const char *path = i % 2 ? e->output : e->input;
        vdm_picture p = {0}, half = {0};
        CHECK(vdm_picture_read(&p, path, &err) == 0 &&
                  vdm_picture_resize(&half, &p, ROWS * CELL / 2, COLS * CELL / 2, &err) == 0 &&
                  vdm_picture_write(&half, path, &err) == 0,
              "%s", err.text);
        vdm_picture_free(&p);
        vdm_picture_free(&half);
    }
    vdm_task_free(&t);
}

/* The input itself as an answer has the same score at any size; pictures that are resized are counted. */
static void check_sizes(void)
{
    char copied[64] = "no score";
    write_small();
    expect(0, "", "eval task --model model --sample-steps 1 --train-pairs 0 -o unlearned");
    const char *at = strstr(printed, "copying the input: mean cells ");
    if (CHECK(at != NULL, "%s", printed)) snprintf(copied, sizeof copied, "%.36s", at);
    CHECK(!strstr(printed, "resized"), "nothing is resized: %s", printed);
    expect(0, copied, "eval small --model model --sample-steps 1 --train-pairs 0 --size %dx%d -o large",
           ROWS * CELL, COLS * CELL);
    CHECK(strstr(printed, "26 of 26 pictures are resized to 32x48"), "no word of resized pictures: %s",
          printed);
    expect(1, "cells and borders are whole pixels", "fit small --model model --size 16x48 --plan");
}

/* Writes the task in view k to the folder `to`. */
static void write_seen(int k, const char *to)
{
    vdm_task t;
    vdm_error err;
    vdm_view views[8];
    vdm_views_make(views, k + 1, false, 0, 10, 42);
    expect_shell(0, "", "cp -r task %s", to);
    if (!CHECK(vdm_task_read(&t, to, &err) == 0, "%s", err.text)) return;
    for (int i = 0; i < 2 * (PAIRS + QUESTIONS); i++) {
        const vdm_example *e = i / 2 < PAIRS ? &t.train[i / 2] : &t.test[i / 2 - PAIRS];
        const char *path = i % 2 ? e->output : e->input;
        vdm_picture p = {0};
        CHECK(vdm_picture_read(&p, path, &err) == 0 &&
                  vdm_view_picture(&p, &t.grid, &views[k], VDM_INTO_VIEW, &err) == 0 &&
                  vdm_picture_write(&p, path, &err) == 0,
              "%s", err.text);
        vdm_picture_free(&p);
    }
    vdm_task_free(&t);
}

/* To learn and to answer in a view is to learn and answer what it shows, and to look at the answer without
 * it. */
static void check_view(void)
{
    vdm_error err;
    vdm_task t;
    vdm_view views[4];
    vdm_picture plain = {0}, seen = {0};
    uint8_t cells[2][ROWS * COLS], back[ROWS * COLS];
    write_seen(3, "seen");
    expect(0, "", "fit seen --model model -o seen/run --steps 3 --rank 2 --watch-every 0");
    expect(0, "", "fit task --model model -o view --steps 3 --rank 2 --watch-every 0 --view 3");
    expect(0, "16 agree", "compare view/lora.safetensors seen/run/lora.safetensors --tol 0");
    expect(3, "", "compare view/lora.safetensors run/lora.safetensors --tol 0");
    expect(0, "",
           "eval seen --model model --sample-steps 2 -o seen/answers --lora seen/run/lora.safetensors");
    expect(0, "",
           "eval task --model model --sample-steps 2 -o view/out --lora view/lora.safetensors --view 3");
    expect_same("view/out/scores.csv", "seen/answers/scores.csv", true);
    bool ok = vdm_task_read(&t, "task", &err) == 0 &&
              vdm_picture_read(&plain, "view/out/0&.ppm", &err) == 0 &&
              vdm_picture_read(&seen, "seen/answers/0&.ppm", &err) == 0 &&
              vdm_grid_read(cells[0], &plain, &t.grid) == 0 && vdm_grid_read(cells[1], &seen, &t.grid) == 0;
    if (CHECK(ok, "%s", err.text)) {
        vdm_views_make(views, 4, false, 0, 10, 42);
        vdm_view_cells(back, cells[1], ROWS, COLS, &views[3], VDM_OUT_OF_VIEW);
        CHECK(memcmp(back, cells[0], sizeof back) == 0, "an answer is written as the view shows it");
    }
    vdm_picture_free(&plain);
    vdm_picture_free(&seen);
    vdm_task_free(&t);
    expect(2, "expected an integer from 0 to 31", "eval task --model model --view 32");
}

static void write_prompts(int n, uint32_t seed)
{
    vdm_error err;
    CHECK(tiny_write_views(path_of("model"), n, seed, &err) == 0, "%s", err.text);
}

/* The result of the vote is drawn: nothing but the palette's colours. */
static void check_drawn(const char *name)
{
    vdm_error err;
    vdm_task t;
    vdm_picture p = {0}, drawn = {0};
    uint8_t cells[ROWS * COLS];
    bool ok = vdm_task_read(&t, "task", &err) == 0 && vdm_picture_read(&p, name, &err) == 0 &&
              vdm_grid_read(cells, &p, &t.grid) == 0 &&
              vdm_grid_render(&drawn, cells, &t.grid, p.height, p.width, &err) == 0;
    CHECK(ok && memcmp(p.rgb, drawn.rgb, (size_t)(p.height * p.width * 3)) == 0,
          "%s: not a grid as it is drawn", name);
    vdm_picture_free(&p);
    vdm_picture_free(&drawn);
    vdm_task_free(&t);
}

/* An answer in the first view only has the prompt of this view, unless another one is given. */
static void check_first_view(void)
{
    static float embeds[5 * 24], other[5 * 24] = {1};
    vdm_error err;
    vdm_safetensors f;
    int64_t shape[] = {4, 5, 24};
    CHECK(vdm_safetensors_open(&f, path_of("model/view_embeds.safetensors"), &err) == 0, "%s", err.text);
    float *text = vdm_safetensors_floats(&f, "view_embeds", 3, shape, &err);
    if (!CHECK(text != NULL, "%s", err.text)) return;
    memcpy(embeds, text, sizeof other);
    vdm_free(text);
    vdm_safetensors_close(&f);
    vdm_tensor t = {"prompt_embeds", VDM_F32, 2, {5, 24}, embeds, sizeof other};
    CHECK(vdm_safetensors_write(path_of("first.prompt"), &t, 1, NULL, 0, &err) == 0, "%s", err.text);
    t.data = other;
    CHECK(vdm_safetensors_write(path_of("other.prompt"), &t, 1, NULL, 0, &err) == 0, "%s", err.text);
#define FIRST                                                                                             \
    "predict --model model --sample-steps 2 --lora views/lora.safetensors --image 'task/test/0&.in.ppm' " \
    "--views 1 --guidance 1 -o first.ppm "
    expect(0, "", FIRST);
    expect_same("first.ppm", "plain.ppm", true);
    expect(0, "", FIRST "--prompt-embeds first.prompt");
    expect_same("first.ppm", "plain.ppm", true);
    expect(0, "", FIRST "--inject first.prompt");
    expect_same("first.ppm", "plain.ppm", true);
    expect(0, "", FIRST "--prompt-embeds other.prompt");
    expect_same("first.ppm", "plain.ppm", false);
    expect(0, "", FIRST "--inject other.prompt");
    expect_same("first.ppm", "plain.ppm", false);
}

/* The adapter's file says in how many views it was learned: eval and predict need no --views. */
static void check_adapter_views(void)
{
    vdm_lora_facts facts = {0};
    vdm_error err;
    CHECK(vdm_lora_facts_read(&facts, path_of("views/lora.safetensors"), &err) == 0 && facts.views == 4,
          "%d views", facts.views);
    CHECK(vdm_lora_facts_read(&facts, path_of("one/lora.safetensors"), &err) == 0 && facts.views == 0,
          "%d views", facts.views);
    expect(0, "",
           "eval task --model model --sample-steps 2 -o given --lora views/lora.safetensors --train-pairs 2");
    CHECK(strstr(printed, "colour shift") && !strstr(printed, "+0 +0 +0"),
          "expected the colours of the views' own frames, not of the vote: %s", printed);
    expect(1, "--colour shift: expected one view, found 4",
           "eval task --model model --lora views/lora.safetensors --colour shift");
    expect_same("given/scores.csv", "views/out/scores.csv", true);
    expect_same("given/0&.ppm", "views/out/0&.ppm", true);
    expect(1, "--views 5: expected at most 4",
           "eval task --model model --lora views/lora.safetensors --views 5");
    expect(1, "expected the same",
           "eval task --model model --lora views/lora.safetensors --lora one/lora.safetensors");
#define PREDICT \
    "predict --model model --sample-steps 2 --lora views/lora.safetensors --image 'task/test/0&.in.ppm' "
    expect(0, "", PREDICT "--cell %d --border 0 -o one.ppm", CELL);
    expect_same("one.ppm", "views/out/0&.ppm", true);
    expect(0, "", PREDICT "--cell %d --border 0 -o two.ppm --views 2", CELL);
    expect_same("two.ppm", "one.ppm", false);
    expect(0, "", PREDICT "-o three.ppm");
    expect_same("three.ppm", "one.ppm", true);
    expect(0, "--guidance 2: no effect: guidance needs a negative prompt that differs from the prompt",
           PREDICT "--guidance 2 -o guided.ppm");
    expect_same("guided.ppm", "one.ppm", true);
    expect(1, "learned with cells of 8 pixels: expected the same here, found --cell 7",
           PREDICT "--cell 7 --border 0 -o no.ppm");
    expect(1, "learned with borders of 0 pixels", PREDICT "--border 1 -o no.ppm");
    expect(1, "learned with the palette arc", PREDICT "--palette vivid -o no.ppm");
    expect(1, "--border: it has no effect here", PREDICT "--border 0 --views 1 -o no.ppm");
    expect(1, "pictures of 32x48: expected such a picture, or --size 32x48, found 16x48",
           PREDICT "--size 16x48 -o no.ppm");
    expect(0, "", PREDICT "--views 1 -o plain.ppm");
    CHECK(!strstr(printed, "learned with grids"), "one view is not a grid: %s", printed);
    expect(0, "",
           "eval task --model model --sample-steps 2 -o plain/out --lora views/lora.safetensors --views 1");
    expect_same("plain.ppm", "plain/out/0&.ppm", true);
    expect_shell(0, "", "mv model/view_embeds.safetensors aside");
    expect(
        1,
        "--views 1: expected the prompt of the first of 4 views, which the adapter was learned in, found model/view_embeds",
        PREDICT "--views 1 -o no.ppm");
    expect_shell(0, "", "mv aside model/view_embeds.safetensors");
    check_first_view();
}

/* The grid of an adapter is the one that eval takes from the task: it need not fill the picture, nor have the palette of
 * the options. */
static void check_predicted(const char *task)
{
#define PREDICT_GRID \
    "predict --model model --sample-steps 2 --lora grid/lora.safetensors --image grid/task/test/0000.in.ppm "
    expect_shell(0, "", "mkdir grid");
    expect(0, "", "tasks %s --grid 4x5 --cell 8 --border 0 --size 32x48 -n 2 --tests 1 -o grid/task", task);
    expect(0, "", "fit grid/task --model model --steps 3 --rank 2 --watch-every 0 --views 4 -o grid");
    expect(
        0, "",
        "eval grid/task --model model --sample-steps 2 --train-pairs 0 --lora grid/lora.safetensors -o grid/out");
    expect(0, "", PREDICT_GRID "-o grid/answer.ppm");
    CHECK(!strstr(printed, "differs from this picture") && !strstr(printed, "learned with"), "%s", printed);
    expect_same("grid/answer.ppm", "grid/out/0000.ppm", true);
}

static void check_grids(void)
{
    write_text("model/vdm.json", "{\"arc\": {\"cell\": 8, \"border\": 0}}");
    check_predicted("langton-2 --paper");
    expect(0, "palette maze, 4 rows, 5 columns", "info grid/lora.safetensors");
    expect_shell(0, "", "mv grid maze");
    check_predicted("flip-h");
    expect(1, "the adapter before it of", PREDICT_GRID "--lora maze/lora.safetensors -o no.ppm");
    expect(0, "0000.in.ppm: a grid of 4 rows and 5 columns of 8 pixels differs from this picture",
           "predict --model model --sample-steps 1 --lora maze/lora.safetensors --image "
           "grid/task/test/0000.in.ppm -o other.ppm");
    /* an adapter of an earlier version has neither the grid's size nor the number of pairs */
    expect_shell(
        0, "",
        "mv grid/lora.safetensors new && LC_ALL=C sed 's/, 4 rows, 5 columns\\(.\"\\)}/\\1%19s}/; "
        "s/.\"pairs.\": 2, /%14s/' new > grid/lora.safetensors && ! cmp -s new grid/lora.safetensors",
        "", "");
    expect(
        0,
        "an older file, without the size of its grids: the picture is read as one that fills it, of 4 rows "
        "and 6 columns, palette arc",
        PREDICT_GRID "-o older.ppm");
    expect_same("older.ppm", "grid/answer.ppm", false);
    expect(0, "", "eval grid/task --model model --sample-steps 1 --lora grid/lora.safetensors");
    CHECK(!strstr(printed, "learned with") && strstr(printed, "of 1 training pairs"), "%s", printed);
    expect_shell(0, "", "rm model/vdm.json");
}

/* Only pairs that were learned count as training pairs. */
static void check_shots(void)
{
#define FEW "eval task --model model --sample-steps 1 --lora shots/lora.safetensors "
    expect(0, "", "fit task --model model --steps 1 --rank 2 --watch-every 0 --shots 3 -o shots");
    expect(0, "of 3 training pairs right", FEW);
    CHECK(!strstr(printed, "--train-pairs"), "%s", printed);
    expect(0, "--train-pairs 8: the adapter learned 3 pairs, which are used",
           FEW "--train-pairs 8 --limit 1");
    CHECK(strstr(printed, "of 3 training pairs right"), "%s", printed);
    expect(0, "of 2 training pairs right", FEW "--train-pairs 2 --limit 1");
    expect(0, "--train-pairs 100: task has 8 pairs",
           "eval task --model model --sample-steps 1 --limit 1 --train-pairs 100");
    CHECK(strstr(printed, "of 8 training pairs right"), "%s", printed);
    expect(0, "--limit 6: task has 5 test pictures",
           "eval task --model model --sample-steps 1 --limit 6 --train-pairs 0");
    expect_shell(0, "", "cp -r task seen.task && cp 'task/train/5&.in.ppm' 'seen.task/test/0&.in.ppm'");
    expect(0, "", "eval seen.task --model model --sample-steps 1 --lora shots/lora.safetensors --limit 1");
    CHECK(!strstr(printed, "training inputs too"), "%s", printed);
    expect_shell(0, "", "cp 'task/train/2&.in.ppm' 'seen.task/test/0&.in.ppm'");
    expect(0, "1 of 1 test inputs are training inputs too",
           "eval seen.task --model model --sample-steps 1 --lora shots/lora.safetensors --limit 1");
}

/* The page has the number of views that were used. */
static void check_page_views(void)
{
    const char *four[] = {"Views</th><td>4, one adapter<"};
    check_report("own/report.html", four, 1);
    check_report("given/report.html", four, 1);
    slurp(page, sizeof page, "pixels/run/report.html");
    CHECK(strstr(page, "Settings") && !strstr(page, "Views</th>"), "one view of pictures");
    slurp(page, sizeof page, "plain/out/report.html");
    CHECK(strstr(page, "Settings") && !strstr(page, "Views</th>"), "one view of four");
}

/* Views of the model's vdm.json hold for tasks of grids alone. */
static void check_model_views(void)
{
    write_text("model/vdm.json", "{\"fit\": {\"views\": 4}}");
    expect(0, "", "fit task --model model -o own --steps 3 --rank 2 --watch-every 0");
    expect_same("own/lora.safetensors", "views/lora.safetensors", true);
    expect(0, "", "fit task --model model -o asked --steps 3 --rank 2 --watch-every 0 --views 1");
    expect_same("asked/lora.safetensors", "plain/lora.safetensors", true);
    expect_shell(0, "", "cp -r task pixels && sed 's/\"cells\"/\"psnr\"/' task/task.json > pixels/task.json");
    expect(0, "3 steps on 8 pairs",
           "fit pixels --model model -o pixels/run --steps 3 --rank 2 --watch-every 0");
    expect(1, "metric cells, found metric psnr", "fit pixels --model model -o pixels/no --views 4");
    expect_shell(0, "", "rm model/vdm.json");
}

/* One adapter learns the task in several views, each with its own prompt, and answers in all of them. */
static void check_views(void)
{
    expect(1, "view_embeds.safetensors", "fit task --model model -o views --steps 3 --rank 2 --views 2");
    write_prompts(4, 31);
    expect(1, "view_embeds: expected the prompts of 5 views, found 4",
           "fit task --model model -o views --steps 3 --rank 2 --views 5");
    expect(1, "--view 1, --views 2: expected one of the two", "eval task --model model --view 1 --views 2");
    expect(0, "", "fit task --model model -o one --steps 3 --rank 2 --watch-every 0 --views 1");
    expect(0, "", "fit task --model model -o plain --steps 3 --rank 2 --watch-every 0");
    expect_same("one/lora.safetensors", "plain/lora.safetensors", true);
    expect(0, "", "fit task --model model -o views --steps 3 --rank 2 --watch-every 0 --views 4");
    expect_same("views/lora.safetensors", "plain/lora.safetensors", false);
    expect(
        0, "exact 0 of 5",
        "eval task --model model --sample-steps 2 -o views/out --lora views/lora.safetensors --views 4 --train-pairs 2");
    expect(
        0, "",
        "eval task --model model --sample-steps 2 -o one/out --lora views/lora.safetensors --train-pairs 2 --views 1");
    expect_same("views/out/scores.csv", "one/out/scores.csv", false);
    check_drawn("views/out/0&.ppm");
    check_adapter_views();
    check_model_views();
    check_page_views();
    check_grids();
    write_prompts(4, 32); /* the same views with other prompts are another task for the adapter */
    expect(0, "", "fit task --model model -o prompts --steps 3 --rank 2 --watch-every 0 --views 4");
    expect_same("prompts/lora.safetensors", "views/lora.safetensors", false);
}

static void check_vote(void)
{
    const char *pieces[] = {"vdm vote task right wrong right.2", "5 of 5 exact", "alt=\"answer of 4&amp;\""};
    expect_shell(0, "",
                 "mkdir right wrong few && for i in 0 1 2 3 4; do "
                 "cp \"task/test/$i&.out.ppm\" \"right/$i&.ppm\" && "
                 "cp \"task/test/$i&.in.ppm\" \"wrong/$i&.ppm\"; done && cp \"right/0&.ppm\" few && "
                 "mkdir mine.votes && cp \"right/4&.ppm\" mine.votes");
    expect_shell(0, "", "cp -r right right.2; cp -r wrong wrong.2");
    expect(0, "exact 5 of 5 (1.0000)", "vote task right wrong right.2 -o voted");
    check_report("voted/report.html", pieces, 3);
    expect_same("voted/3&.ppm", "right/3&.ppm", true);
    expect(0, "exact 0 of 5", "vote task wrong right -o tie"); /* the earlier one */
    expect_same("tie/3&.ppm", "wrong/3&.ppm", true);
    expect(0, "exact 0 of 5", "vote task right wrong wrong.2 -o voted");
    expect(3, "exact 0 of 5", "vote task wrong -o voted --at-least 1");
    expect(1, "few/1&.ppm", "vote task right few -o voted");
    expect_shell(0, "",
                 "grep -q 'This run has not finished' voted/report.html"); /* 0&.ppm is the new run's */
    expect(1, "mine.votes/4&.ppm: expected no such file in a folder without a run of 'vdm vote'",
           "vote task right wrong -o mine.votes");
    expect(0, "exact 1 of 1", "vote task right few -o voted --limit 1");
    /* a run of two answers in the folder of one of five: three are stale */
    write_text("right/scores.csv",
               "name,metric,score,exact,copied,against_input\n0&,cells,1,1,0,0\n1&,cells,1,1,0,0\n");
    expect(1, "right/scores.csv: expected the scores of 5 answers, found 2",
           "vote task wrong right -o voted");
    expect(0, "of 2", "vote task wrong right -o voted --limit 2");
    expect_shell(0, "", "rm right/scores.csv");
    write_text("arc.json",
               "{\"train\": [{\"input\": [[1]], \"output\": [[2]]}], \"test\": [{\"input\": [[1]]}]}");
    expect(1, "found an ARC-AGI file", "vote arc.json right -o voted");
    expect(2, "a task folder and folders of answers", "vote task -o voted");
    expect(2, "expected -o DIR", "vote task right");
    expect_shell(0, "", "mkdir wide && cp right/* wide");
    write_text("wide/2&.ppm", "P3 1 1 255 0 0 0\n");
    expect(1, "wide/2&.ppm: expected an answer of 32x48 pixels, found", "vote task wide -o voted");
}

/* 199 of 200 answers are exact, one cell of the other is wrong: that is neither 100 % nor 1. */
static void check_shares(void)
{
    const char *pieces[] = {"199 of 200 exact (99 %), cells right 99.9 %", "199 of 200 (99.5 %)",
                            "99.9 % of the cells are right"};
    const char *few[] = {"1 of 200 exact (1 %)", "1 of 200 (0.5 %)"};
    vdm_error err;
    vdm_picture p;
    expect_shell(
        0, "",
        "mkdir -p shares/test nearly hardly && cp task/task.json shares && for i in $(seq 1000 1199); do "
        "cp 'task/test/0&.in.ppm' shares/test/$i.in.ppm && cp 'task/test/0&.out.ppm' shares/test/$i.out.ppm && "
        "cp 'task/test/0&.out.ppm' nearly/$i.ppm && cp 'task/test/0&.in.ppm' hardly/$i.ppm; done && "
        "cp nearly/1000.ppm hardly");
    if (CHECK(vdm_picture_read(&p, "nearly/1007.ppm", &err) == 0, "%s", err.text)) {
        const int other = p.rgb[0] || p.rgb[1] ? 0 : 255; /* black, or white */
        for (int y = 0; y < CELL; y++) memset(p.rgb + y * COLS * CELL * 3, other, CELL * 3);
        CHECK(vdm_picture_write(&p, "nearly/1007.ppm", &err) == 0, "%s", err.text);
        vdm_picture_free(&p);
    }
    expect(0, "mean cells 0.9998, exact 199 of 200 (0.9950)", "vote shares nearly -o voted.nearly");
    check_report("voted.nearly/report.html", pieces, 3);
    expect(0, "exact 1 of 200 (0.0050)", "vote shares hardly -o voted.hardly");
    check_report("voted.hardly/report.html", few, 2);
}

/* Answers that are shown during learning don't change the result. */
static void check_looks(void)
{
    expect(0, "0 of 5 exact", "demo task --model model --steps 12 --rank 2 --sample-steps 1 -o looks");
    int looks = 0;
    for (const char *c = printed; (c = strstr(c, "\nAnswers after ")); c++) looks++;
    CHECK(looks == 5 && strstr(printed, "Answers after 10 of 12 steps"), "%d looks: %s", looks, printed);
    expect(0, "", "fit task --model model --steps 12 --rank 2 -o no-looks");
    expect_same("looks/lora.safetensors", "no-looks/lora.safetensors", true);
    expect(
        0, "",
        "eval task --model model --sample-steps 1 --lora no-looks/lora.safetensors --train-pairs 0 -o no-looks/out");
    expect_same("looks/scores.csv", "no-looks/out/scores.csv", true);
}

/* Row labels: black pixels on white, left of the first picture. */
static void check_strip(void)
{
    vdm_error err;
    vdm_picture p = {0};
    if (!CHECK(vdm_picture_read(&p, "demo1/strip.png", &err) == 0, "%s", err.text)) return;
    for (int row = 0; row < 3; row++) {
        int black = 0;
        for (int y = p.height * row / 3; y < p.height * (row + 1) / 3; y++)
            for (int x = 0; x < 80; x++) black += p.rgb[3 * (y * p.width + x)] == 0;
        CHECK(black > 100 && black < 500, "label of row %d: %d black pixels", row, black);
    }
    vdm_picture_free(&p);
}

static void check_demo(void)
{
    const char *pieces[] = {"vdm demo task", "Learned from 8 pairs",     "(transition: discrete)",
                            "<polyline",     "alt=\"answer of 4&amp;\"", "Ensemble</th><td>3<"};
    const char *files[] = {"lora.safetensors", "train.csv", "scores.csv", "strip.png"};
    for (int i = 0; i < 3; i++) /* the third over the second's folder */
        expect(0, "0 of 5 exact (0 %)",
               "demo task --model model --steps 5 --rank 2 --sample-steps 2 --ensemble 3 -o demo%d%s",
               i ? 1 : 0, i == 2 ? " --threads 3" : "");
    for (int i = 0; i < 4; i++) {
        char a[64], b[64];
        snprintf(a, sizeof a, "demo0/%s", files[i]);
        snprintf(b, sizeof b, "demo1/%s", files[i]);
        expect_same(a, b, true);
    }
    CHECK(!strchr(printed, '\033') && !strchr(printed, '\r'),
          "colours or a bar where there is no terminal: %s", printed);
    CHECK(strstr(printed, "answer: ") && strstr(printed, "truth") && strstr(printed, "1 2 . "),
          "no grids in: %s", printed);
    check_report("demo1/demo.html", pieces, 6);
    check_strip();
    check_looks();
    expect(0, "", "tasks flip-h --grid 4x6 -n 1 --tests 51 -o many");
    expect(0, "many: only the first 50 of 51 test pictures are answered; --limit 51 answers all",
           "demo many --model model --steps 1 --rank 2 --sample-steps 1 -o demo2");
    CHECK(strstr(printed, "of 50 exact"), "%s", printed);
    expect(0, "of 51 exact",
           "demo many --model model --steps 1 --rank 2 --sample-steps 1 --limit 51 -o demo2");
    CHECK(!strstr(printed, "only the first"), "%s", printed);
    expect(2, "one task", "demo task task --model model");
    expect(2, "--phi", "demo task --model model --phi cubic");
    expect(1, "no-such", "demo ./no-such --model model");
}

/* The tiny model for 64x64 pixels: its positions are computed, so that a configuration is all it takes. */
static void write_square_model(void)
{
    vdm_error err;
    CHECK(tiny_write("square", TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    slurp(printed, sizeof printed, "square/transformer/config.json");
    char *height = strstr(printed, "\"sample_height\": 4"), *width = strstr(printed, "\"sample_width\": 6");
    if (!CHECK(height && width, "no sample size in %s", printed)) return;
    height[strlen("\"sample_height\": ")] = width[strlen("\"sample_width\": ")] = '8';
    write_text("square/transformer/config.json", "%s", printed);
}

/* A generated task, then a smaller one that replaces it. */
static void check_made(void)
{
    const char *made = "demo recolour --model square --steps 2 --rank 2 --sample-steps 1 -o made";
    write_square_model();
    expect(0, "of 1 exact", "%s --shots 2 --limit 1", made);
    expect(0, "1 pair to learn from", "%s --shots 1 --limit 1", made);
    expect(0, "1 training pairs, 1 test pictures", "info made/task");
    expect(1, "expected a new or empty folder", "demo recolour --model square -o .");
    expect(0, "8 training pairs, 5 test pictures", "info task"); /* nobody's own task is taken away */
}

/* A task that a demo did not make, or that was changed since, stays, whatever its name and the names of its pictures are. */
static void check_users_task(void)
{
    static const struct {
        const char *change, *says; /* of a demo's folder, into `users` */
    } cases[] = {
        {"rm users/task.hash", "found another task"},
        {"cp users/task/train/0000.in.ppm users/task/train/0000.out.ppm", "found another task"},
        {"rm users/task/train/0000.out.ppm users/task/test/0000.out.ppm", "expected a new or empty folder"},
        {"mv users/task/test/0000.in.ppm users/task/test/0001.in.ppm", "expected a new or empty folder"},
        {"sed -i s/discrete/linear/ users/task/task.json", "found another task"},
        {"touch users/task/README", "found another task"},
        {"touch users/task/train/.DS_Store", "found another task"},
        {"rm -r users/task && \"$VDM\" tasks recolour -n 3 --tests 1 -o users/task", "found another task"},
        {"rm -r linked && mv users/task linked && ln -s ../linked users/task", "found another task"},
        {"rm -r linked && mv users/task/train linked && ln -s ../../linked users/task/train",
         "found another task"},
        {"echo mine > users/task.hash", "users/task.hash: expected no such file, or that of an earlier demo"},
        {"rm -r users/task && mkdir users/task && echo mine > users/task/notes", "found 'notes' in it"},
    };
    expect_shell(0, "", "mkdir linked");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_shell(0, "",
                     "rm -rf users users.0 && cp -r made users && %s && cp -r users users.0 && "
                     "cp -r linked linked.0",
                     cases[i].change);
        expect(1, cases[i].says,
               "demo recolour --model square --steps 1 --rank 2 --sample-steps 1 --limit 1 -o users");
        CHECK(!strstr(printed, "loaded in"), "found out after the model was loaded: %s", printed);
        expect_shell(0, "", "diff -r users users.0 && diff -r linked linked.0 && rm -r linked.0");
    }
}

/* Without a TASK a folder of the default generator's name is not used; with one, the folder is, and it is printed. */
static void check_both(void)
{
    const char *demo = "--model square --steps 1 --rank 2 --sample-steps 1 --shots 1 --limit 1 -o both";
    expect(0, "", "tasks flip-h -n 2 --tests 1 -o transpose");
    expect(0, "1 pair to learn from", "demo %s", demo);
    CHECK(strstr(printed, "transpose: ") && !strstr(printed, "flip-h"), "%s", printed);
    expect(0, "transpose: this folder is used, not the generator of that name", "demo transpose %s", demo);
    CHECK(strstr(printed, "flip-h"), "%s", printed);
    expect(0, "flip-h", "demo ./transpose %s", demo);
    CHECK(!strstr(printed, "is used"), "%s", printed);
    expect(0, "The first answers to unseen pictures",
           "demo arc.json --model model --size 32x48 --steps 1 --rank 2 --sample-steps 1 --batch 1 -o json");
}

/* The task of a run is not replaced while it runs: this process holds the run's lock. */
static void check_busy(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open("made/lock", O_RDWR | O_CREAT, 0666);
    CHECK(fd >= 0 && fcntl(fd, F_SETLK, &l) == 0, "the test can't lock a file");
    expect_shell(0, "", "cp -r made/task task-before");
    expect(1, "made: another run is writing there",
           "demo flip-h --model square --steps 1 --rank 2 --sample-steps 1 --shots 2 --limit 1 -o made");
    expect_shell(0, "", "diff -r made/task task-before");
    close(fd);
}

/* A demo does not replace the adapter of a run of fit, nor leaves a task with it. */
static void check_fitted(void)
{
    expect_shell(0, "", "cp -r run fitted");
    expect(1, "fitted: expected a folder without a run of 'vdm fit'",
           "demo task --model model --steps 1 --rank 2 --sample-steps 1 -o fitted");
    expect(1, "fitted: expected a folder without a run of 'vdm fit'",
           "demo recolour --model square --steps 1 --rank 2 --sample-steps 1 -o fitted");
    expect_shell(0, "", "diff -r run fitted");
}

/* A folder has the files of one command: another one would replace its page, answers or adapter. */
static void check_owners(void)
{
    static const struct {
        const char *folder, *owner, *page, *command;
    } cases[] = {
        {"run", "fit", "report.html", "eval task --model model --sample-steps 1 -o"},
        {"run", "fit", "report.html", "vote task right wrong -o"},
        {"answers", "eval", "report.html", "fit task --model model --steps 1 --rank 2 -o"},
        {"answers", "eval", "report.html", "demo task --model model --steps 1 --rank 2 -o"},
        {"answers", "eval", "report.html", "demo recolour --model square --steps 1 --rank 2 -o"},
        {"answers", "eval", "report.html", "vote task right wrong -o"},
        {"voted", "vote", "report.html", "eval task --model model --sample-steps 1 -o"},
        {"looks", "demo", "demo.html", "fit task --model model --steps 1 --rank 2 -o"},
        {"looks", "demo", "demo.html", "eval task --model model --sample-steps 1 -o"},
        {"looks", "demo", "demo.html", "arc arc.json --model model --size 32x48 --steps 1 -o"},
        {"state", "fit", "state.safetensors", "eval task --model model --sample-steps 1 -o"},
    };
    expect_shell(0, "", "mkdir state && cp run/state.safetensors state");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_shell(0, "", "rm -rf owned && cp -r %s owned", cases[i].folder);
        int status = vdm("%s owned", cases[i].command);
        char says[256];
        snprintf(
            says, sizeof says,
            "owned: expected a folder without a run of 'vdm %s', whose files would be replaced, found its "
            "%s; choose another folder",
            cases[i].owner, cases[i].page);
        CHECK(status == 1 && strstr(printed, says), "%s: status %d: %s", cases[i].command, status, printed);
        expect_shell(0, "", "diff -r %s owned", cases[i].folder);
    }
    expect(0, "", "eval task --model model --sample-steps 1 --limit 1 -o answers"); /* its own */
}

/* A demo that is killed while it writes its task, or removes an earlier one, leaves a folder: the next demo renames it,
 * with any file that the user has put there. */
static void check_killed(void)
{
    const char *again =
        "demo recolour --model square --steps 1 --rank 2 --sample-steps 1 --shots 1 --limit 1 -o made";
    expect_shell(
        0, "",
        "mkdir made/task/unfinished && mv made/task/train made/task/unfinished && echo mine > made/task/notes");
    expect(0, "made/task: an earlier run was killed while it wrote this folder: it is renamed to made/task.0",
           "%s", again);
    expect(0, "1 training pairs, 1 test pictures", "info made/task");
    expect_shell(0, "", "mkdir made/task/unfinished && rm made/task/train/*.out.ppm");
    expect(0, "it is renamed to made/task.1", "%s", again);
    expect(0, "of 1 exact", "%s", again);
    expect_shell(
        0, "",
        "test -f made/task.0/unfinished/train/0000.in.ppm && test -f made/task.0/test/0000.in.ppm &&"
        "test mine = \"$(cat made/task.0/notes)\" && ls made/task.1/train/*.in.ppm && ! test -e made/task/unfinished");
    expect_shell(0, "", "echo mine > made/task/train/notes");
    expect(1, "expected a new or empty folder", "%s", again);
    expect_shell(0, "",
                 "test -f made/task/train/0000.in.ppm && test mine = \"$(cat made/task/train/notes)\"");
}

int main(void)
{
    vdm_error err;
    if (!find_program()) return check_end("demo");
    if (!CHECK(chdir(check_folder()) == 0, "the test can't enter its folder")) return check_end("demo");
    CHECK(tiny_write("model", TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_task();
    check_checker();
    check_fit_and_eval();
    check_sizes();
    check_view();
    check_views();
    check_shots();
    check_vote();
    check_shares();
    check_demo();
    check_made();
    check_users_task();
    check_both();
    check_busy();
    check_fitted();
    check_owners();
    check_killed();
    return check_end("demo");
}
