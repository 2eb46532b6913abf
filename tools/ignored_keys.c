/* Keys of a model's configurations that belong to none of its classes (files/config_keys.c). diffusers ignores them with
 * a warning, too. */
#include "tools/ignored_keys.h"
#include "files/config_keys.h"
#include "tools/messages.h"

#include <string.h>

static bool is_known(const char *part, const char *key)
{
    for (const vdm_config_key *k = vdm_config_keys; k->part; k++)
        if (strcmp(k->part, part) == 0 && strcmp(k->key, key) == 0) return true;
    return false;
}

static void print_part(const char *model, const char *part, const char *name)
{
    vdm_json j;
    vdm_error err;
    char *folder = vdm_path(model, part, &err), *path = folder ? vdm_path(folder, name, &err) : NULL;
    if (path && vdm_json_read(&j, path, &err) == 0) {
        const vdm_json_node *root = j.nodes;
        bool object = root->kind == VDM_JSON_OBJECT && root->children;
        for (const vdm_json_node *n = object ? root + 1 : NULL; n; n = vdm_json_next(&j, n))
            if (!is_known(part, n->key))
                fprintf(stderr, "%s: %s: no such setting; it is ignored\n", clean(path), clean(n->key));
        vdm_json_free(&j);
    }
    vdm_free(folder);
    vdm_free(path);
}

void ignored_keys_print(const char *model)
{
    print_part(model, "transformer", "config.json");
    print_part(model, "vae", "config.json");
    print_part(model, "scheduler", "scheduler_config.json");
    print_part(model, "text_encoder", "config.json"); /* if there is one */
}
