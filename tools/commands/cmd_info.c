/* vdm info: describes a model, an adapter, a task or any safetensors file. */
#include "tools/commands/commands.h"
#include "files/adapter_facts.h"
#include "tools/arc/shard.h"
#include "tools/ignored_keys.h"
#include "tools/messages.h"
#include "tools/run/file_checks.h"
#include "tools/run/plan.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static const char *variant_of(const vdm_transformer_config *c)
{
    if (c->patch_t)
        return c->in_channels == 2 * c->out_channels ? "CogVideoX 1.5 image-to-video" : "CogVideoX 1.5";
    if (!c->rotary) return "CogVideoX 1.0, absolute positions (2B)";
    return c->in_channels == 2 * c->out_channels ? "CogVideoX 1.0 image-to-video" : "CogVideoX 1.0 (5B)";
}

static double count_parameters(const char *model, const char *part, const char *stem, vdm_error *err)
{
    vdm_safetensors f;
    double n = -1;
    char *folder = vdm_path(model, part, err);
    if (folder && !vdm_safetensors_open_folder(&f, folder, stem, err)) {
        n = 0;
        for (int64_t i = 0; i < f.count; i++) n += (double)vdm_tensor_count(&f.tensors[i]);
        vdm_safetensors_close(&f);
    }
    vdm_free(folder);
    return n;
}

/* The side to print figures for: 480 pixels, or the model's own if that is smaller or the only one. */
static int example_side(const vdm_model_config *m, int sample)
{
    int unit = m->transformer.patch << (m->vae.blocks - 1), max = sample << (m->vae.blocks - 1);
    return (m->transformer.learned_positions || max < 480 ? max : 480) / unit * unit;
}

static int model_info(const char *path, vdm_error *err)
{
    vdm_model_config m;
    if (vdm_model_config_read(&m, path, err)) return -1;
    const vdm_transformer_config *c = &m.transformer;
    const vdm_vae_config *v = &m.vae;
    double transformer = count_parameters(path, "transformer", "diffusion_pytorch_model", err);
    double vae = transformer < 0 ? -1 : count_parameters(path, "vae", "diffusion_pytorch_model", err);
    if (vae < 0) return -1;
    ignored_keys_print(path);
    printf("%s: %s\n", clean(path), variant_of(c));
    printf("  transformer  %.0f parameters, %d blocks, width %d (%d heads of %d), text %d x %d\n",
           transformer, c->layers, c->heads * c->head_dim, c->heads, c->head_dim, c->text_tokens,
           c->text_dim);
    printf("               patch %dx%dx%d, positions: %s%s, ofs: %s\n", c->patch_t ? c->patch_t : 1, c->patch,
           c->patch, c->rotary ? c->patch_t ? "rotary (slice)" : "rotary (linspace)" : "sincos",
           c->learned_positions ? " and learned" : "", c->ofs_dim ? "yes" : "no");
    printf("  vae          %.0f parameters, %d latent channels, factor %g, image latents times %.6g\n", vae,
           v->latent_channels, v->scaling_factor, vdm_image_latent_scale(v, VDM_IMAGE_PIPELINE));
    printf("  scheduler    %s, snr shift %g\n", m.scheduler.dpm ? "DPM" : "DDIM",
           m.scheduler.snr_shift_scale);
    if (c->in_channels != 2 * c->out_channels) {
        printf("  cannot answer pictures: it is not an image-to-video model\n");
        return 0;
    }
    session s;
    options run;
    if (options_print_own(path, FIT | PREDICT | ARC, err) || options_defaults(&run, PREDICT, path, err))
        return -1;
    int height = example_side(&m, c->sample_height), width = example_side(&m, c->sample_width);
    int status = session_plan(&s, &run, NULL, height, width, err);
    fflush(stdout);
    if (!status) plan_print(&s, 0, 0, 1, 0);
    session_free(&s);
    return status;
}

static void print_tensors(const vdm_safetensors *f)
{
    double numbers = 0;
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        numbers += (double)vdm_tensor_count(t);
        printf("  %-4s [", vdm_dtype_name(t->dtype));
        for (int d = 0; d < t->rank; d++) printf("%s%lld", d ? "," : "", (long long)t->shape[d]);
        printf("]  %s\n", clean(t->name));
    }
    printf("  %lld tensors, %.0f elements\n", (long long)f->count, numbers);
}

/* clean() of each line. */
static void print_lines(const char *text)
{
    for (int n; *text; text += n ? n : 1) {
        n = vdm_character(text);
        if (n)
            printf("%.*s", n, text);
        else
            putchar(*text == '\n' ? '\n' : '?');
    }
}

/* What the names of an adapter tell, in every spelling that the reader knows (files/adapter.c). */
struct adapter {
    bool is; /* all tensors are of an adapter */
    int64_t modules, min_rank, max_rank, alphas;
    bool peft; /* peft's own names */
};

static struct adapter look_at_adapter(const vdm_safetensors *f)
{
    static const char *const down[] = {"lora_A", "lora.down", "lora_down"};
    struct adapter a = {.is = f->count > 0};
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        size_t n = strlen(t->name);
        bool alpha = n > 6 && strcmp(t->name + n - 6, ".alpha") == 0, first = false;
        for (int k = 0; k < 3; k++) first = first || (strstr(t->name, down[k]) && t->rank == 2);
        a.is = a.is && (alpha || strstr(t->name, "lora_") || strstr(t->name, ".lora."));
        a.alphas += alpha;
        a.peft = a.peft || strncmp(t->name, "base_model.model.", 17) == 0;
        if (!first) continue;
        if (!a.modules++ || t->shape[0] < a.min_rank) a.min_rank = t->shape[0];
        if (t->shape[0] > a.max_rank) a.max_rank = t->shape[0];
    }
    return a;
}

/* Where the adapter's alpha is; settings: the text of its metadata, or NULL. */
static void print_alpha(const struct adapter *a, const vdm_safetensors *f, const char *settings)
{
    const char *key, *number = vdm_lora_plain_alpha(f, &key);
    if (settings) {
        printf("its metadata:\n");
        print_lines(settings);
    } else if (a->alphas || a->peft || !number) {
        printf("%s", a->alphas ? "alpha of each in a tensor"
                     : a->peft ? "alpha in adapter_config.json"
                               : "no alpha, so that alpha = rank");
    } else {
        printf("alpha %s (%s)", clean(number), key);
    }
}

static int file_info(const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    const struct adapter a = look_at_adapter(&f);
    const char *key, *metadata = vdm_lora_settings(&f, &key);
    printf("%s: %s", clean(path), a.is ? "an adapter of rank " : "tensors");
    if (a.is && a.min_rank < a.max_rank) printf("%lld to ", (long long)a.min_rank);
    if (a.is) printf("%lld on %lld modules; ", (long long)a.max_rank, (long long)a.modules);
    if (a.is) print_alpha(&a, &f, metadata);
    printf("\n");
    const char *learned = a.is ? vdm_safetensors_metadata(&f, "vdm_learned") : NULL,
               *views = a.is ? vdm_safetensors_metadata(&f, "vdm_views") : NULL;
    if (learned) printf("  learned with %s\n", clean(learned));
    if (views) printf("  learned in %s views\n", clean(views));
    print_tensors(&f);
    vdm_safetensors_close(&f);
    return 0;
}

/* ARC Prize's challenges: a file of many tasks. */
static int collection_info(const char *path, vdm_error *err)
{
    vdm_arc_ids ids;
    if (vdm_arc_ids_read(&ids, path, err)) return -1;
    printf("%s: %d ARC-AGI tasks; 'vdm arc' treats it as a folder of tasks, of which one is %s/%s.json\n",
           clean(path), ids.n, clean(path), clean(ids.id[0]));
    vdm_arc_ids_free(&ids);
    return 0;
}

static int task_info(const char *path, vdm_error *err)
{
    vdm_task t;
    if (!vdm_is_folder(path) && list_is(path)) return collection_info(path, err);
    if (vdm_task_read(&t, path, err)) return -1;
    printf("%s: task '%s', %d training pairs, %d test pictures\n", clean(path), clean(t.name), t.n_train,
           t.n_test);
    if (t.prompt) printf("  prompt: %s\n", clean(t.prompt));
    if (t.arc.path) {
        int rows, cols;
        vdm_arc_largest(&t.arc, true, &rows, &cols);
        printf("  an ARC-AGI task: grids of up to %d rows and %d columns\n", rows, cols);
        vdm_task_free(&t);
        return 0;
    }
    vdm_picture p;
    const char *first = t.n_train ? t.train[0].input : t.test[0].input;
    int status = vdm_picture_read(&p, first, err);
    if (!status) {
        printf("  %s is %d high and %d wide\n", clean(first), p.height, p.width);
        vdm_picture_free(&p);
    }
    vdm_task_free(&t);
    return status;
}

int command_info(int argc, char **argv)
{
    options o;
    vdm_error err;
    int status = options_read(&o, INFO, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands > 1) return misuse("info: expected one path, found %d", o.n_operands);
    const char *path = o.n_operands ? o.operands[0] : default_model(&err);
    if (!path)
        status = -1;
    else if (!vdm_is_folder(path) && has_ending(path, ".json"))
        status = task_info(path, &err);
    else if (!vdm_is_folder(path))
        status = file_info(path, &err);
    else if (has(path, "transformer"))
        status = model_info(path, &err);
    else if (has(path, "train") || has(path, "test"))
        status = task_info(path, &err);
    else
        status = vdm_fail(&err,
                          "%s: expected a model (with transformer/), a task (with train/ or test/) or a "
                          "safetensors file, found none of them",
                          path);
    return status ? fail(&err) : DONE;
}
