/* Elements in another order along an axis that has a meaning: the entries of the batch, the frames. Only all of an axis
 * counts: the sentence names what was done to every element. */
#include "tools/golden/mistakes.h"

#include <string.h>

static bool begins(const search *s, const char *with)
{
    return strncmp(s->name, with, strlen(with)) == 0;
}

static bool is_named(const search *s, const char *name)
{
    return strcmp(s->name, name) == 0;
}

/* Sizes of the transformer's input x [B,F,Cin,h,w], with the same prefix. */
struct input {
    int64_t B, F, h, w;
};
static bool read_input(const search *s, struct input *in)
{
    int64_t x[] = {-1, -1, -1, -1, -1};
    if (!neighbour_shape(s, 5, x, "x")) return false;
    for (int i = 0; i < 5; i++)
        if (x[i] < 1 || x[i] > 1 << 20) return false;
    *in = (struct input){x[0], x[1], x[3], x[4]};
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * The batch: of the transformer's tensors the first axis */

static bool has_batch(const search *s, const struct input *in)
{
    static const char *const others[] = {"rope.", "positions", "ofs", "adapter.", "adamw."};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins(s, others[i])) return false;
    const vdm_tensor *t = s->f->ref;
    return in->B >= 2 && in->B <= MAX_BATCH && t->rank >= 1 && t->shape[0] == in->B && !ends_in(s, "weight");
}

/* Squared distance of some elements of the entry that was found from one of the reference's. */
static double entry_distance(const search *s, int64_t found, int64_t entry, int64_t size)
{
    enum { ELEMENTS = 64 };
    double dd = 0;
    for (int64_t i = 0; i < size; i += size / ELEMENTS + 1) {
        double d = (double)s->got[found * size + i] - (double)s->ref[entry * size + i];
        dd += d * d;
    }
    return dd;
}

/* Each entry that was found is the reference's nearest one: an order of them, if each of these is taken once. */
static void try_batch(search *s)
{
    struct input in;
    if (!read_input(s, &in) || !has_batch(s, &in)) return;
    int64_t size = s->n / in.B, moved = -1, from = -1;
    float *taken = buffer(s, in.B);
    if (!taken) return;
    for (int64_t b = 0; b < in.B; b++) taken[b] = 0;
    for (int64_t b = 0; b < in.B; b++) {
        int64_t best = b;
        double least = entry_distance(s, b, b, size);
        for (int64_t entry = 0; entry < in.B; entry++) {
            double d = entry_distance(s, b, entry, size);
            if (d < least) least = d, best = entry;
        }
        if (taken[best] > 0) return;
        taken[best] = 1;
        if (best != b && moved < 0) moved = b, from = best;
        memcpy(s->candidate + b * size, s->ref + best * size, (size_t)size * sizeof *s->ref);
    }
    if (moved < 0) return;
    if (in.B == 2)
        propose(s, s->candidate, "the two entries of the batch are swapped");
    else
        propose(s, s->candidate, "the batch is in another order: entry %lld is the reference's entry %lld",
                (long long)moved, (long long)from);
}

/* ------------------------------------------------------------------------------------------------
 * Frames */

/* The tensor as [outer,F,inner], of F frames. */
struct frames {
    int64_t outer, F, inner;
    bool tokens; /* of tokens, not of latents or pictures */
};

/* Latents and pictures: the axis of the frames; -1: none. */
static int frame_axis(const search *s)
{
    static const char *const fourth[] = {"video", "moments", "latents", "image_latents", "noise"};
    static const char *const fifth[] = {"x", "v", "target", "grad.v", "videos"};
    int rank = s->f->ref->rank;
    for (size_t i = 0; i < sizeof fourth / sizeof *fourth && rank == 4; i++)
        if (is_named(s, fourth[i])) return 0;
    if (rank == 4 && (begins(s, "encoder.") || begins(s, "decoder.") || begins(s, "velocity.") ||
                      begins(s, "latents.") || ends_in(s, "quant_conv") || ends_in(s, "post_quant_conv")))
        return 0;
    for (size_t i = 0; i < sizeof fifth / sizeof *fifth && rank == 5; i++)
        if (is_named(s, fifth[i])) return 1;
    return rank == 6 && (is_named(s, "noise") || is_named(s, "step_noise")) ? 2 : -1;
}

/* Of the video's tokens only: [B,V,..], and the tables [V,..]. */
static bool token_frames(const search *s, struct frames *f)
{
    static const char *const names[] = {"patch_embed.patches", "patch_embed.proj", "norm_final",
                                        "norm_out.norm",       "norm_out",         "proj_out"};
    const vdm_tensor *t = s->f->ref;
    bool table = is_named(s, "rope.cos") || is_named(s, "rope.sin"), tokens = table;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tokens = tokens || is_named(s, names[i]);
    struct input in;
    int64_t pt = fact(s, "patch_t"), p = fact(s, "patch");
    if (!tokens || t->rank != (table ? 2 : 3) || !p || !read_input(s, &in)) return false;
    if (!pt) pt = 1;
    int64_t V = t->shape[table ? 0 : 1], F = in.F / pt, in_frame = F > 0 ? V / F : 0;
    if (F < 1 || V % F || in_frame != (in.h / p) * (in.w / p)) return false;
    *f = (struct frames){table ? 1 : t->shape[0], F, in_frame * t->shape[t->rank - 1], true};
    return true;
}

static bool frames_of(const search *s, struct frames *f)
{
    const vdm_tensor *t = s->f->ref;
    int axis = frame_axis(s);
    if (axis < 0) return token_frames(s, f);
    *f = (struct frames){1, t->shape[axis], 1, false};
    for (int i = 0; i < axis; i++) f->outer *= t->shape[i];
    for (int i = axis + 1; i < t->rank; i++) f->inner *= t->shape[i];
    return true;
}

/* patch_embed.patches: frames that are reversed before the patches are cut are so inside each patch [C,pt,p,p], too. */
static void reverse_in_patches(search *s, const struct frames *f)
{
    int64_t K = s->f->ref->shape[2], pt = fact(s, "patch_t"), p = fact(s, "patch"), area = p * p;
    if (pt < 2 || p > 64 || K % (pt * area)) return;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t frame = i / f->inner % f->F, time = i / area % pt;
        int64_t at = i + (f->F - 1 - 2 * frame) * f->inner + (pt - 1 - 2 * time) * area;
        s->candidate[i] = s->ref[at];
    }
    propose(s, s->candidate, "the frames are in reversed order");
}

static void try_frames(search *s)
{
    struct frames f;
    if (!frames_of(s, &f) || f.outer * f.F * f.inner != s->n) return;
    if (is_named(s, "patch_embed.patches")) reverse_in_patches(s, &f);
    if (f.F < 2) return;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t frame = i / f.inner % f.F;
        s->candidate[i] = s->ref[i + (f.F - 1 - 2 * frame) * f.inner];
    }
    propose(s, s->candidate, "the %s are in reversed order", f.tokens ? "frames of the tokens" : "frames");
}

void mistakes_of_order(search *s)
{
    try_batch(s);
    try_frames(s);
}
