/* one_step MODEL: a training step by its parts, with the loss before and after it and one element of the gradient.
 *
 *   z, image   latents of a pair of pictures                      [F,C,h,w], [C,h,w]
 *   x_t        sqrt(abar) z + sqrt(1 - abar) noise                 the noisy video at timestep t
 *   target     sqrt(abar) noise - sqrt(1 - abar) z                 the velocity that the model should predict
 *   loss       mean (v(x_t, image, prompt, t) - target)^2
 *   grad       dloss/d(A, B) of every adapted layer; then AdamW
 *
 *   cc one_step.c $(pkg-config --cflags --libs vdm) -o one_step && ./one_step /usr/local/share/vdm/models/tiny */
#include <vdm.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TIMESTEP = 500, RANK = 4 };

static void check(int status, const vdm_error *err)
{
    if (!status) return;
    fprintf(stderr, "one_step: %s\n", err->text);
    exit(1);
}

static float *floats(int64_t n)
{
    vdm_error err;
    float *x = vdm_alloc((size_t)n, sizeof *x, "the step", &err);
    check(!x, &err);
    return x;
}

/* A task: x is a grey ramp, y the same ramp mirrored. */
static vdm_picture ramp(const vdm_geometry *g, bool mirrored)
{
    vdm_picture p;
    p.height = g->height;
    p.width = g->width;
    p.rgb = malloc(3 * (size_t)g->height * (size_t)g->width);
    for (int i = 0; i < 3 * g->height * g->width; i++) {
        int column = i / 3 % g->width;
        p.rgb[i] = (uint8_t)(255 * (mirrored ? g->width - 1 - column : column) / (g->width - 1));
    }
    return p;
}

/* mean (v - target)^2 over n elements, and its gradient dv = 2 (v - target) / n */
static double loss_of(float *dv, const float *v, const float *target, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double error = (double)v[i] - (double)target[i];
        dv[i] = (float)(2 * error / (double)n);
        sum += error * error;
    }
    return sum / (double)n;
}

/* The noisy video x_t [F,2C,h,w] and the velocity to predict [F,C,h,w]. In x_t the channels of every frame are followed
 * by those of the image, which is frame 0: in the other frames they are zero. */
static void noisy_video(float *xt, float *target, const vdm_fit_data *data, const float *noise, double alpha)
{
    int64_t frame = (int64_t)data->C * data->h * data->w;
    float a = (float)sqrt(alpha), b = (float)sqrt(1 - alpha);
    for (int64_t i = 0; i < data->F * frame; i++) {
        xt[i / frame * 2 * frame + i % frame] = a * data->videos[i] + b * noise[i];
        target[i] = a * noise[i] - b * data->videos[i];
    }
    memcpy(xt + frame, data->images, (size_t)frame * sizeof *xt);
}

int main(int argc, char **argv)
{
    vdm_error err;
    vdm_model m;
    if (argc != 2) return fprintf(stderr, "one_step MODEL\n"), 2;
    check(vdm_model_open(&m, argv[1], 0, &err), &err);

    /* the pair's latents */
    vdm_picture x = ramp(&m.geometry, false), y = ramp(&m.geometry, true);
    vdm_fit_data_options how = {.geometry = m.geometry, .phi = &m.learn->phi, .seed = 42};
    vdm_fit_data data;
    vdm_pipeline p = vdm_model_pipeline(&m, NULL);
    check(vdm_fit_data_make(&data, &p, &how, &x, &y, 1, NULL, &err), &err);

    int64_t n = (int64_t)data.F * data.C * data.h * data.w;
    float *noise = floats(n), *xt = floats(2 * n), *target = floats(n), *v = floats(n), *dv = floats(n);
    vdm_rng rng;
    vdm_rng_seed(&rng, 42);
    vdm_randn(&rng, noise, n);
    noisy_video(xt, target, &data, noise, vdm_schedule_alpha(m.schedule, TIMESTEP));

    /* a new adapter: A random, B zero: the model's output is unchanged, and only B has a gradient */
    vdm_lora lora;
    vdm_adamw adamw;
    check(vdm_lora_init(&lora, &m.config->transformer, VDM_ATTENTION, RANK, RANK, &rng, &err), &err);
    check(vdm_adamw_init(&adamw, vdm_lora_count(&lora), &err), &err);
    float *grad = floats(vdm_lora_count(&lora));
    vdm_tape_shape shape = {.B = 1, .F = data.F, .h = data.h, .w = data.w, .rank = RANK, .backward = true};
    vdm_tape *tape = vdm_tape_new(m.transformer, &shape, &err);
    check(!tape, &err);

    /* forward, backward, update, and forward again */
    double t = TIMESTEP;
    vdm_transformer_input in = {.x = xt, .text = m.prompt, .t = &t};
    vdm_transformer_forward(m.transformer, &lora, m.cpu, tape, &in, v);
    double loss = loss_of(dv, v, target, n);
    vdm_transformer_backward(m.transformer, &lora, m.cpu, tape, dv, grad, NULL);
    float *B = vdm_lora_b(&lora, grad, 0, VDM_Q);
    printf("loss %.6f\n", loss);
    printf("grad transformer_blocks.0.attn1.to_q.lora_B[0][0] %.6e\n", (double)B[0]);
    printf("grad norm %.6e\n", vdm_clip_grad(grad, adamw.n, 1.0));
    vdm_adamw_update(&adamw, m.cpu, lora.params, grad, 6e-3);
    vdm_transformer_forward(m.transformer, &lora, m.cpu, tape, &in, v);
    printf("loss after the step %.6f\n", loss_of(dv, v, target, n));

    float *buffers[] = {noise, xt, target, v, dv, grad};
    for (int i = 0; i < 6; i++) vdm_free(buffers[i]);
    free(x.rgb);
    free(y.rgb);
    vdm_tape_free(tape);
    vdm_adamw_free(&adamw);
    vdm_lora_free(&lora);
    vdm_fit_data_free(&data);
    vdm_model_close(&m);
    return 0;
}
