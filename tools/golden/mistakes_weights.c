/* Mistakes that need the model's weights (--weights): a bias that is not added, a matrix that is taken transposed, which
 * only a square one can be without an error of shapes.
 *
 *   y = x W^T + b          expected; W [out,in]
 *   y = x W^T,  y = x W + b
 *
 * Trap: the rest of a layer with an adapter, s (x A^T) B^T, is right: it is the reference's y - base_layer. */
#include "tools/golden/mistakes.h"

#include <math.h>
#include <string.h>

/* The layer's name: that of the tensor, without the ending of a layer with an adapter. */
static int layer_length(const search *s)
{
    size_t n = strlen(s->name);
    return (int)(n - (ends_in(s, "base_layer") && n > 11 ? 11 : 0));
}

/* A weight of the layer that computes the tensor; the file has those of modules that are parts of the one that is traced
 * (a causal convolution's, the second layer of an embedding or a feed-forward) under longer names. */
static const float *layer_weight(search *s, int rank, int64_t *shape, const char *which)
{
    static const char *const inner[] = {"", ".conv", ".linear_2", ".net.2"};
    const float *x = NULL;
    for (size_t i = 0; i < sizeof inner / sizeof *inner && !x; i++)
        x = weight_of(s, rank, shape, "%.*s%s.%s", layer_length(s), s->name, inner[i], which);
    return x;
}

/* [..,out] */
static void try_bias(search *s, int64_t out)
{
    const float *bias = layer_weight(s, 1, &out, "bias");
    for (int twice = 0; twice < 2 && bias; twice++) {
        for (int64_t i = 0; i < s->n; i++)
            s->candidate[i] = twice ? s->ref[i] + bias[i % out] : s->ref[i] - bias[i % out];
        propose(s, s->candidate, twice ? "the bias is added twice" : "the bias is not added");
    }
}

/* The input x [..,D] of a layer D -> D; NULL: it is none, or x is not in the reference. */
static const float *square_input(search *s)
{
    static const char *const of_norm1[] = {"attn1.to_q", "attn1.to_k", "attn1.to_v"};
    const char *const name = s->name, *const attention = strstr(name, ".attn1.");
    int n = layer_length(s);
    for (int i = 0; i < 3 && attention; i++)
        if (strncmp(attention + 1, of_norm1[i], strlen(of_norm1[i])) == 0 &&
            attention + 1 + strlen(of_norm1[i]) == name + n)
            return neighbour(s, "%.*s.norm1", (int)(attention - name), name);
    if (attention && strncmp(attention, ".attn1.to_out.0", 15) == 0 && attention + 15 == name + n)
        return neighbour(s, "%.*s.attn1.attention", (int)(attention - name), name);
    bool embedding = strcmp(name, "time_embedding") == 0 || strcmp(name, "ofs_embedding") == 0;
    return embedding ? neighbour(s, "%s.act", name) : NULL;
}

/* The distance of some rows that were found from x W + b + rest; rest: of an adapter, or NULL. y [D] */
static double transposed_distance(const search *s, const float *x, const float *W, const float *bias,
                                  const float *base, double *y)
{
    enum { ROWS = 16 };
    const int64_t D = s->f->ref->shape[s->f->ref->rank - 1], rows = s->n / D;
    double dd = 0, yy = 0;
    for (int64_t k = 0; k < ROWS && k < rows; k++) {
        int64_t at = (rows <= ROWS ? k : k * (rows - 1) / (ROWS - 1)) * D;
        for (int64_t o = 0; o < D; o++)
            y[o] = (double)bias[o] + (base ? (double)s->ref[at + o] - (double)base[at + o] : 0);
        for (int64_t i = 0; i < D; i++)
            for (int64_t o = 0; o < D; o++) y[o] += (double)x[at + i] * (double)W[i * D + o];
        for (int64_t o = 0; o < D; o++) {
            double d = (double)s->got[at + o] - y[o];
            dd += d * d, yy += y[o] * y[o];
        }
    }
    return yy > 0 ? sqrt(dd / yy) : (double)INFINITY;
}

static void try_transposed(search *s, int64_t D)
{
    int64_t square[] = {D, D};
    const float *x = square_input(s), *W = x ? layer_weight(s, 2, square, "weight") : NULL,
                *bias = W ? layer_weight(s, 1, &D, "bias") : NULL,
                *base = neighbour(s, "%s.base_layer", s->name);
    double *y = bias ? vdm_alloc((size_t)D, sizeof *y, "a row", NULL) : NULL;
    if (y)
        propose_distance(s, transposed_distance(s, x, W, bias, base, y),
                         "the weight is taken transposed: x W, expected x W^T");
    vdm_free(y);
}

void mistakes_of_weights(search *s)
{
    const vdm_tensor *t = s->f->ref;
    if (t->rank < 2) return;
    try_bias(s, t->shape[t->rank - 1]);
    try_transposed(s, t->shape[t->rank - 1]);
}
