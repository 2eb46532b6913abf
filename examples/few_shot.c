/* few_shot MODEL STEPS QUERY.ppm ANSWER.png X1.ppm Y1.ppm X2.ppm Y2.ppm ...
 * Learns a task from pairs of pictures, and answers one more picture. STEPS 0: as many as in the model's own settings.
 *
 *   cc few_shot.c $(pkg-config --cflags --libs vdm) -o few_shot             (C++: c++ -x c++ few_shot.c -x none ...)
 *   ./few_shot /usr/local/share/vdm/models/tiny 0 query.ppm answer.png x1.ppm y1.ppm x2.ppm y2.ppm */
#include <vdm.h>

#include <stdlib.h>

enum { MAX_PAIRS = 100 };

static void check(int status, const vdm_error *err)
{
    if (!status) return;
    fprintf(stderr, "few_shot: %s\n", err->text);
    exit(1);
}

/* Called after every step of training or sampling; a return other than 0 would stop the work. */
static int report(void *user, const vdm_report *r)
{
    (void)user;
    if (r->step % 100 == 0 || r->step == r->of) printf("%s: %d of %d\n", r->phase, r->step, r->of);
    return 0;
}

int main(int argc, char **argv)
{
    vdm_error err;
    vdm_model model;
    vdm_lora lora;
    vdm_picture x[MAX_PAIRS], y[MAX_PAIRS], query, answer;
    vdm_progress progress = {report, NULL, NULL};
    int pairs = (argc - 5) / 2;
    if (argc < 7 || argc % 2 == 0 || pairs > MAX_PAIRS) {
        fprintf(stderr, "few_shot MODEL STEPS QUERY.ppm ANSWER.png X1.ppm Y1.ppm X2.ppm Y2.ppm ...\n");
        return 2;
    }
    check(vdm_model_open(&model, argv[1], 0, &err), &err);
    check(vdm_picture_read(&query, argv[3], &err), &err);
    for (int i = 0; i < pairs; i++) {
        check(vdm_picture_read(&x[i], argv[5 + 2 * i], &err), &err);
        check(vdm_picture_read(&y[i], argv[6 + 2 * i], &err), &err);
    }
    if (atoi(argv[2]) > 0) model.learn->fit.steps = atoi(argv[2]);
    check(vdm_learn(&lora, &model, x, y, pairs, model.learn, &progress, &err), &err);
    check(vdm_answer(&answer, &model, &lora, &query, model.sample, &progress, &err), &err);
    check(vdm_picture_write(&answer, argv[4], &err), &err);
    printf("%s: %d x %d pixels, %d steps on %d pairs\n", argv[4], answer.height, answer.width,
           model.learn->fit.steps, pairs);
    for (int i = 0; i < pairs; i++) vdm_picture_free(&x[i]), vdm_picture_free(&y[i]);
    vdm_picture_free(&query);
    vdm_picture_free(&answer);
    vdm_lora_free(&lora);
    vdm_model_close(&model);
    return 0;
}
