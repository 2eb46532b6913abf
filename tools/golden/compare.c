/* vdm compare: a port's tensors against the reference's, in the order in which those were computed.
 *
 *   for each: shape; NaN and Inf; largest absolute and relative difference; relative L2 distance, which is compared
 *             with the tolerance; cosine; the first element that differs (compare_tensors.c)
 *
 * A file without results, or without a tensor that --only names, does not agree. The first tensor outside its tolerance
 * is the one to look at: the later ones differ because of it. mistakes.c looks for the mistake that explains it. */
#include "tools/golden/compare.h"
#include "tools/golden/golden.h"
#include "tools/messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SLACK = 4; /* the tolerance is this multiple of the expected error */

/* ------------------------------------------------------------------------------------------------
 * Tolerances */

/* The expected error of each tensor, from the reference's metadata. */
struct tolerances {
    double fixed; /* --tol NUMBER; negative: the expected ones */
    char precision[16];
    vdm_json expected; /* {"name": error, ...} */
    bool has_expected;
    const vdm_json_node **members; /* [count]: of expected, sorted by name */
    int64_t count;
    double timestep; /* distance of the last time_proj that PyTorch's exp explains; 0: none */
};

static int compare_key(const void *a, const void *b)
{
    return strcmp((*(const vdm_json_node *const *)a)->key, (*(const vdm_json_node *const *)b)->key);
}

static int read_expected(struct tolerances *t, const both *b, const char *key, vdm_error *err)
{
    const char *text = vdm_safetensors_metadata(&b->ref, key);
    if (!text) return 0;
    if (vdm_json_parse(&t->expected, text, strlen(text), b->ref.path, err)) return -1;
    t->has_expected = true;
    const vdm_json_node *root = t->expected.nodes;
    if (root->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "%s: metadata '%s': expected an object of numbers", b->ref.path, key);
    t->members = vdm_alloc((size_t)root->children, sizeof *t->members, "expected errors", err);
    if (!t->members) return -1;
    for (const vdm_json_node *n = root->children ? root + 1 : NULL; n; n = vdm_json_next(&t->expected, n)) {
        if (n->kind != VDM_JSON_NUMBER || !(n->number >= 0 && isfinite(n->number)))
            return vdm_fail(err, "%s: metadata '%s': '%s': expected a number from 0 on", b->ref.path, key,
                            n->key);
        t->members[t->count++] = n;
    }
    qsort(t->members, (size_t)t->count, sizeof *t->members, compare_key);
    return 0;
}

static int read_tolerances(struct tolerances *t, const options *o, const both *b, vdm_error *err)
{
    char key[32];
    const char *given = precision_in(&b->got);
    *t = (struct tolerances){.fixed = -1};
    snprintf(t->precision, sizeof t->precision, "%s",
             *o->compare.computed_in ? o->compare.computed_in
             : given                 ? given
                                     : "f32");
    if (o->compare.tol && strcmp(o->compare.tol, "expected") != 0) {
        if (!options_number(o->compare.tol, &t->fixed) || t->fixed < 0)
            return vdm_fail(err, "--tol: expected 'expected' or a number from 0 on, found '%s'",
                            o->compare.tol);
    }
    if (t->fixed < 0 && strcmp(t->precision, "f32") != 0 && strcmp(t->precision, "bf16") != 0)
        return vdm_fail(
            err,
            "%s: metadata 'precision': expected f32, float32, bf16, bfloat16 or amx, found '%.40s'; --as replaces it",
            b->got.path, given);
    snprintf(key, sizeof key, "expected_%s", t->precision);
    return read_expected(t, b, key, err);
}

static void free_tolerances(struct tolerances *t)
{
    vdm_free(t->members);
    if (t->has_expected) vdm_json_free(&t->expected);
}

/* Functions of the timestep's sinusoid only: its embedding, and the modulation computed from it. */
static bool follows_timestep(const char *name)
{
    static const char *const endings[] = {".linear",    ".shift",     ".scale",   ".gate",
                                          ".enc_shift", ".enc_scale", ".enc_gate"};
    name = name_without_prefix(name);
    if (strncmp(name, "time_embedding", 14) == 0 || strncmp(name, "ofs_embedding", 13) == 0 ||
        strcmp(name, "emb") == 0 || strcmp(name, "emb.silu") == 0)
        return true;
    const char *norm = strstr(name, ".norm1."), *last = strrchr(name, '.');
    if (!norm) norm = strstr(name, ".norm2.");
    if (!norm && strncmp(name, "norm_out.", 9) != 0) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcmp(last, endings[i]) == 0) return true;
    return false;
}

/* The tolerance of a tensor whose error was not measured. In bf16 the gradients of learning are less exact than
 * activations (vdm's own on models/tiny differ by up to 0.05), and AdamW's second moments, their squares, have twice
 * their relative error. */
static double unmeasured_tolerance(const char *name, const char *precision)
{
    name = name_without_prefix(name);
    if (strcmp(precision, "bf16") != 0) return 1e-5;
    if (strncmp(name, "adamw.v.", 8) == 0) return 2e-1;
    return strncmp(name, "grad.", 5) == 0 || strncmp(name, "adamw.m.", 8) == 0 ? 1e-1 : 5e-2;
}

static double tolerance_of(const struct tolerances *t, const both *b, const char *name)
{
    if (t->fixed >= 0) return t->fixed;
    vdm_json_node wanted = {.key = name};
    const vdm_json_node *key = &wanted, *const *found = t->count ? bsearch(&key, t->members, (size_t)t->count,
                                                                           sizeof *t->members, compare_key)
                                                                 : NULL;
    double known = found ? (*found)->number
                         : expected_error(vdm_safetensors_metadata(&b->ref, "what"), name, t->precision);
    double tolerance = known >= 0 ? SLACK * known : unmeasured_tolerance(name, t->precision);
    return follows_timestep(name) ? fmax(tolerance, SLACK * t->timestep) : tolerance;
}

/* ------------------------------------------------------------------------------------------------
 * Printing */

static void print_head(void)
{
    printf("%-6s %-46s %-20s %9s %9s %9s %9s %10s\n", "", "tensor", "shape", "max abs", "max rel", "rel L2",
           "may be", "1 - cosine");
}

static void print_finding(const finding *f)
{
    static const char *const words[] = {"ok", "WRONG", "NaN", "SHAPE", "TYPE", "none"};
    char shape[96];
    bool measured = (f->verdict == AGREES || f->verdict == DIFFERS) && !f->gap.exact;
    shape_text(shape, sizeof shape, f->ref->rank, f->ref->shape);
    printf("%-6s %-46s %-20s", words[f->verdict], clean(f->ref->name), shape);
    if (measured)
        printf(" %9.2e %9.2e %9.2e %9.2e %10.2e", f->gap.max_abs, f->gap.max_rel, f->gap.l2, f->tolerance,
               fabs(1 - f->gap.cosine));
    else if (f->verdict == AGREES || f->verdict == DIFFERS)
        printf(" %lld of %lld elements differ; %s are compared exactly", (long long)f->gap.different,
               (long long)f->gap.n, vdm_dtype_name(f->ref->dtype));
    printf("\n");
}

static void print_first(const comparison *c)
{
    const finding *f = &c->all[c->first];
    const char *types[2] = {vdm_dtype_name(f->ref->dtype), vdm_dtype_name(f->got->dtype)};
    char place[96], shape[96];
    printf("\nThe first to differ: %s\n", clean(f->ref->name));
    if (f->verdict == OTHER_SHAPE) {
        shape_text(shape, sizeof shape, f->ref->rank, f->ref->shape);
        shape_text(place, sizeof place, f->got->rank, f->got->shape);
        printf("  expected %s (%s), found %s (%s)\n", shape, types[0], place, types[1]);
    } else if (f->verdict == OTHER_TYPE) {
        printf("  expected %s, found %s: %s\n", types[0], types[1],
               strcmp(types[0], types[1]) == 0 ? "other bytes, of a type whose values can't be compared"
                                               : "values of these types can't be compared");
    } else {
        index_text(place, sizeof place, f->ref, f->gap.first);
        printf("  the first element that differs: %s: expected %s, found %s\n", place, f->gap.expected,
               f->gap.found);
    }
    printf("  cause: %s\n", *c->cause ? clean(c->cause) : "not one of the mistakes that were tried");
}

static void print_note(void *user, const char *text)
{
    (void)user;
    printf("note: %s\n", text);
}

static void print_all(const comparison *c, bool list)
{
    int64_t lines = 0;
    print_head();
    for (int64_t i = 0; i < c->count; i++) {
        const finding *f = &c->all[i];
        if (list || (is_wrong(f) && lines++ < 10)) print_finding(f);
    }
    if (!list && lines > 10) printf("       and %lld more (--list)\n", (long long)(lines - 10));
    if (c->first >= 0) print_first(c);
    comparison_notes(c, print_note, NULL);
    if (*c->lacks) printf("\n%s\n", clean(c->lacks));
    printf("\n%lld of %lld tensors compared: %lld agree, %lld don't; %lld are missing in the other file\n",
           (long long)(c->agree + c->differ), (long long)c->count, (long long)c->agree, (long long)c->differ,
           (long long)c->missing);
}

/* ------------------------------------------------------------------------------------------------
 * The command */

static void compare_tensor(finding *f, const both *b, struct tolerances *t)
{
    f->got = both_other(b, f->ref->name);
    f->tolerance = tolerance_of(t, b, f->ref->name);
    judge(f);
    const char *name = name_without_prefix(f->ref->name);
    bool timestep = strcmp(name, "time_proj") == 0;
    if (timestep) t->timestep = 0;
    if (t->fixed >= 0 || !explained_by_frequencies(b, f)) return;
    if (timestep || f->gap.l2 > t->timestep) t->timestep = f->gap.l2;
    f->verdict = AGREES;
    f->note =
        "explained by the rounding of the timestep's frequencies and angles to float32, which PyTorch's exp changes by a "
        "unit in the last place and a port in double precision does not have: harmless; the timestep's embedding may "
        "differ accordingly";
}

/* A port may be a part: outputs may be missing, but not all of a name or pattern of --only, nor all of them. */
static void judge_missing(comparison *c, const char *only)
{
    const char *what = vdm_safetensors_metadata(&c->b->ref, "what"), *output = NULL;
    bool outputs = false;
    uint64_t found = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const char *name = c->all[i].ref->name;
        bool input = golden_is_input(what, name), missing = c->all[i].verdict == MISSING;
        if (!missing) found |= patterns_matching(only, name);
        outputs |= !input && !missing;
        if (!input && missing && !output) output = name;
    }
    const char *lacking = pattern_unused(only, found);
    if (lacking)
        snprintf(c->lacks, sizeof c->lacks, "%.200s: expected '%.*s' of --only, found no such tensor",
                 c->b->got.path, (int)strcspn(lacking, ","), lacking);
    else if (output && !outputs)
        snprintf(c->lacks, sizeof c->lacks,
                 "%.200s: expected results, such as '%.200s', found only inputs of the computation",
                 c->b->got.path, output);
}

static int compare_all(comparison *c, both *b, const options *o, vdm_error *err)
{
    struct tolerances t = {0};
    int status = patterns_check(o->only, err);
    if (!status) status = read_tolerances(&t, o, b, err);
    uint64_t used = 0;
    if (t.fixed < 0) snprintf(c->precision, sizeof c->precision, "%s", t.precision);
    b->bf16 = strcmp(c->precision, "bf16") == 0;
    c->all = status ? NULL : vdm_alloc((size_t)b->ref.count, sizeof *c->all, "findings", err);
    for (int64_t i = 0; c->all && i < b->ref.count; i++) {
        finding *f = &c->all[c->count];
        uint64_t chosen = patterns_matching(o->only, b->order[i]->name);
        used |= chosen;
        if (o->only && !chosen) continue;
        f->ref = b->order[i];
        compare_tensor(f, b, &t);
        c->agree += f->verdict == AGREES;
        c->missing += f->verdict == MISSING;
        c->differ += is_wrong(f);
        if (c->first < 0 && is_wrong(f)) c->first = c->count;
        c->count++;
    }
    free_tolerances(&t);
    if (!c->all) return -1;
    const char *unused = pattern_unused(o->only, used);
    if (unused)
        return vdm_fail(err, "--only %.*s: no tensor of %s has such a name", (int)strcspn(unused, ","),
                        unused, b->ref.path);
    if (c->agree + c->differ == 0)
        return vdm_fail(err, "%s: no tensor has a name that is in %s%s%s", b->got.path, b->ref.path,
                        o->only ? " and matches --only " : "", o->only ? o->only : "");
    judge_missing(c, o->only);
    if (both_extra(b, &c->extra, &c->first_extra, err)) return -1;
    return c->first >= 0 ? mistake_of(b, &c->all[c->first], c->cause, sizeof c->cause, err) : 0;
}

int compare_run(const options *o, const char *command, bool *differs, vdm_error *err)
{
    both b = {0};
    comparison c = {.b = &b, .command = command, .first = -1};
    bool ok = !both_open(&b, o, err) && !compare_all(&c, &b, o, err);
    if (ok) print_all(&c, o->list);
    if (ok && o->compare.html) ok = !comparison_page(&c, o->compare.html, err);
    *differs = c.first >= 0 || *c.lacks;
    vdm_free(c.all);
    both_close(&b);
    return ok ? 0 : -1;
}
