/* LoRA (arXiv 2106.09685; peft: LoraConfig), and the optimiser that trains its adapters (torch.optim.AdamW,
 * clip_grad_norm_, diffusers' get_scheduler).
 *
 *   y = x W^T + b + s (x A^T) B^T,   W [out,in] frozen, A [R,in], B [out,R], s = alpha / R
 *
 * replaces to_q, to_k, to_v, to_out.0 of every block (W [D,D]), and optionally the two layers of its feed-forward
 * (W [4D,D] and [D,4D]). An adapter is one flat array, params [layers][targets][A, B], and so are its gradient and the
 * moments of AdamW (files/adapter.c).
 *
 * Traps: both gradients contain s, once each; eps of AdamW is added after the bias-corrected square root;
 * weight decay shrinks the parameter before the update and applies to A and B alike; with warmup the first update
 * has lr 0. */
#include "lora.h"
#include "kernels/kernels.h"
#include "kernels/trace.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * The layer */

/* Matrices and rows of a layer, or of a slice of it; defined below */
static vdm_linear matrix_w(const vdm_adapted *l); /* [out,in] */
static vdm_linear matrix_a(const vdm_adapted *l); /* [R,in] */
static vdm_linear matrix_b(const vdm_adapted *l); /* [out,R] */
static int64_t row_count(const vdm_adapted *l);   /* B S */

static void times_scale(const vdm_cpu *cpu, const vdm_lora *lora, float *mid, int64_t n)
{
    cpu->kernels->blend(cpu, mid, lora->scale, mid, 0, mid, n * lora->rank);
}

/* y += mid B^T, mid = s x A^T [n,R]: with s in mid, dB = dy^T mid. On entry lora_mid = x A^T. */
static void add_adapter(const vdm_cpu *cpu, const vdm_adapted *l, vdm_trace *trace)
{
    const char *name = vdm_target_name(l->target);
    vdm_linear B = matrix_b(l);
    vdm_trace_see(trace, l->y, SHAPE(l->B, l->S, B.weight.rows), "%s.base_layer", name);
    vdm_trace_see(trace, l->lora_mid, SHAPE(l->B, l->S, l->lora->rank), "%s.lora_A", name);
    times_scale(cpu, l->lora, l->lora_mid, row_count(l));
    vdm_matmul_args up = linear_args(l->y, l->lora_mid, &B, row_count(l));
    up.accumulate = true;
    cpu->kernels->matmul(cpu, &up);
}

/* y = x W^T + b + s (x A^T) B^T. The W and A of all layers (q, k and v) share one pass over x. */
void vdm_adapted_forward(const vdm_cpu *cpu, const vdm_adapted *layers, int count, vdm_trace *trace)
{
    vdm_matmul_args pass[2 * 3] = {0}; /* the narrow products x A^T come last: `also` of vdm_matmul_args */
    const bool adapted = vdm_adapts(layers->lora, layers->target);
    vdm_linear W[3], A[3];
    int products = 0;
    for (int i = 0; i < count; i++) {
        const vdm_adapted *l = &layers[i];
        W[i] = matrix_w(l);
        pass[products] = linear_args(l->y, l->x, &W[i], row_count(l));
        pass[products++].accumulate = l->in.first > 0;
    }
    for (int i = 0; i < count && adapted; i++) {
        const vdm_adapted *l = &layers[i];
        A[i] = matrix_a(l);
        pass[products++] = linear_args(l->lora_mid, l->x, &A[i], row_count(l));
    }
    for (int i = 0; i + 1 < products; i++) pass[i].also = &pass[i + 1];
    cpu->kernels->matmul(cpu, pass);
    for (int i = 0; i < count; i++) {
        const vdm_adapted *l = &layers[i];
        if (adapted) add_adapter(cpu, l, trace);
        vdm_trace_see(trace, l->y, SHAPE(l->B, l->S, W[i].weight.rows), "%s", vdm_target_name(l->target));
    }
}

void vdm_adapted_middle(const vdm_cpu *cpu, const vdm_adapted *l)
{
    const vdm_linear A = matrix_a(l);
    linear_forward(cpu, l->lora_mid, l->x, &A, row_count(l));
    times_scale(cpu, l->lora, l->lora_mid, row_count(l));
}

/* y = x W^T + b + mid B^T, mid = s x A^T:
 * dB += dy^T mid;  dmid = s dy B;  dA += dmid^T x;  dx (+)= dy W + dmid A */
void vdm_adapted_backward(const vdm_cpu *cpu, const vdm_adapted *l, const vdm_adapted_gradient *g)
{
    const int64_t n = row_count(l);
    const vdm_linear W = matrix_w(l);
    vdm_matmul_args input = linear_backward_args(g->dx, g->dy, &W, n, g->add);
    if (!vdm_adapts(l->lora, l->target)) {
        cpu->kernels->matmul(cpu, &input);
        return;
    }
    const vdm_linear A = matrix_a(l), B = matrix_b(l);
    float *dA = vdm_lora_a(l->lora, g->dparams, l->block, l->target) + l->in.first;
    float *dB = vdm_lora_b(l->lora, g->dparams, l->block, l->target) + l->out.first * l->lora->rank;
    linear_backward_weight(cpu, dB, g->dy, l->lora_mid, n, &B);
    vdm_matmul_args mid = linear_backward_args(g->dlora_mid, g->dy, &B, n, false);
    input.also = &mid; /* one pass over dy */
    cpu->kernels->matmul(cpu, g->dx ? &input : &mid);
    times_scale(cpu, l->lora, g->dlora_mid, n);
    linear_backward_weight(cpu, dA, g->dlora_mid, l->x, n, &A);
    if (g->dx) linear_backward_input(cpu, g->dx, g->dlora_mid, &A, n, true);
}

/* The linear layer from a slice of the inputs to a slice of the outputs: columns and rows of its matrix */
static vdm_linear slice_of(const vdm_linear *w, vdm_slice out, vdm_slice in)
{
    vdm_linear s = *w;
    const int64_t first = out.first * linear_stride(w) + in.first;
    s.weight.data = (const char *)w->weight.data + first * (int64_t)vdm_dtype_bytes(w->weight.dtype);
    s.weight.stride = linear_stride(w);
    if (out.count) s.weight.rows = out.count;
    if (in.count) s.weight.cols = in.count;
    if (s.bias) s.bias += out.first;
    return s;
}

static const vdm_slice ALL = {0, 0};

static vdm_linear matrix_w(const vdm_adapted *l) /* [out,in] */
{
    vdm_linear W = slice_of(l->w, l->out, l->in);
    if (l->in.count && l->in.first + l->in.count < l->w->weight.cols) W.bias = NULL;
    return W;
}
static vdm_linear matrix_a(const vdm_adapted *l) /* [R,in] */
{
    const float *A = vdm_lora_a(l->lora, l->lora->params, l->block, l->target);
    const vdm_linear all = {.weight = {A, VDM_F32, l->lora->rank, l->w->weight.cols, 0}};
    return slice_of(&all, ALL, l->in);
}
static vdm_linear matrix_b(const vdm_adapted *l) /* [out,R] */
{
    const float *B = vdm_lora_b(l->lora, l->lora->params, l->block, l->target);
    const vdm_linear all = {.weight = {B, VDM_F32, l->w->weight.rows, l->lora->rank, 0}};
    return slice_of(&all, l->out, ALL);
}

static int64_t row_count(const vdm_adapted *l)
{
    return (int64_t)l->B * l->S;
}

/* ------------------------------------------------------------------------------------------------
 * New adapters */

/* Rows of A [n/in,in], uniform between -1/sqrt(in) and 1/sqrt(in) */
static void draw_rows(float *A, int64_t n, int64_t in, vdm_rng *rng)
{
    float bound = (float)(1 / sqrt((double)in));
    vdm_rand(rng, A, n);
    for (int64_t j = 0; j < n; j++) A[j] = A[j] * (2 * bound) - bound;
}

/* B = 0: a new adapter changes nothing. Elements are drawn in the order of the array: block by block, and within a block
 * in the order of vdm_target. peft draws others for the same seed (it initialises every layer twice). */
int vdm_lora_init(vdm_lora *a, const vdm_transformer_config *c, vdm_targets targets, int rank, double alpha,
                  vdm_rng *rng, vdm_error *err)
{
    if (vdm_lora_new(a, c->layers, c->heads * c->head_dim, targets, rank, alpha, err)) return -1;
    for (int i = 0; i < vdm_lora_matrices(a); i += 2) {
        vdm_lora_matrix A = vdm_lora_matrix_at(a, a->params, i);
        draw_rows(A.data, A.shape[0] * A.shape[1], A.shape[1], rng);
    }
    return 0;
}

static bool is_zero(const float *x, int64_t n, int64_t stride)
{
    for (int64_t j = 0; j < n; j++)
        if (!(x[j * stride] == 0)) return false;
    return true;
}

int64_t vdm_lora_redraw(vdm_lora *a, vdm_rng *rng)
{
    int64_t rows = 0;
    for (int i = 0; i < vdm_lora_matrices(a); i += 2) {
        vdm_lora_matrix A = vdm_lora_matrix_at(a, a->params, i), B = vdm_lora_matrix_at(a, a->params, i + 1);
        for (int r = 0; r < a->rank; r++) {
            float *row = A.data + r * A.shape[1];
            if (!is_zero(row, A.shape[1], 1) || !is_zero(B.data + r, B.shape[0], a->rank)) continue;
            draw_rows(row, A.shape[1], A.shape[1], rng);
            rows++;
        }
    }
    return rows;
}

/* Returns the sum of ranks, or -1; facts: those of the first adapter that has any. */
static int check_parts(vdm_lora_facts *facts, const vdm_lora *parts, const double *weights, int n,
                       vdm_error *err)
{
    int64_t rank = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i].layers != parts[0].layers || parts[i].width != parts[0].width)
            return vdm_fail(err, "adapters of different models: %d blocks of width %d, and %d of %d",
                            parts[0].layers, parts[0].width, parts[i].layers, parts[i].width);
        if (!isfinite(weights[i])) return vdm_fail(err, "adapter %d: weight: found %g", i + 1, weights[i]);
        rank += parts[i].rank;
        const vdm_lora_facts *f = &parts[i].facts;
        if (facts->frames && f->frames && fabs(f->image_latent_scale - facts->image_latent_scale) > 0)
            return vdm_fail(
                err,
                "adapter %d: learned with image latents times %g, one before it times %g: expected "
                "the same",
                i + 1, f->image_latent_scale, facts->image_latent_scale);
        if (!facts->frames) *facts = *f;
    }
    if (n < 1 || rank > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "adapters joined: sum of ranks: expected 1 to %d, found %lld", VDM_MAX_LORA_RANK,
                        (long long)rank);
    return (int)rank;
}

/* Copies matrix i of part p, an A [R,in], and the B [out,R] after it to a: A from row `first`, B times `factor` from
 * column `first`. */
static void copy_part(vdm_lora *a, const vdm_lora *p, int i, int64_t first, float factor)
{
    vdm_lora_matrix A = vdm_lora_matrix_at(p, p->params, i), B = vdm_lora_matrix_at(p, p->params, i + 1);
    float *to = vdm_lora_a(a, a->params, A.block, A.target) + first * A.shape[1];
    memcpy(to, A.data, (size_t)(A.shape[0] * A.shape[1]) * sizeof *to);
    to = vdm_lora_b(a, a->params, A.block, A.target) + first;
    for (int64_t j = 0; j < B.shape[0] * p->rank; j++)
        to[j / p->rank * a->rank + j % p->rank] = factor * B.data[j];
}

/* A = [A_1; A_2; ...], B = [f_1 B_1, f_2 B_2, ...], f_i = weight_i alpha_i / R_i; the joined adapter's s is 1. */
int vdm_lora_join(vdm_lora *a, const vdm_lora *parts, const double *weights, int n, vdm_error *err)
{
    vdm_lora_facts facts = {0};
    vdm_targets targets = VDM_ATTENTION;
    *a = (vdm_lora){0};
    int rank = check_parts(&facts, parts, weights, n, err);
    for (int i = 0; i < n; i++)
        if (parts[i].targets > targets) targets = parts[i].targets;
    if (rank < 0 || vdm_lora_new(a, parts[0].layers, parts[0].width, targets, rank, rank, err)) return -1;
    a->facts = facts;
    int64_t first = 0; /* the row of A and the column of B where part i begins */
    for (int i = 0; i < n; first += parts[i++].rank)
        for (int m = 0; m < vdm_lora_matrices(&parts[i]); m += 2)
            copy_part(a, &parts[i], m, first, (float)(weights[i] * parts[i].alpha / parts[i].rank));
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * AdamW (torch's single-tensor form), clipping, learning rate */

int vdm_adamw_init(vdm_adamw *o, int64_t n, vdm_error *err)
{
    *o = (vdm_adamw){.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 1e-4, .n = n};
    o->m = vdm_alloc((size_t)n, sizeof(float), "the first moments", err);
    o->v = vdm_alloc((size_t)n, sizeof(float), "the second moments", err);
    if (o->m && o->v) return 0;
    vdm_adamw_free(o);
    return -1;
}

void vdm_adamw_free(vdm_adamw *o)
{
    vdm_free(o->m);
    vdm_free(o->v);
    *o = (vdm_adamw){0};
}

/* One update of every parameter p with gradient g and moments m, v:
 *
 *   m = m + (1 - beta1) (g - m)                 mean of g
 *   v = beta2 v + (1 - beta2) g g               mean of g^2
 *   m^ = m / (1 - beta1^k),  v^ = v / (1 - beta2^k)
 *   p = p (1 - lr decay) - lr m^ / (sqrt(v^) + eps)
 *
 * Coefficients are computed in double and rounded once; f32 operations follow in torch's order, whose lerp_ and
 * addcmul_ end in a fused multiply-add. kernels->adamw is the loop over p (kernels/plain.c). */
void vdm_adamw_update(vdm_adamw *o, const vdm_cpu *cpu, float *params, const float *grad, double lr)
{
    int k = ++o->step;
    const vdm_adamw_factors f = {.keep = (float)(1 - lr * o->weight_decay),
                                 .one_minus_beta1 = (float)(1 - o->beta1),
                                 .beta2 = (float)o->beta2,
                                 .one_minus_beta2 = (float)(1 - o->beta2),
                                 .step = (float)(-lr / (1 - vdm_pow(o->beta1, k))),
                                 .root = (float)sqrt(1 - vdm_pow(o->beta2, k)),
                                 .eps = (float)o->eps};
    cpu->kernels->adamw(cpu, params, o->m, o->v, grad, o->n, &f);
}

/* g *= min(1, max / (norm + 1e-6)), norm = sqrt(sum of g^2). The sum is computed in double, in 256 pieces: another order
 * of the terms would change its bits. */
double vdm_clip_grad(float *grad, int64_t n, double max)
{
    int64_t piece = (n + 255) / 256;
    double sum = 0;
    for (int64_t first = 0; first < n; first += piece) {
        double squares = 0;
        for (int64_t j = first; j < n && j < first + piece; j++) squares += (double)grad[j] * (double)grad[j];
        sum += squares;
    }
    double norm = sqrt(sum), factor = max / (norm + 1e-6);
    if (!(factor < 1)) return norm;
    float f = (float)factor;
    for (int64_t j = 0; j < n; j++) grad[j] *= f;
    return norm;
}

/* diffusers' get_scheduler; its "cosine" is one half wave. */
double vdm_lr_factor(vdm_lr_schedule s, int step, int warmup, int total)
{
    const double pi = 3.14159265358979323846;
    if (s == VDM_LR_CONSTANT) return 1;
    if (step < warmup) return (double)step / (warmup > 1 ? warmup : 1);
    double rest = total - warmup > 1 ? (double)total - warmup : 1;
    double factor = 1;
    if (s == VDM_LR_LINEAR) factor = (total - step) / rest;
    if (s == VDM_LR_COSINE) factor = 0.5 * (1 + vdm_cos(pi * (step - warmup) / rest));
    return factor > 0 ? factor : 0;
}
