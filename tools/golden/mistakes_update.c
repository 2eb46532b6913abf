/* Mistakes of the first update of training, each made on what the reference has of it: the gradient and its norm, the
 * adapter before it. The moments are 0 before it, so that nothing else is needed. All of it in double:
 *
 *   g = grad min(1, clip / (norm + 1e-6))                                  one norm for all matrices together
 *   m = (1 - beta1) g,   v = (1 - beta2) g^2
 *   p <- p (1 - lr decay) - lr m / (1 - beta1) / (sqrt(v / (1 - beta2)) + eps)
 *
 * Traps: the quotient does not depend on the size of g, only eps does: a gradient that was not clipped shows in the
 * moments. A mistake that changes nothing (a clip above the norm, no decay) explains nothing, either. */
#include "tools/golden/mistakes.h"

#include <math.h>
#include <string.h>

struct update {
    double lr, decay, beta1, beta2, eps;
    double clipped, own;        /* the factor of the gradient; the same by the norm of this matrix only */
    const float *grad, *before; /* [n] */
};

enum wrong {
    NOT_CLIPPED,
    CLIPPED_ALONE,
    NO_DECAY,
    DECAY_WITHOUT_LR,
    DECAY_IN_GRADIENT,
    NOT_CORRECTED,
    EPS_IN_ROOT,
    OTHER_BETA2,
    WRONGS
};

static const char *const sentences[WRONGS] = {
    [NOT_CLIPPED] = "the gradient is not clipped (clip in the golden's metadata)",
    [CLIPPED_ALONE] = "each matrix is clipped by its own norm, expected one norm for all of them together",
    [NO_DECAY] = "there is no weight decay (weight_decay in the golden's metadata)",
    [DECAY_WITHOUT_LR] = "the weight decay is not multiplied by the learning rate",
    [DECAY_IN_GRADIENT] = "the weight decay is added to the gradient (L2), expected on the parameter (AdamW)",
    [NOT_CORRECTED] = "the moments are not corrected for their bias",
    [EPS_IN_ROOT] = "eps of AdamW is inside the square root, expected after it",
    [OTHER_BETA2] = "beta2 is 0.999 (beta2 in the golden's metadata)"};

enum kind { ADAPTER, FIRST_MOMENT, SECOND_MOMENT };

/* Element i of the adapter or of a moment after the update with this mistake. */
static double updated(const struct update *u, int64_t i, enum kind kind, enum wrong wrong)
{
    double p = (double)u->before[i], decay = u->decay, beta2 = wrong == OTHER_BETA2 ? 0.999 : u->beta2;
    double g = (double)u->grad[i] * (wrong == NOT_CLIPPED ? 1 : wrong == CLIPPED_ALONE ? u->own : u->clipped);
    if (wrong == DECAY_IN_GRADIENT) g += decay * p;
    if (wrong == DECAY_IN_GRADIENT || wrong == NO_DECAY) decay = 0;
    double m = (1 - u->beta1) * g, v = (1 - beta2) * g * g;
    if (kind == FIRST_MOMENT) return m;
    if (kind == SECOND_MOMENT) return v;
    bool corrected = wrong != NOT_CORRECTED;
    double first = m / (corrected ? 1 - u->beta1 : 1), second = v / (corrected ? 1 - beta2 : 1);
    double root = wrong == EPS_IN_ROOT ? sqrt(second + u->eps) : sqrt(second) + u->eps;
    return p * (1 - (wrong == DECAY_WITHOUT_LR ? 1 : u->lr) * decay) - u->lr * first / root;
}

static double norm_of(const float *x, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

static double factor(double clip, double norm)
{
    return fmin(1, clip / (norm + 1e-6));
}

/* What the reference has of the update of this matrix; false: not all of it. */
static bool read_update(search *s, const char *matrix, struct update *u)
{
    const double none = (double)NAN;
    int64_t one = 1;
    const float *norm = neighbour_of(s, 1, &one, "grad_norm"), *lr = neighbour_of(s, 1, &one, "lr");
    double clip = both_fact(s->b, "clip", none);
    *u = (struct update){.decay = both_fact(s->b, "weight_decay", none),
                         .beta1 = both_fact(s->b, "beta1", none),
                         .beta2 = both_fact(s->b, "beta2", none),
                         .eps = both_fact(s->b, "eps", none),
                         .grad = neighbour(s, "grad.%s", matrix),
                         .before = input_like(s, "adapter.%s", matrix)};
    if (!norm || !lr || !u->grad || !u->before || !(clip > 0)) return false;
    if (!(u->decay >= 0 && u->eps >= 0 && u->beta1 >= 0 && u->beta1 < 1 && u->beta2 >= 0 && u->beta2 < 1))
        return false;
    u->lr = (double)*lr;
    u->clipped = factor(clip, (double)*norm);
    u->own = factor(clip, norm_of(u->grad, s->n));
    return true;
}

void mistakes_of_update(search *s)
{
    static const char *const kinds[] = {
        [ADAPTER] = "adapter.", [FIRST_MOMENT] = "adamw.m.", [SECOND_MOMENT] = "adamw.v."};
    struct update u;
    if (s->prefix_length != 7 || strncmp(s->f->ref->name, "step.1.", 7) != 0) return;
    for (int kind = ADAPTER; kind <= SECOND_MOMENT; kind++) {
        size_t length = strlen(kinds[kind]);
        if (strncmp(s->name, kinds[kind], length) != 0 || !read_update(s, s->name + length, &u)) continue;
        for (int wrong = 0; wrong < WRONGS; wrong++) {
            for (int64_t i = 0; i < s->n; i++)
                s->candidate[i] = (float)updated(&u, i, (enum kind)kind, (enum wrong)wrong);
            propose(s, s->candidate, "%s", sentences[wrong]);
        }
    }
}
