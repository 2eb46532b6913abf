/* COCO's annotations: vdm tasks coco over any file, for masks and for poses, with one picture that may be chosen. The
 * first byte decides which, and whether the pictures are only listed. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "tests/fuzz/script.h"
#include "tools/generate/coco.h"

#include <ftw.h>

static int coco_tasks_made;

static int coco_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char picture_begin[] = "P6 8 6 255\n";
    char folder[SCRIPT_PATH], file[2 * SCRIPT_PATH], picture[2 * SCRIPT_PATH], out[SCRIPT_PATH];
    uint8_t bytes[sizeof picture_begin - 1 + 6 * 8 * 3] = {0};
    vdm_error err = {""};
    bool pose = size && data[0] % 2;
    options o = {.seed = 42, .list = size && data[0] / 2 % 4, .tasks = {.pairs = 1, .tests = 1}};
    script_path(folder, "coco");
    snprintf(file, sizeof file, "%s/f.json", folder);
    snprintf(picture, sizeof picture, "%s/a.ppm", folder);
    snprintf(out, sizeof out, "%s/fuzz-%d-coco-out", script_disk(), (int)getpid());
    snprintf(o.tasks.as, sizeof o.tasks.as, pose ? "pose" : "mask");
    o.tasks.category = pose ? "dog" : "dog,cat";
    o.tasks.annotations = file, o.tasks.images = folder, o.output = out;
    script_make_folder(folder);
    memcpy(bytes, picture_begin, sizeof picture_begin - 1);
    script_bytes(picture, bytes, sizeof bytes);
    script_bytes(file, data + (size > 0), size - (size > 0));
    int status = coco_run(&o, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    coco_tasks_made += !status;
    script_remove(file), script_remove(picture), script_remove(folder);
    if (!o.list) nftw(out, coco_remove, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
