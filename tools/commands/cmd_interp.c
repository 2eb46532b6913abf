/* vdm interp: the video that a pair of pictures becomes, as a video or as a strip of pictures. Its random numbers are
 * those of the first pair of a training run with the same seed. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/run/paths.h"
#include "tools/run/model_session.h"
#include "tools/options.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"

#include <string.h>

/* Frames side by side, 4 white pixels between them. */
static int write_strip(const char *path, const uint8_t *frames, int T, int H, int W, vdm_error *err)
{
    size_t gap = 4, row = ((size_t)W * (size_t)T + gap * (size_t)(T - 1)) * 3;
    vdm_picture strip = {.width = (int)(row / 3), .height = H};
    strip.rgb = vdm_alloc(row * (size_t)H, 1, "the strip", err);
    if (!strip.rgb) return -1;
    memset(strip.rgb, 255, row * (size_t)H);
    for (int t = 0; t < T; t++)
        for (int y = 0; y < H; y++)
            memcpy(strip.rgb + (size_t)y * row + (size_t)t * ((size_t)W + gap) * 3,
                   frames + ((size_t)t * (size_t)H + (size_t)y) * (size_t)W * 3, (size_t)W * 3);
    int status = vdm_picture_write(&strip, path, err);
    vdm_free(strip.rgb);
    return status;
}

static int write_frames(const char *path, const uint8_t *frames, int T, int H, int W, vdm_error *err)
{
    const char *ending = strrchr(path, '.');
    if (ending && (strcmp(ending, ".png") == 0 || strcmp(ending, ".ppm") == 0))
        return write_strip(path, frames, T, H, W, err);
    return vdm_y4m_write(path, frames, T, H, W, err);
}

static int make_video(const options *o, const vdm_phi *phi, vdm_error *err)
{
    vdm_picture pair[2] = {0}, sized[2] = {0};
    uint8_t *frames = NULL;
    int height = o->height, width = o->width, status = 0;
    for (int i = 0; i < 2 && !status; i++) {
        status = read_picture(&pair[i], o->operands[i], err);
        if (!status && !height) height = pair[0].height, width = pair[0].width;
        if (!status && !o->height && (pair[i].height != height || pair[i].width != width))
            fprintf(stderr, "%s: resized from %dx%d to %dx%d, the size of %s\n", clean(o->operands[i]),
                    pair[i].height, pair[i].width, height, width, clean(o->operands[0]));
        if (!status) status = vdm_picture_resize(&sized[i], &pair[i], height, width, err);
    }
    if (!status) {
        vdm_rng rng;
        vdm_fit_rng(&rng, o->seed, VDM_FIT_LATENTS, 0);
        frames =
            vdm_alloc((size_t)o->frames * (size_t)height * (size_t)width * 3, 1, "the video's frames", err);
        status = frames ? 0 : -1;
        if (!status) status = vdm_interp(phi, &sized[0], &sized[1], o->frames, &rng, frames, err);
        if (!status) status = write_frames(o->output, frames, o->frames, height, width, err);
    }
    vdm_free(frames);
    for (int i = 0; i < 2; i++) {
        vdm_picture_free(&pair[i]);
        vdm_picture_free(&sized[i]);
    }
    return status;
}

int command_interp(int argc, char **argv)
{
    options o;
    vdm_error err;
    vdm_phi phi;
    int status = options_read(&o, INTERP, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 2)
        return misuse("interp: expected two pictures, X.ppm Y.ppm, found %d", o.n_operands);
    if (!o.output) return misuse("interp: expected -o V.y4m or a strip, V.png");
    if (vdm_phi_parse(&phi, o.learn.phi ? o.learn.phi : "discrete", &err))
        return misuse("--phi: %s", err.text);
    return paths_check_command(&o, INTERP, PICTURE_OR_VIDEO_FILE, &err) || make_video(&o, &phi, &err)
               ? fail(&err)
               : DONE;
}
