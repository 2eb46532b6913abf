/* The command line and the defaults: options are parsed, and --help is printed, from one table.
 *
 * Each of these overrides the one before it: the program's defaults (the paper's), the model's (MODEL/vdm.json), the
 * command line. vdm.json is strict:
 *   {"fit": {"steps": 600, "batch": 16, "lr": 1e-3}, "sample": {"steps": 20, "sampler": "ddim"}}
* Keys are the names of the options that the table marks MODEL, with _ for -; ranges are the table's. */
#include "tools/options_table.h"
#include "tools/ignored_keys.h"
#include "tools/messages.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct option_row *find_row(int command, const char *name)
{
    for (int i = 0; i < n_option_aliases; i++)
        if ((option_aliases[i].commands & command) && strcmp(option_aliases[i].old, name) == 0)
            name = option_aliases[i].name;
    for (int i = 0; i < n_option_rows; i++)
        if ((option_rows[i].commands & command) && strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    return NULL;
}

static bool takes_model(int command)
{
    return find_row(command, "--model") != NULL;
}

static void options_help(int command, const char *model)
{
    vdm_error err;
    for (size_t i = 0; i < (size_t)n_usages; i++)
        if (usages[i].command == command) printf("%s\n%s\n\n", usages[i].line, usages[i].what);
    for (int i = 0; i < n_option_rows; i++) {
        if (!(option_rows[i].commands & command)) continue;
        char left[80];
        snprintf(left, sizeof left, "%s %s", option_rows[i].name,
                 option_rows[i].value ? option_rows[i].value : "");
        printf("  %-38s %s\n", left, option_rows[i].help);
    }
    if (!takes_model(command)) return;
    printf("\nIn parentheses: the defaults. A model's vdm.json may replace them");
    if (!model) model = default_model(&err);
    if (model)
        printf("; that of %s:\n", clean(model));
    else
        printf(".\n");
    if (model && options_print_own(model, command, &err)) printf("  %s\n", err.text);
}

static bool read_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return *text && !*end && !errno && isfinite(*value) && !strpbrk(text, "xXpPnN \t\n");
}

static int read_count(const struct option_row *r, const char *text, int *value, vdm_error *err)
{
    double x;
    if (!read_number(text, &x) || x != floor(x) || x < r->min || x > r->max || strpbrk(text, ".eE"))
        return vdm_fail(err, "expected an integer from %.0f to %.0f, found '%.100s'", r->min, r->max, text);
    *value = (int)x;
    return 0;
}

static int read_real(const struct option_row *r, const char *text, double *value, vdm_error *err)
{
    double x;
    if (!read_number(text, &x) || x < r->min || x > r->max)
        return vdm_fail(err, "expected a number from %g to %g, found '%.100s'", r->min, r->max, text);
    *value = x;
    return 0;
}

static int read_seed(const char *text, uint64_t *value, vdm_error *err)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!*text || *end || errno || strspn(text, "0123456789") != strlen(text))
        return vdm_fail(err, "expected an integer from 0 to 2^64 - 1, found '%.100s'", text);
    *value = x;
    return 0;
}

static int read_size(const struct option_row *r, options *o, const char *text, vdm_error *err)
{
    const char *x = strchr(text, 'x');
    char height[16];
    if (!x || x - text >= (int)sizeof height)
        return vdm_fail(err, "expected HxW, as in 480x720, found '%.100s'", text);
    memcpy(height, text, (size_t)(x - text));
    height[x - text] = '\0';
    int *to[] = {&o->height, &o->width};
    if (r->offset) to[0] = o->tasks.grid, to[1] = o->tasks.grid + 1; /* --grid */
    if (read_count(r, height, to[0], err)) return -1;
    return read_count(r, x + 1, to[1], err);
}

/* One of the words in "a|b|c". */
static int read_choice(const struct option_row *r, const char *text, char value[16], vdm_error *err)
{
    size_t length = strlen(text);
    for (const char *word = r->value; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        if (length == strcspn(word, "|") && strncmp(word, text, length) == 0) {
            snprintf(value, 16, "%s", text);
            return 0;
        }
    }
    return vdm_fail(err, "expected %s, found '%.100s'", r->value, text);
}

static int read_option(const struct option_row *r, options *o, const char *text, vdm_error *err)
{
    void *field = (char *)o + r->offset;
    switch (r->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case TEXT:
        *(const char **)field = text;
        return *text ? 0 : vdm_fail(err, "expected %s, found nothing", r->value);
    case WORDS:
        *(const char **)field = text;
        return 0;
    case CHOICE:
        return read_choice(r, text, field, err);
    case COUNT:
        return read_count(r, text, field, err);
    case REAL:
        return read_real(r, text, field, err);
    case SEED:
        return read_seed(text, field, err);
    case SIZE:
        return read_size(r, o, text, err);
    case LORA:
        if (o->sample.n_loras == MAX_LORAS) return vdm_fail(err, "at most %d adapters at once", MAX_LORAS);
        o->sample.loras[o->sample.n_loras++] = text;
        return 0;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------
 * Defaults: the program's, and the model's own */

static const struct section {
    const char *name;
    int options;  /* commands whose options it may set */
    int commands; /* that it applies to */
} sections[] = {
    {"fit", FIT | DEMO, FIT | DEMO | ARC}, {"sample", PREDICT | EVAL, PREDICT | EVAL}, {"arc", ARC, ARC}};
enum { N_SECTIONS = sizeof sections / sizeof sections[0] };

/* "--pure-noise" and "pure_noise" */
static bool is_key(const char *name, const char *key)
{
    for (name += 2; *name && *key == (*name == '-' ? '_' : *name); key++) name++;
    return !*name && !*key;
}

/* The row of the option that a section may set by this key: its name with _ for -. */
static const struct option_row *own_row(const struct section *s, const char *key)
{
    const char *name = NULL;
    for (int i = 0; i < n_option_aliases; i++)
        if ((option_aliases[i].commands & s->options) && is_key(option_aliases[i].old, key))
            name = option_aliases[i].name;
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        if (!(r->flags & MODEL) || !(r->commands & s->options)) continue;
        if (name ? strcmp(r->name, name) == 0 : is_key(r->name, key)) return r;
    }
    return NULL;
}

static int read_section(options *o, const vdm_json *j, const vdm_json_node *object, const struct section *s,
                        vdm_error *err)
{
    const vdm_json_node *n = object->children ? object + 1 : NULL;
    if (object->kind != VDM_JSON_OBJECT) return vdm_fail(err, "expected an object");
    for (; n; n = vdm_json_next(j, n)) {
        const struct option_row *r = own_row(s, n->key);
        if (!r)
            return vdm_fail(err, "%.100s: no such setting here; 'vdm %s --help' lists the options", n->key,
                            s->options & FIT   ? "fit"
                            : s->options & ARC ? "arc"
                                               : "predict");
        bool words = r->kind == CHOICE || r->kind == SIZE;
        vdm_error why;
        if (n->kind != (words ? VDM_JSON_STRING : VDM_JSON_NUMBER))
            return vdm_fail(err, "%s: expected a %s, found something else", n->key,
                            words ? "string" : "number");
        if (read_option(r, o, n->text, &why)) return vdm_fail(err, "%s: %.300s", n->key, why.text);
    }
    return 0;
}

/* What a section sets for commands other than its own: "sample" sets how demo and arc answer, "arc" how grids are
 * drawn in all commands that accept them. */
static void take_groups(options *o, int command, const struct section *s, const options *read)
{
    if ((s->options & EVAL) && (command & (DEMO | ARC))) o->sample = read->sample;
    if ((s->options & ARC) && (command & (FIT | PREDICT | EVAL | DEMO))) {
        o->canvas = read->canvas;
        o->canvas.height = read->height;
        o->canvas.width = read->width;
    }
}

/* All sections are checked, whatever the command; the command's own is read last and overrides the others. */
static int read_sections(options *o, int command, const vdm_json *j, vdm_error *err)
{
    vdm_error why;
    const vdm_json_node *root = j->nodes, *first = root->children ? root + 1 : NULL;
    if (root->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "expected an object with \"fit\", \"sample\", \"arc\"");
    for (int own = 0; own < 2; own++) {
        for (const vdm_json_node *n = first; n; n = vdm_json_next(j, n)) {
            const struct section *s = sections;
            while (s < sections + N_SECTIONS && strcmp(s->name, n->key) != 0) s++;
            if (s == sections + N_SECTIONS)
                return vdm_fail(err, "%.100s: expected \"fit\", \"sample\" or \"arc\"", n->key);
            if (own != ((s->commands & command) != 0)) continue;
            options other = *o;
            if (!own && (s->options & ARC)) other.height = o->canvas.height, other.width = o->canvas.width;
            if (read_section(own ? o : &other, j, n, s, &why))
                return vdm_fail(err, "%s: %.500s", s->name, why.text);
            if (!own) take_groups(o, command, s, &other);
        }
    }
    return 0;
}

/* Opens the model's vdm.json: 1; 0 if it has none. */
static int open_own(vdm_json *j, char **path, const char *model, vdm_error *err)
{
    struct stat st;
    *path = vdm_path(model, "vdm.json", err);
    if (!*path) return -1;
    int status = stat(*path, &st) ? 0 : vdm_json_read(j, *path, err) ? -1 : 1;
    if (status > 0) return 1;
    vdm_free(*path);
    return status;
}

static int read_own(options *o, int command, const char *model, vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    char *path;
    int status = open_own(&j, &path, model, err);
    if (status <= 0) return status;
    status = read_sections(o, command, &j, &why);
    if (status) vdm_fail(err, "%.300s: %.600s", path, why.text);
    vdm_json_free(&j);
    vdm_free(path);
    return status;
}

int options_print_own(const char *model, int commands, vdm_error *err)
{
    options o = {0};
    vdm_json j;
    char *path;
    if (read_own(&o, 0, model, err)) return -1; /* rejects what is wrong */
    int status = open_own(&j, &path, model, err);
    if (status <= 0) return status;
    for (int s = 0; s < N_SECTIONS; s++) {
        const vdm_json_node *section = vdm_json_get(&j, j.nodes, sections[s].name);
        if (!(sections[s].commands & commands) || !section || !section->children) continue;
        printf("  %-12s", sections[s].name);
        for (const vdm_json_node *n = section + 1; n; n = vdm_json_next(&j, n))
            printf("%s %s %s", n == section + 1 ? "" : ",", clean(n->key), clean(n->text));
        printf("\n");
    }
    vdm_json_free(&j);
    vdm_free(path);
    return 0;
}

int options_defaults(options *o, int command, const char *model, vdm_error *err)
{
    bool golden = command == GOLDEN, arc = command == ARC;
    *o = (options){.frames = 9,
                   .height = arc ? 400 : 0,
                   .width = arc ? 400 : 0,
                   .seed = 42,
                   .image_scale = "pipeline",
                   .precision = "f32"};
    o->learn = (struct learn_options){.steps = golden ? 0 : 500,
                                      .rank = golden ? 4 : 64,
                                      .batch = golden ? 1 : 2,
                                      .accumulate = 1,
                                      .alpha = golden ? 8 : 32,
                                      .lr = 1e-4,
                                      .memory = 2,
                                      .clip = 1,
                                      .weight_decay = 1e-4,
                                      .save_every = 50,
                                      .watch_every = 10,
                                      .schedule = "constant"};
    o->sample = (struct sample_options){.steps = golden ? 20 : 50,
                                        .ensemble = 1,
                                        .guidance = command == FIT ? 1 : 6}; /* fit samples nothing */
    o->canvas = (struct canvas_options){
        .height = 400, .width = 400, .border = 2, .align = 1, .outside = "black", .palette = "arc"};
    o->eval = (struct eval_options){.at_least = -INFINITY, .train_pairs = -1, .views = 1};
    snprintf(o->eval.colour, sizeof o->eval.colour, "%s", arc ? "shift" : "none");
    o->arc = (struct arc_options){.attempts = 2, .size_rule = "oracle"};
    o->tasks = (struct tasks_options){.pairs = 30, .tests = 200, .cell = -1, .border = -1, .as = "mask"};
    snprintf(o->golden.what, sizeof o->golden.what, "transformer");
    o->bench.runs = 5;
    if (!takes_model(command)) return 0;
    o->model = model ? model : default_model(err);
    return o->model ? read_own(o, command, o->model, err) : -1;
}

/* ------------------------------------------------------------------------------------------------
 * The words of the command line */

/* A second file or text: the first one would be ignored. Of numbers, words and sizes the last one counts. */
static bool is_contradiction(const struct option_row *r, const options *o, const char *text)
{
    if (!o->given[r - option_rows] || (r->kind != TEXT && r->kind != WORDS)) return false;
    return strcmp(*(const char *const *)((const char *)o + r->offset), text) != 0;
}

static int read_words(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_help(command, o->model);
            return -1;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (o->n_operands == (command & (BENCH | ARC | VOTE) ? MAX_OPERANDS : 3))
                return misuse("'%s': found one word too many", argv[i]);
            o->operands[o->n_operands++] = argv[i];
            continue;
        }
        const struct option_row *r = find_row(command, argv[i]);
        if (!r) return misuse("%s: no such option here; 'vdm help' lists them", argv[i]);
        if (r->kind != FLAG && i + 1 == argc) return misuse("%s: expected %s after it", r->name, r->value);
        if (is_contradiction(r, o, i + 1 < argc ? argv[i + 1] : ""))
            return misuse("%s: found '%s' and another before it, expected one", r->name, argv[i + 1]);
        if (read_option(r, o, r->kind == FLAG ? "" : argv[++i], &err))
            return misuse("%s: %s", r->name, err.text);
        o->given[r - option_rows] = true;
    }
    return DONE;
}

static void warn_of_threads(int threads)
{
    const char *wish = getenv("OMP_NUM_THREADS");
    if (wish && *wish && atoi(wish) < 1)
        fprintf(stderr, "OMP_NUM_THREADS: expected a number of threads, found '%s', which is ignored\n",
                clean(wish));
#ifdef _SC_NPROCESSORS_ONLN
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 0 && threads > cores)
        fprintf(stderr, "--threads %d: more than the %ld cores of this machine, which is slower\n", threads,
                cores);
#else
    (void)threads;
#endif
}

/* Reads the words twice: the first pass finds the model, whose defaults the second one overrides. */
int options_read(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    options first = {0};
    int status = read_words(&first, command, argc, argv);
    if (status) return status;
    if (command == GOLDEN && first.n_operands) first.model = first.operands[0];
    /* commands that only read results need no model */
    if (options_defaults(o, first.arc.report ? TASKS : command, first.model, &err)) return fail(&err);
    o->learn.asked_rank = first.learn.rank;
    o->learn.asked_alpha = first.learn.alpha;
    o->eval.asked_views = first.eval.views;
    status = read_words(o, command, argc, argv);
    if (status == DONE) status = options_refuse_unused(o, command);
    if (status == DONE) warn_of_threads(o->threads);
    if (status == DONE && o->model) ignored_keys_print(o->model);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The key of a run */

/* " --name value" of an option; choices and texts that are not set are left out. */
static int write_setting(char *text, size_t size, const struct option_row *r, const options *o)
{
    const void *field = (const char *)o + r->offset;
    const char *words = r->kind == TEXT ? *(const char *const *)field : field;
    switch (r->kind) {
    case FLAG:
        return *(const bool *)field ? snprintf(text, size, " %s", r->name) : 0;
    case COUNT:
        return snprintf(text, size, " %s %d", r->name, *(const int *)field);
    case REAL:
        return snprintf(text, size, " %s %.15g", r->name, *(const double *)field);
    case SEED:
        return snprintf(text, size, " %s %llu", r->name, (unsigned long long)*(const uint64_t *)field);
    case SIZE:
        return snprintf(text, size, " %s %dx%d", r->name, o->height, o->width);
    case TEXT:
    case CHOICE:
        return words && *words ? snprintf(text, size, " %s %s", r->name, words) : 0;
    case WORDS:
    case LORA:
        break; /* vdm arc has none */
    }
    return 0;
}

char *options_key(const options *o, vdm_error *err)
{
    enum { SIZE_OF_KEY = 8192 };
    size_t n = 0;
    char *text = vdm_alloc(SIZE_OF_KEY, 1, "the settings", err);
    if (!text) return NULL;
    for (int i = 0; i < n_option_rows && n < SIZE_OF_KEY; i++)
        if ((option_rows[i].commands & ARC) && (option_rows[i].flags & KEY))
            n += (size_t)write_setting(text + n, SIZE_OF_KEY - n, &option_rows[i], o);
    if (n < SIZE_OF_KEY) {
        memmove(text, text + 1, n); /* without the first space */
        return text;
    }
    vdm_free(text);
    vdm_fail(err, "paths in the options: expected less than %d bytes in all", SIZE_OF_KEY);
    return NULL;
}
