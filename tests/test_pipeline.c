/* Opening, learning and answering by the library: the same bits as `vdm fit` and `vdm predict` with the same model, its
 * vdm.json read by both alike, and every wrong request rejected by one sentence. */
#include "program.h"
#include "tiny.h"

#include <string.h>
#include <unistd.h>

enum { PAIRS = 3, HEIGHT = 40, WIDTH = 56 }; /* of the pictures: not a size that the model takes */
static const char MODEL[] = "models/tiny";

/* ------------------------------------------------------------------------------------------------
 * A task: pictures x, and y their negative */

static vdm_picture x[PAIRS], y[PAIRS];

static void fill(vdm_picture *p, int i, bool negative)
{
    static float noise[HEIGHT * WIDTH * 3];
    vdm_error err;
    *p = (vdm_picture){.height = HEIGHT, .width = WIDTH};
    p->rgb = vdm_alloc(HEIGHT * WIDTH, 3, "a picture", &err);
    check_random(noise, HEIGHT * WIDTH * 3, (uint32_t)i, 127);
    for (int k = 0; k < HEIGHT * WIDTH * 3; k++) {
        int level = (int)(127.5f + noise[k]);
        p->rgb[k] = (uint8_t)(negative ? 255 - level : level);
    }
}

static void write_task(void)
{
    char name[64];
    vdm_error err;
    expect_shell(0, "", "mkdir @/task @/task/train @/task/test @/model");
    for (int i = 0; i < PAIRS; i++) {
        fill(&x[i], i, false);
        fill(&y[i], i, true);
        snprintf(name, sizeof name, "task/train/%d.in.ppm", i);
        CHECK(vdm_picture_write(&x[i], path_of(name), &err) == 0, "%s", err.text);
        snprintf(name, sizeof name, "task/train/%d.out.ppm", i);
        CHECK(vdm_picture_write(&y[i], path_of(name), &err) == 0, "%s", err.text);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The same bits as the program */

/* Of the model's own size, and of another one, which is higher than it is wide. */
static void check_same(const vdm_model *m, const char *size)
{
    vdm_error err;
    vdm_lora lora;
    vdm_picture answer = {0};
    vdm_learn_options learn = *m->learn;
    vdm_fit_row rows[3];
    learn.fit.steps = 2;
    learn.rows = rows;
    expect(0, "2 steps on 3 pairs", "fit @/task -o @/run%s --model %s --size %s --steps 2", size, MODEL,
           size);
    expect(0, "",
           "predict --model %s --lora @/run%s/lora.safetensors --size %s --image @/task/train/1.in.ppm "
           "-o @/program.ppm",
           MODEL, size, size);
    if (!CHECK(vdm_learn(&lora, m, x, y, PAIRS, &learn, NULL, &err) == 0, "%s", err.text)) return;
    CHECK(rows[2].loss > 0 && rows[2].loss < 1e3, "rows are filled in: loss %g", rows[2].loss);
    CHECK(vdm_lora_write(&lora, path_of("library.safetensors"), &err) == 0, "%s", err.text);
    CHECK(vdm_answer(&answer, m, &lora, &x[1], NULL, NULL, &err) == 0, "%s", err.text);
    CHECK(answer.height == m->geometry.height && answer.width == m->geometry.width, "%d x %d", answer.height,
          answer.width);
    CHECK(vdm_picture_write(&answer, path_of("library.ppm"), &err) == 0, "%s", err.text);
    vdm_lora again;
    CHECK(vdm_lora_read(&again, path_of("library.safetensors"), &m->config->transformer, NULL, NULL, &err) ==
              0,
          "%s", err.text);
    vdm_lora_free(&again);
    char theirs[64];
    snprintf(theirs, sizeof theirs, "run%s/lora.safetensors", size);
    expect_same("library.safetensors", theirs, true);
    expect_same("library.ppm", "program.ppm", true);
    vdm_picture_free(&answer);
    vdm_lora_free(&lora);
}

static void check_program(void)
{
    vdm_error err;
    vdm_model m;
    if (!CHECK(vdm_model_open(&m, MODEL, 0, &err) == 0, "%s", err.text)) return;
    CHECK(m.geometry.frames == 9 && m.geometry.height == 64 && m.geometry.width == 64, "%d of %d x %d",
          m.geometry.frames, m.geometry.height, m.geometry.width);
    CHECK(m.has_prompt && m.learn->fit.steps == 1800 && m.learn->rank == 64 && m.sample->ensemble == 10,
          "the model's own settings: %d steps", m.learn->fit.steps);
    check_same(&m, "64x64");
    CHECK(vdm_geometry_init(&m.geometry, m.config, 9, 48, 32, &err) == 0, "%s", err.text);
    check_same(&m, "48x32");
    vdm_model_close(&m);
    vdm_model_close(&m); /* a second time: nothing */
}

/* ------------------------------------------------------------------------------------------------
 * vdm.json: every legal value is one of the program's options too, and nobody accepts an illegal one */

#define GRIDS_MIN                                                                                   \
    "\"cell\": 0, \"border\": 0, \"align\": 1, \"grow\": 0, \"outside\": \"black\", \"views\": 1, " \
    "\"palette\": \"vivid\", \"frames\": 1, \"size\": \"1x1\""
#define GRIDS_MAX                                                                                          \
    "\"cell\": 512, \"border\": 64, \"align\": 64, \"grow\": 4096, \"outside\": \"grey\", \"views\": 32, " \
    "\"palette\": \"arc\", \"frames\": 1025, \"size\": \"16384x16384\""
#define ARC_MAX                                                                                     \
    "\"image_scale\": \"pipeline\", \"steps\": 10000000, \"batch\": 1024, \"accumulate\": 1024, "   \
    "\"rank\": 4096, \"alpha\": 1e6, \"lr\": 10, \"schedule\": \"constant\", \"warmup\": 1000000, " \
    "\"clip\": 1e9, \"weight_decay\": 1, \"pure_noise\": 1, \"sampler\": \"ddim\", \"guidance\": 1000"

static const struct {
    const char *text, *piece; /* piece: of the library's sentence; NULL: accepted */
} files[] = {
    {"{}", NULL},
    {"{\"fit\": {\"frames\": 17, \"size\": \"32x48\", \"image_scale\": \"trainer\", \"rank\": 4096, \"alpha\": 1e-6}}",
     NULL},
    {"{\"fit\": {\"steps\": 10000000, \"batch\": 1024, \"accumulate\": 1024, \"lr\": 10, \"schedule\": \"cosine\"}}",
     NULL},
    {"{\"fit\": {\"warmup\": 1000000, \"clip\": 1e9, \"weight_decay\": 1, \"pure_noise\": 1}}", NULL},
    {"{\"fit\": {\"lr\": 0, \"schedule\": \"warmup\", \"warmup\": 0, \"weight_decay\": 0, \"pure_noise\": 0}}",
     NULL},
    {"{\"sample\": {\"steps\": 3, \"ensemble\": 256, \"sampler\": \"dpm\", \"guidance\": 1000, \"size\": \"32x48\"}}",
     NULL},
    {"{\"fit\": {\"cell\": 8, \"outside\": \"grey\"}, \"arc\": {\"steps\": 5, \"grow\": 240}}", NULL},
    {"{\"fit\": {\"steps\": 6.0, \"clip\": 1e-9}, \"sample\": {\"ensemble\": 1, \"guidance\": 0}}", NULL},
    {"{\"fit\": {" GRIDS_MIN "}, \"sample\": {" GRIDS_MIN "}, \"arc\": {" GRIDS_MIN ", \"guidance\": 0}}",
     NULL},
    {"{\"fit\": {" GRIDS_MAX "}, \"sample\": {" GRIDS_MAX ", \"steps\": 1000}, \"arc\": {" GRIDS_MAX
     ", " ARC_MAX "}}",
     NULL},
    {"[]", "document: found an array of 0, expected an object"},
    {"{\"predict\": {}}", "found the key 'predict', expected fit, sample, arc"},
    {"{\"fit\": [1]}", "fit: found an array of 1, expected an object"},
    {"{\"fit\": {\"guidance\": 1}}", "fit: found the key 'guidance', expected frames, size"},
    {"{\"sample\": {\"lr\": 1}}", "sample: found the key 'lr', expected frames"},
    {"{\"fit\": {\"weight-decay\": 0.1}}", "found the key 'weight-decay'"},
    {"{\"fit\": {\"steps\": \"6\"}}", "fit.steps: found '6', expected an integer from 1 to 10000000"},
    {"{\"fit\": {\"steps\": 0}}", "fit.steps: found '0', expected an integer from 1"},
    {"{\"fit\": {\"steps\": 10000001}}", "fit.steps: found "},
    {"{\"fit\": {\"steps\": 2.5}}", "fit.steps: found "},
    {"{\"fit\": {\"batch\": 1025}}", "fit.batch: found "},
    {"{\"fit\": {\"accumulate\": 0}}", "fit.accumulate: found "},
    {"{\"fit\": {\"rank\": 4097}}", "fit.rank: found "},
    {"{\"fit\": {\"alpha\": 0}}", "fit.alpha: found "},
    {"{\"fit\": {\"lr\": 10.1}}", "fit.lr: found '10.1', expected a number from 0 to 10"},
    {"{\"fit\": {\"lr\": -1}}", "fit.lr: found "},
    {"{\"fit\": {\"warmup\": 1000001}}", "fit.warmup: found "},
    {"{\"fit\": {\"clip\": 0}}", "fit.clip: found "},
    {"{\"fit\": {\"weight_decay\": 1.1}}", "fit.weight_decay: found "},
    {"{\"fit\": {\"pure_noise\": 1.1}}", "fit.pure_noise: found "},
    {"{\"fit\": {\"schedule\": 1}}", "schedule: found '1', expected a string"},
    {"{\"fit\": {\"schedule\": \"lin\"}}",
     "schedule: found 'lin', expected constant, warmup, linear or cosine"},
    {"{\"fit\": {\"size\": \"64\"}}", "size: found '64', expected HxW"},
    {"{\"fit\": {\"size\": \"64x\"}}", "fit.size: found "},
    {"{\"fit\": {\"size\": \"0x64\"}}", "fit.size: found "},
    {"{\"sample\": {\"sampler\": \"euler\"}}", "sampler: found 'euler', expected ddim or dpm"},
    {"{\"sample\": {\"ensemble\": 257}}", "sample.ensemble: found "},
    {"{\"sample\": {\"guidance\": 1001}}", "sample.guidance: found "},
    {"{\"sample\": {\"frames\": 1026}}", "sample.frames: found "},
    {"{\"sample\": {\"steps\": 1001}}", "sample.steps: found "},
    {"{\"sample\": {\"views\": 33}}", "sample.views: found '33', expected an integer from 1 to 32"},
    {"{\"arc\": {\"cell\": 513}}", "arc.cell: found "},
    {"{\"arc\": {\"outside\": \"white\"}}", "arc.outside: found 'white', expected black or grey"},
    {"{\"arc\": {\"ensemble\": 2}}", "arc: found the key 'ensemble'"},
};

static void check_settings(void)
{
    vdm_error err;
    vdm_learn_options learn;
    vdm_sample_options sample;
    const vdm_model_config config = {0};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_text("model/vdm.json", "%s", files[i].text);
        int status = vdm_model_defaults(&learn, &sample, &config, path_of("model"), &err);
        if (files[i].piece)
            CHECK(status == -1 && strstr(err.text, files[i].piece) && strstr(err.text, "model/vdm.json: "),
                  "%s: %s", files[i].text, status ? err.text : "accepted");
        else
            CHECK(status == 0, "%s: %s", files[i].text, err.text);
        vdm("predict --model @/model --image @/none.ppm -o @/none.png");
        CHECK((strstr(printed, "vdm.json") != NULL) == (files[i].piece != NULL), "%s: the program: %s",
              files[i].text, printed);
    }
}

static void check_values(void)
{
    vdm_error err;
    vdm_learn_options l;
    vdm_sample_options s;
    vdm_model_config config = {.scheduler.dpm = true};
    expect_shell(0, "", "rm -f @/model/vdm.json");
    CHECK(vdm_model_defaults(&l, &s, &config, path_of("model"), &err) == 0, "%s", err.text);
    CHECK(l.rank == 64 && l.alpha == 32 && l.fit.steps == 500 && l.fit.lr == 1e-4 && l.augment &&
              l.phi.kind == VDM_PHI_DISCRETE && !l.geometry.frames,
          "the paper's: rank %d, lr %g", l.rank, l.fit.lr);
    CHECK(s.steps == 50 && s.guidance == 6 && s.ensemble == 1 && s.seed == 42 && s.sampler == VDM_DPM, "%d",
          s.steps);
    write_text(
        "model/vdm.json",
        "{\"fit\": {\"steps\": 7, \"batch\": 3, \"accumulate\": 2, \"lr\": 2e-3, \"rank\": 5, \"alpha\": 10, "
        "\"schedule\": \"linear\", \"warmup\": 2, \"clip\": 0.5, \"weight_decay\": 0.1, \"pure_noise\": 0.9, "
        "\"size\": \"32x48\", \"image_scale\": \"trainer\"}, "
        "\"sample\": {\"steps\": 2, \"guidance\": 3, \"sampler\": \"ddim\", \"ensemble\": 5, \"frames\": 17}}");
    CHECK(vdm_model_defaults(&l, &s, &config, path_of("model"), &err) == 0, "%s", err.text);
    const vdm_fit_options *f = &l.fit;
    CHECK(f->steps == 7 && f->batch == 3 && f->accumulate == 2 && f->lr == 2e-3 && f->warmup == 2 &&
              f->clip == 0.5 && f->weight_decay == 0.1 && f->pure_noise == 0.9 &&
              f->schedule == VDM_LR_LINEAR,
          "fit: %d steps, lr %g", f->steps, f->lr);
    CHECK(l.rank == 5 && l.alpha == 10 && l.geometry.height == 32 && l.geometry.width == 48 &&
              !l.geometry.frames && l.image_scale == VDM_IMAGE_TRAINER,
          "fit: rank %d, %d x %d", l.rank, l.geometry.height, l.geometry.width);
    CHECK(s.steps == 2 && s.guidance == 3 && s.sampler == VDM_DDIM && s.ensemble == 5 &&
              s.geometry.frames == 17 && !s.geometry.height && s.image_scale == VDM_IMAGE_PIPELINE,
          "sample: %d steps", s.steps);
}

/* ------------------------------------------------------------------------------------------------
 * What is rejected */

static void reject_open(const char *dir, const char *piece)
{
    vdm_error err;
    vdm_model m;
    CHECK(vdm_model_open(&m, dir, 1, &err) == -1 && strstr(err.text, piece) && !m.parts, "expected '%s': %s",
          piece, err.text);
    vdm_model_close(&m);
}

static void check_folders(void)
{
    vdm_error err;
    char dir[400];
    snprintf(dir, sizeof dir, "%s/tiny", check_folder());
    reject_open(NULL, "found NULL");
    reject_open(
        path_of("nothing"),
        "nothing: expected a model's folder, with transformer/, vae/ and scheduler/ in it, found No such");
    reject_open("models/tiny/transformer", "found no transformer/");
    CHECK(tiny_write(dir, TINY_5B, VDM_BF16, 1, &err) == 0, "%s", err.text);
    reject_open(dir, "in_channels: found 16, expected twice out_channels (32)");
    CHECK(tiny_write(dir, TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_text("tiny/vdm.json", "{\"fit\": {\"size\": \"32x32\"}, \"sample\": {\"size\": \"32x48\"}}");
    reject_open(dir, "expected the same in \"fit\" and \"sample\"");
    write_text("tiny/vdm.json", "{\"fit\": {\"size\": \"33x32\"}}");
    reject_open(dir, "height: found 33");
    expect_shell(0, "", "rm -r @/tiny/vae");
    reject_open(dir, "found no vae/");
}

/* A random model without vdm.json and prompt: its sample size, a prompt of zeros; and what a caller may get wrong. */
static void check_requests(void)
{
    vdm_error err;
    vdm_model m;
    vdm_lora lora;
    vdm_picture answer;
    char dir[400];
    snprintf(dir, sizeof dir, "%s/random", check_folder());
    CHECK(tiny_write(dir, TINY_15_I2V, VDM_BF16, 2, &err) == 0, "%s", err.text);
    if (!CHECK(vdm_model_open(&m, dir, 1, &err) == 0, "%s", err.text)) return;
    CHECK(m.geometry.frames == 9 && m.geometry.height == 32 && m.geometry.width == 48 && !m.has_prompt &&
              m.prompt[0] == 0 && m.learn->fit.steps == 500,
          "%d of %d x %d", m.geometry.frames, m.geometry.height, m.geometry.width);
    CHECK(vdm_learn(&lora, &m, NULL, y, PAIRS, NULL, NULL, &err) == -1 && strstr(err.text, "found NULL"),
          "%s", err.text);
    CHECK(vdm_learn(&lora, &m, x, y, 0, NULL, NULL, &err) == -1 && strstr(err.text, "pairs: found 0"), "%s",
          err.text);
    vdm_picture hole = {0};
    CHECK(vdm_learn(&lora, &m, &hole, y, 1, NULL, NULL, &err) == -1 && strstr(err.text, "pair 1"), "%s",
          err.text);
    CHECK(!lora.params, "nothing to free");
    vdm_learn_options learn = *m.learn;
    learn.rank = 0;
    CHECK(vdm_learn(&lora, &m, x, y, 1, &learn, NULL, &err) == -1 && strstr(err.text, "rank"), "%s",
          err.text);
    learn = *m.learn;
    learn.fit.steps = 0;
    CHECK(vdm_learn(&lora, &m, x, y, 1, &learn, NULL, &err) == -1 && strstr(err.text, "steps"), "%s",
          err.text);
    CHECK(vdm_answer(&answer, &m, NULL, NULL, NULL, NULL, &err) == -1 && strstr(err.text, "query"), "%s",
          err.text);
    vdm_pipeline p = vdm_model_pipeline(&m, NULL);
    vdm_fit_data data = {.pairs = 1};
    CHECK(vdm_sample(&p, m.sample, NULL, m.prompt, NULL, &err) == -1 && strstr(err.text, "images"), "%s",
          err.text);
    p.prompt = NULL;
    CHECK(vdm_fit(&p, &lora, &data, &learn.fit, NULL, NULL, NULL, &err) == -1 && strstr(err.text, "prompt"),
          "%s", err.text);
    p.vae = NULL;
    CHECK(vdm_fit_data_make(&data, &p, &(vdm_fit_data_options){0}, x, y, 1, NULL, &err) == -1 &&
              strstr(err.text, "vae"),
          "%s", err.text);
    vdm_sample_options o = *m.sample;
    o.videos = 2;
    CHECK(vdm_answer(&answer, &m, NULL, &x[0], &o, NULL, NULL) == -1 && !answer.rgb, "err may be NULL");
    o = *m.sample;
    o.steps = 1;
    CHECK(vdm_answer(&answer, &m, NULL, &x[0], &o, NULL, &err) == 0 && answer.height == 32 &&
              answer.width == 48,
          "without an adapter: %s", err.text);
    vdm_picture_free(&answer);
    vdm_model_close(&m);
}

/* Sizes that do not belong together, in the model's geometry or in the options: neither function computes with them. */
static void check_sizes(void)
{
    vdm_error err;
    vdm_model m;
    vdm_lora lora;
    vdm_picture answer;
    if (!CHECK(vdm_model_open(&m, MODEL, 0, &err) == 0, "%s", err.text)) return;
    const vdm_geometry whole = m.geometry,
                       wrong[] = {{.height = 32, .width = 32}, {.frames = 9}, {.video_tokens = 1}};
    m.learn->fit.steps = 1;
    vdm_learn_options learn = *m.learn;
    vdm_sample_options sample = *m.sample;
    for (int i = 0; i < 3; i++) {
        learn.geometry = sample.geometry = wrong[i];
        CHECK(vdm_learn(&lora, &m, x, y, 1, &learn, NULL, &err) == -1 &&
                  strstr(err.text, "vdm_geometry_init"),
              "learning, geometry %d: %s", i, err.text);
        CHECK(vdm_answer(&answer, &m, NULL, x, &sample, NULL, &err) == -1 &&
                  strstr(err.text, "vdm_geometry_init"),
              "answering, geometry %d: %s", i, err.text);
    }
    int *const fields[] = {&m.geometry.height, &m.geometry.w,   &m.geometry.frames, &m.geometry.latent_frames,
                           &m.geometry.F,      &m.geometry.pad, &m.geometry.h,      &m.geometry.width};
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 3; k++) {
            *fields[i] = k == 0 ? 2 * *fields[i] + 1 : k == 1 ? -1 : 1 << 30;
            CHECK(vdm_learn(&lora, &m, x, y, 1, NULL, NULL, &err) == -1 && strstr(err.text, "geometry: "),
                  "learning, field %d: %s", i, err.text);
            CHECK(vdm_answer(&answer, &m, NULL, x, NULL, NULL, &err) == -1 && strstr(err.text, "geometry: "),
                  "answering, field %d: %s", i, err.text);
            m.geometry = whole;
        }
    }
    vdm_model_config larger =
        *m.config; /* as the program does: positions beyond the sample size are well defined */
    larger.transformer.sample_width = 12;
    CHECK(!vdm_geometry_init(&m.geometry, &larger, 9, 64, 96, &err) &&
              !vdm_geometry_check(&m.geometry, &m.config->transformer, &m.config->vae, &err),
          "96 pixels: %s", err.text);
    vdm_fit_data data;
    vdm_pipeline p = vdm_model_pipeline(&m, NULL);
    p.transformer = NULL; /* it is not needed to make the data */
    vdm_fit_data_options o = {.geometry = whole, .phi = &m.learn->phi};
    o.geometry.h = 1;
    CHECK(vdm_fit_data_make(&data, &p, &o, x, y, 1, NULL, &err) == -1 && strstr(err.text, "geometry: "), "%s",
          err.text);
    vdm_tape_shape shape = {.B = 1, .F = 3, .h = 3, .w = 4};
    CHECK(!vdm_tape_new(m.transformer, &shape, &err) && strstr(err.text, "multiples of the patch"), "%s",
          err.text);
    shape = (vdm_tape_shape){.B = 1, .F = 1 << 30, .h = 1 << 30, .w = 1 << 30};
    CHECK(!vdm_tape_new(m.transformer, &shape, &err) && strstr(err.text, "tokens"), "%s", err.text);
    vdm_model_close(&m);
}

int main(void)
{
    if (!find_program()) return check_end("test_pipeline");
    write_task();
    check_program();
    check_settings();
    check_values();
    check_folders();
    check_requests();
    check_sizes();
    for (int i = 0; i < PAIRS; i++) vdm_picture_free(&x[i]), vdm_picture_free(&y[i]);
    return check_end("test_pipeline");
}
