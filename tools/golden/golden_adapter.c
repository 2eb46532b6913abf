/* The adapter of a golden: its rank, alpha and targets, and where it is from. */
#include "tools/golden/golden.h"
#include "tools/run/model_session.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_ALPHA = 1000000 };

static void name_matrix(char name[GOLDEN_ADAPTER_NAME], vdm_target target)
{
    char matrix[VDM_LORA_NAME];
    vdm_lora_name(matrix, 0, target, false);
    snprintf(name, GOLDEN_ADAPTER_NAME, GOLDEN_ADAPTER "%s", matrix);
}

/* The name without the prefix; NULL if it has none. */
static const char *matrix_of(const vdm_tensor *t)
{
    const size_t n = sizeof GOLDEN_ADAPTER - 1;
    return strncmp(t->name, GOLDEN_ADAPTER, n) == 0 ? t->name + n : NULL;
}

/* The tensor whose shape describes the adapter of --inject. */
static const vdm_tensor *first_injected(const vdm_safetensors *in)
{
    char first[GOLDEN_ADAPTER_NAME];
    name_matrix(first, VDM_Q);
    return in->path ? vdm_safetensors_find(in, first) : NULL;
}

bool golden_adapter_injected(const vdm_safetensors *in)
{
    return first_injected(in) != NULL;
}

int golden_adapter_check(const options *o, const vdm_safetensors *in, vdm_error *err)
{
    char first[GOLDEN_ADAPTER_NAME];
    const vdm_tensor *given = NULL;
    for (int64_t i = 0; in->path && i < in->count && !given; i++)
        if (matrix_of(&in->tensors[i])) given = &in->tensors[i];
    name_matrix(first, VDM_Q);
    if (given && o->sample.n_loras)
        return vdm_fail(err, "%s: tensor '%s': expected the adapter in one place, found --lora too", in->path,
                        given->name);
    if (given && !golden_adapter_injected(in))
        return vdm_fail(err, "%s: tensor '%s': expected together with '%s', found none", in->path,
                        given->name, first);
    if (!given && option_given(o, "--alpha") && strcmp(o->golden.what, "train") != 0)
        return vdm_fail(err, "--alpha: it has no effect here: it needs --what train, or an adapter "
                             "in the file of --inject");
    return 0;
}

/* rank and alpha are checked before memory is allocated. */
static int new_injected(vdm_lora *a, const options *o, const vdm_safetensors *in,
                        const vdm_transformer_config *c, vdm_rng *rng, vdm_error *err)
{
    int64_t shape[] = {-1, (int64_t)c->heads * c->head_dim};
    const char *text = vdm_safetensors_metadata(in, "lora_alpha");
    char feed_forward[GOLDEN_ADAPTER_NAME];
    const vdm_tensor *first = first_injected(in);
    if (vdm_tensor_check(first, in->path, 2, shape, err)) return -1;
    if (shape[0] > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "%s: tensor '%s': rank: expected 1 to %d, found %" PRId64, in->path, first->name,
                        VDM_MAX_LORA_RANK, shape[0]);
    if (option_given(o, "--rank") && shape[0] != o->learn.rank)
        return vdm_fail(err, "%s: tensor '%s': --rank asks for %d, found %" PRId64, in->path, first->name,
                        o->learn.rank, shape[0]);
    double alpha = o->learn.alpha;
    if (text && !(vdm_json_number(&alpha, text) && fabs(alpha) <= MAX_ALPHA))
        return vdm_fail(err, "%s: metadata 'lora_alpha': expected a number from -%d to %d, found '%.60s'",
                        in->path, MAX_ALPHA, MAX_ALPHA, text);
    if (option_given(o, "--alpha") && fabs(alpha - o->learn.alpha) > 0)
        return vdm_fail(err, "%s: metadata 'lora_alpha': --alpha asks for %g, found %g", in->path,
                        o->learn.alpha, alpha);
    name_matrix(feed_forward, VDM_FF_UP);
    vdm_targets targets = vdm_safetensors_find(in, feed_forward) ? VDM_ATTENTION_FF : VDM_ATTENTION;
    if (option_given(o, "--targets") && targets != learn_targets(o))
        return vdm_fail(err, "%s: adapter: --targets asks for %s, found %s", in->path, o->learn.targets,
                        targets == VDM_ATTENTION_FF ? "attn,ff" : "attn");
    return vdm_lora_init(a, c, targets, (int)shape[0], alpha, rng, err);
}

/* Every tensor adapter.NAME is a matrix of this adapter. */
static int check_matrices(const vdm_lora *a, const vdm_safetensors *in, vdm_error *err)
{
    for (int64_t i = 0; i < in->count; i++) {
        const char *matrix = matrix_of(&in->tensors[i]);
        int k = 0, n = matrix ? vdm_lora_matrices(a) : 0;
        while (k < n && strcmp(vdm_lora_matrix_at(a, a->params, k).name, matrix) != 0) k++;
        if (matrix && k == n)
            return vdm_fail(err, "%s: tensor '%s': expected a matrix of an adapter on %s of %d blocks",
                            in->path, in->tensors[i].name,
                            a->targets == VDM_ATTENTION_FF ? "attention and feed-forward" : "attention",
                            a->layers);
    }
    return 0;
}

/* A single --lora is used as in its file; several, or one with a weight, are joined as in predict. */
static int read_options(vdm_lora *a, const options *o, const vdm_transformer_config *c, bool learns,
                        vdm_error *err)
{
    double weight = 1;
    if (o->sample.n_loras > 1) {
        if (learns)
            return vdm_fail(err,
                            "golden --what train: expected one --lora, which training starts from, found %d",
                            o->sample.n_loras);
        return loras_read(a, NULL, o, c, err);
    }
    if (lora_read_option(a, &weight, NULL, o->sample.loras[0], c, err)) return -1;
    if (weight >= 1 && weight <= 1) return 0;
    vdm_lora part = *a;
    int status = vdm_lora_join(a, &part, &weight, 1, err);
    vdm_lora_free(&part);
    return status;
}

int golden_adapter_new(vdm_lora *a, const options *o, const vdm_safetensors *in,
                       const vdm_transformer_config *c, bool needed, vdm_rng *rng, vdm_error *err)
{
    *a = (vdm_lora){0};
    if (golden_adapter_injected(in))
        return new_injected(a, o, in, c, rng, err) || check_matrices(a, in, err) ? -1 : 0;
    if (o->sample.n_loras) return read_options(a, o, c, needed, err);
    return needed ? vdm_lora_init(a, c, learn_targets(o), o->learn.rank, o->learn.alpha, rng, err) : 0;
}
