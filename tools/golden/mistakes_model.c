/* Mistakes of CogVideoX's own layers, each made on the inputs of the layer as the reference has them. Which
 * ones are tried depends on the tensor's name; the facts of the model are the golden's metadata. */
#include "tools/golden/mistakes.h"
#include "vdm_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Number of the block in "transformer_blocks.7.attn1.rope_q", -1 if there is none; the rest of the name. */
static int block_of(const search *s, const char **rest)
{
    char *end;
    *rest = s->name;
    if (strncmp(s->name, "transformer_blocks.", 19) != 0) return -1;
    long block = strtol(s->name + 19, &end, 10);
    *rest = *end == '.' ? end + 1 : end;
    return block >= 0 && block < 1 << 20 ? (int)block : -1;
}

/* ------------------------------------------------------------------------------------------------
 * The timestep */

/* A mistake in the sinusoid: cos((times t + plus) w_i), sin(..), w_i = exp(-ln(10000) i / (half - shift)). */
struct wave {
    float times, plus, shift;
    const char *what;
};

/* The sinusoid of t, rounded to f32 as in vdm.c. Returns whether it is the one that was found, up to other roundings: in
 * f32 or double, with another exp. */
static bool sinusoid(search *s, const float *t, const struct wave *w)
{
    int64_t width = s->f->ref->shape[1], half = width / 2;
    bool same = true;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t j = i % width;
        float exponent = -9.210340371976184f * (float)(j % half) / ((float)half - w->shift);
        float angle = (t[i / width] * w->times + w->plus) * (float)vdm_exp((double)exponent);
        s->candidate[i] = (float)(j < half ? vdm_cos((double)angle) : vdm_sin((double)angle));
        same =
            same && is_sinusoid((double)s->got[i], (double)s->candidate[i], (double)angle, (double)exponent);
    }
    return same;
}

/* [B,width], width even */
static void try_sinusoid(search *s)
{
    int64_t width = s->f->ref->shape[1], half = width / 2;
    if ((!ends_in(s, "time_proj") && !ends_in(s, "ofs_proj")) || s->f->ref->rank != 2 || width % 2) return;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = s->ref[i - i % width + (i % width + half) % width];
    propose(s, s->candidate, "sin/cos swapped: sines come first (flip_sin_to_cos)");
    for (int64_t i = 0; i < s->n; i++) {
        int64_t j = i % width;
        s->candidate[i] = s->ref[i - j + (j % 2 ? half + j / 2 : j / 2)];
    }
    propose(s, s->candidate, "cosines and sines alternate; they should be halves");
    int64_t B = s->n / width;
    const float *t = neighbour_of(s, 1, &B, ends_in(s, "time_proj") ? "t" : "ofs");
    if (!t) return;
    static const struct wave wrong[] = {
        {1, 1, 0, "of t + 1"},
        {1, -1, 0, "of t - 1"},
        {0.001f, 0, 0, "of t / 1000"},
        {1000, 0, 0, "of 1000 t"},
        {1, 0, 1, "with frequencies over half - 1 (freq_shift, downscale_freq_shift)"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bool same = sinusoid(s, t, &wrong[i]);
        double distance = distance_of(s->got, s->candidate, s->n);
        if (same && distance < 0.3 * s->error) distance = 0; /* the rest is rounding */
        propose_distance(s, distance, "the sinusoid %s", wrong[i].what);
    }
}

/* patch_embed [B,S,D] is text_proj [B,L,D], proj [B,V,D] and the positions. */
static void try_positions(search *s)
{
    const int64_t *joint = s->f->ref->shape;
    if (!ends_in(s, "patch_embed") || s->f->ref->rank != 3) return;
    int64_t B = joint[0], S = joint[1], D = joint[2], of_text[] = {B, -1, D};
    const float *text = neighbour_of(s, 3, of_text, "patch_embed.text_proj");
    int64_t L = of_text[1], V = S - L;
    if (!text || V < 1) return;
    const float *video = neighbour_of(s, 3, (int64_t[]){B, V, D}, "patch_embed.proj");
    if (!video) return;
    for (int64_t b = 0; b < B; b++) {
        memcpy(s->candidate + b * S * D, text + b * L * D, (size_t)(L * D) * sizeof *text);
        memcpy(s->candidate + (b * S + L) * D, video + b * V * D, (size_t)(V * D) * sizeof *video);
    }
    propose(s, s->candidate, "positions are not added");
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = 2 * s->ref[i] - s->candidate[i];
    propose(s, s->candidate, "positions are added twice");
}

static void try_embedding(search *s)
{
    if (ends_in(s, "emb")) {
        propose(s, neighbour(s, "time_embedding"), "the embedding of ofs is forgotten");
        propose(s, neighbour(s, "emb.silu"), "silu is applied to the sum already");
    }
    if (ends_in(s, "emb.silu")) propose(s, neighbour(s, "emb"), "silu is forgotten");
    try_positions(s);
}

/* ------------------------------------------------------------------------------------------------
 * Patches */

/* Sizes of a latent [F,C,h,w] as tokens: grid f, y, x and a patch of C, pt, p, p elements. */
struct grid {
    int64_t B, f, y, x, C, pt, p;
};

/* From the golden's x [B,F,Cin,h,w] and tokens of K elements; false if they don't fit each other. */
static bool grid_of(const search *s, struct grid *g, int64_t K)
{
    int64_t x[] = {-1, -1, -1, -1, -1}, pt = fact(s, "patch_t"), p = fact(s, "patch");
    if (!pt) pt = 1;
    if (!p || pt > 64 || p > 64 || K % (pt * p * p) || !neighbour_shape(s, 5, x, "x")) return false;
    if (x[1] % pt || x[3] % p || x[4] % p) return false;
    *g = (struct grid){
        .B = x[0], .f = x[1] / pt, .y = x[3] / p, .x = x[4] / p, .C = K / (pt * p * p), .pt = pt, .p = p};
    int64_t sizes[] = {g->B, g->f, g->y, g->x, K}, left = s->n; /* their product is n */
    for (int i = 0; i < 5; i++) {
        if (sizes[i] < 1 || left % sizes[i]) return false;
        left /= sizes[i];
    }
    return left == 1;
}

static void try_patches(search *s)
{
    static const char *const inside[] = {"token", "channel", "frame", "row", "column"};
    static const char *const outside[] = {"video", "frame", "row", "column", "element"};
    struct grid g;
    if ((!ends_in(s, "patch_embed.patches") && !ends_in(s, "proj_out")) || s->f->ref->rank != 3) return;
    int64_t K = s->f->ref->shape[2];
    if (!grid_of(s, &g, K)) return;
    try_orders(s,
               &(axes){.rank = 5,
                       .fixed = 1,
                       .dims = (int64_t[]){s->n / K, g.C, g.pt, g.p, g.p},
                       .names = inside,
                       .what = "patch order: inside a patch the reference has [channel,frame,row,column]"});
    try_orders(s, &(axes){.rank = 5,
                          .fixed = 1,
                          .fixed_last = 1,
                          .dims = (int64_t[]){g.B, g.f, g.y, g.x, K},
                          .names = outside,
                          .what = "token order: the reference has [frame,row,column]"});
}

/* v [B,F,C,h,w] of proj_out [B,V,K], whose elements are taken for [.., in the order p]. */
static void unpatchify(search *s, const struct grid *g, const float *patches, const int p[4])
{
    const int64_t dims[4] = {g->C, g->pt, g->p, g->p};
    int64_t F = g->f * g->pt, h = g->y * g->p, w = g->x * g->p, K = g->C * g->pt * g->p * g->p;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t X = i % w, Y = i / w % h, c = i / (w * h) % g->C, T = i / (w * h * g->C) % F,
                b = i / (w * h * g->C * F);
        const int64_t at[4] = {c, T % g->pt, Y % g->p, X % g->p};
        int64_t inner = 0, token = ((b * g->f + T / g->pt) * g->y + Y / g->p) * g->x + X / g->p;
        for (int k = 0; k < 4; k++) inner = inner * dims[p[k]] + at[p[k]];
        s->candidate[i] = patches[token * K + inner];
    }
}

/* Order `number` of four axes, by its digits in the factorial base. */
static void order_of(int number, int order[4])
{
    static const int radix[] = {6, 2, 1, 1};
    for (int k = 0, used = 0, left = number; k < 4; left %= radix[k++]) {
        int pick = left / radix[k], axis = 0;
        for (;; axis++)
            if (!(used >> axis & 1) && pick-- == 0) break;
        used |= 1 << axis;
        order[k] = axis;
    }
}

static void try_unpatchify(search *s)
{
    static const char *const names[] = {"channel", "frame", "row", "column"};
    struct grid g;
    int64_t C = fact(s, "out_channels"), p = fact(s, "patch"), pt = fact(s, "patch_t");
    int64_t K = C * (pt ? pt : 1) * p * p;
    if (!ends_in(s, "v") || !C || p > 64 || pt > 64 || !grid_of(s, &g, K)) return;
    const float *patches = neighbour_of(s, 3, (int64_t[]){g.B, s->n / (g.B * K), K}, "proj_out");
    for (int number = 1; number < 24 && patches; number++) {
        int order[4];
        bool same = false; /* as an order that is tried: an axis of one element has moved */
        order_of(number, order);
        for (int k = 0; k < 4; k++) same = same || (order[k] == 1 && k != 1 && g.pt == 1);
        if (same) continue;
        unpatchify(s, &g, patches, order);
        propose(s, s->candidate, "patch order: the elements of a patch are taken for [%s,%s,%s,%s]",
                names[order[0]], names[order[1]], names[order[2]], names[order[3]]);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Norms: eps, statistics, modulation */

/* Fits gamma and beta of every column in r = xhat gamma + beta; c is the result with another xhat. False if the columns
 * don't fit: then x is not this norm's input. xhat, other [rows,width] */
static bool refit(search *s, const double *xhat, const double *other, int64_t rows, int64_t width)
{
    double off = 0, all = 0;
    for (int64_t c = 0; c < width; c++) {
        double n = (double)rows, x = 0, y = 0, xx = 0, xy = 0;
        for (int64_t i = c; i < rows * width; i += width) {
            x += xhat[i], y += (double)s->ref[i];
            xx += xhat[i] * xhat[i], xy += xhat[i] * (double)s->ref[i];
        }
        double spread = xx - x * x / n, gamma = spread > 0 ? (xy - x * y / n) / spread : 0,
               beta = (y - gamma * x) / n;
        for (int64_t i = c; i < rows * width; i += width) {
            double d = xhat[i] * gamma + beta - (double)s->ref[i];
            off += d * d, all += (double)s->ref[i] * (double)s->ref[i];
            s->candidate[i] = (float)(other[i] * gamma + beta);
        }
    }
    return off < 1e-8 * all;
}

/* The elements of a norm that share statistics: blocks of rows and columns. */
struct normed {
    const float *x;
    int64_t rows, width;   /* of x; columns have gamma and beta */
    int64_t group_columns; /* statistics of this many columns... */
    int64_t group_rows;    /* ...of this many rows together */
    int64_t frame_rows;    /* rows of one frame; 0: there are no frames */
};
enum how { USUAL, NO_MEAN, UNBIASED };

/* One block of x, whose first element is `at`. */
static void normalise_block(double *to, const struct normed *n, int64_t at, double eps, enum how how)
{
    double sum = 0, squares = 0, count = (double)(n->group_rows * n->group_columns);
    for (int64_t r = 0; r < n->group_rows; r++)
        for (int64_t c = 0; c < n->group_columns; c++) sum += (double)n->x[at + r * n->width + c];
    double mean = how == NO_MEAN ? 0 : sum / count;
    for (int64_t r = 0; r < n->group_rows; r++)
        for (int64_t c = 0; c < n->group_columns; c++) {
            double d = (double)n->x[at + r * n->width + c] - mean;
            squares += d * d;
        }
    double rstd = 1 / sqrt(squares / (how == UNBIASED ? count - 1 : count) + eps);
    for (int64_t r = 0; r < n->group_rows; r++)
        for (int64_t c = 0; c < n->group_columns; c++)
            to[at + r * n->width + c] = ((double)n->x[at + r * n->width + c] - mean) * rstd;
}

static void normalise(double *to, const struct normed *n, double eps, enum how how)
{
    for (int64_t r = 0; r < n->rows; r += n->group_rows)
        for (int64_t c = 0; c < n->width; c += n->group_columns)
            normalise_block(to, n, r * n->width + c, eps, how);
}

/* Another eps: the nearest of the usual ones, and those that the roundings of f32 do not distinguish from it. */
static void try_eps(search *s, const struct normed *n, double eps, const double *right, double *wrong)
{
    enum { EPS = 8 };
    static const double others[EPS] = {1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0};
    double nearest = (double)INFINITY, distances[EPS];
    int first = EPS, last = -1;
    for (int i = 0; i < EPS; i++) {
        distances[i] = (double)INFINITY;
        if (fabs(others[i] - eps) < 1e-3 * eps) continue;
        normalise(wrong, n, others[i], USUAL);
        if (!refit(s, right, wrong, n->rows, n->width)) return;
        distances[i] = distance_of(s->got, s->candidate, s->n);
        nearest = fmin(nearest, distances[i]);
    }
    for (int i = 0; i < EPS; i++)
        if (distances[i] <= 2 * nearest + 1e-7) first = first < i ? first : i, last = i;
    if (last < 0) return;
    if (first == last)
        propose_distance(s, nearest, "the norm's eps is %g, expected %g", others[first], eps);
    else if (last == EPS - 1)
        propose_distance(s, nearest, "the norm's eps is at most %g, expected %g", others[first], eps);
    else
        propose_distance(s, nearest, "the norm's eps is from %g to %g, expected %g", others[last],
                         others[first], eps);
}

/* A norm of x, whose eps should be `eps`; NAN: not known. */
static void try_norm(search *s, const struct normed *n, double eps)
{
    if (!n->x || !(eps > 0) || n->rows < 3 || n->width < 1 || n->rows * n->width != s->n ||
        n->rows % n->group_rows || n->width % n->group_columns)
        return;
    double *right = vdm_alloc((size_t)s->n, sizeof *right, "a norm", NULL);
    double *wrong = right ? vdm_alloc((size_t)s->n, sizeof *wrong, "a norm", NULL) : NULL;
    if (wrong) {
        normalise(right, n, eps, USUAL);
        try_eps(s, n, eps, right, wrong);
        normalise(wrong, n, eps, NO_MEAN);
        if (refit(s, right, wrong, n->rows, n->width))
            propose(s, s->candidate, "the norm does not subtract the mean (RMS norm)");
        if (n->group_rows * n->group_columns > 1) normalise(wrong, n, eps, UNBIASED);
        if (n->group_rows * n->group_columns > 1 && refit(s, right, wrong, n->rows, n->width))
            propose(s, s->candidate, "the norm's variance is over n - 1");
        struct normed frame = *n;
        frame.group_rows = n->frame_rows;
        if (frame.group_rows > 0 && frame.group_rows < n->group_rows) {
            normalise(wrong, &frame, eps, USUAL);
            if (refit(s, right, wrong, n->rows, n->width))
                propose(s, s->candidate,
                        "the group norm's statistics are of each frame, expected of all frames");
        }
    }
    vdm_free(right);
    vdm_free(wrong);
}

/* The residual stream before block i: [B,S,D] */
static const float *stream(search *s, int block)
{
    return block > 0 ? neighbour(s, "transformer_blocks.%d", block - 1) : neighbour(s, "patch_embed");
}

/* The video rows of the last block's output [B,L+V,D], for a wrong tensor [B,V,D] */
static const float *video_rows(search *s)
{
    const int64_t *shape = s->f->ref->shape, B = shape[0], V = shape[1], D = shape[2];
    int64_t L = fact(s, "text_tokens"), layers = fact(s, "layers");
    if (s->f->ref->rank != 3 || !L || !layers) return NULL;
    const float *h = neighbour_of(s, 3, (int64_t[]){B, L + V, D}, "transformer_blocks.%d", (int)layers - 1);
    float *rows = h ? buffer(s, s->n) : NULL;
    for (int64_t b = 0; rows && b < B; b++)
        memcpy(rows + b * V * D, h + (b * (V + L) + L) * D, (size_t)(V * D) * sizeof *rows);
    return rows;
}

/* norm_q, norm_k [B,S,A,Dh] of to_q, to_k [B,S,D] */
static void try_head_norms(search *s, int block, char which)
{
    const int64_t *shape = s->f->ref->shape;
    if (s->f->ref->rank != 4) return;
    int64_t Dh = shape[3];
    struct normed head = {.x = neighbour_of(s, 3, (int64_t[]){shape[0], shape[1], shape[2] * Dh},
                                            "transformer_blocks.%d.attn1.to_%c", block, which),
                          .rows = s->n / Dh,
                          .width = Dh,
                          .group_columns = Dh,
                          .group_rows = 1};
    propose(s, head.x, "to_%c as it is: the norm is forgotten", which);
    try_norm(s, &head, 1e-6);
}

static void try_transformer_norms(search *s)
{
    const char *rest;
    int block = block_of(s, &rest);
    const vdm_tensor *t = s->f->ref;
    if (block >= 0 && (strcmp(rest, "attn1.norm_q") == 0 || strcmp(rest, "attn1.norm_k") == 0))
        try_head_norms(s, block, rest[strlen(rest) - 1]);
    if (t->rank != 3) return;
    int64_t D = t->shape[2];
    struct normed row = {.rows = s->n / D, .width = D, .group_columns = D, .group_rows = 1};
    if (strcmp(rest, "norm1.norm") == 0) row.x = stream(s, block);
    if (strcmp(rest, "norm2.norm") == 0) row.x = neighbour(s, "transformer_blocks.%d.h1", block);
    if (ends_in(s, "norm_final")) {
        row.x = video_rows(s);
        propose(s, row.x, "the last block's output as it is: norm_final is forgotten");
    }
    if (ends_in(s, "norm_out.norm")) row.x = neighbour(s, "norm_final");
    try_norm(s, &row, both_fact(s->b, "norm_eps", (double)NAN));
}

/* The input of a norm of the VAE: the output of the layer before it. */
static const float *vae_input(search *s)
{
    const char *cut = strstr(s->name, ".norm2");
    if (ends_in(s, "norm2") || ends_in(s, "norm2.norm_layer"))
        return neighbour(s, "%.*s.conv1", (int)(cut - s->name), s->name);
    const vdm_tensor *last = NULL;
    int64_t shape[VDM_MAX_RANK];
    for (int64_t i = 0; i < s->b->ref.count && s->b->order[i] != s->f->ref; i++) {
        const vdm_tensor *t = s->b->order[i];
        const char *name = name_without_prefix(t->name), *tail = strrchr(name, '.');
        memcpy(shape, s->f->ref->shape, sizeof shape);
        if (!tail || vdm_tensor_check(t, "", 4, shape, NULL)) continue;
        if (strcmp(tail, ".conv_in") == 0 || (tail[1] >= '0' && tail[1] <= '9')) last = t;
    }
    return last ? neighbour(s, "%s", name_without_prefix(last->name)) : NULL;
}

/* [T,H,W,C]: groups of channels share statistics over all of T, H and W. */
static void try_vae_norms(search *s)
{
    const vdm_tensor *t = s->f->ref;
    bool decoder = strncmp(s->name, "decoder.", 8) == 0, inner = ends_in(s, "norm_layer");
    int64_t groups = fact(s, "groups"), C = t->rank == 4 ? t->shape[3] : 0;
    if (!groups || groups > C || C % groups || !strstr(s->name, ".norm") || decoder != inner) return;
    struct normed n = {.x = vae_input(s),
                       .rows = s->n / C,
                       .width = C,
                       .group_columns = C / groups,
                       .group_rows = s->n / C,
                       .frame_rows = t->shape[1] * t->shape[2]};
    bool fixed = decoder || strstr(s->name, "norm_out");
    try_norm(s, &n, fixed ? 1e-6 : both_fact(s->b, "vae_norm_eps", (double)NAN));
}

/* norm (1 + scale) + shift with wrong vectors. [B,S,D], text first; L = 0: all rows are the video's */
struct vectors {
    const float *shift[2], *scale[2]; /* text, video */
};
static void modulate(search *s, const float *norm, const struct vectors *v, int64_t L, float one)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], D = shape[2];
    for (int64_t i = 0; i < s->n; i++) {
        int64_t video = i / D % S >= L, at = i / (S * D) * D + i % D;
        float scale = v->scale[video] ? v->scale[video][at] : 0,
              shift = v->shift[video] ? v->shift[video][at] : 0;
        s->candidate[i] = norm[i] * (one + scale) + shift;
    }
}

/* The norm with other vectors; the sentence's mistake. */
static void try_vectors(search *s, const float *norm, const struct vectors *v, int64_t L, const char *what)
{
    modulate(s, norm, v, L, 1);
    propose(s, s->candidate, "%s", what);
}

static void try_modulation(search *s)
{
    bool head = ends_in(s, "norm_out"), block = ends_in(s, "norm1") || ends_in(s, "norm2");
    const int64_t *shape = s->f->ref->shape;
    int64_t L = head ? 0 : fact(s, "text_tokens"), BD[] = {shape[0], shape[2]};
    if ((!head && !block) || s->f->ref->rank != 3 || L >= shape[1]) return;
    const float *norm = neighbour(s, "%s.norm", s->name);
    struct vectors v = {{NULL, neighbour_of(s, 2, BD, "%s.shift", s->name)},
                        {NULL, neighbour_of(s, 2, BD, "%s.scale", s->name)}};
    if (!norm || !v.shift[1] || !v.scale[1]) return;
    modulate(s, norm, &v, L, 0);
    if (head) propose(s, s->candidate, "times scale, expected times (1 + scale)");
    propose(s, norm, "the modulation is forgotten");
    struct vectors swapped = {{NULL, v.scale[1]}, {NULL, v.shift[1]}};
    if (head) try_vectors(s, norm, &swapped, L, "shift/scale swapped: the scale is taken for the shift");
    if (!head) {
        v.shift[0] = neighbour_of(s, 2, BD, "%s.enc_shift", s->name);
        v.scale[0] = neighbour_of(s, 2, BD, "%s.enc_scale", s->name);
        if (!v.shift[0] || !v.scale[0]) return;
        struct vectors both_swapped = {{v.scale[0], v.scale[1]}, {v.shift[0], v.shift[1]}};
        struct vectors of_video = {{v.shift[0], v.scale[1]}, {v.scale[0], v.shift[1]}};
        struct vectors turned = {{v.shift[1], v.shift[0]}, {v.scale[1], v.scale[0]}};
        struct vectors video_alone = {{v.shift[1], v.shift[1]}, {v.scale[1], v.scale[1]}};
        modulate(s, norm, &v, L, 0);
        propose(s, s->candidate, "times scale, expected times (1 + scale)");
        try_vectors(s, norm, &both_swapped, L, "shift/scale swapped: the scale is taken for the shift");
        try_vectors(s, norm, &of_video, L, "shift/scale swapped, only in the video's rows");
        try_vectors(s, norm, &turned, L,
                    "the text's and the video's modulation swapped: the video's chunks come first");
        try_vectors(s, norm, &video_alone, L, "the text is modulated by the video's vectors");
    }
    struct vectors no_shift = {{NULL, NULL}, {v.scale[0], v.scale[1]}};
    struct vectors no_scale = {{v.shift[0], v.shift[1]}, {NULL, NULL}};
    try_vectors(s, norm, &no_shift, L, "the shift is not added");
    try_vectors(s, norm, &no_scale, L, "the scale is forgotten");
}

/* A chunk of norm.linear that is another one of them. */
static void try_chunks(search *s)
{
    static const char *const chunks[] = {"shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"};
    const char *dot = strrchr(s->name, '.');
    if (!dot || !strstr(s->name, "norm")) return;
    bool chunk = false;
    for (int i = 0; i < 6; i++) chunk = chunk || strcmp(dot + 1, chunks[i]) == 0;
    for (int i = 0; chunk && i < 6; i++) {
        if (strcmp(dot + 1, chunks[i]) == 0) continue;
        propose(s, neighbour(s, "%.*s.%s", (int)(dot - s->name), s->name, chunks[i]),
                "chunks swapped: %s is the reference's %s", dot + 1, chunks[i]);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Residuals: h + gate y */

static void residual(search *s, const float *h, const float *y, const float *const gate[2], float keep)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], D = shape[2], L = fact(s, "text_tokens");
    for (int64_t i = 0; i < s->n; i++) {
        int64_t video = i / D % S >= L;
        float g = gate[video] ? gate[video][i / (S * D) * D + i % D] : 1;
        s->candidate[i] = keep * h[i] + g * y[i];
    }
}

static void try_residual(search *s)
{
    const char *rest;
    int block = block_of(s, &rest), which = strcmp(rest, "h1") == 0 ? 1 : *rest ? 0 : 2;
    if (block < 0 || !which || s->f->ref->rank != 3) return;
    int64_t BD[] = {s->f->ref->shape[0], s->f->ref->shape[2]};
    const float *h = which == 1 ? stream(s, block) : neighbour(s, "transformer_blocks.%d.h1", block);
    const float *y = which == 1 ? neighbour(s, "transformer_blocks.%d.attn1.to_out.0", block)
                                : neighbour(s, "transformer_blocks.%d.ff", block);
    const float *gate[2], *other[2];
    for (int i = 0; i < 2; i++) {
        const char *of = i ? "gate" : "enc_gate"; /* the text's, the video's */
        gate[i] = neighbour_of(s, 2, BD, "transformer_blocks.%d.norm%d.%s", block, which, of);
        other[i] = neighbour_of(s, 2, BD, "transformer_blocks.%d.norm%d.%s", block, 3 - which, of);
    }
    if (!h || !y || !gate[0] || !gate[1]) return;
    const float *none[2] = {NULL, NULL}, *turned[2] = {gate[1], gate[0]};
    const char *half = which == 1 ? "attention" : "feed-forward";
    residual(s, h, y, none, 1);
    propose(s, s->candidate, "the gate of the %s is forgotten", half);
    residual(s, h, y, gate, 0);
    propose(s, s->candidate, "the residual of the %s is forgotten: only gate times its output is there",
            half);
    residual(s, h, y, turned, 1);
    propose(s, s->candidate, "the text's and the video's gate of the %s swapped", half);
    propose(s, h, "the %s is not added", half);
    if (!other[0] || !other[1]) return;
    residual(s, h, y, other, 1);
    propose(s, s->candidate, "the gate of the %s is the other norm's", half);
}

/* ------------------------------------------------------------------------------------------------
 * Activations */

static double sigmoid(double x)
{
    return 1 / (1 + vdm_exp(-x));
}

static void try_activation(search *s)
{
    const float *x = NULL;
    bool gelu = ends_in(s, "ff.net.0");
    if (gelu) x = neighbour(s, "%s.proj", s->name);
    if (ends_in(s, "time_embedding.act")) x = neighbour(s, "time_embedding.linear_1");
    if (ends_in(s, "ofs_embedding.act")) x = neighbour(s, "ofs_embedding.linear_1");
    if (!x) return;
    const char *right = gelu ? "GELU with tanh" : "silu";
    for (int64_t i = 0; i < s->n; i++)
        s->candidate[i] = (float)((double)x[i] * 0.5 * erfc(-(double)x[i] * 0.70710678118654752));
    propose(s, s->candidate, "exact GELU (erf), expected %s", right);
    for (int64_t i = 0; i < s->n; i++)
        s->candidate[i] = (float)((double)x[i] * sigmoid(1.702 * (double)x[i]));
    propose(s, s->candidate, "x sigmoid(1.702 x), expected %s", right);
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = (float)((double)x[i] * sigmoid((double)x[i]));
    propose(s, s->candidate, "silu, expected %s", right);
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = x[i] > 0 ? x[i] : 0;
    propose(s, s->candidate, "ReLU, expected %s", right);
    propose(s, x, "the activation is forgotten (%s)", right);
}

/* ------------------------------------------------------------------------------------------------
 * Adapters */

static void try_adapter(search *s)
{
    static const char *const targets[] = {"to_q", "to_k", "to_v", "to_out.0"};
    double rank = both_fact(s->b, "lora_rank", 0), alpha = both_fact(s->b, "lora_alpha", 0),
           scale = alpha / rank;
    bool target = false;
    for (int i = 0; i < 4; i++) target = target || ends_in(s, targets[i]);
    if (!target || !(rank >= 1 && rank <= VDM_MAX_LORA_RANK) || !isfinite(alpha) || alpha == 0) return;
    const float *base = neighbour(s, "%s.base_layer", s->name);
    if (!base) return;
    propose(s, base, "the adapter is not applied");
    const struct {
        double times;
        const char *what;
    } wrong[] = {{1 / scale, "alpha/rank forgotten: the adapter acts at scale 1"},
                 {rank, "the adapter acts at scale alpha, not alpha/rank"},
                 {scale, "alpha/rank is applied twice"},
                 {sqrt(rank), "the adapter acts at scale alpha/sqrt(rank) (rsLoRA)"},
                 {1 / alpha, "the adapter acts at scale 1/rank: alpha is forgotten"},
                 {-1, "the adapter's sign is flipped"}};
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        for (int64_t i = 0; i < s->n; i++)
            s->candidate[i] =
                (float)((double)base[i] + wrong[k].times * ((double)s->ref[i] - (double)base[i]));
        propose(s, s->candidate, "%s", wrong[k].what);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Rotation */

enum turn { PAIRS_TURNED, HALVES_TURNED, HALVES_BACK, SWAPPED, BACK, TEXT_TOO, ROWS_FOR_COLUMNS, TURNS };

/* The place of element j of the tables of Dh/2 if rows and columns are exchanged: time has Dh/8 elements, rows and
 * columns 3 Dh/16 each; Dh is a multiple of 16. */
static int64_t exchanged(int64_t j, int64_t half)
{
    int64_t time = half / 4, space = half / 8 * 3;
    return j < time ? j : j < time + space ? j + space : j - space;
}

static void rotate(search *s, const float *x, const float *cosine, const float *sine, enum turn how)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], A = shape[2], Dh = shape[3], half = Dh / 2;
    int64_t L = fact(s, "text_tokens"), V = S - L;
    memcpy(s->candidate, x, (size_t)s->n * sizeof *x);
    for (int64_t i = 0; i < s->n / Dh; i++) {
        int64_t row = i / A % S, place = how == TEXT_TOO ? row : row - L;
        if (place < 0 || place >= V) continue;
        for (int64_t j = 0; j < half; j++) {
            int64_t at = place * half + (how == ROWS_FOR_COLUMNS ? exchanged(j, half) : j);
            float c = how == SWAPPED ? sine[at] : cosine[at], n = how == SWAPPED ? cosine[at] : sine[at];
            bool halves = how == HALVES_TURNED || how == HALVES_BACK;
            if (how == BACK || how == HALVES_BACK) n = -n;
            int64_t a = i * Dh + (halves ? j : 2 * j), b = i * Dh + (halves ? j + half : 2 * j + 1);
            s->candidate[a] = x[a] * c - x[b] * n;
            s->candidate[b] = x[b] * c + x[a] * n;
        }
    }
}

static void try_rotation(search *s)
{
    static const char *const what[TURNS] = {
        [HALVES_TURNED] = "half-split RoPE: element j is paired with j + Dh/2, expected its neighbour",
        [HALVES_BACK] = "half-split RoPE, rotated in the opposite direction",
        [SWAPPED] = "sin/cos swapped in the rotation",
        [BACK] = "RoPE rotates in the opposite direction",
        [TEXT_TOO] = "RoPE rotates the text's rows too, expected the video's only",
        [ROWS_FOR_COLUMNS] = "RoPE takes rows for columns"};
    const int64_t *shape = s->f->ref->shape;
    int64_t V = shape[1] - fact(s, "text_tokens"), Dh = shape[3];
    if (s->f->ref->rank != 4 || V < 1 || Dh % 16 || (!ends_in(s, "rope_q") && !ends_in(s, "rope_k"))) return;
    const char *rest;
    int block = block_of(s, &rest);
    char which = s->name[strlen(s->name) - 1];
    const float *x = neighbour(s, "transformer_blocks.%d.attn1.norm_%c", block, which);
    const float *cosine = neighbour_of(s, 2, (int64_t[]){V, Dh / 2}, "rope.cos");
    const float *sine = neighbour_of(s, 2, (int64_t[]){V, Dh / 2}, "rope.sin");
    if (!x || !cosine || !sine) return;
    propose(s, x, "the rotation (RoPE) is forgotten");
    for (int how = 1; how < TURNS; how++) {
        rotate(s, x, cosine, sine, (enum turn)how);
        propose(s, s->candidate, "%s", what[how]);
    }
}

static void try_tables(search *s)
{
    bool cosine = ends_in(s, "rope.cos");
    if ((!cosine && !ends_in(s, "rope.sin")) || s->f->ref->rank != 2) return;
    propose(s, neighbour(s, cosine ? "rope.sin" : "rope.cos"), "sin/cos swapped in the tables of RoPE");
    int64_t half = s->f->ref->shape[1];
    if (half % 8) return;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = s->ref[i / half * half + exchanged(i % half, half)];
    propose(s, s->candidate, "rows and columns exchanged in the tables of RoPE");
}

/* ------------------------------------------------------------------------------------------------
 * Attention: a few queries and heads of it */

enum { QUERIES = 16, HEADS = 4, MAX_HEAD = 256 };

enum mask { ALL, CAUSAL, NO_TEXT, VIDEO_SEES_VIDEO };

struct attention {
    int64_t B, S, A, Dh, L;
    const float *q, *k, *v;
    double scale;
    enum mask mask;
};

static bool sees(const struct attention *a, int64_t query, int64_t key)
{
    if (a->mask == CAUSAL) return key <= query;
    if (a->mask == NO_TEXT) return key >= a->L;
    if (a->mask == VIDEO_SEES_VIDEO) return query < a->L || key >= a->L;
    return true;
}

/* o [Dh] of one query of one head */
static void attend(double *o, const struct attention *a, int64_t b, int64_t query, int64_t head, double *p)
{
    const int64_t row = a->A * a->Dh, at = b * a->S * row + head * a->Dh;
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->S; j++) {
        double score = 0;
        for (int64_t d = 0; d < a->Dh; d++)
            score += (double)a->q[at + query * row + d] * (double)a->k[at + j * row + d];
        p[j] = sees(a, query, j) ? score * a->scale : -INFINITY;
        highest = fmax(highest, p[j]);
    }
    for (int64_t d = 0; d < a->Dh; d++) o[d] = 0;
    for (int64_t j = 0; j < a->S; j++) {
        double w = isfinite(p[j]) ? vdm_exp(p[j] - highest) : 0;
        sum += w;
        for (int64_t d = 0; d < a->Dh; d++) o[d] += w * (double)a->v[at + j * row + d];
    }
    for (int64_t d = 0; d < a->Dh; d++) o[d] /= sum;
}

static double attention_distance(const search *s, const struct attention *a, double *p)
{
    double dd = 0, oo = 0, o[MAX_HEAD];
    for (int64_t i = 0; i < QUERIES; i++) {
        int64_t row = i * (a->B * a->S - 1) / (QUERIES - 1);
        for (int64_t h = 0; h < HEADS && h < a->A; h++) {
            int64_t head = h * (a->A - 1) / HEADS, at = (row * a->A + head) * a->Dh;
            attend(o, a, row / a->S, row % a->S, head, p);
            for (int64_t d = 0; d < a->Dh; d++) {
                double e = (double)s->got[at + d] - o[d];
                dd += e * e, oo += o[d] * o[d];
            }
        }
    }
    return oo > 0 ? sqrt(dd / oo) : (double)INFINITY;
}

/* a: sizes and values; scores of every mistake into p [S] */
static void try_scores(search *s, struct attention *a, const float *const raw[2], const float *const norm[2],
                       const float *const rope[2], double *p)
{
    double right = 1 / sqrt((double)a->Dh);
    const struct {
        const float *q, *k;
        double scale;
        enum mask mask;
        const char *what;
    } wrong[] = {{rope[0], rope[1], 1, ALL, "attention: the factor 1/sqrt(Dh) is forgotten"},
                 {rope[0], rope[1], 1 / (double)a->Dh, ALL, "attention: a factor 1/Dh, expected 1/sqrt(Dh)"},
                 {rope[0], rope[1], a->A > 1 ? 1 / sqrt((double)(a->A * a->Dh)) : 0, ALL,
                  "attention: a factor 1/sqrt(D), expected 1/sqrt(Dh)"},
                 {rope[0], rope[1], right, CAUSAL, "attention: a causal mask, expected none"},
                 {rope[0], rope[1], right, NO_TEXT, "attention: the text's keys are masked"},
                 {rope[0], rope[1], right, VIDEO_SEES_VIDEO, "attention: the video does not see the text"},
                 {rope[0] == norm[0] ? NULL : norm[0], norm[1], right, ALL,
                  "attention: q and k before their rotation"},
                 {raw[0], raw[1], right, ALL, "attention: q and k before their norm"},
                 {rope[1], rope[0], right, ALL, "attention: q and k are swapped"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        a->q = wrong[i].q, a->k = wrong[i].k, a->scale = wrong[i].scale;
        a->mask = wrong[i].mask;
        if (!a->q || !a->k || a->scale == 0) continue;
        propose_distance(s, attention_distance(s, a, p), "%s", wrong[i].what);
    }
}

static void try_attention(search *s)
{
    const char *rest;
    int block = block_of(s, &rest);
    if (block < 0 || strcmp(rest, "attn1.attention") != 0 || s->f->ref->rank != 3) return;
    const int64_t *shape = s->f->ref->shape;
    struct attention a = {.B = shape[0],
                          .S = shape[1],
                          .A = fact(s, "heads"),
                          .Dh = fact(s, "head_dim"),
                          .L = fact(s, "text_tokens")};
    if (!a.A || !a.Dh || a.Dh > MAX_HEAD || a.A * a.Dh != shape[2] || a.L >= a.S) return;
    int64_t heads[] = {a.B, a.S, a.A, a.Dh}, tables[] = {-1, -1};
    bool rotary = neighbour_shape(s, 2, tables, "rope.cos");
    const float *raw[2], *norm[2], *rope[2];
    for (int i = 0; i < 2; i++) {
        raw[i] = neighbour(s, "transformer_blocks.%d.attn1.to_%c", block, "qk"[i]);
        norm[i] = neighbour_of(s, 4, heads, "transformer_blocks.%d.attn1.norm_%c", block, "qk"[i]);
        rope[i] = rotary ? neighbour_of(s, 4, heads, "transformer_blocks.%d.attn1.rope_%c", block, "qk"[i])
                         : norm[i];
    }
    a.v = neighbour(s, "transformer_blocks.%d.attn1.to_v", block);
    double *p = a.v && rope[0] && rope[1] ? vdm_alloc((size_t)a.S, sizeof *p, "scores", NULL) : NULL;
    if (p) try_scores(s, &a, raw, norm, rope, p);
    vdm_free(p);
}

/* ------------------------------------------------------------------------------------------------
 * Rows */

/* The rows of a joint tensor: the text's, and the tokens of x [B,F,Cin,h,w]; 0: x is not in the reference. */
static int64_t joint_rows(const search *s)
{
    int64_t x[] = {-1, -1, -1, -1, -1}, L = fact(s, "text_tokens"), pt = fact(s, "patch_t"),
            p = fact(s, "patch");
    if (!L || !p || !neighbour_shape(s, 5, x, "x")) return 0;
    return L + x[1] / (pt ? pt : 1) * (x[3] / p) * (x[4] / p);
}

/* [B,S,..] with the video's rows first. */
static void try_joint_order(search *s)
{
    const vdm_tensor *t = s->f->ref;
    const char *name = strncmp(s->name, "grad.", 5) == 0 ? s->name + 5 : s->name;
    bool joint = strcmp(s->name, "patch_embed") == 0 || strncmp(name, "transformer_blocks.", 19) == 0;
    int64_t L = fact(s, "text_tokens");
    if (!joint || t->rank < 3 || t->shape[1] != joint_rows(s)) return;
    int64_t S = t->shape[1], D = s->n / (t->shape[0] * S);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t row = i / D % S;
        s->candidate[i] = s->ref[i + ((row + L) % S - row) * D];
    }
    propose(s, s->candidate, "the video's rows come first, expected the text's");
}

void mistakes_of_model(search *s)
{
    try_sinusoid(s);
    try_embedding(s);
    try_patches(s);
    try_unpatchify(s);
    try_chunks(s);
    try_modulation(s);
    try_transformer_norms(s);
    try_vae_norms(s);
    try_adapter(s);
    try_tables(s);
    try_rotation(s);
    try_attention(s);
    try_residual(s);
    try_activation(s);
    try_joint_order(s);
}
