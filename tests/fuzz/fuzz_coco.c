/* COCO's annotations: vdm tasks coco over any file, for masks and for poses, with one picture that may be chosen. The first
 * byte decides which. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "tests/fuzz/script.h"
#include "tools/generate/coco.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

static int coco_tasks_made;

static int coco_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

/* What is left out is printed: not a fuzzer's output. */
static int coco_quiet(const options *o, vdm_error *err)
{
    int old = dup(2), nothing = open("/dev/null", O_WRONLY);
    if (old < 0 || nothing < 0) abort();
    dup2(nothing, 2);
    int status = coco_run(o, err);
    dup2(old, 2);
    close(old), close(nothing);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t rgb[6 * 8 * 3];
    const vdm_picture p = {6, 8, rgb};
    char folder[64], file[96], picture[96], out[96];
    vdm_error err = {""};
    bool pose = size && data[0] % 2;
    options o = {.seed = 42, .tasks = {.pairs = 1, .tests = 1}};
    snprintf(folder, sizeof folder, "%s/fuzz-coco-%d", script_folder(), (int)getpid());
    snprintf(file, sizeof file, "%s/f.json", folder);
    snprintf(picture, sizeof picture, "%s/a.ppm", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    snprintf(o.tasks.as, sizeof o.tasks.as, pose ? "pose" : "mask");
    o.tasks.category = pose ? "dog" : "dog,cat";
    o.tasks.annotations = file, o.tasks.images = folder, o.output = out;
    mkdir(folder, 0777);
    if (vdm_picture_write(&p, picture, &err)) abort();
    script_bytes(file, data + (size > 0), size - (size > 0));
    int status = coco_quiet(&o, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    coco_tasks_made += !status;
    nftw(folder, coco_remove, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
