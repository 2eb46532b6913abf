/* The settings in a model's vdm.json, as a checked list (model_settings.c). */
#ifndef VDM_MODEL_SETTINGS_H
#define VDM_MODEL_SETTINGS_H

#include "vdm_files.h"

typedef struct vdm_setting {
    const char *section, *key; /* "fit", "sample" or "arc"; "pure_noise" */
    const char *text;          /* a word; a number as written */
    double number;             /* a word's index among the legal ones */
} vdm_setting;

enum { VDM_MAX_SETTINGS = 96 };
typedef struct vdm_settings {
    int n;
    vdm_setting of[VDM_MAX_SETTINGS]; /* in the order of the file */
    vdm_json json;                    /* holds their texts */
} vdm_settings;

/* All settings of dir/vdm.json, checked; none if there is no such file. */
int vdm_settings_open(vdm_settings *s, const char *dir, vdm_error *err);
void vdm_settings_close(vdm_settings *s);

#endif
