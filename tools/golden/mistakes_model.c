/* Mistakes of CogVideoX's own layers, each made on the inputs of the layer as the reference has them. Which
 * ones are tried depends on the tensor's name; the numbers of the model are the golden's metadata. */
#include "tools/golden/mistakes.h"
#include "vdm_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Number of the block in "transformer_blocks.7.attn1.rope_q", -1 where there is none; the rest of the name.
 */
static int block_of(const scene *s, const char **rest)
{
    char *end;
    *rest = s->name;
    if (strncmp(s->name, "transformer_blocks.", 19) != 0) return -1;
    long block = strtol(s->name + 19, &end, 10);
    *rest = *end == '.' ? end + 1 : end;
    return (int)block;
}

static int64_t number(const scene *s, const char *fact)
{
    return (int64_t)both_fact(s->b, fact, 0);
}

/* ------------------------------------------------------------------------------------------------
 * The timestep */

/* cos(t w_i), sin(t w_i) as the timestep's sinusoid, from t. */
static void sinusoid(scene *s, const float *t, double times, double plus, double shift)
{
    int64_t width = s->f->ref->shape[1], half = width / 2;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t j = i % width;
        double angle = ((double)t[i / width] * times + plus) *
                       vdm_exp(-9.210340371976184 * (double)(j % half) / ((double)half - shift));
        s->c[i] = (float)(j < half ? vdm_cos(angle) : vdm_sin(angle));
    }
}

static void try_sinusoid(scene *s)
{
    if (!named(s, "time_proj") && !named(s, "ofs_proj")) return;
    int64_t width = s->f->ref->shape[1], half = width / 2;
    for (int64_t i = 0; i < s->n; i++) s->c[i] = s->r[i - i % width + (i % width + half) % width];
    propose(s, s->c, "sin/cos swapped: sines come first (flip_sin_to_cos)");
    for (int64_t i = 0; i < s->n; i++) {
        int64_t j = i % width;
        s->c[i] = s->r[i - j + (j % 2 ? half + j / 2 : j / 2)];
    }
    propose(s, s->c, "cosines and sines alternate; they should be halves");
    const vdm_tensor *shape;
    float *t = lend(s, &shape, named(s, "time_proj") ? "t" : "ofs");
    if (!t || vdm_tensor_count(shape) * width != s->n) return;
    const struct {
        double times, plus, shift;
        const char *what;
    } wrong[] = {{1, 1, 0, "of t + 1"},
                 {1, -1, 0, "of t - 1"},
                 {0.001, 0, 0, "of t / 1000"},
                 {1000, 0, 0, "of 1000 t"},
                 {1, 0, 1, "with frequencies over half - 1 (freq_shift, downscale_freq_shift)"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sinusoid(s, t, wrong[i].times, wrong[i].plus, wrong[i].shift);
        propose(s, s->c, "the sinusoid %s", wrong[i].what);
    }
}

static void try_embedding(scene *s)
{
    if (named(s, "emb")) {
        propose(s, lend(s, NULL, "time_embedding"), "the embedding of ofs is forgotten");
        propose(s, lend(s, NULL, "emb.silu"), "silu is applied to the sum already");
    }
    if (named(s, "emb.silu")) propose(s, lend(s, NULL, "emb"), "silu is forgotten");
    if (!named(s, "patch_embed")) return;
    const vdm_tensor *shape;
    float *text = lend(s, &shape, "patch_embed.text_proj"), *video = lend(s, NULL, "patch_embed.proj");
    if (!text || !video) return;
    int64_t B = shape->shape[0], L = shape->shape[1], D = shape->shape[2], V = s->n / (B * D) - L;
    for (int64_t b = 0; b < B; b++) {
        memcpy(s->c + b * (L + V) * D, text + b * L * D, (size_t)(L * D) * sizeof *text);
        memcpy(s->c + (b * (L + V) + L) * D, video + b * V * D, (size_t)(V * D) * sizeof *text);
    }
    propose(s, s->c, "positions are not added");
    for (int64_t i = 0; i < s->n; i++) s->c[i] = 2 * s->r[i] - s->c[i];
    propose(s, s->c, "positions are added twice");
}

/* ------------------------------------------------------------------------------------------------
 * Patches */

/* Sizes of a latent [F,C,h,w] as tokens: grid f, y, x and a patch of C, pt, p, p numbers. */
struct grid {
    int64_t B, f, y, x, C, pt, p;
};
static bool grid_of(scene *s, struct grid *g, int64_t K)
{
    const vdm_tensor *t = NULL;
    if (!lend(s, &t, "x") || t->rank != 5) return false;
    g->pt = number(s, "patch_t") ? number(s, "patch_t") : 1;
    g->p = number(s, "patch");
    if (g->p < 1) return false;
    g->B = t->shape[0], g->f = t->shape[1] / g->pt, g->y = t->shape[3] / g->p, g->x = t->shape[4] / g->p;
    g->C = K / (g->pt * g->p * g->p);
    return g->B * g->f * g->y * g->x * g->C * g->pt * g->p * g->p == s->n;
}

static void try_patches(scene *s)
{
    static const char *const inside[] = {"token", "channel", "frame", "row", "column"};
    static const char *const outside[] = {"video", "frame", "row", "column", "number"};
    struct grid g;
    if (!named(s, "patch_embed.patches") && !named(s, "proj_out")) return;
    if (!grid_of(s, &g, s->f->ref->shape[2])) return;
    const int64_t patch[] = {g.B * g.f * g.y * g.x, g.C, g.pt, g.p, g.p};
    const int64_t tokens[] = {g.B, g.f, g.y, g.x, s->f->ref->shape[2]};
    try_orders(s, 5, patch, 1, 0, inside,
               "patch order: inside a patch the reference has [channel,frame,row,column]");
    try_orders(s, 5, tokens, 1, 1, outside, "token order: the reference has [frame,row,column]");
}

/* v [B,F,C,h,w] of proj_out [B,V,K], whose numbers are taken for [.., in the order p]. */
static void unpatchify(scene *s, const struct grid *g, const float *patches, const int p[4])
{
    const int64_t dims[4] = {g->C, g->pt, g->p, g->p};
    int64_t F = g->f * g->pt, h = g->y * g->p, w = g->x * g->p, K = g->C * g->pt * g->p * g->p;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t X = i % w, Y = i / w % h, c = i / (w * h) % g->C, T = i / (w * h * g->C) % F,
                b = i / (w * h * g->C * F);
        const int64_t at[4] = {c, T % g->pt, Y % g->p, X % g->p};
        int64_t inner = 0, token = ((b * g->f + T / g->pt) * g->y + Y / g->p) * g->x + X / g->p;
        for (int k = 0; k < 4; k++) inner = inner * dims[p[k]] + at[p[k]];
        s->c[i] = patches[token * K + inner];
    }
}

static void try_unpatchify(scene *s)
{
    static const char *const axes[] = {"channel", "frame", "row", "column"};
    struct grid g;
    float *patches = named(s, "v") ? lend(s, NULL, "proj_out") : NULL;
    const int64_t C = number(s, "out_channels");
    if (!patches) return;
    int64_t pt = number(s, "patch_t") ? number(s, "patch_t") : 1, p = number(s, "patch");
    if (!grid_of(s, &g, C * pt * p * p)) return;
    for (int number_ = 1; number_ < 24; number_++) {
        int order[4], used = 0, left = number_, radix[] = {6, 2, 1, 1};
        for (int k = 0; k < 4; k++) {
            int pick = left / radix[k], axis = 0;
            left %= radix[k];
            for (;; axis++)
                if (!(used >> axis & 1) && pick-- == 0) break;
            used |= 1 << axis;
            order[k] = axis;
        }
        unpatchify(s, &g, patches, order);
        propose(s, s->c, "patch order: the numbers of a patch are taken for [%s,%s,%s,%s]", axes[order[0]],
                axes[order[1]], axes[order[2]], axes[order[3]]);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Norms: eps, statistics, modulation */

/* gamma and beta of every column, from r = xhat gamma + beta; c is what another xhat would give. False where
 * the columns don't fit: x is not this norm's input. xhat, other [rows,width] */
static bool refit(scene *s, const double *xhat, const double *other, int64_t rows, int64_t width)
{
    double off = 0, all = 0;
    for (int64_t c = 0; c < width; c++) {
        double n = (double)rows, x = 0, y = 0, xx = 0, xy = 0;
        for (int64_t i = c; i < rows * width; i += width) {
            x += xhat[i], y += (double)s->r[i];
            xx += xhat[i] * xhat[i], xy += xhat[i] * (double)s->r[i];
        }
        double spread = xx - x * x / n, gamma = spread > 0 ? (xy - x * y / n) / spread : 0,
               beta = (y - gamma * x) / n;
        for (int64_t i = c; i < rows * width; i += width) {
            double d = xhat[i] * gamma + beta - (double)s->r[i];
            off += d * d, all += (double)s->r[i] * (double)s->r[i];
            s->c[i] = (float)(other[i] * gamma + beta);
        }
    }
    return off < 1e-8 * all;
}

/* Groups of numbers that share statistics: number i belongs to group of(i). */
struct normed {
    const float *x;
    int64_t rows, width; /* of x; columns have gamma and beta */
    int64_t per_row;     /* statistics of this many columns... */
    int64_t rows_each;   /* ...of this many rows together */
};
enum how { USUAL, NO_MEAN, UNBIASED };

static void normalise(double *to, const struct normed *n, double eps, enum how how)
{
    for (int64_t r0 = 0; r0 < n->rows; r0 += n->rows_each)
        for (int64_t c0 = 0; c0 < n->width; c0 += n->per_row) {
            double sum = 0, squares = 0, count = (double)(n->rows_each * n->per_row);
            for (int64_t r = r0; r < r0 + n->rows_each; r++)
                for (int64_t c = c0; c < c0 + n->per_row; c++) sum += (double)n->x[r * n->width + c];
            double mean = how == NO_MEAN ? 0 : sum / count;
            for (int64_t r = r0; r < r0 + n->rows_each; r++)
                for (int64_t c = c0; c < c0 + n->per_row; c++) {
                    double d = (double)n->x[r * n->width + c] - mean;
                    squares += d * d;
                }
            double rstd = 1 / sqrt(squares / (how == UNBIASED ? count - 1 : count) + eps);
            for (int64_t r = r0; r < r0 + n->rows_each; r++)
                for (int64_t c = c0; c < c0 + n->per_row; c++)
                    to[r * n->width + c] = ((double)n->x[r * n->width + c] - mean) * rstd;
        }
}

/* A norm of x, whose eps should be `eps`. */
static void try_norm(scene *s, struct normed n, double eps)
{
    static const double others[] = {1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12, 0};
    if (!n.x || n.rows < 3 || n.rows * n.width != s->n || n.rows % n.rows_each || n.width % n.per_row) return;
    double *right = vdm_alloc((size_t)s->n, sizeof *right, "a norm", NULL);
    double *wrong = right ? vdm_alloc((size_t)s->n, sizeof *wrong, "a norm", NULL) : NULL;
    if (wrong) {
        normalise(right, &n, eps, USUAL);
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            if (fabs(others[i] - eps) < 1e-3 * eps) continue;
            normalise(wrong, &n, others[i], USUAL);
            if (!refit(s, right, wrong, n.rows, n.width)) break;
            propose(s, s->c, "the norm's eps is %g, expected %g", others[i], eps);
        }
        normalise(wrong, &n, eps, NO_MEAN);
        if (refit(s, right, wrong, n.rows, n.width))
            propose(s, s->c, "the norm does not take the mean away (RMS norm)");
        normalise(wrong, &n, eps, UNBIASED);
        if (refit(s, right, wrong, n.rows, n.width)) propose(s, s->c, "the norm's variance is over n - 1");
        struct normed alone = n;
        alone.rows_each = n.rows_each > 1 ? n.rows_each / s->f->ref->shape[0] : 1;
        alone.per_row = n.per_row;
        if (n.rows_each > 1 && alone.rows_each > 0) {
            normalise(wrong, &alone, eps, USUAL);
            if (refit(s, right, wrong, n.rows, n.width))
                propose(s, s->c, "the group norm's statistics are of each frame, not of all");
        }
    }
    vdm_free(right);
    vdm_free(wrong);
}

/* The residual stream before block i: [B,S,D] */
static float *stream(scene *s, int block)
{
    return block > 0 ? lend(s, NULL, "transformer_blocks.%d", block - 1) : lend(s, NULL, "patch_embed");
}

/* The video rows of the last block: [B,V,D] */
static float *video_rows(scene *s)
{
    const vdm_tensor *t;
    float *h = lend(s, &t, "transformer_blocks.%d", (int)number(s, "layers") - 1);
    int64_t L = number(s, "text_tokens");
    if (!h || t->rank != 3 || s->f->ref->rank != 3 || t->shape[1] != s->f->ref->shape[1] + L) return NULL;
    float *rows = room_for(s, s->n);
    int64_t V = s->f->ref->shape[1], D = t->shape[2];
    for (int64_t b = 0; rows && b < t->shape[0]; b++)
        memcpy(rows + b * V * D, h + (b * (V + L) + L) * D, (size_t)(V * D) * sizeof *rows);
    return rows;
}

static void try_transformer_norms(scene *s)
{
    const char *rest;
    int block = block_of(s, &rest);
    const vdm_tensor *t = s->f->ref;
    int64_t D = t->rank == 3 ? t->shape[2] : 1, Dh = number(s, "head_dim");
    double eps = both_fact(s->b, "norm_eps", 1e-5);
    struct normed row = {.rows = s->n / (D ? D : 1), .width = D, .per_row = D, .rows_each = 1};
    if (strcmp(rest, "norm1.norm") == 0) row.x = stream(s, block);
    if (strcmp(rest, "norm2.norm") == 0) row.x = lend(s, NULL, "transformer_blocks.%d.h1", block);
    if (named(s, "norm_final")) {
        row.x = video_rows(s);
        propose(s, row.x, "the last block's output as it is: norm_final is forgotten");
    }
    if (named(s, "norm_out.norm")) row.x = lend(s, NULL, "norm_final");
    if (row.x) try_norm(s, row, eps);
    char which = rest[0] ? rest[strlen(rest) - 1] : ' ';
    if (Dh && (strcmp(rest, "attn1.norm_q") == 0 || strcmp(rest, "attn1.norm_k") == 0)) {
        struct normed head = {.x = lend(s, NULL, "transformer_blocks.%d.attn1.to_%c", block, which),
                              .rows = s->n / Dh,
                              .width = Dh,
                              .per_row = Dh,
                              .rows_each = 1};
        propose(s, head.x, "to_%c as it is: the norm is forgotten", which);
        try_norm(s, head, 1e-6);
    }
}

/* The input of a norm of the VAE, which is the last tensor before it that a layer gave. */
static float *vae_input(scene *s)
{
    const char *end = strrchr(s->name, '.');
    if (named(s, "norm2") || named(s, "norm2.norm_layer")) {
        const char *cut = strstr(s->name, ".norm2");
        return lend(s, NULL, "%.*s.conv1", (int)(cut - s->name), s->name);
    }
    const vdm_tensor *last = NULL;
    int64_t C = s->f->ref->shape[3];
    for (int64_t i = 0; i < s->b->ref.count && s->b->order[i] != s->f->ref; i++) {
        const vdm_tensor *t = s->b->order[i];
        const char *name = name_without_prefix(t->name), *tail = strrchr(name, '.');
        if (t->rank != 4 || t->shape[3] != C || !tail || vdm_tensor_count(t) != s->n) continue;
        if (strcmp(tail, ".conv_in") == 0 || (tail[1] >= '0' && tail[1] <= '9')) last = t;
    }
    (void)end;
    return last ? lend(s, NULL, "%s", name_without_prefix(last->name)) : NULL;
}

static void try_vae_norms(scene *s)
{
    const vdm_tensor *t = s->f->ref;
    bool decoder = strncmp(s->name, "decoder.", 8) == 0, inner = named(s, "norm_layer");
    int64_t groups = number(s, "groups");
    if (t->rank != 4 || !groups || !strstr(s->name, ".norm") || decoder != inner) return;
    bool fixed = decoder || strstr(s->name, "norm_out");
    struct normed n = {.x = vae_input(s),
                       .rows = t->shape[0] * t->shape[1] * t->shape[2],
                       .width = t->shape[3],
                       .per_row = t->shape[3] / groups,
                       .rows_each = t->shape[0] * t->shape[1] * t->shape[2]};
    try_norm(s, n, fixed ? 1e-6 : both_fact(s->b, "vae_norm_eps", 1e-6));
}

/* norm (1 + scale) + shift with other vectors than it should be. [B,S,D], text first; L = 0: all rows are
 * video's */
struct vectors {
    const float *shift[2], *scale[2]; /* text, video */
};
static void modulate(scene *s, const float *norm, const struct vectors *v, int64_t L, float one)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], D = shape[2];
    for (int64_t i = 0; i < s->n; i++) {
        int64_t video = i / D % S >= L, at = i / (S * D) * D + i % D;
        float scale = v->scale[video] ? v->scale[video][at] : 0,
              shift = v->shift[video] ? v->shift[video][at] : 0;
        s->c[i] = norm[i] * (one + scale) + shift;
    }
}

static void try_modulation(scene *s)
{
    bool head = named(s, "norm_out"), block = named(s, "norm1") || named(s, "norm2");
    if ((!head && !block) || s->f->ref->rank != 3) return;
    int64_t L = head ? 0 : number(s, "text_tokens");
    const float *norm = lend(s, NULL, "%s.norm", s->name);
    struct vectors v = {
        {head ? NULL : lend(s, NULL, "%s.enc_shift", s->name), lend(s, NULL, "%s.shift", s->name)},
        {head ? NULL : lend(s, NULL, "%s.enc_scale", s->name), lend(s, NULL, "%s.scale", s->name)}};
    if (!norm || !v.shift[1] || !v.scale[1]) return;
    struct vectors swapped = {{v.scale[0], v.scale[1]}, {v.shift[0], v.shift[1]}};
    struct vectors turned = {{v.shift[1], v.shift[0]}, {v.scale[1], v.scale[0]}};
    struct vectors half = {{v.shift[0], swapped.shift[1]}, {v.scale[0], swapped.scale[1]}};
    struct vectors no_shift = {{NULL, NULL}, {v.scale[0], v.scale[1]}};
    struct vectors no_scale = {{v.shift[0], v.shift[1]}, {NULL, NULL}};
    struct vectors video_alone = {{v.shift[1], v.shift[1]}, {v.scale[1], v.scale[1]}};
    modulate(s, norm, &swapped, L, 1);
    propose(s, s->c, "shift/scale swapped: the scale is taken for the shift");
    modulate(s, norm, &half, L, 1);
    propose(s, s->c, "shift/scale swapped, of the video alone");
    modulate(s, norm, &v, L, 0);
    propose(s, s->c, "times scale, expected times (1 + scale)");
    modulate(s, norm, &turned, L, 1);
    if (!head)
        propose(s, s->c, "the text's and the video's modulation swapped: the video's chunks come first");
    modulate(s, norm, &video_alone, L, 1);
    if (!head) propose(s, s->c, "the text is modulated by the video's vectors");
    modulate(s, norm, &no_shift, L, 1);
    propose(s, s->c, "the shift is not added");
    modulate(s, norm, &no_scale, L, 1);
    propose(s, s->c, "the scale is forgotten");
    propose(s, norm, "the modulation is forgotten");
}

/* A chunk of norm.linear that is another one of them. */
static void try_chunks(scene *s)
{
    static const char *const chunks[] = {"shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"};
    const char *dot = strrchr(s->name, '.');
    if (!dot || !strstr(s->name, "norm")) return;
    bool chunk = false;
    for (int i = 0; i < 6; i++) chunk = chunk || strcmp(dot + 1, chunks[i]) == 0;
    for (int i = 0; chunk && i < 6; i++) {
        if (strcmp(dot + 1, chunks[i]) == 0) continue;
        propose(s, lend(s, NULL, "%.*s.%s", (int)(dot - s->name), s->name, chunks[i]),
                "chunks swapped: %s is what the reference has as %s", dot + 1, chunks[i]);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Residuals: h + gate y */

static void residual(scene *s, const float *h, const float *y, const float *const gate[2], float keep)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], D = shape[2], L = number(s, "text_tokens");
    for (int64_t i = 0; i < s->n; i++) {
        int64_t video = i / D % S >= L;
        float g = gate[video] ? gate[video][i / (S * D) * D + i % D] : 1;
        s->c[i] = keep * h[i] + g * y[i];
    }
}

static void try_residual(scene *s)
{
    const char *rest;
    int block = block_of(s, &rest), which = strcmp(rest, "h1") == 0 ? 1 : *rest ? 0 : 2;
    if (block < 0 || !which || s->f->ref->rank != 3) return;
    const float *h = which == 1 ? stream(s, block) : lend(s, NULL, "transformer_blocks.%d.h1", block);
    const float *y = which == 1 ? lend(s, NULL, "transformer_blocks.%d.attn1.to_out.0", block)
                                : lend(s, NULL, "transformer_blocks.%d.ff", block);
    const float *gate[2] = {lend(s, NULL, "transformer_blocks.%d.norm%d.enc_gate", block, which),
                            lend(s, NULL, "transformer_blocks.%d.norm%d.gate", block, which)};
    if (!h || !y || !gate[0] || !gate[1]) return;
    const float *none[2] = {NULL, NULL}, *turned[2] = {gate[1], gate[0]};
    const char *half = which == 1 ? "attention" : "feed-forward";
    residual(s, h, y, none, 1);
    propose(s, s->c, "the gate of the %s is forgotten", half);
    residual(s, h, y, gate, 0);
    propose(s, s->c, "the residual of the %s is forgotten: only gate times its output is there", half);
    residual(s, h, y, turned, 1);
    propose(s, s->c, "the text's and the video's gate of the %s swapped", half);
    propose(s, h, "the %s is not added", half);
    const float *other[2] = {lend(s, NULL, "transformer_blocks.%d.norm%d.enc_gate", block, 3 - which),
                             lend(s, NULL, "transformer_blocks.%d.norm%d.gate", block, 3 - which)};
    if (!other[0] || !other[1]) return;
    residual(s, h, y, other, 1);
    propose(s, s->c, "the gate of the %s is the other norm's", half);
}

/* ------------------------------------------------------------------------------------------------
 * Activations */

static double sigmoid(double x)
{
    return 1 / (1 + vdm_exp(-x));
}

static void try_activation(scene *s)
{
    const float *x = NULL;
    bool gelu = named(s, "ff.net.0");
    if (gelu) x = lend(s, NULL, "%s.proj", s->name);
    if (named(s, "time_embedding.act")) x = lend(s, NULL, "time_embedding.linear_1");
    if (named(s, "ofs_embedding.act")) x = lend(s, NULL, "ofs_embedding.linear_1");
    if (!x) return;
    const char *right = gelu ? "GELU with tanh" : "silu";
    for (int64_t i = 0; i < s->n; i++)
        s->c[i] = (float)((double)x[i] * 0.5 * erfc(-(double)x[i] * 0.70710678118654752));
    propose(s, s->c, "exact GELU (erf), expected %s", right);
    for (int64_t i = 0; i < s->n; i++) s->c[i] = (float)((double)x[i] * sigmoid(1.702 * (double)x[i]));
    propose(s, s->c, "x sigmoid(1.702 x), expected %s", right);
    for (int64_t i = 0; i < s->n; i++) s->c[i] = (float)((double)x[i] * sigmoid((double)x[i]));
    propose(s, s->c, "silu, expected %s", right);
    for (int64_t i = 0; i < s->n; i++) s->c[i] = x[i] > 0 ? x[i] : 0;
    propose(s, s->c, "ReLU, expected %s", right);
    propose(s, x, "the activation is forgotten (%s)", right);
}

/* ------------------------------------------------------------------------------------------------
 * Adapters */

static void try_adapter(scene *s)
{
    static const char *const targets[] = {"to_q", "to_k", "to_v", "to_out.0"};
    double rank = both_fact(s->b, "lora_rank", 0), alpha = both_fact(s->b, "lora_alpha", 0),
           scale = alpha / rank;
    bool target = false;
    for (int i = 0; i < 4; i++) target = target || named(s, targets[i]);
    const float *base = target && rank > 0 ? lend(s, NULL, "%s.base_layer", s->name) : NULL;
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
                 {-1, "the adapter's sign is turned"}};
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        for (int64_t i = 0; i < s->n; i++)
            s->c[i] = (float)((double)base[i] + wrong[k].times * ((double)s->r[i] - (double)base[i]));
        propose(s, s->c, "%s", wrong[k].what);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Rotation */

enum turn { PAIRS_TURNED, HALVES_TURNED, HALVES_BACK, SWAPPED, BACK, TEXT_TOO, ROWS_FOR_COLUMNS, TURNS };

/* Where number j of the tables of Dh/2 is found when rows and columns are exchanged: time Dh/8 numbers, rows
 * and columns 3 Dh/16 each. */
static int64_t exchanged(int64_t j, int64_t half)
{
    int64_t time = half / 4, space = half / 8 * 3;
    return j < time ? j : j < time + space ? j + space : j - space;
}

static void rotate(scene *s, const float *x, const float *cosine, const float *sine, enum turn how)
{
    const int64_t *shape = s->f->ref->shape, S = shape[1], A = shape[2], Dh = shape[3], half = Dh / 2;
    int64_t L = number(s, "text_tokens"), V = S - L;
    memcpy(s->c, x, (size_t)s->n * sizeof *x);
    for (int64_t i = 0; i < s->n / Dh; i++) {
        int64_t row = i / A % S, place = how == TEXT_TOO ? row : row - L;
        if (place < 0 || place >= V) continue;
        for (int64_t j = 0; j < half; j++) {
            int64_t at = place * half + (how == ROWS_FOR_COLUMNS ? exchanged(j, half) : j);
            float c = how == SWAPPED ? sine[at] : cosine[at], n = how == SWAPPED ? cosine[at] : sine[at];
            bool halves = how == HALVES_TURNED || how == HALVES_BACK;
            if (how == BACK || how == HALVES_BACK) n = -n;
            int64_t a = i * Dh + (halves ? j : 2 * j), b = i * Dh + (halves ? j + half : 2 * j + 1);
            s->c[a] = x[a] * c - x[b] * n;
            s->c[b] = x[b] * c + x[a] * n;
        }
    }
}

static void try_rotation(scene *s)
{
    static const char *const what[TURNS] = {
        [HALVES_TURNED] = "half-split RoPE: number j is paired with j + Dh/2, expected its neighbour",
        [HALVES_BACK] = "half-split RoPE, and turned the other way",
        [SWAPPED] = "sin/cos swapped in the rotation",
        [BACK] = "RoPE turns the other way",
        [TEXT_TOO] = "RoPE starts at the text's rows, which it should leave alone",
        [ROWS_FOR_COLUMNS] = "RoPE takes rows for columns"};
    if (s->f->ref->rank != 4 || (!named(s, "rope_q") && !named(s, "rope_k"))) return;
    const char *rest;
    int block = block_of(s, &rest);
    char which = rest[strlen(rest) - 1];
    const float *x = lend(s, NULL, "transformer_blocks.%d.attn1.norm_%c", block, which);
    const float *cosine = lend(s, NULL, "rope.cos"), *sine = lend(s, NULL, "rope.sin");
    if (!x || !cosine || !sine) return;
    propose(s, x, "the rotation (RoPE) is forgotten");
    for (int how = 1; how < TURNS; how++) {
        rotate(s, x, cosine, sine, (enum turn)how);
        propose(s, s->c, "%s", what[how]);
    }
}

static void try_tables(scene *s)
{
    bool cosine = named(s, "rope.cos");
    if ((!cosine && !named(s, "rope.sin")) || s->f->ref->rank != 2) return;
    propose(s, lend(s, NULL, cosine ? "rope.sin" : "rope.cos"), "sin/cos swapped in the tables of RoPE");
    int64_t half = s->f->ref->shape[1];
    for (int64_t i = 0; i < s->n; i++) s->c[i] = s->r[i / half * half + exchanged(i % half, half)];
    propose(s, s->c, "rows and columns exchanged in the tables of RoPE");
}

/* ------------------------------------------------------------------------------------------------
 * Attention: a few queries and heads of it */

enum { QUERIES = 16, HEADS = 4, MOST_HEAD = 256 };

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
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->S; j++) {
        double score = 0;
        for (int64_t d = 0; d < a->Dh; d++)
            score += (double)a->q[at + query * row + d] * (double)a->k[at + j * row + d];
        p[j] = sees(a, query, j) ? score * a->scale : -INFINITY;
        most = fmax(most, p[j]);
    }
    for (int64_t d = 0; d < a->Dh; d++) o[d] = 0;
    for (int64_t j = 0; j < a->S; j++) {
        double w = isfinite(p[j]) ? vdm_exp(p[j] - most) : 0;
        sum += w;
        for (int64_t d = 0; d < a->Dh; d++) o[d] += w * (double)a->v[at + j * row + d];
    }
    for (int64_t d = 0; d < a->Dh; d++) o[d] /= sum;
}

static double attention_distance(const scene *s, const struct attention *a, double *p)
{
    double dd = 0, oo = 0, o[MOST_HEAD];
    for (int64_t i = 0; i < QUERIES; i++) {
        int64_t row = i * (a->B * a->S - 1) / (QUERIES - 1);
        for (int64_t h = 0; h < HEADS && h < a->A; h++) {
            int64_t head = h * (a->A - 1) / HEADS, at = (row * a->A + head) * a->Dh;
            attend(o, a, row / a->S, row % a->S, head, p);
            for (int64_t d = 0; d < a->Dh; d++) {
                double e = (double)s->g[at + d] - o[d];
                dd += e * e, oo += o[d] * o[d];
            }
        }
    }
    return oo > 0 ? sqrt(dd / oo) : (double)INFINITY;
}

static void try_attention(scene *s)
{
    const char *rest;
    int block = block_of(s, &rest);
    if (strcmp(rest, "attn1.attention") != 0 || s->f->ref->rank != 3) return;
    const int64_t *shape = s->f->ref->shape;
    struct attention a = {.B = shape[0],
                          .S = shape[1],
                          .A = number(s, "heads"),
                          .Dh = number(s, "head_dim"),
                          .L = number(s, "text_tokens")};
    if (!a.A || a.Dh > MOST_HEAD || a.A * a.Dh != shape[2]) return;
    bool rotary = lend(s, NULL, "rope.cos") != NULL;
    const float *raw[2], *norm[2], *rope[2];
    for (int i = 0; i < 2; i++) {
        raw[i] = lend(s, NULL, "transformer_blocks.%d.attn1.to_%c", block, "qk"[i]);
        norm[i] = lend(s, NULL, "transformer_blocks.%d.attn1.norm_%c", block, "qk"[i]);
        rope[i] = rotary ? lend(s, NULL, "transformer_blocks.%d.attn1.rope_%c", block, "qk"[i]) : norm[i];
    }
    a.v = lend(s, NULL, "transformer_blocks.%d.attn1.to_v", block);
    double *p = vdm_alloc((size_t)a.S, sizeof *p, "scores", NULL), right = 1 / sqrt((double)a.Dh);
    if (p && a.v && raw[0] && raw[1] && norm[0] && norm[1] && rope[0] && rope[1]) {
        const struct {
            const float *q, *k;
            double scale;
            enum mask mask;
            const char *what;
        } wrong[] = {
            {rope[0], rope[1], 1, ALL, "attention: the factor 1/sqrt(Dh) is forgotten"},
            {rope[0], rope[1], 1 / (double)a.Dh, ALL, "attention: a factor 1/Dh, expected 1/sqrt(Dh)"},
            {rope[0], rope[1], 1 / sqrt((double)(a.A * a.Dh)), ALL,
             "attention: a factor 1/sqrt(D), expected 1/sqrt(Dh)"},
            {rope[0], rope[1], right, CAUSAL, "attention: a causal mask, expected none"},
            {rope[0], rope[1], right, NO_TEXT, "attention: the text's keys are masked"},
            {rope[0], rope[1], right, VIDEO_SEES_VIDEO, "attention: the video does not see the text"},
            {norm[0], norm[1], right, ALL, "attention: q and k before their rotation"},
            {raw[0], raw[1], right, ALL, "attention: q and k before their norm"},
            {rope[1], rope[0], right, ALL, "attention: q and k are swapped"}};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            a.q = wrong[i].q, a.k = wrong[i].k, a.scale = wrong[i].scale;
            a.mask = wrong[i].mask;
            propose_distance(s, attention_distance(s, &a, p), "%s", wrong[i].what);
        }
    }
    vdm_free(p);
}

/* ------------------------------------------------------------------------------------------------
 * Rows */

/* [B,S,..] with the video's rows first. */
static void try_joint_order(scene *s)
{
    const vdm_tensor *t = s->f->ref;
    int64_t L = number(s, "text_tokens");
    if (t->rank < 3 || L < 1 || t->shape[1] <= L) return;
    int64_t S = t->shape[1], D = s->n / (t->shape[0] * S);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t row = i / D % S;
        s->c[i] = s->r[i + ((row + L) % S - row) * D];
    }
    propose(s, s->c, "the video's rows come first, expected the text's");
}

void causes_of_model(scene *s)
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
