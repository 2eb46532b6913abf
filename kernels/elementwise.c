/* Elementwise kernels of one instruction set: for example
 *
 *   gelu(x) = x sigma(2u), u = sqrt(2/pi) (x + 0.044715 x^3)     silu(x) = x sigma(x)     sigma(z) = 1 / (1 + e^-z)
 *
 * A part of set.c; defined in plain.c by plain_rope, plain_gelu, plain_silu, ... plain_adamw and the functions after it. */

/* ------------------------------------------------------------------------------------------------
 * Rotary positions */

/* Plain floats: six multiplications and additions take less time than loading their operands. */
static void rope_row(float *x, int A, int Dh, const float *cosine, const float *sine, float sign)
{
    for (int head = 0; head < A; head++, x += Dh) {
        for (int j = 0; j < Dh / 2; j++) {
            float s = sign * sine[j], x0 = x[2 * j], x1 = x[2 * j + 1];
            x[2 * j] = x0 * cosine[j] - x1 * s;
            x[2 * j + 1] = x1 * cosine[j] + x0 * s;
        }
    }
}

/* Video rows first ... end - 1 of all videos */
static void rope_rows(const void *of, int64_t first, int64_t end)
{
    const vdm_rope_args *r = of;
    int64_t D = (int64_t)r->A * r->Dh, V = r->S - r->L, half = r->Dh / 2;
    for (int64_t i = first; i < end; i++) {
        int64_t row = i / V * r->S + r->L + i % V, angle = i % V * half;
        rope_row(r->x + row * D, r->A, r->Dh, r->cos + angle, r->sin + angle, r->sign);
    }
}

static void rope(const vdm_cpu *cpu, const vdm_rope_args *r)
{
    int64_t V = r->S > r->L ? r->S - r->L : 0;
    run_rows(cpu, r->B * V, (int64_t)r->A * r->Dh, rope_rows, r);
}

/* ------------------------------------------------------------------------------------------------
 * Arrays without rows */

/* Arrays [n] of an elementwise kernel */
struct arrays {
    float *y;
    const float *x, *z;
    int64_t n;
    float a, b;                 /* factors, if it has any */
    const vdm_adamw_factors *f; /* of AdamW: y are the parameters, z the gradient */
    float *m, *v;
};
/* Groups first ... *end - 1 of 16 elements: returns the first element, and *end becomes the end of the elements. */
static int64_t elements(const struct arrays *s, int64_t first, int64_t *end)
{
    *end = smaller(16 * *end, s->n);
    return 16 * first;
}
static void run_elements(const vdm_cpu *cpu, void (*run)(const void *of, int64_t first, int64_t end),
                         const struct arrays *s)
{
    run_rows(cpu, (s->n + 15) / 16, 16, run, s);
}

/* 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a */
static const float GELU_A = 1.5957691216f, GELU_B = 0.0713548163f;

INLINE v16 gelu_16(v16 x)
{
    return times_sigmoid(x, v16_mul(x, v16_fma(v16_set(GELU_B), v16_mul(x, x), v16_set(GELU_A))));
}

/* gelu' = s + x s (1 - s) (2u)', s = sigma(2u). 1 - s is computed as s e^-2u, which does not cancel. x is limited to
 * -8..8, so that nothing overflows: beyond, gelu' is 0 or 1 to 1e-19. */
INLINE v16 gelu_slope_16(v16 x)
{
    v16 one = v16_set(1), a = v16_set(GELU_A);
    x = v16_max(v16_set(-8), v16_min(v16_set(8), x));
    v16 x2 = v16_mul(x, x), e = v16_exp(v16_neg(v16_mul(x, v16_fma(v16_set(GELU_B), x2, a))));
    v16 s = v16_div(one, v16_add(one, e)), x_du2 = v16_mul(x, v16_fma(v16_set(3 * GELU_B), x2, a));
    return v16_fma(v16_mul(s, v16_mul(s, e)), x_du2, s);
}

/* The loop of a kernel, and of each the formula: y from elements x and Z of two arrays and factors a and b. */
#define Z v16_load_n(s->z + i, lanes)
#define ELEMENTWISE(name, formula)                                          \
    static void name##_elements(const void *of, int64_t first, int64_t end) \
    {                                                                       \
        const struct arrays *s = of;                                        \
        const v16 a = v16_set(s->a), b = v16_set(s->b);                     \
        (void)a, (void)b;                                                   \
        for (int64_t i = elements(s, first, &end); i < end; i += 16) {      \
            int64_t lanes = smaller(16, end - i);                           \
            v16 x = v16_load_n(s->x + i, lanes);                            \
            v16_store_n(s->y + i, formula, lanes);                          \
        }                                                                   \
    }
ELEMENTWISE(gelu, gelu_16(x))
ELEMENTWISE(gelu_backward, v16_mul(Z, gelu_slope_16(x))) /* y: dx, Z: dy */
ELEMENTWISE(silu, times_sigmoid(x, x))
ELEMENTWISE(exponential, v16_exp(x))
ELEMENTWISE(blend, v16_add(v16_mul(a, x), v16_mul(b, Z)))
#undef ELEMENTWISE
#undef Z

static void gelu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    run_elements(cpu, gelu_elements, &(struct arrays){.y = y, .x = x, .n = n});
}
static void gelu_backward(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n)
{
    run_elements(cpu, gelu_backward_elements, &(struct arrays){.y = dx, .x = x, .z = dy, .n = n});
}
static void silu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    run_elements(cpu, silu_elements, &(struct arrays){.y = y, .x = x, .n = n});
}
static void exponential(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    run_elements(cpu, exponential_elements, &(struct arrays){.y = y, .x = x, .n = n});
}
static void blend(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    run_elements(cpu, blend_elements, &(struct arrays){.y = y, .x = x, .z = z, .n = n, .a = a, .b = b});
}

static void adamw_elements(const void *of, int64_t first, int64_t end)
{
    const struct arrays *s = of;
    const vdm_adamw_factors *f = s->f;
    const v16 keep = v16_set(f->keep), take1 = v16_set(f->one_minus_beta1), beta2 = v16_set(f->beta2),
              take2 = v16_set(f->one_minus_beta2), step = v16_set(f->step), root = v16_set(f->root),
              eps = v16_set(f->eps);
    float *p = s->y, *m = s->m, *v = s->v;
    for (int64_t i = elements(s, first, &end); i < end; i += 16) {
        int64_t lanes = smaller(16, end - i);
        v16 gi = v16_load_n(s->z + i, lanes), mi = v16_load_n(m + i, lanes), vi = v16_load_n(v + i, lanes);
        mi = v16_fma(take1, v16_sub(gi, mi), mi);
        vi = v16_fma(v16_mul(take2, gi), gi, v16_mul(beta2, vi));
        v16 by = v16_add(v16_div(v16_sqrt(vi), root), eps);
        v16 pi = v16_mul(v16_load_n(p + i, lanes), keep);
        v16_store_n(m + i, mi, lanes);
        v16_store_n(v + i, vi, lanes);
        v16_store_n(p + i, v16_add(pi, v16_div(v16_mul(step, mi), by)), lanes);
    }
}
static void adamw(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                  const vdm_adamw_factors *f)
{
    const struct arrays s = {.y = p, .z = g, .n = n, .f = f, .m = m, .v = v};
    run_elements(cpu, adamw_elements, &s);
}

/* ------------------------------------------------------------------------------------------------
 * Rows with a gate: y = gate x, or h + gate x */
struct gated {
    float *y;           /* [B,S,D] */
    const float *x, *h; /* [B,S,D]; h NULL: nothing is added */
    const vdm_rows *r;
    const vdm_modulation *m;
};
static void gate_rows(const void *of, int64_t first, int64_t end)
{
    const struct gated *s = of;
    const vdm_modulation *m = s->m;
    int64_t D = s->r->D;
    for (int64_t row = first; row < end; row++) {
        const float *g = vector_of(s->r, row, m->text_gate, m->gate, m->stride);
        for (int64_t i = 0; i < D; i += 16) {
            int64_t lanes = smaller(16, D - i), at = row * D + i;
            v16 gate = v16_load_n(g + i, lanes), x = v16_load_n(s->x + at, lanes);
            v16_store_n(s->y + at, s->h ? v16_fma(gate, x, v16_load_n(s->h + at, lanes)) : v16_mul(gate, x),
                        lanes);
        }
    }
}
static void gated_add(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                      const vdm_modulation *m)
{
    const struct gated s = {sum, y, h, r, m};
    run_rows(cpu, (int64_t)r->B * r->S, r->D, gate_rows, &s);
}
static void gate(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r, const vdm_modulation *m)
{
    const struct gated s = {dy, dh, NULL, r, m};
    run_rows(cpu, (int64_t)r->B * r->S, r->D, gate_rows, &s);
}

/* ------------------------------------------------------------------------------------------------
 * The VAE's: sums of a causal convolution's kernels W_t over time, and upsampling by 2 */

/* sums: W_0 + W_1 + W_2, W_0 + W_1, W_2, from weights [3,rows,out] */
struct taps {
    const vdm_conv *w;
    float *sums; /* [3,rows,out] */
    int64_t rows;
};
static void sum_rows(const void *of, int64_t first, int64_t end)
{
    const struct taps *s = of;
    const vdm_matrix *weight = &s->w->weight;
    int64_t out = s->w->out, n = s->rows * out, bytes = (int64_t)vdm_dtype_bytes(weight->dtype);
    for (int64_t i = first * out; i < end * out; i += out) {
        float *all = s->sums + i, *two = all + n, *last = two + n;
        for (int t = 0; t < 3; t++)
            vdm_widen(all + t * n, (const char *)weight->data + (t * n + i) * bytes, weight->dtype, out);
        for (int64_t j = 0; j < out; j++) two[j] = all[j] + two[j];
        for (int64_t j = 0; j < out; j++) all[j] = two[j] + last[j];
    }
}
static void sum_taps(const vdm_cpu *cpu, float *sums, const vdm_conv *w)
{
    const struct taps s = {w, sums, (int64_t)w->k * w->k * w->in};
    run_rows(cpu, s.rows, 4 * w->out, sum_rows, &s);
}

struct picture {
    float *y;
    const float *x;
    int W, C;
};
static void enlarge_rows(const void *of, int64_t first, int64_t end)
{
    const struct picture *s = of;
    int64_t pixel = s->C, row = 2 * (int64_t)s->W * pixel;
    for (int64_t i = first; i < end; i++) {
        float *to = s->y + 2 * i * row;
        const float *from = s->x + i * s->W * pixel;
        for (int64_t j = 0; j < 2 * s->W; j++)
            memcpy(to + j * pixel, from + j / 2 * pixel, (size_t)pixel * sizeof *to);
        memcpy(to + row, to, (size_t)row * sizeof *to);
    }
}
static void enlarge(const vdm_cpu *cpu, float *y, const float *x, int H, int W, int C)
{
    const struct picture s = {y, x, W, C};
    run_rows(cpu, H, 4 * (int64_t)W * C, enlarge_rows, &s);
}
