/* The peak of one instruction set, for vdm bench. A part of set.c.
 * Sums begin with different values, or the compiler would compute only one. There are as many as fit into the registers,
 * more than the latency of an instruction times the number that begin in a cycle. */

/* Each function returns the number of its operations, and writes the sum, so that the compiler cannot omit them. */
static double spin_fma(float *out, int64_t steps)
{
    v16 sum[TILE_ROWS][TILE_VECS], x = v16_set(1e-3f), total = v16_set(0);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECS; v++) sum[r][v] = v16_set((float)(r * TILE_VECS + v));
    for (int64_t i = 0; i < steps; i++) {
        UNROLL for (int r = 0; r < TILE_ROWS; r++)
        {
            UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = v16_fma(x, x, sum[r][v]);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECS; v++) total = v16_add(total, sum[r][v]);
    *out = v16_sum(total);
    return 2.0 * 16 * TILE_ROWS * TILE_VECS * (double)steps;
}

#ifdef V16_DOT
static double spin_dots(float *out, int64_t steps)
{
    enum { DOTS = 24 };
    v16 sum[DOTS], x = v16_pair(v16_set(1e-3f), v16_set(1e-3f)), total = v16_set(0);
    for (int i = 0; i < DOTS; i++) sum[i] = v16_set((float)i);
    for (int64_t k = 0; k < steps; k++) {
        UNROLL for (int i = 0; i < DOTS; i++) sum[i] = v16_dot(x, x, sum[i]);
    }
    for (int i = 0; i < DOTS; i++) total = v16_add(total, sum[i]);
    *out = v16_sum(total);
    return 4.0 * 16 * DOTS * (double)steps;
}
#endif

#ifdef V16_AMX
static double spin_tiles(float *out, int64_t steps)
{
    _Alignas(64) float sum[256], x[256];
    for (int i = 0; i < 256; i += 16) v16_store(x + i, v16_pair(v16_set(1e-3f), v16_set(1e-3f)));
    __asm__ volatile(
        "" ::
            : "memory"); /* gemm.h, amx_block_product: the compiler does not know that a tile load reads memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, x, 64);
    _tile_loadd(5, x, 64);
    for (int64_t k = 0; k < steps; k++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, sum, 64);
    *out = sum[0];
    return 2.0 * 4 * 16 * 16 * 32 * (double)steps;
}
#endif

static double spin(const vdm_cpu *cpu, float *out, int64_t steps)
{
    if (cpu->precision == VDM_PRECISION_F32) return spin_fma(out, steps);
#ifdef V16_DOT
    if (cpu->precision == VDM_PRECISION_BF16) return spin_dots(out, steps);
#endif
#ifdef V16_AMX
    if (uses_amx(cpu)) return spin_tiles(out, steps);
#endif
    return 0;
}

struct peak {
    const vdm_cpu *cpu;
    int64_t steps;
    double *operations; /* of a thread */
};
static void peak_piece(const void *of, int i, int thread)
{
    const struct peak *s = of;
    (void)thread;
    amx_begin(s->cpu);
    double done = spin(s->cpu, s->cpu->scratch + 16 * i, s->steps);
    amx_end(s->cpu);
    if (i == 0) *s->operations = done;
}

static double peak(const vdm_cpu *cpu, int64_t steps)
{
    double operations = 0;
    const struct peak s = {cpu, steps, &operations};
    const vdm_loop loop = {.pieces = cpu->threads, .run = peak_piece, .of = &s};
    vdm_team_run(cpu->team, &loop);
    return operations * cpu->threads;
}
