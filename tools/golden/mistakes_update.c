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
    double lr, decay, beta1, beta2, eps, clip;
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
    *u = (struct update){.decay = both_fact(s->b, "weight_decay", none),
                         .beta1 = both_fact(s->b, "beta1", none),
                         .beta2 = both_fact(s->b, "beta2", none),
                         .eps = both_fact(s->b, "eps", none),
                         .clip = both_fact(s->b, "clip", none),
                         .grad = neighbour(s, "grad.%s", matrix),
                         .before = input_like(s, "adapter.%s", matrix)};
    if (!norm || !lr || !u->grad || !u->before || !(u->clip > 0)) return false;
    if (!(u->decay >= 0 && u->eps >= 0 && u->beta1 >= 0 && u->beta1 < 1 && u->beta2 >= 0 && u->beta2 < 1))
        return false;
    u->lr = (double)*lr;
    u->clipped = factor(u->clip, (double)*norm);
    u->own = factor(u->clip, norm_of(u->grad, s->n));
    return true;
}

/* The matrix whose gradient is the longest: if any is clipped by its own norm, this one is. */
static const char *longest_matrix(const search *s)
{
    static const char begin[] = "step.1.grad.transformer_blocks.";
    const char *longest = NULL;
    double most = 0;
    for (int64_t i = 0; i < s->b->ref.count; i++) {
        const vdm_tensor *t = s->b->order[i];
        int64_t shape[] = {-1, -1}, n = vdm_tensor_count(t);
        if (strncmp(t->name, begin, sizeof begin - 1) != 0 || vdm_tensor_check(t, "", 2, shape, NULL))
            continue;
        float *x = vdm_alloc((size_t)n, sizeof *x, "a gradient", NULL);
        if (x) vdm_widen(x, t->data, t->dtype, n);
        double norm = x ? norm_of(x, n) : 0;
        if (norm > most) most = norm, longest = t->name + strlen("step.1.grad.");
        vdm_free(x);
    }
    return longest;
}

/* A short gradient that is not clipped may have been clipped by its own norm, which changes nothing. Whether the first moment
 * of the longest one, if the other file has it, has this mistake. */
static bool fits_longest(search *s, const struct update *u, enum wrong wrong)
{
    int64_t shape[] = {-1, -1};
    const char *matrix = longest_matrix(s);
    const float *grad = matrix ? neighbour_of(s, 2, shape, "grad.%s", matrix) : NULL,
                *found = grad ? found_of(s, 2, shape, "adamw.m.%s", matrix) : NULL;
    int64_t n = shape[0] * shape[1];
    float *m = found ? buffer(s, n) : NULL;
    if (!m) return true;
    double own = factor(u->clip, norm_of(grad, n));
    for (int64_t i = 0; i < n; i++)
        m[i] = (float)((1 - u->beta1) * (double)grad[i] * (wrong == NOT_CLIPPED ? 1 : own));
    return distance_of(found, m, n) <= fmax(1e-2, 2 * s->f->tolerance);
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
            if (wrong <= CLIPPED_ALONE && u.own >= 1 && !fits_longest(s, &u, (enum wrong)wrong)) continue;
            for (int64_t i = 0; i < s->n; i++)
                s->candidate[i] = (float)updated(&u, i, (enum kind)kind, (enum wrong)wrong);
            propose(s, s->candidate, "%s", sentences[wrong]);
        }
    }
}
