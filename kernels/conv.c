/* Convolution of one instruction set: the product of the windows [pixels, kt*k*k*in] with the weight,
 *
 *   y(pixel,n) = sum over k = (dt, dy, dx, channel) of window(pixel,k) W(k,n) + bias(n) + residual(pixel,n)
 *
 * Windows exist only in packed panels. A part of set.c; plain.c: plain_conv. */

/* The place of a window's first tap: frame, row and column, which may be outside the frame. */
struct origin {
    int t, y, x;
};
/* The place of element k in every window */
struct tap {
    int dt, dy, dx;
    int64_t channel;
};
static struct tap tap_of(const vdm_conv *w, int64_t k)
{
    int64_t n = k / w->in;
    struct tap tap = {(int)(n / w->k / w->k), (int)(n / w->k % w->k), (int)(n % w->k), k % w->in};
    return tap;
}
/* A window's element; those of the tap's other channels are contiguous with it. */
static const float *element_at(const vdm_conv_args *c, const struct origin *o, const struct tap *tap)
{
    static const float zeros[2 * KC]; /* the maximum of a block's kc, and of Winograd's channels */
    int y = o->y + tap->dy, x = o->x + tap->dx;
    if (y < 0 || y >= c->H || x < 0 || x >= c->W) return zeros;
    return c->frames[o->t + tap->dt] + ((int64_t)y * c->W + x) * c->w->in + tap->channel;
}

/* With an odd number of channels, pairs begin in one tap and end in the next: 16 pairs of each window are copied to a
 * contiguous row first. */
static void pack_odd_windows(float *panel, int64_t width, const vdm_conv_args *c, const struct origin *at,
                             int64_t n, int64_t k, int64_t kc)
{
    float elements[PANEL_MAX][32];
    const char *rows[PANEL_MAX];
    for (int64_t r = 0; r < round_up(width, 16); r++) rows[r] = (const char *)elements[r < n ? r : 0];
    for (int64_t end = k + kc, count; k < end; k += count, panel += 16 * width) {
        count = smaller(32, end - k);
        for (int64_t i = 0, run; i < count; i += run) {
            struct tap tap = tap_of(c->w, k + i);
            run = smaller(c->w->in - tap.channel, count - i);
            for (int64_t r = 0; r < n; r++)
                memcpy(elements[r] + i, element_at(c, &at[r], &tap), (size_t)run * sizeof(float));
        }
        pack_rows(panel, (end - k + 1) / 2 * width, width, rows, VDM_F32, count, true);
    }
}

/* Whether a panel of windows is packed in AMX's blocks directly: if every run of k within one tap is whole blocks. */
static bool in_amx_blocks(const vdm_conv *w, int64_t width, struct depth d)
{
    return is_amx_panel(width, d) && w->in % (2 * PIECE_CELLS) == 0;
}

/* Packs n windows. A run of k within one tap is the tap's channels, which are contiguous in the frame. */
static void pack_taps(float *panel, int64_t width, const vdm_conv_args *c, const struct origin *at, int64_t n,
                      int64_t k, int64_t kc, struct depth d)
{
    const char *rows[PANEL_MAX];
    int64_t each = d.pairs ? 2 : 1;
    bool blocks = in_amx_blocks(c->w, width, d);
    for (int64_t end = k + kc, run; k < end; k += run, panel += run / each * width) {
        struct tap tap = tap_of(c->w, k);
        run = smaller(c->w->in - tap.channel, end - k);
        for (int64_t r = 0; r < n; r++) rows[r] = (const char *)element_at(c, &at[r], &tap);
        for (int64_t r = n; r < round_up(width, 16); r++) rows[r] = rows[0];
        if (blocks)
            pack_amx_rows(panel, rows, n, VDM_F32, run);
        else
            pack_rows(panel, (end - k) / each * width, width, rows, VDM_F32, run, d.pairs);
    }
}

/* Packs the windows of output pixels i ... i + n - 1. */
static void pack_windows(float *panel, int64_t width, const vdm_conv_args *c, int64_t i, int64_t n, int64_t k,
                         int64_t kc, struct depth d)
{
    struct origin at[PANEL_MAX];
    for (int64_t r = 0; r < n; r++) {
        int64_t pixel = i + r;
        at[r].t = (int)(pixel / c->Wo / c->Ho);
        at[r].y = (int)(pixel / c->Wo % c->Ho) * c->stride - c->pad;
        at[r].x = (int)(pixel % c->Wo) * c->stride - c->pad;
    }
    if (d.pairs && c->w->in % 2 == 1)
        pack_odd_windows(panel, width, c, at, n, k, kc);
    else
        pack_taps(panel, width, c, at, n, k, kc, d);
    if (in_amx_blocks(c->w, width, d)) return;
    pad_panel(panel, width, kc, d);
    if (is_amx_panel(width, d)) transpose_blocks(panel, d.cells);
}

static void conv_winograd(const vdm_cpu *cpu, const vdm_conv_args *c); /* winograd.c */
static bool is_strips(const vdm_cpu *cpu, const vdm_conv_args *c);     /* conv_strips.c */
static void conv_strips(const vdm_cpu *cpu, const vdm_conv_args *c);

static void conv(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    const vdm_conv *w = c->w;
    if (c->transformed) {
        conv_winograd(cpu, c);
        return;
    }
    if (is_strips(cpu, c)) {
        conv_strips(cpu, c);
        return;
    }
    struct product p = {.M = (int64_t)c->T * c->Ho * c->Wo,
                        .N = w->out,
                        .K = (int64_t)w->kt * w->k * w->k * w->in,
                        .a = {.conv = c},
                        .rhs_count = 1,
                        .rhs[0] = {.N = w->out,
                                   .b = {.x = {w->weight.data, w->weight.dtype, 1, w->out}},
                                   .c = {c->y, w->out, 1},
                                   .bias = w->bias,
                                   .residual = c->residual}};
    run_product(cpu, p);
}
