/* What works element by element, of one instruction set. A part of set.c; plain.c: the last section. */

/* ------------------------------------------------------------------------------------------------
 * Number by number */

/* Three products and two sums of plain floats: memory is slower than that. */
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

static void rope(const vdm_cpu *cpu, const vdm_rope_args *r)
{
    int64_t D = (int64_t)r->A * r->Dh, V = r->S > r->L ? r->S - r->L : 0, half = r->Dh / 2;
    PARALLEL_FOR(threads_for(cpu, r->B * V * D))
    for (int64_t i = 0; i < r->B * V; i++) {
        int64_t row = i / V * r->S + r->L + i % V, angle = i % V * half;
        rope_row(r->x + row * D, r->A, r->Dh, r->cos + angle, r->sin + angle, r->sign);
    }
}

/* 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a */
static const float GELU_A = 1.5957691216f, GELU_B = 0.0713548163f;

INLINE v16 gelu_16(v16 x)
{
    return times_sigmoid(x, v16_mul(x, v16_fma(v16_set(GELU_B), v16_mul(x, x), v16_set(GELU_A))));
}

/* gelu' = s + x s (1 - s) (2u)', s = sigma(2u); 1 - s as s e^-2u, or it would cancel. Beyond 8 the slope is
 * 0 or 1 (to 1e-19): the limit keeps infinity out. */
INLINE v16 gelu_slope_16(v16 x)
{
    v16 one = v16_set(1), a = v16_set(GELU_A);
    x = v16_max(v16_set(-8), v16_min(v16_set(8), x));
    v16 x2 = v16_mul(x, x), e = v16_exp(v16_neg(v16_mul(x, v16_fma(v16_set(GELU_B), x2, a))));
    v16 s = v16_div(one, v16_add(one, e)), slope = v16_mul(x, v16_fma(v16_set(3 * GELU_B), x2, a));
    return v16_fma(v16_mul(s, v16_mul(s, e)), slope, s);
}

static void gelu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(y + i, gelu_16(v16_load_n(x + i, lanes)), lanes);
    }
}

static void gelu_backward(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(dx + i, v16_mul(v16_load_n(dy + i, lanes), gelu_slope_16(v16_load_n(x + i, lanes))),
                    lanes);
    }
}

static void silu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 v = v16_load_n(x + i, lanes);
        v16_store_n(y + i, times_sigmoid(v, v), lanes);
    }
}

static void exponential(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(y + i, v16_exp(v16_load_n(x + i, lanes)), lanes);
    }
}

static void blend(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 v = v16_mul(v16_set(a), v16_load_n(x + i, lanes));
        v16_store_n(y + i, v16_add(v, v16_mul(v16_set(b), v16_load_n(z + i, lanes))), lanes);
    }
}

static void adamw(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                  const vdm_adamw_factors *f)
{
    const v16 keep = v16_set(f->keep), take1 = v16_set(f->one_minus_beta1), beta2 = v16_set(f->beta2),
              take2 = v16_set(f->one_minus_beta2), step = v16_set(f->step), root = v16_set(f->root),
              eps = v16_set(f->eps);
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 gi = v16_load_n(g + i, lanes), mi = v16_load_n(m + i, lanes), vi = v16_load_n(v + i, lanes);
        mi = v16_fma(take1, v16_sub(gi, mi), mi);
        vi = v16_fma(v16_mul(take2, gi), gi, v16_mul(beta2, vi));
        v16 by = v16_add(v16_div(v16_sqrt(vi), root), eps);
        v16 pi = v16_mul(v16_load_n(p + i, lanes), keep);
        v16_store_n(m + i, mi, lanes);
        v16_store_n(v + i, vi, lanes);
        v16_store_n(p + i, v16_add(pi, v16_div(v16_mul(step, mi), by)), lanes);
    }
}

static void gated_add(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                      const vdm_modulation *m)
{
    int64_t D = r->D, rows = (int64_t)r->B * r->S;
    PARALLEL_FOR(threads_for(cpu, rows * D))
    for (int64_t row = 0; row < rows; row++) {
        const float *g = vector_of(r, row, m->text_gate, m->gate, m->stride);
        EACH_16(i, lanes, D)
        {
            int64_t at = row * D + i;
            v16 v = v16_fma(v16_load_n(g + i, lanes), v16_load_n(y + at, lanes), v16_load_n(h + at, lanes));
            v16_store_n(sum + at, v, lanes);
        }
    }
}

static void gate(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r, const vdm_modulation *m)
{
    int64_t D = r->D, rows = (int64_t)r->B * r->S;
    PARALLEL_FOR(threads_for(cpu, rows * D))
    for (int64_t row = 0; row < rows; row++) {
        const float *g = vector_of(r, row, m->text_gate, m->gate, m->stride), *from = dh + row * D;
        EACH_16(i, lanes, D)
        v16_store_n(dy + row * D + i, v16_mul(v16_load_n(g + i, lanes), v16_load_n(from + i, lanes)), lanes);
    }
}
