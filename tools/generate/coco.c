/* vdm tasks coco: a task folder from COCO's annotations and pictures that were converted to PPM.
 *
 *   F, DIR/NAME.ppm  ->  OUT/train/NAME.in.ppm, NAME.out.ppm, OUT/test/..., OUT/task.json
 *
 * Many programs write such files, and some entries can't be used: an annotation of an image that is not in the file, a
 * box without a mask. Such an entry is left out, and a line reports how many there are, and the first. If an annotation
 * can't be drawn, its picture is left out, since its mask would lack an object.
 *
 *   --as mask  white where an object of the category is (metric iou); several categories each in a colour of ARC's
 *              palette, the first in colour 1 (metric miou). Pictures of which the category covers a hundredth: the
 *              drawn pixels count, of overlapping objects once. A crowd (iscrowd 1) is an object; the number of those in
 *              the task is printed.
 *   --as pose  the labelled keypoints of every person, as vdm_pose_draw paints them (metric pose). Pictures with a
 *              person that has ten of them.
 *
 * The paper does not publish its choice of pictures. Here every picture has a number, a function of its id and the
 * seed; of the pictures in DIR those with the lowest numbers are the pairs, those with the highest the tests. So a
 * larger n keeps the pairs of a smaller one, the tests are the same for any n, and if only the pictures that --list
 * prints are converted, the task is the same.
 *
 * The file is read three times (json_stream.c): pictures and categories; which pictures may be suitable, by the sum of
 * the areas; the annotations of those that were chosen, whose masks are drawn and counted. If one of these covers too
 * little, others are chosen, and the file is read again; pictures that were not measured count by the sum, so that the
 * printed number of those that suit is a maximum. In memory are some 100 bytes for every picture of the file, and the
 * annotations of the chosen ones. */
#include "tools/generate/coco.h"
#include "files/fields.h"
#include "files/hash.h"
#include "tools/generate/coco_masks.h"
#include "tools/generate/generators.h"
#include "tools/generate/json_stream.h"
#include "tools/generate/task_folder.h"
#include "tools/messages.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PICTURES = 20000000, MAX_CATEGORIES = 9, MAX_IDS = 256, KEYPOINTS = 17, MIN_KEYPOINTS = 10 };
static const double MIN_SHARE = 0.01;

struct shot { /* a picture of the file */
    int64_t id;
    int height, width;
    char *name;      /* file_name without its ending, with the folders in it */
    bool plain_name; /* the last part of its name is unique: it may be in DIR itself */
    uint64_t number;
    double area;           /* of the category, pixels: the sum over its annotations */
    int keypoints;         /* of the person with the most */
    bool incomplete;       /* an annotation of it cannot be drawn */
    bool wanted, measured; /* its annotations are to be stored by the next walk; are stored, and it suits */
    int crowds;            /* annotations with iscrowd */
    char **notes;          /* [n_notes]: annotations of the category, as in the file */
    int n_notes, capacity;
};

/* Entries of the file that are left out */
enum leftover { LEFT_CATEGORIES, LEFT_IMAGES, LEFT_ANNOTATIONS, LEFT_PICTURES, LEFTOVERS };

struct coco {
    const options *o;
    bool pose;
    char names[MAX_CATEGORIES][64];
    int n_categories;
    struct category_id {
        int64_t id;
        int name;   /* of names */
    } ids[MAX_IDS]; /* in merged files several have the same name */
    int n_ids;
    struct seen_category {
        int64_t id;
        uint64_t name; /* its hash */
    } * seen;          /* [n_seen]: all of the file */
    int64_t n_seen, seen_capacity;
    int64_t left_out[LEFTOVERS];
    vdm_error first_left_out[LEFTOVERS]; /* why */
    struct shot *shots;                  /* [n], sorted by id after the first walk */
    int64_t n, capacity;
    struct shot **train, **test;   /* [n_train], [n_test] */
    int64_t n_train, n_test, suit; /* suit: suitable pictures, in DIR or not */
    bool stores;                   /* the third walk */
};

/* ------------------------------------------------------------------------------------------------
 * Members of an item */

static void leave_out(struct coco *c, enum leftover what, const vdm_error *why)
{
    if (c->left_out[what]++ == 0) c->first_left_out[what] = *why;
}

static void report_left_out(const struct coco *c)
{
    static const char *const names[] = {"categories", "images", "annotations",
                                        "annotations that cannot be drawn, with their pictures"};
    for (int i = 0; i < LEFTOVERS; i++)
        if (c->left_out[i])
            fprintf(stderr, "left out: %lld %s; the first: %s\n", (long long)c->left_out[i], names[i],
                    clean(c->first_left_out[i].text));
}

static const int64_t MAX_ID = (int64_t)1 << 53;

/* An id as a number; a text that is not a number becomes a negative one, its hash. */
static int64_t read_id(vdm_fields *f, const char *key)
{
    const vdm_json_node *v = vdm_field(f, key);
    if (!v || v->kind != VDM_JSON_STRING) return vdm_field_int64(f, key, -1, 0, MAX_ID);
    size_t n = strlen(v->text);
    if (n && n <= 15 && strspn(v->text, "0123456789") == n) return strtoll(v->text, NULL, 10);
    return -1 - (int64_t)(vdm_hash_mix(vdm_hash_text(VDM_HASH_START, v->text)) >> 1);
}

/* ------------------------------------------------------------------------------------------------
 * First walk: categories and pictures */

static int read_names(struct coco *c, vdm_error *err)
{
    const char *at = c->o->tasks.category;
    for (; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t n = strcspn(at, ",");
        if (c->n_categories == MAX_CATEGORIES)
            return vdm_fail(err, "--category: expected at most %d, found more", MAX_CATEGORIES);
        if (n == 0 || n >= sizeof c->names[0])
            return vdm_fail(err, "--category: expected NAME or NAME,NAME,..., found '%.100s'",
                            c->o->tasks.category);
        for (int i = 0; i < c->n_categories; i++)
            if (strlen(c->names[i]) == n && memcmp(c->names[i], at, n) == 0)
                return vdm_fail(err, "--category: found '%s' twice, expected every name once", c->names[i]);
        memcpy(c->names[c->n_categories++], at, n);
    }
    if (!c->n_categories) return vdm_fail(err, "--category: expected a name, found none");
    if (c->pose && c->n_categories > 1)
        return vdm_fail(err, "--category: expected one category for poses, found %d", c->n_categories);
    return 0;
}

static int note_category(struct coco *c, int64_t id, const char *name, vdm_error *err)
{
    if (c->n_seen == c->seen_capacity) {
        int64_t capacity = c->seen_capacity ? 2 * c->seen_capacity : 256;
        struct seen_category *seen = vdm_alloc((size_t)capacity, sizeof *seen, "the categories", err);
        if (!seen) return -1;
        if (c->n_seen) memcpy(seen, c->seen, (size_t)c->n_seen * sizeof *seen);
        vdm_free(c->seen);
        c->seen = seen;
        c->seen_capacity = capacity;
    }
    c->seen[c->n_seen++] = (struct seen_category){id, vdm_hash_text(VDM_HASH_START, name)};
    return 0;
}

static int take_category(struct coco *c, vdm_fields *f, vdm_error *err)
{
    const char *name = vdm_field_text(f, "name", NULL);
    int64_t id = read_id(f, "id");
    if (f->failed) leave_out(c, LEFT_CATEGORIES, f->err);
    if (!f->failed && note_category(c, id, name, err)) return -1;
    for (int k = 0; k < c->n_categories && !f->failed; k++) {
        if (strcmp(c->names[k], name) != 0) continue;
        if (c->n_ids == MAX_IDS)
            return vdm_fail(err, "%s: found more than %d categories of the names asked for", f->path,
                            MAX_IDS);
        c->ids[c->n_ids++] = (struct category_id){id, k};
    }
    return 0;
}

/* The path of the image below the folder of pictures: its file_name, or the last part of its address. */
static const char *image_name(vdm_fields *f)
{
    const char *url = vdm_field(f, "file_name") ? NULL : vdm_field_text(f, "coco_url", "");
    const char *slash = url ? strrchr(url, '/') : NULL;
    return slash ? slash + 1 : vdm_field_text(f, "file_name", NULL);
}

/* "000000000139.jpg" -> "000000000139", "train\\7.jpg" -> "train/7". NULL: it may lead out of the folder. */
static const char *stem_of(const char *file, char stem[static 256])
{
    snprintf(stem, 256, "%s", file);
    for (char *c = stem; *c; c++)
        if (*c == '\\') *c = '/';
    char *last = strrchr(stem, '/'), *dot = strrchr(last ? last : stem, '.');
    if (dot) *dot = '\0';
    bool whole = strlen(file) <= 200 && *stem && *stem != '/' && stem[strlen(stem) - 1] != '/';
    return whole && *stem != '.' && !strstr(stem, "/.") ? stem : NULL;
}

/* The number that pictures are chosen by, a function of id and seed. */
static uint64_t number_of(int64_t id, uint64_t seed)
{
    return vdm_hash_mix(seed * 0x9E3779B97F4A7C15u + (uint64_t)id);
}

static int new_shot(struct coco *c, const struct shot *s, const char *name, vdm_error *err)
{
    if (c->n == c->capacity) {
        int64_t capacity = c->capacity ? 2 * c->capacity : 1024;
        if (capacity > MAX_PICTURES)
            return vdm_fail(err, "%s: more than %d pictures", c->o->tasks.annotations, MAX_PICTURES);
        struct shot *shots = vdm_alloc((size_t)capacity, sizeof *shots, "the pictures' names", err);
        if (!shots) return -1;
        if (c->n) memcpy(shots, c->shots, (size_t)c->n * sizeof *shots);
        vdm_free(c->shots);
        c->shots = shots;
        c->capacity = capacity;
    }
    c->shots[c->n] = *s;
    c->shots[c->n].name = vdm_copy_text(name, err);
    if (!c->shots[c->n].name) return -1;
    c->n++;
    return 0;
}

static int take_picture(struct coco *c, vdm_fields *f, vdm_error *err)
{
    char stem[256];
    const char *file = image_name(f), *name = file ? stem_of(file, stem) : NULL;
    if (file && !name) vdm_field_reject(f, "file_name", "a name inside the folder of pictures");
    struct shot s = {.id = read_id(f, "id"),
                     .height = vdm_field_int(f, "height", 0, 1, VDM_MAX_SIDE),
                     .width = vdm_field_int(f, "width", 0, 1, VDM_MAX_SIDE)};
    s.number = number_of(s.id, c->o->seed);
    if (!f->failed) return new_shot(c, &s, name, err);
    leave_out(c, LEFT_IMAGES, f->err);
    return 0;
}

static int first_item(void *user, int name, const vdm_json *j, const char *text, const char *where,
                      vdm_error *err)
{
    vdm_error why = {""};
    vdm_fields f;
    (void)text;
    vdm_fields_open(&f, j, j->nodes, where, &why);
    return name ? take_picture(user, &f, err) : take_category(user, &f, err);
}

static int by_id(const void *a, const void *b)
{
    const struct shot *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_number(const void *a, const void *b)
{
    const struct shot *x = *(struct shot *const *)a, *y = *(struct shot *const *)b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : by_id(x, y);
}

static const char *last_part(const struct shot *s)
{
    const char *slash = strrchr(s->name, '/');
    return slash ? slash + 1 : s->name;
}

static int by_last_part(const void *a, const void *b)
{
    return strcmp(last_part(*(struct shot *const *)a), last_part(*(struct shot *const *)b));
}

/* "a/7" may be in DIR as "7" unless there is a "b/7". */
static int find_plain_names(struct coco *c, vdm_error *err)
{
    struct shot **sorted = vdm_alloc((size_t)c->n, sizeof *sorted, "the pictures", err);
    if (!sorted) return -1;
    for (int64_t i = 0; i < c->n; i++) sorted[i] = &c->shots[i];
    if (c->n) qsort(sorted, (size_t)c->n, sizeof *sorted, by_last_part);
    for (int64_t i = 0; i < c->n; i++)
        sorted[i]->plain_name = (i == 0 || by_last_part(&sorted[i - 1], &sorted[i]) != 0) &&
                                (i + 1 == c->n || by_last_part(&sorted[i], &sorted[i + 1]) != 0);
    vdm_free(sorted);
    return 0;
}

/* In files that were merged without new ids another category may have the id of one that is asked for: its objects would
 * be marked, too. */
static int check_categories(const struct coco *c, vdm_error *err)
{
    for (int i = 0; i < c->n_ids; i++) {
        const uint64_t name = vdm_hash_text(VDM_HASH_START, c->names[c->ids[i].name]);
        for (int64_t k = 0; k < c->n_seen; k++)
            if (c->seen[k].id == c->ids[i].id && c->seen[k].name != name)
                return vdm_fail(err,
                                "%s: categories: the id %lld: expected '%s' only, found another name with it",
                                c->o->tasks.annotations, (long long)c->ids[i].id, c->names[c->ids[i].name]);
    }
    return 0;
}

static int find_pictures(struct coco *c, vdm_error *err)
{
    struct json_stream k = {.names = {"categories", "images"}, .n = 2, .item = first_item, .user = c};
    if (json_stream_read(c->o->tasks.annotations, &k, err)) return -1;
    for (int i = 0; i < c->n_categories; i++) {
        int id = 0;
        while (id < c->n_ids && c->ids[id].name != i) id++;
        if (id == c->n_ids)
            return vdm_fail(err, "%s: categories: expected one named '%s', found none",
                            c->o->tasks.annotations, c->names[i]);
    }
    if (check_categories(c, err) || find_plain_names(c, err)) return -1;
    if (c->n) qsort(c->shots, (size_t)c->n, sizeof *c->shots, by_id);
    for (int64_t i = 1; i < c->n; i++)
        if (c->shots[i].id == c->shots[i - 1].id)
            return vdm_fail(err, "%s: images: found the id %lld twice", c->o->tasks.annotations,
                            (long long)c->shots[i].id);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Second walk: which pictures are suitable. Third: the annotations of those that were chosen */

/* Which of the categories; -1: none. */
static int category_of(const struct coco *c, int64_t id)
{
    for (int k = 0; k < c->n_ids; k++)
        if (c->ids[k].id == id) return c->ids[k].name;
    return -1;
}

/* The labelled ones among an annotation's keypoints [17] of x, y, v; -1: malformed. */
static int read_keypoints(vdm_joint joints[KEYPOINTS], bool labelled[KEYPOINTS], const vdm_json *j,
                          const char *where, vdm_error *err)
{
    static const vdm_part parts[KEYPOINTS] = {VDM_FACE,  VDM_FACE, VDM_FACE, VDM_FACE, VDM_FACE, VDM_TORSO,
                                              VDM_TORSO, VDM_ARM,  VDM_ARM,  VDM_ARM,  VDM_ARM,  VDM_TORSO,
                                              VDM_TORSO, VDM_LEG,  VDM_LEG,  VDM_LEG,  VDM_LEG};
    const vdm_json_node *all = vdm_json_get(j, j->nodes, "keypoints");
    int n = 0;
    if (!all || all->kind != VDM_JSON_ARRAY || all->children != 3 * KEYPOINTS)
        return vdm_fail(err, "%s: keypoints: expected %d numbers, found %s", where, 3 * KEYPOINTS,
                        all ? "others" : "none (is this a file of people's keypoints?)");
    const vdm_json_node *v = all + 1;
    for (int i = 0; i < KEYPOINTS; i++) {
        double xyv[3];
        for (int k = 0; k < 3; k++, v = vdm_json_next(j, v)) {
            if (v->kind != VDM_JSON_NUMBER || fabs(v->number) > 4.0 * VDM_MAX_SIDE)
                return vdm_fail(err, "%s: keypoints: expected numbers within %d, found another", where,
                                4 * VDM_MAX_SIDE);
            xyv[k] = v->number;
        }
        labelled[i] = xyv[2] > 0;
        joints[i] = (vdm_joint){xyv[1] + 0.5, xyv[0] + 0.5, parts[i]}; /* the centres of those pixels */
        n += labelled[i];
    }
    return n;
}

static int store_note(struct shot *s, const char *text, vdm_error *err)
{
    if (s->n_notes == s->capacity) {
        int capacity = s->capacity ? 2 * s->capacity : 8;
        char **notes = vdm_alloc((size_t)capacity, sizeof *notes, "annotations", err);
        if (!notes) return -1;
        if (s->n_notes) memcpy(notes, s->notes, (size_t)s->n_notes * sizeof *notes);
        vdm_free(s->notes);
        s->notes = notes;
        s->capacity = capacity;
    }
    size_t size = strlen(text) + 1;
    char *copy = vdm_alloc(size, 1, "an annotation", err);
    if (!copy) return -1;
    memcpy(copy, text, size);
    s->notes[s->n_notes++] = copy;
    return 0;
}

/* What the annotation adds to its picture; -1: it cannot be drawn. Its area is the larger one of the given and the
 * measured one: this decides which masks are drawn and counted, so that neither is believed. */
static int measure_note(struct coco *c, struct shot *s, vdm_fields *f)
{
    vdm_joint joints[KEYPOINTS];
    bool labelled[KEYPOINTS];
    if (c->pose) {
        int n = read_keypoints(joints, labelled, f->json, f->path, f->err);
        if (n > s->keypoints) s->keypoints = n;
        return n < 0 ? -1 : 0;
    }
    double area = 0;
    const vdm_json_node *segmentation = vdm_field(f, "segmentation"), *given = vdm_field(f, "area");
    if (mask_measure(&area, s->height, s->width, f->json, segmentation, f->path, f->err)) return -1;
    s->area += given && given->kind == VDM_JSON_NUMBER && given->number > area ? given->number : area;
    return 0;
}

static int take_note(void *user, int name, const vdm_json *j, const char *text, const char *where,
                     vdm_error *err)
{
    struct coco *c = user;
    vdm_error why = {""};
    vdm_fields f;
    (void)name;
    vdm_fields_open(&f, j, j->nodes, where, &why);
    int64_t category = read_id(&f, "category_id");
    const struct shot key = {.id = read_id(&f, "image_id")};
    if (!f.failed && category_of(c, category) < 0) return 0;
    struct shot *s = c->n && !f.failed ? bsearch(&key, c->shots, (size_t)c->n, sizeof *s, by_id) : NULL;
    if (!s) vdm_field_reject(&f, "image_id", "the id of an image in the file");
    if (c->stores) return s && s->wanted ? store_note(s, text, err) : 0;
    if (!s) {
        leave_out(c, LEFT_ANNOTATIONS, &why);
    } else if (measure_note(c, s, &f)) {
        s->incomplete = true;
        leave_out(c, LEFT_PICTURES, &why);
    }
    return 0;
}

static int walk_notes(struct coco *c, bool stores, vdm_error *err)
{
    struct json_stream k = {.names = {"annotations"}, .n = 1, .item = take_note, .user = c};
    c->stores = stores;
    return json_stream_read(c->o->tasks.annotations, &k, err);
}

static bool suits(const struct coco *c, const struct shot *s)
{
    if (s->incomplete) return false;
    if (c->pose) return s->keypoints >= MIN_KEYPOINTS;
    return s->area >= MIN_SHARE * s->height * s->width; /* at most; is_covered counts the drawn pixels */
}

/* DIR/NAME.png, .ppm, .pgm or .pbm, or the same directly in DIR, without the folders of the name; *path NULL: none. */
static int find_picture(char **path, const struct coco *c, const struct shot *s, vdm_error *err)
{
    static const char *const endings[] = {"png", "ppm", "pgm", "pbm"};
    const char *names[] = {s->name, last_part(s)};
    for (int i = 0; i < (s->plain_name ? 8 : 4); i++) {
        char file[256];
        snprintf(file, sizeof file, "%s.%s", names[i / 4], endings[i % 4]);
        *path = vdm_path(c->o->tasks.images, file, err);
        if (!*path) return -1;
        if (access(*path, R_OK) == 0) return 0;
        vdm_free(*path);
    }
    *path = NULL;
    return 0;
}

static int too_few(const struct coco *c, int64_t there, int needed, vdm_error *err)
{
    if (c->o->list || c->suit < needed)
        return vdm_fail(err, "%s: expected %d pictures that suit '%s', found %lld", c->o->tasks.annotations,
                        needed, c->o->tasks.category, (long long)c->suit);
    return vdm_fail(
        err,
        "%s: expected %d of the %lld pictures that suit '%s' as NAME.ppm, found %lld; --list names those to "
        "convert, 'vdm tasks --help' shows how",
        c->o->tasks.images, needed, (long long)c->suit, c->o->tasks.category, (long long)there);
}

/* "train/7" is train_7 in the task's folder. */
static void written_name(char to[static 256], const struct shot *s)
{
    snprintf(to, 256, "%s", s->name);
    for (char *at = to; *at; at++)
        if (*at == '/') *at = '_';
}

static int by_name(const void *a, const void *b)
{
    char x[256], y[256];
    written_name(x, *(struct shot *const *)a);
    written_name(y, *(struct shot *const *)b);
    return strcmp(x, y);
}

/* A picture's files have its name without the ending: "a.jpg" and "a.png" would replace each other. */
static int reject_twins(const struct coco *c, struct shot *const *list, int64_t n, vdm_error *err)
{
    struct shot **sorted = vdm_alloc((size_t)n, sizeof *sorted, "the pictures", err);
    if (!sorted) return -1;
    int status = 0;
    if (n) memcpy(sorted, list, (size_t)n * sizeof *sorted);
    if (n) qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t i = 1; i < n && !status; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            status = vdm_fail(err, "%s: file_name: found two pictures '%s', expected one",
                              c->o->tasks.annotations, sorted[i]->name);
    vdm_free(sorted);
    return status;
}

/* c->train: all suitable pictures in DIR, by number. */
static int find_candidates(struct coco *c, int64_t *found, vdm_error *err)
{
    int64_t n = 0;
    c->train = vdm_alloc((size_t)c->n, sizeof *c->train, "the pictures", err);
    if (!c->train) return -1;
    for (int64_t i = 0; i < c->n; i++) {
        if (!suits(c, &c->shots[i])) continue;
        c->suit++;
        char *path = NULL;
        if (!c->o->list && find_picture(&path, c, &c->shots[i], err)) return -1;
        if (path || c->o->list) c->train[n++] = &c->shots[i];
        vdm_free(path);
    }
    *found = n;
    if (reject_twins(c, c->train, n, err)) return -1;
    if (n) qsort(c->train, (size_t)n, sizeof *c->train, by_number);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Pictures */

/* The joints of all people, in a picture that is sy, sx times the size of the annotated one. */
static int draw_pose(vdm_picture *p, const vdm_json *j, double sy, double sx, const char *where,
                     vdm_error *err)
{
    static const vdm_limb limbs[] = {
        {0, 1, VDM_FACE},  {0, 2, VDM_FACE},   {1, 3, VDM_FACE},   {2, 4, VDM_FACE},
        {5, 6, VDM_TORSO}, {5, 11, VDM_TORSO}, {6, 12, VDM_TORSO}, {11, 12, VDM_TORSO},
        {5, 7, VDM_ARM},   {7, 9, VDM_ARM},    {6, 8, VDM_ARM},    {8, 10, VDM_ARM},
        {11, 13, VDM_LEG}, {13, 15, VDM_LEG},  {12, 14, VDM_LEG},  {14, 16, VDM_LEG}};
    enum { LIMBS = sizeof limbs / sizeof *limbs };
    vdm_joint joints[KEYPOINTS], shown[KEYPOINTS];
    vdm_limb lines[LIMBS];
    bool labelled[KEYPOINTS];
    int at[KEYPOINTS], n = 0, m = 0;
    if (read_keypoints(joints, labelled, j, where, err) < 0) return -1;
    for (int i = 0; i < KEYPOINTS; i++) {
        at[i] = n;
        if (labelled[i]) shown[n++] = (vdm_joint){joints[i].y * sy, joints[i].x * sx, joints[i].part};
    }
    for (int i = 0; i < LIMBS; i++)
        if (labelled[limbs[i].from] && labelled[limbs[i].to])
            lines[m++] = (vdm_limb){at[limbs[i].from], at[limbs[i].to], limbs[i].part};
    vdm_pose_draw(p, shown, n, lines, m);
    return 0;
}

static bool is_crowd(const vdm_json *j)
{
    const vdm_json_node *v = vdm_json_get(j, j->nodes, "iscrowd");
    return v && (v->kind == VDM_JSON_TRUE || (v->kind == VDM_JSON_NUMBER && v->number != 0));
}

/* Calls for every annotation of the picture; mask [H,W] of the picture's own size, or NULL for a pose. */
static int draw_notes(const struct coco *c, struct shot *s, uint8_t *mask, vdm_picture *pose, vdm_error *err)
{
    int status = 0;
    s->crowds = 0;
    for (int i = 0; i < s->n_notes && !status; i++) {
        vdm_json j;
        vdm_fields f;
        int64_t category;
        char where[400];
        snprintf(where, sizeof where, "%.200s: annotation %d of %.120s", c->o->tasks.annotations, i + 1,
                 s->name);
        if (vdm_json_parse(&j, s->notes[i], strlen(s->notes[i]), where, err)) return -1;
        vdm_fields_open(&f, &j, j.nodes, where, err);
        category = read_id(&f, "category_id");
        s->crowds += is_crowd(&j);
        if (pose)
            status = draw_pose(pose, &j, (double)pose->height / s->height, (double)pose->width / s->width,
                               where, err);
        else
            status = mask_draw(mask, s->height, s->width, (uint8_t)(1 + category_of(c, category)), &j,
                               vdm_json_get(&j, j.nodes, "segmentation"), where, err);
        vdm_json_free(&j);
    }
    return status;
}

/* The colours of a mask, at the size of p: a pixel has the colour of the mask's pixel around its centre. */
static void colour_mask(vdm_picture *p, const uint8_t *mask, const struct shot *s, int categories)
{
    static const uint8_t white[3] = {255, 255, 255};
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            int64_t row = (2 * (int64_t)y + 1) * s->height / (2 * p->height),
                    col = (2 * (int64_t)x + 1) * s->width / (2 * p->width);
            int k = mask[row * s->width + col];
            const uint8_t *rgb = k && categories == 1 ? white : vdm_palette_colour(VDM_PALETTE_ARC, k);
            memcpy(p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x), rgb, 3);
        }
}

static int draw_answer(const struct coco *c, struct shot *s, vdm_picture *p, vdm_error *err)
{
    if (c->pose) return draw_notes(c, s, NULL, p, err);
    uint8_t *mask = vdm_alloc((size_t)s->height * (size_t)s->width, 1, "a mask", err);
    int status = mask ? draw_notes(c, s, mask, NULL, err) : -1;
    if (!status) colour_mask(p, mask, s, c->n_categories);
    vdm_free(mask);
    return status;
}

/* The picture, resized to --size; the file's size must be the annotated one. */
static int read_shot(vdm_picture *to, const struct coco *c, const struct shot *s, vdm_error *err)
{
    vdm_picture p = {0};
    char *path = NULL;
    int status = find_picture(&path, c, s, err);
    if (!status && !path)
        status = vdm_fail(err, "%s/%s.png: expected this picture (or .ppm, .pgm, .pbm), found none",
                          c->o->tasks.images, s->name);
    if (!status) status = read_picture(&p, path, err);
    if (!status && (p.width != s->width || p.height != s->height))
        status = vdm_fail(err, "%s: expected %d x %d pixels, as in %s, found %d x %d", path, s->width,
                          s->height, c->o->tasks.annotations, p.width, p.height);
    if (!status)
        status = vdm_picture_resize(to, &p, c->o->height ? c->o->height : p.height,
                                    c->o->width ? c->o->width : p.width, err);
    vdm_picture_free(&p);
    vdm_free(path);
    return status;
}

static int write_shot(const struct coco *c, struct shot *s, const char *dir, vdm_error *err)
{
    vdm_picture x = {0}, y = {0};
    char name[256];
    written_name(name, s);
    int status = read_shot(&x, c, s, err);
    if (!status) {
        y = (vdm_picture){x.height, x.width,
                          vdm_alloc((size_t)x.width * (size_t)x.height, 3, "a picture", err)};
        status = y.rgb ? 0 : -1;
        if (!status) status = draw_answer(c, s, &y, err);
        if (!status) status = task_picture(&x, dir, name, "in", err);
        if (!status) status = task_picture(&y, dir, name, "out", err);
    }
    vdm_picture_free(&x);
    vdm_picture_free(&y);
    return status;
}

static int write_shots(const struct coco *c, struct shot **list, int64_t n, const char *task,
                       const char *part, vdm_error *err)
{
    if (!n) return 0;
    char *dir = vdm_path(task, part, err);
    int status = dir ? make_folder(dir, err) : -1;
    for (int64_t i = 0; i < n && !status; i++) status = write_shot(c, list[i], dir, err);
    vdm_free(dir);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The choice of pictures */

static void forget_notes(struct shot *s)
{
    for (int k = 0; k < s->n_notes; k++) vdm_free(s->notes[k]);
    vdm_free(s->notes);
    s->notes = NULL;
    s->n_notes = s->capacity = 0;
}

/* Whether the category covers enough pixels of the picture, objects that overlap counted once. */
static int is_covered(bool *covered, const struct coco *c, struct shot *s, vdm_error *err)
{
    size_t n = (size_t)s->height * (size_t)s->width, on = 0;
    uint8_t *mask = vdm_alloc(n, 1, "a mask", err);
    int status = mask ? draw_notes(c, s, mask, NULL, err) : -1;
    for (size_t i = 0; i < n && !status; i++) on += mask[i] != 0;
    *covered = (double)on >= MIN_SHARE * s->height * s->width;
    vdm_free(mask);
    return status;
}

/* Reads the annotations of the wanted ones of the n candidates, and removes those that do not suit. */
static int measure_wanted(struct coco *c, int64_t *n, vdm_error *err)
{
    int64_t left = 0;
    if (walk_notes(c, true, err)) return -1;
    for (int64_t i = 0; i < *n; i++) {
        struct shot *s = c->train[i];
        bool covered = true;
        if (s->wanted && !c->pose && is_covered(&covered, c, s, err)) return -1;
        s->measured |= s->wanted && covered;
        s->wanted = false;
        if (covered)
            c->train[left++] = s;
        else
            forget_notes(s);
    }
    c->suit -= *n - left;
    *n = left;
    return 0;
}

/* Marks the pictures whose annotations the next walk stores: those that were chosen, and so many times as many. Whether
 * one of the chosen ones is among them. */
static bool want(const struct coco *c, int64_t n, int64_t times)
{
    bool any = false;
    for (int64_t i = 0; i < c->n_train; i++) any |= !c->train[i]->measured;
    for (int64_t i = 0; i < c->n_test; i++) any |= !c->test[i]->measured;
    for (int64_t i = 0; i < n && any; i++)
        c->train[i]->wanted =
            !c->train[i]->measured && (i < c->n_train * times || i >= n - c->n_test * times);
    return any;
}

/* The first candidates are the pairs, the last the tests. If one does not suit after all, twice as many are measured. */
static int choose(struct coco *c, vdm_error *err)
{
    int64_t n;
    const int pairs = c->o->tasks.pairs, tests = c->o->tasks.tests,
              needed = pairs > 1 ? pairs : 1; /* a task has a pair or a test */
    if (find_candidates(c, &n, err)) return -1;
    for (int64_t times = 1;; times *= 2) {
        if (n < needed) return too_few(c, n, needed, err);
        c->n_train = pairs;
        c->n_test = n - pairs < tests ? n - pairs : tests;
        c->test = c->train + n - c->n_test;
        if (!want(c, n, times)) break;
        if (measure_wanted(c, &n, err)) return -1;
    }
    if (option_given(c->o, "--tests") && c->n_test < tests)
        fprintf(stderr, "--tests %d: %lld of the pictures that suit %s left for tests\n", tests,
                (long long)c->n_test, c->n_test == 1 ? "is" : "are");
    return 0;
}

static void report_crowds(const struct coco *c)
{
    int64_t crowds = 0;
    for (int64_t i = 0; i < c->n_train; i++) crowds += c->train[i]->crowds;
    for (int64_t i = 0; i < c->n_test; i++) crowds += c->test[i]->crowds;
    if (crowds && !c->pose)
        fprintf(stderr, "%lld annotation%s of crowds (iscrowd) %s drawn like objects\n", (long long)crowds,
                plural(crowds), crowds == 1 ? "is" : "are");
}

/* Those that were not measured suit by the sum of areas, which may be too large. */
static const char *suit_bound(const struct coco *c)
{
    int64_t measured = 0;
    for (int64_t i = 0; i < c->n; i++) measured += c->shots[i].measured;
    return !c->pose && measured < c->suit ? "at most " : "";
}

/* ------------------------------------------------------------------------------------------------
 * The command */

static int write_task(struct coco *c, vdm_error *err)
{
    char name[80] = "coco-";
    for (const char *from = c->o->tasks.category; *from && strlen(name) + 1 < sizeof name; from++) {
        bool plain = (*from >= 'a' && *from <= 'z') || (*from >= '0' && *from <= '9');
        name[strlen(name)] = plain ? *from : '-';
    }
    const vdm_task t = {.name = name,
                        .metric = c->pose               ? VDM_METRIC_POSE
                                  : c->n_categories > 1 ? VDM_METRIC_MIOU
                                                        : VDM_METRIC_IOU};
    task_folder f = {0};
    int status = task_begin(&f, c->o->output, err);
    if (!status) status = write_shots(c, c->train, c->n_train, f.unfinished, "train", err);
    if (!status) status = write_shots(c, c->test, c->n_test, f.unfinished, "test", err);
    if (!status) status = task_end(&f, &t, err);
    task_abandon(&f);
    if (status) return -1;
    report_crowds(c);
    fprintf(stderr, "%s: %lld pair%s and %lld test%s in %s, of %s%lld picture%s that suit%s\n", name,
            (long long)c->n_train, plural(c->n_train), (long long)c->n_test, plural(c->n_test),
            clean(c->o->output), suit_bound(c), (long long)c->suit, plural(c->suit), c->suit == 1 ? "s" : "");
    return 0;
}

static void release(struct coco *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        vdm_free(c->shots[i].name);
        forget_notes(&c->shots[i]);
    }
    vdm_free(c->seen);
    vdm_free(c->shots);
    vdm_free(c->train);
}

int coco_run(const options *o, vdm_error *err)
{
    struct coco c = {.o = o, .pose = strcmp(o->tasks.as, "pose") == 0};
    int status = task_counts_check("coco", o->tasks.pairs, o->tasks.tests, err);
    if (!status) status = read_names(&c, err);
    if (!status && !o->list) status = make_empty(o->output, err);
    if (!status) status = find_pictures(&c, err);
    if (!status) status = walk_notes(&c, false, err);
    report_left_out(&c);
    if (!status) status = choose(&c, err);
    if (!status && o->list) {
        for (int64_t i = 0; i < c.n_train; i++) printf("%s\n", clean(c.train[i]->name));
        for (int64_t i = 0; i < c.n_test; i++) printf("%s\n", clean(c.test[i]->name));
    } else if (!status) {
        status = write_task(&c, err);
    }
    release(&c);
    return status;
}
