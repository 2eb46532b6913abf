/* COCO's annotations: masks by hand, large files item by item, task folders, and whatever may be wrong with
 * them. */
#include "check.h"
#include "vdm_task.h"
#include "tools/generate/coco.h"
#include "tools/generate/coco_masks.h"
#include "tools/generate/json_stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[300];
static vdm_error err;

static const char *path_of(const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void new_folder(void)
{
    static int count;
    snprintf(dir, sizeof dir, "%s/coco%d", check_folder(), count++);
    CHECK(mkdir(dir, 0777) == 0, "the test can't make %s", dir);
}

static void write_file(const char *name, const char *text, size_t size)
{
    FILE *f = fopen(path_of(name), "wb");
    CHECK(f && fwrite(text, 1, size, f) == size && fclose(f) == 0, "the test can't write %s", name);
}

/* ------------------------------------------------------------------------------------------------
 * Masks */

/* The mask as rows of . and #, or the error. */
static const char *draw(const char *segmentation, int H, int W)
{
    static char text[400];
    uint8_t mask[200] = {0};
    vdm_json j;
    if (!CHECK(vdm_json_parse(&j, segmentation, strlen(segmentation), "a test", &err) == 0, "%s", err.text))
        return "";
    int status = mask_draw(mask, H, W, 3, &j, j.nodes, "here", &err);
    vdm_json_free(&j);
    if (status) return err.text;
    char *to = text;
    for (int i = 0; i < H * W; i++) {
        if (i && i % W == 0) *to++ = ' ';
        *to++ = mask[i] == 3 ? '#' : '.';
    }
    *to = '\0';
    return text;
}

static void test_masks(void)
{
    static const struct {
        const char *segmentation, *mask;
    } good[] = {
        {"[[1,1,4,1,4,3,1,3]]", "...... .###.. .###.. ...... ......"},
        {"[[1,3,4,3,4,1,1,1]]", "...... .###.. .###.. ...... ......"}, /* the other way round */
        {"[[1,1,4,1,4,3,1,3], [0,0,1,0,1,5,0,5]]", "#..... ####.. ####.. #..... #....."},
        {"[[1,1,4,1,4,3,1,3], [2,1,4,1,4,5,2,5]]", "...... .###.. .###.. ..##.. ..##.."}, /* a union */
        {"[[0,0,6,0,6,5,0,5]]", "###### ###### ###### ###### ######"},
        {"[[-9,-9,20,-9,20,20,-9,20]]", "###### ###### ###### ###### ######"},
        {"[[2,2,2,2,2,2]]", "...... ...... ...... ...... ......"}, /* a point */
        {"{\"size\":[5,6],\"counts\":[30]}", "...... ...... ...... ...... ......"},
        {"{\"size\":[5,6],\"counts\":[0,30]}", "###### ###### ###### ###### ######"},
        {"{\"size\":[5,6],\"counts\":[6,2,3,2,17]}", "...... .##... .##... ...... ......"},
    };
    enum { GOOD = sizeof good / sizeof *good };
    for (int i = 0; i < GOOD; i++) {
        const char *found = draw(good[i].segmentation, 5, 6);
        CHECK(strcmp(found, good[i].mask) == 0, "%s: %s", good[i].segmentation, found);
    }
    /* 6, 2, 3, then 2 - 2 = 0 and 17 - 3 = 14: "6" "2" "3" "0" and 14 with its fifth bit free: '>' */
    const char *text = draw("{\"size\":[5,6],\"counts\":\"6230>\"}", 5, 6);
    CHECK(strcmp(text, good[GOOD - 1].mask) == 0, "compressed: %s", text);
}

/* Very long edges: the time depends on the picture only, and so do the pixels. */
static void test_far_polygons(void)
{
    static char text[1 << 20];
    static const char far[] = "65536,-65536,-65536,65536,";
    size_t n = 0;
    text[n++] = '[', text[n++] = '[';
    for (; n < sizeof text - 100; n += sizeof far - 1) memcpy(text + n, far, sizeof far - 1);
    snprintf(text + n, sizeof text - n, "-65536,-65536]]");
    clock_t begin = clock();
    const char *found = draw(text, 5, 6);
    CHECK((double)(clock() - begin) / CLOCKS_PER_SEC < 5, "40,000 edges of 650,000 steps take too long");
    CHECK(strlen(found) == 34, "%s", found);
}

/* mask_measure gives the area that mask_draw paints. */
static void test_measure(void)
{
    static const struct {
        const char *segmentation;
        double area;
    } cases[] = {{"[[1,1,4,1,4,3,1,3]]", 6},
                 {"[[1,1,4,1,4,3,1,3],[0,0,1,0,1,5,0,5]]", 11},
                 {"[[-9,-9,20,-9,20,20,-9,20]]", 30}, /* all of the picture */
                 {"{\"size\":[5,6],\"counts\":[6,2,3,2,17]}", 4},
                 {"{\"size\":[5,6],\"counts\":\"6230>\"}", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vdm_json j;
        double area = -1;
        const char *text = cases[i].segmentation;
        if (!CHECK(vdm_json_parse(&j, text, strlen(text), "a test", &err) == 0, "%s", err.text)) continue;
        CHECK(mask_measure(&area, 5, 6, &j, j.nodes, "here", &err) == 0 && area == cases[i].area, "%s: %g",
              text, area);
        vdm_json_free(&j);
    }
}

static void test_bad_masks(void)
{
    static const char *const bad[][2] = {
        {"3", "expected polygons or runs"},
        {"null", "expected polygons or runs"},
        {"[]", "found an empty list"},
        {"[3]", "expected polygons of alternating x and y"},
        {"[[1,1,2,2]]", "found 4 numbers"},
        {"[[1,1,2,2,3,3,4]]", "found 7 numbers"},
        {"[[1,1,2,2,3,\"3\"]]", "expected coordinates within 65536, found no number"},
        {"[[1,1,2,2,3,1e300]]", "found 1e300"},
        {"{}", "segmentation.size: expected [5, 6]"},
        {"{\"size\":[6,5],\"counts\":[30]}", "segmentation.size: expected [5, 6]"},
        {"{\"size\":[5],\"counts\":[30]}", "segmentation.size"},
        {"{\"size\":[5,6]}", "expected a list or a text"},
        {"{\"size\":[5,6],\"counts\":7}", "expected a list or a text"},
        {"{\"size\":[5,6],\"counts\":[29]}", "expected runs of 30 pixels in all, found 29"},
        {"{\"size\":[5,6],\"counts\":[]}", "found 0"},
        {"{\"size\":[5,6],\"counts\":[31]}", "found more, or less than 0"},
        {"{\"size\":[5,6],\"counts\":[-1,31]}", "less than 0"},
        {"{\"size\":[5,6],\"counts\":[1.5,28.5]}", "expected integers, found 1.5"},
        {"{\"size\":[5,6],\"counts\":[1e18]}", "expected integers"},
        {"{\"size\":[5,6],\"counts\":[\"30\"]}", "expected integers"},
        {"{\"size\":[5,6],\"counts\":\"6\"}", "found 6"},
        {"{\"size\":[5,6],\"counts\":\"\"}", "found 0"},
        {"{\"size\":[5,6],\"counts\":\"O\"}", "less than 0"},      /* a negative number */
        {"{\"size\":[5,6],\"counts\":\"P\"}", "compressed runs"},  /* more should follow */
        {"{\"size\":[5,6],\"counts\":\"6 \"}", "compressed runs"}, /* no such character */
        {"{\"size\":[5,6],\"counts\":\"PPPPPPPP\"}", "compressed runs"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *found = draw(bad[i][0], 5, 6);
        CHECK(strncmp(found, "here: ", 6) == 0 && strstr(found, bad[i][1]), "%s: %s", bad[i][0], found);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Large files */

static char items[4096];

static int note_item(void *user, int name, const vdm_json *j, const char *text, const char *where,
                     vdm_error *e)
{
    size_t n = strlen(items);
    (void)j, (void)where;
    snprintf(items + n, sizeof items - n, "%d:%s;", name, text);
    return user && strcmp(text, user) == 0 ? vdm_fail(e, "stopped") : 0;
}

static const char *stream(const char *text, const char *stop)
{
    struct json_stream k = {.names = {"a", "b"}, .n = 2, .item = note_item, .user = (void *)stop};
    items[0] = err.text[0] = '\0';
    write_file("stream.json", text, strlen(text));
    return json_stream_read(path_of("stream.json"), &k, &err) ? err.text : items;
}

static void test_skim(void)
{
    static const char *const cases[][2] = {
        {"{\"a\":[],\"b\":[]}", ""},
        {" {\n\"b\" : [ 1 , \"x]\\\"}\" , {\"a\":[{}]} ] , \"c\":{\"a\":[1,\"}\"]},\"a\":[true]}\r\n",
         "1:1;1:\"x]\\\"}\";1:{\"a\":[{}]};0:true;"},
        {"{\"a\":[[1,[2]],-3.5e1,null],\"b\":[\"\"],\"d\":\"\\\\\"}", "0:[1,[2]];0:-3.5e1;0:null;1:\"\";"},
        {"", "byte 1: expected '{', found the end"},
        {"[]", "expected '{', found '['"},
        {"\xef\xbb\xbf{}", "expected an array \"a\", found none"}, /* a byte order mark is skipped */
        {"\xef\xbb{}", "expected a byte order mark, found"},
        {"{}", "expected an array \"a\", found none"},
        {"{\"a\":[]}", "expected an array \"b\", found none"},
        {"{\"a\":{},\"b\":[]}", "expected an array, found '{', in a"},
        {"{\"a\":[],\"a\":[],\"b\":[]}", "the key 'a' appears twice"},
        {"{\"a\":[1,],\"b\":[]}", "expected something after ',', found ']'"},
        {"{\"a\":[,1],\"b\":[]}", "expected a value, found ','"},
        {"{\"a\":[1 2],\"b\":[]}", "expected ',' or ']', found '2'"},
        {"{\"a\":[1},\"b\":[]}", "expected ',' or ']', found '}'"},
        {"{\"a\":[],\"b\":[],}", "expected something after ',', found '}'"},
        {"{\"a\":[] \"b\":[]}", "expected ',' or '}', found '\"'"},
        {"{a:[]}", "expected a key in quotes, found 'a'"},
        {"{\"a\" []}", "expected ':' after a key"},
        {"{\"a\":[],\"b\":[]} x", "expected nothing after the document, found 'x'"},
        {"{\"a\":[nul],\"b\":[]}", "a[0]: JSON, line 1, column 1: expected a value"},
        {"{\"a\":[1,{\"x\":01}],\"b\":[]}", "a[1]: JSON"},
        {"{\"a\":[{\"x\":1,\"x\":2}],\"b\":[]}", "appears twice"},
        {"{\"c\":[[[", "expected the end of a value"},
        {"{\"c\":\"x\\", "expected the end of a string"},
        {"{\"c\":", "expected a value, found the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = stream(cases[i][0], NULL);
        bool good = i < 3 ? strcmp(found, cases[i][1]) == 0
                          : strstr(found, cases[i][1]) && strstr(found, "stream.json");
        CHECK(good, "%s: '%s'", cases[i][0], found);
    }
    CHECK(strcmp(stream("{\"a\":[1,2,3],\"b\":[]}", "2"), "stopped") == 0 && strcmp(items, "0:1;0:2;") == 0,
          "an item stops it: %s", items);
    const char *whole = cases[1][0];
    int rejected = 0, n = (int)strlen(whole);
    for (int i = 0; i < n - 2; i++) { /* cut off anywhere before the last bracket */
        char cut[200] = "";
        memcpy(cut, whole, (size_t)i);
        rejected += stream(cut, NULL) == err.text;
    }
    CHECK(rejected == n - 2, "%d of %d cuts were rejected", rejected, n - 2);
    struct json_stream k = {.names = {"a"}, .n = 1, .item = note_item};
    CHECK(json_stream_read(path_of("nothing"), &k, &err) && strstr(err.text, "nothing: "), "%s", err.text);
    CHECK(json_stream_read(dir, &k, &err) && strstr(err.text, "expected a file"), "%s", err.text);
}

/* An item beyond the limit, endless brackets: rejected in bounded memory. */
static void test_skim_limits(void)
{
    struct json_stream k = {.names = {"a"}, .n = 1, .item = note_item};
    FILE *f = fopen(path_of("long.json"), "wb");
    char block[4096];
    if (!CHECK(f != NULL, "the test can't write")) return;
    memset(block, '[', sizeof block);
    fputs("{\"c\": ", f);
    for (int i = 0; i < 500; i++) fwrite(block, 1, sizeof block, f);
    fclose(f);
    CHECK(json_stream_read(path_of("long.json"), &k, &err) && strstr(err.text, "the end of a value"), "%s",
          err.text);
    f = fopen(path_of("long.json"), "wb");
    fputs("{\"a\": [[", f); /* and a hole, which takes no room on the disk */
    CHECK(fclose(f) == 0 && truncate(path_of("long.json"), VDM_MAX_JSON + 100) == 0, "the test can't write");
    CHECK(json_stream_read(path_of("long.json"), &k, &err) &&
              strstr(err.text, "items of at most 67108864 bytes"),
          "%s", err.text);
    remove(path_of("long.json"));
}

/* ------------------------------------------------------------------------------------------------
 * Tasks */

enum { PICTURES = 12, W = 40, H = 30 };

static void write_pictures(int n)
{
    uint8_t rgb[W * H * 3];
    vdm_picture p = {H, W, rgb};
    char name[32];
    for (int i = 0; i < n; i++) {
        memset(rgb, 10 + i, sizeof rgb);
        snprintf(name, sizeof name, "p%02d.ppm", i);
        CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
    }
}

/* Picture i has a dog of 10 x (2 + i) pixels from (5, 5); p11 a cat next to it, p00 nothing but a dot of a
 * dog. */
static size_t annotations(char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "{\"info\": {}, \"images\": [");
    for (int i = 0; i < PICTURES; i++)
        n += (size_t)snprintf(text + n, size - n,
                              "%s{\"id\": %d, \"file_name\": \"p%02d.jpg\", \"height\": %d, \"width\": %d}",
                              i ? ", " : "", 100 - i, i, H, W);
    n += (size_t)snprintf(text + n, size - n, "], \"annotations\": [");
    for (int i = 0; i < PICTURES; i++)
        n += (size_t)snprintf(
            text + n, size - n,
            "{\"id\": %d, \"image_id\": %d, \"category_id\": 18, \"area\": %d, \"iscrowd\": 0, "
            "\"segmentation\": [[5,5,15,5,15,%d,5,%d]]}, ",
            i, 100 - i, i ? 10 * (2 + i) : 1, i ? 7 + i : 6, i ? 7 + i : 6);
    n += (size_t)snprintf(
        text + n, size - n,
        "{\"image_id\": 89, \"category_id\": 17, \"area\": 200, \"segmentation\": {\"size\": [%d, %d], "
        "\"counts\": [%d, 300]}}], \"categories\": [{\"id\": 17, \"name\": \"cat\"}, "
        "{\"id\": 18, \"name\": \"dog\"}]}",
        H, W, W * H - 300);
    return n;
}

static options ask(const char *category, const char *out, int n)
{
    static char json[700], folder[2][700];
    options o = {.seed = 42, .tasks = {.category = category, .pairs = n, .tests = 4, .as = "mask"}};
    snprintf(json, sizeof json, "%s/f.json", dir);
    snprintf(folder[0], sizeof folder[0], "%s", dir);
    snprintf(folder[1], sizeof folder[1], "%s/%s", dir, out);
    o.tasks.annotations = json;
    o.tasks.images = folder[0];
    o.output = folder[1];
    return o;
}

static int on_pixels(const vdm_picture *p, const uint8_t *rgb)
{
    int n = 0;
    for (int i = 0; i < p->width * p->height; i++) n += memcmp(p->rgb + 3 * i, rgb, 3) == 0;
    return n;
}

static void test_task(void)
{
    static const uint8_t white[3] = {255, 255, 255};
    static char text[8192];
    vdm_task few = {0}, many = {0};
    new_folder();
    write_pictures(PICTURES);
    write_file("f.json", text, annotations(text, sizeof text));
    options o = ask("dog", "few", 3);
    CHECK(coco_run(&o, &err) == 0 && vdm_task_read(&few, o.output, &err) == 0, "%s", err.text);
    o = ask("dog", "many", 6);
    CHECK(coco_run(&o, &err) == 0 && vdm_task_read(&many, o.output, &err) == 0, "%s", err.text);
    CHECK(few.n_train == 3 && few.n_test == 4 && many.n_train == 6 && many.n_test == 4 &&
              few.metric == VDM_METRIC_IOU && strcmp(few.name, "coco-dog") == 0 && few.has_phi,
          "%d, %d pairs", few.n_train, many.n_train);
    for (int i = 0, k; i < 3; i++) {
        for (k = 0; k < 6 && strcmp(few.train[i].name, many.train[k].name) != 0;) k++;
        CHECK(k < 6, "%s is in the larger task, too", few.train[i].name);
    }
    for (int i = 0; i < 4 && i < few.n_test && i < many.n_test; i++)
        CHECK(strcmp(few.test[i].name, many.test[i].name) == 0, "tests are the same");
    for (int i = 0; i < many.n_train; i++) {
        vdm_picture x, y;
        int number = atoi(many.train[i].name + 1);
        if (!CHECK(!vdm_picture_read(&x, many.train[i].input, &err) &&
                       !vdm_picture_read(&y, many.train[i].output, &err),
                   "%s", err.text))
            continue;
        CHECK(number > 0 && x.rgb[0] == 10 + number && on_pixels(&y, white) == 10 * (2 + number),
              "p%02d: %d pixels", number, on_pixels(&y, white));
        vdm_picture_free(&x);
        vdm_picture_free(&y);
    }
    vdm_task_free(&few);
    vdm_task_free(&many);
}

/* Two categories: each in its colour; another size: masks keep their colours. */
static void test_palette(void)
{
    vdm_task t = {0};
    vdm_picture p;
    options o = ask("dog,cat", "two", 11);
    o.height = 60, o.width = 80;
    if (!CHECK(coco_run(&o, &err) == 0 && vdm_task_read(&t, o.output, &err) == 0, "%s", err.text)) return;
    CHECK(t.metric == VDM_METRIC_MIOU && strcmp(t.name, "coco-dog-cat") == 0 && t.n_train == 11, "%s",
          t.name);
    CHECK(strcmp(t.train[10].name, "p11") == 0 && !vdm_picture_read(&p, t.train[10].output, &err), "%s",
          err.text);
    const uint8_t *dog = vdm_palette_colour(VDM_PALETTE_ARC, 1),
                  *cat = vdm_palette_colour(VDM_PALETTE_ARC, 2);
    CHECK(p.width == 80 && on_pixels(&p, dog) == 4 * 130 && on_pixels(&p, cat) == 4 * 300, "%d, %d pixels",
          on_pixels(&p, dog), on_pixels(&p, cat));
    vdm_picture_free(&p);
    vdm_task_free(&t);
}

/* A person of whom one foot isn't labelled; drawn, and found again. */
static void test_pose(void)
{
    static const int body[17][2] = {{150, 50},  {160, 40},  {140, 40},  {175, 45},  {125, 45}, {190, 90},
                                    {110, 90},  {215, 130}, {85, 130},  {230, 170}, {70, 170}, {175, 170},
                                    {125, 170}, {180, 220}, {120, 220}, {185, 270}, {115, 270}};
    static char text[4096], *at = text;
    vdm_joint joints[VDM_MAX_JOINTS];
    vdm_picture p = {300, 300, calloc(300 * 300, 3)};
    vdm_task t = {0};
    new_folder();
    CHECK(vdm_picture_write(&p, path_of("a.ppm"), &err) == 0, "%s", err.text);
    free(p.rgb);
    at += sprintf(
        at,
        "{\"categories\":[{\"id\":1,\"name\":\"person\"}],\"images\":[{\"id\":5,\"file_name\":\"a.jpg\","
        "\"height\":300,\"width\":300}],\"annotations\":[{\"image_id\":5,\"category_id\":1,\"keypoints\":[");
    for (int i = 0; i < 17; i++)
        at += sprintf(at, "%s%d,%d,%d", i ? "," : "", body[i][0], body[i][1], i == 16 ? 0 : 1 + i % 2);
    sprintf(at, "]}]}");
    write_file("f.json", text, strlen(text));
    options o = ask("person", "task", 1);
    snprintf(o.tasks.as, sizeof o.tasks.as, "pose");
    if (!CHECK(coco_run(&o, &err) == 0 && vdm_task_read(&t, o.output, &err) == 0, "%s", err.text)) return;
    CHECK(t.metric == VDM_METRIC_POSE && t.n_train == 1 && t.n_test == 0, "a pose");
    CHECK(vdm_picture_read(&p, t.train[0].output, &err) == 0, "%s", err.text);
    int n = vdm_pose_read(joints, &p, &err), parts[4] = {0};
    for (int i = 0; i < n; i++) parts[joints[i].part]++;
    CHECK(parts[VDM_FACE] == 5 && parts[VDM_TORSO] == 4 && parts[VDM_ARM] == 4 && parts[VDM_LEG] == 3,
          "%d joints: face %d, torso %d, arms %d, legs %d", n, parts[0], parts[1], parts[2], parts[3]);
    const vdm_joint nose = {50.5, 150.5, VDM_FACE};
    CHECK(vdm_pose_pairs(&nose, 1, joints, n, 1) == 1, "the nose is where it should be");
    vdm_picture_free(&p);
    vdm_task_free(&t);
}

/* Runs coco_run, and returns what it prints on stderr. */
static char printed[4096];

static int run_printed(const options *o)
{
    int old = dup(2);
    FILE *f = fopen(path_of("printed"), "w+b");
    printed[0] = err.text[0] = '\0';
    if (!CHECK(f && old >= 0 && dup2(fileno(f), 2) == 2, "the test can't redirect stderr")) return -1;
    int status = coco_run(o, &err);
    fflush(stderr);
    dup2(old, 2);
    close(old);
    rewind(f);
    printed[fread(printed, 1, sizeof printed - 1, f)] = '\0';
    fclose(f);
    return status;
}

/* f.json is the good file with a piece replaced. */
static void write_changed(const char *from, const char *to)
{
    static char text[8192], bad[9000];
    annotations(text, sizeof text);
    char *place = strstr(text, from);
    if (!CHECK(place != NULL, "no %s in the file", from)) return;
    snprintf(bad, sizeof bad, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from));
    write_file("f.json", bad, strlen(bad));
}

static void rejected(const char *from, const char *to, const char *sentence)
{
    options o = ask("dog", "bad", 7); /* and 4 tests: all of them */
    write_changed(from, to);
    CHECK(run_printed(&o) == -1 && strstr(err.text, sentence) && strstr(err.text, "f.json"), "%s -> %s: %s",
          from, to, err.text);
}

static void test_rejected(void)
{
    new_folder();
    write_pictures(PICTURES);
    rejected("\"dog\"", "\"hound\"", "categories: expected one named 'dog', found none");
    rejected("\"id\": 99,", "\"id\": 100,", "images: found the id 100 twice");
    rejected("{\"id\": 17, \"name\": \"cat\"}", "{\"id\": 18, \"name\": \"cat\"}",
             "categories: the id 18: expected 'dog' only, found another name with it");
    rejected("\"p01.jpg\"", "\"p02.png\"", "file_name: found two pictures 'p02'");
    rejected("\"annotations\"", "\"annotation\"", "expected an array \"annotations\", found none");
    rejected("\"categories\"", "\"info\": 3, \"categorie\"", "expected an array \"categories\"");
}

/* Unusable entries are left out and reported; `suit` of the eleven pictures remain. */
static void left_out(const char *from, const char *to, int suit, const char *sentence)
{
    static int count;
    char name[32], suits[64];
    snprintf(name, sizeof name, "task%d", count++);
    snprintf(suits, sizeof suits, "of at most %d pictures that suit", suit);
    options o = ask("dog", name, 3);
    write_changed(from, to);
    CHECK(run_printed(&o) == 0, "%s -> %s: %s", from, to, err.text);
    CHECK(strstr(printed, suits) &&
              (sentence ? strstr(printed, sentence) != NULL : !strstr(printed, "left out")),
          "%s -> %s: %s", from, to, printed);
}

static void test_left_out(void)
{
    new_folder();
    write_pictures(PICTURES);
    left_out("\"info\"", "\"info\"", 11, NULL);
    left_out("\"name\": \"cat\"", "\"nome\": \"cat\"", 11, "left out: 1 categories; the first: ");
    left_out("\"height\": 30", "\"height\": 0", 11,
             "images[0]: height: found '0', expected an integer from 1 to 16384");
    left_out("\"height\": 30", "\"height\": 1e9", 11, "found '1e9'");
    left_out("\"p01.jpg\"", "\"../p01.jpg\"", 10,
             "images[1]: file_name: found '../p01.jpg', expected a name inside the folder of pictures");
    left_out("\"p01.jpg\"", "\"a/../p01.jpg\"", 10, "inside the folder");
    left_out("\"p01.jpg\"", "\"/p01.jpg\"", 10, "inside the folder");
    left_out("\"p01.jpg\"", "\"\"", 10, "inside the folder");
    left_out("\"p01.jpg\"", "7", 10, "images[1]: file_name: found '7', expected a string");
    left_out("\"p01.jpg\"", "null", 10, "images[1]: file_name: found null, expected a string");
    left_out("\"image_id\": 99", "\"image_id\": 7", 10, "left out: 1 annotations; the first: ");
    left_out("\"category_id\": 18", "\"category_id\": -18", 11, "category_id: found '-18'");
    left_out("{\"id\": 100,", "[], {\"id\": 100,", 11, "images[0]: document: found an array of 0");
    left_out("\"segmentation\": [[5,5,15,5,15,8", "\"bbox\": [[5,5,15,5,15,8", 10,
             "left out: 1 annotations that cannot be drawn, with their pictures; the first: ");
    left_out("[[5,5,15,5,15,8,5,8]]", "[]", 10,
             "segmentation: expected polygons or runs, found an empty list");
    left_out("[[5,5,15,5,15,8,5,8]]", "[[5,5,10,3]]", 10, "of at least three points, found 4 numbers");
    left_out("15,9,5,9", "15,9,5,\"9\"", 10, "segmentation: expected coordinates within 65536");
    left_out("15,9,5,9", "15,9,5,-65537", 10, "found -65537");
}

/* Files of other programs: missing areas, ids as text, folders in names, addresses instead of names. */
static void test_other_programs(void)
{
    new_folder();
    write_pictures(PICTURES);
    left_out("\"area\": 30, ", "", 11, NULL);               /* 30 of 1200 pixels: a hundredth */
    left_out("\"area\": 30", "\"area\": \"30\"", 11, NULL); /* computed as well */
    left_out("\"area\": 30", "\"area\": 3", 11, NULL);      /* not believed: 30 pixels are drawn */
    left_out("\"area\": 30", "\"area\": 0", 11, NULL);      /* not an area: computed as well */
    left_out("\"area\": 30", "\"area\": -30", 11, NULL);
    left_out("\"file_name\": \"p01.jpg\"", "\"coco_url\": \"http://x/train/p01.jpg\"", 11, NULL);
    left_out("\"p01.jpg\"", "\"a/b\\\\p01.jpg\"", 11, NULL); /* a/b/p01 is not there, but p01 */
    left_out("\"image_id\": 99", "\"image_id\": \"99\"", 11, NULL);
    left_out("\"id\": 100,", "\"id\": \"x100\",", 11,
             "image_id: found '100'"); /* of the dot, which is small */
    left_out("\"id\": 17, \"name\": \"cat\"", "\"id\": 17, \"name\": \"dog\"", 11, NULL);
}

/* Picture i of n has `objects` masks of 3 x 3 pixels, in one place if it is one of those that overlap, else apart; 9
 * pixels are less than a hundredth. */
static void write_overlaps(int n, int objects, const char *overlaps, const char *more)
{
    static char text[1 << 16];
    size_t at =
        (size_t)snprintf(text, sizeof text, "{\"categories\":[{\"id\":1,\"name\":\"dog\"}],\"images\":[");
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%s{\"id\":%d,\"file_name\":\"p%02d.jpg\",\"height\":%d,\"width\":%d}",
                               i ? "," : "", i, i, H, W);
    at += (size_t)snprintf(text + at, sizeof text - at, "],\"annotations\":[");
    for (int i = 0; i < n; i++)
        for (int k = 0; k < objects; k++) {
            int x = overlaps[i] == '1' ? 0 : 3 * k;
            at += (size_t)snprintf(
                text + at, sizeof text - at,
                "%s{\"image_id\":%d,\"category_id\":1,%s\"segmentation\":[[%d,0,%d,0,%d,3,%d,3]]}",
                i || k ? "," : "", i, more, x, x + 3, x + 3, x);
        }
    snprintf(text + at, sizeof text - at, "]}");
    write_file("f.json", text, strlen(text));
}

/* A picture suits by the pixels that are drawn: not by the sum of masks that overlap, nor by an area that is given. */
static void test_overlaps(void)
{
    static const uint8_t white[3] = {255, 255, 255};
    static const char *const overlaps[] = {"000000000000", "101111111101", "111111111111"};
    vdm_picture p;
    new_folder();
    write_pictures(PICTURES);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "over%d", i);
        options o = ask("dog", name, 2);
        write_overlaps(PICTURES, 6, overlaps[i], i ? "\"area\":1e9," : "");
        int status = run_printed(&o);
        if (i == 2) {
            CHECK(status == -1 && strstr(err.text, "expected 2 pictures that suit 'dog', found 0"), "%s",
                  err.text);
            continue;
        }
        vdm_task t = {0};
        if (!CHECK(status == 0 && !vdm_task_read(&t, o.output, &err), "%s", err.text)) continue;
        CHECK(t.n_train == 2 && t.n_test == (i ? 0 : 4) &&
                  (i == 0 || strstr(printed, "of 2 pictures that suit\n")),
              "%d, %d: %s", t.n_train, t.n_test, printed);
        for (int k = 0; k < t.n_train; k++) {
            if (!CHECK(!vdm_picture_read(&p, t.train[k].output, &err), "%s", err.text)) continue;
            CHECK(on_pixels(&p, white) == 54, "%s: %d pixels", t.train[k].name, on_pixels(&p, white));
            vdm_picture_free(&p);
        }
        CHECK(i == 0 || (strcmp(t.train[0].name, "p01") == 0 && strcmp(t.train[1].name, "p10") == 0), "%s",
              t.train[0].name);
        vdm_task_free(&t);
    }
    options o = ask("dog", "list", 2); /* by the same rule */
    o.list = true;
    write_overlaps(PICTURES, 6, overlaps[2], "");
    CHECK(run_printed(&o) == -1 && strstr(err.text, "found 0"), "%s", err.text);
}

/* Crowds are drawn like objects, which is printed. */
static void test_crowds(void)
{
    static const char *const crowds[][2] = {
        {"\"iscrowd\":1,", "24 annotations of crowds (iscrowd) are drawn like objects\n"},
        {"\"iscrowd\":true,", "24 annotations of crowds"},
        {"\"iscrowd\":0,", NULL},
        {"", NULL}};
    new_folder();
    write_pictures(PICTURES);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "crowd%d", i);
        options o = ask("dog", name, 2); /* and 4 tests */
        write_overlaps(PICTURES, 4, "000000000000", crowds[i][0]);
        CHECK(run_printed(&o) == 0, "%s", err.text);
        CHECK(crowds[i][1] ? strstr(printed, crowds[i][1]) != NULL : !strstr(printed, "of crowds"), "%s: %s",
              crowds[i][0], printed);
    }
}

/* Two pictures of one last name: each in its folder, and two names in the task. */
static void test_names_with_folders(void)
{
    static const char text[] =
        "{\"categories\":[{\"id\":1,\"name\":\"dog\"},{\"id\":2,\"name\":\"dog\"}],\"images\":["
        "{\"id\":\"u\",\"file_name\":\"a/x.jpg\",\"height\":30,\"width\":40},"
        "{\"id\":\"v\",\"file_name\":\"b/x.jpg\",\"height\":30,\"width\":40}],\"annotations\":["
        "{\"image_id\":\"u\",\"category_id\":1,\"segmentation\":[[0,0,40,0,40,10,0,10]]},"
        "{\"image_id\":\"u\",\"category_id\":2,\"segmentation\":[[0,20,40,20,40,30,0,30]]},"
        "{\"image_id\":\"v\",\"category_id\":2,\"segmentation\":{\"size\":[30,40],\"counts\":[0,600,600]}}]}";
    static const uint8_t white[3] = {255, 255, 255};
    uint8_t rgb[W * H * 3] = {0};
    vdm_picture p = {H, W, rgb};
    vdm_task t = {0};
    new_folder();
    write_file("f.json", text, sizeof text - 1);
    CHECK(vdm_picture_write(&p, path_of("x.ppm"), &err) == 0, "%s", err.text);
    options o = ask("dog", "task", 2);
    CHECK(run_printed(&o) == -1 && strstr(err.text, "found 0"), "x.ppm is neither of them: %s", err.text);
    CHECK(mkdir(path_of("a"), 0777) == 0 && mkdir(path_of("b"), 0777) == 0, "the test can't make folders");
    CHECK(!vdm_picture_write(&p, path_of("a/x.ppm"), &err) &&
              !vdm_picture_write(&p, path_of("b/x.ppm"), &err),
          "%s", err.text);
    o = ask("dog", "task", 2);
    if (!CHECK(run_printed(&o) == 0 && vdm_task_read(&t, o.output, &err) == 0, "%s", err.text)) return;
    CHECK(t.n_train == 2 && strcmp(t.train[0].name, "a_x") == 0 && strcmp(t.train[1].name, "b_x") == 0,
          "%d pairs, the first %s", t.n_train, t.train[0].name);
    for (int i = 0; i < 2; i++) { /* both ids of the name in a_x */
        CHECK(vdm_picture_read(&p, t.train[i].output, &err) == 0, "%s", err.text);
        CHECK(on_pixels(&p, white) == (i ? 600 : 800), "picture %d: %d pixels", i, on_pixels(&p, white));
        vdm_picture_free(&p);
    }
    vdm_task_free(&t);
}

/* Pictures that are missing, or have another size. */
static void test_pictures(void)
{
    static char text[8192];
    new_folder();
    write_file("f.json", text, annotations(text, sizeof text));
    options o = ask("dog", "none", 3);
    CHECK(coco_run(&o, &err) == -1 &&
              strstr(err.text, "expected 3 of the 11 pictures that suit 'dog' as NAME.ppm, found 0"),
          "%s", err.text);
    o = ask("dog", "many", 20);
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "expected 20 pictures that suit 'dog', found 11"),
          "%s", err.text);
    o = ask("dog", "none", 0); /* tests only, and none of them is there */
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "expected 1 of the 11 pictures that suit 'dog'"), "%s",
          err.text);
    o.tasks.tests = 0;
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "coco: expected a pair or a test, found 0 and 0"),
          "%s", err.text);
    write_pictures(6); /* five of them suit */
    o = ask("dog", "five", 3);
    CHECK(coco_run(&o, &err) == 0, "%s", err.text);
    vdm_task t = {0};
    CHECK(vdm_task_read(&t, o.output, &err) == 0 && t.n_train == 3 && t.n_test == 2, "%s", err.text);
    vdm_task_free(&t);
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "expected a new or empty folder"), "%s", err.text);
    write_file("p03.ppm", "P6 1 1 255 abc", 14);
    o = ask("dog", "small", 5);
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "p03.ppm: expected 40 x 30 pixels"), "%s", err.text);
    o = ask("", "x", 5);
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "--category"), "%s", err.text);
    o = ask("dog,,cat", "x", 5);
    CHECK(coco_run(&o, &err) == -1 && strstr(err.text, "--category"), "%s", err.text);
    o = ask("dog", "x", 5);
    snprintf(o.tasks.as, sizeof o.tasks.as, "pose");
    CHECK(run_printed(&o) == -1 && strstr(printed, "is this a file of people's keypoints?"), "%s", printed);
}

int main(void)
{
    new_folder();
    test_masks();
    test_far_polygons();
    test_measure();
    test_bad_masks();
    test_skim();
    test_skim_limits();
    test_task();
    test_palette();
    test_pose();
    test_rejected();
    test_left_out();
    test_other_programs();
    test_names_with_folders();
    test_overlaps();
    test_crowds();
    test_pictures();
    return check_end("coco");
}
