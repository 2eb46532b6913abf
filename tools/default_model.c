/* Where the default model is: named by the environment, or in a folder near the program.
 *
 *   VDM_MODEL                            a folder; it is used whatever it contains
 *   DIR/models/tiny                      DIR: the folder of the program's file
 *   DIR/../share/vdm/models/tiny         after `make install`
 *   DIR/../models/tiny, DIR/../../models/tiny   a program in the build folder of a repository
 *
 * The program's file is what /proc/self/exe points to; on other systems than Linux it is found as the
 * shell found it: argv[0] if that contains a slash, else the first such file in PATH. */
#include "tools/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LENGTH = 4096 };       /* maximum of a path, in bytes */
static const char *called_as; /* argv[0] */

void remember_program(const char *argv0)
{
    called_as = argv0;
}

/* "DIR/NAME" of the first folder in PATH that has such a program; an empty entry means the working folder. */
static bool search_path(char path[LENGTH], const char *name)
{
    const char *entry = getenv("PATH");
    while (entry && *entry) {
        int length = (int)strcspn(entry, ":");
        int n = snprintf(path, LENGTH, "%.*s/%s", length ? length : 1, length ? entry : ".", name);
        if (n < LENGTH && access(path, X_OK) == 0) return true;
        entry += length + (entry[length] == ':');
    }
    return false;
}

/* The program's file as it was called, made absolute. */
static bool called_file(char file[LENGTH])
{
    char path[LENGTH], folder[LENGTH];
    if (!called_as) return false;
    if (!strchr(called_as, '/')) {
        if (!search_path(path, called_as)) return false;
    } else if (snprintf(path, LENGTH, "%s", called_as) >= LENGTH) {
        return false;
    }
    if (*path == '/') return snprintf(file, LENGTH, "%s", path) < LENGTH;
    return getcwd(folder, LENGTH) && snprintf(file, LENGTH, "%s/%s", folder, path) < LENGTH;
}

/* Removes the last name of a path; false if there is only one. */
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) *slash = '\0';
    return slash != NULL;
}

static bool is_model(const char *folder)
{
    char path[LENGTH];
    return snprintf(path, LENGTH, "%s/transformer/config.json", folder) < LENGTH && access(path, R_OK) == 0;
}

const char *default_model(vdm_error *err)
{
    static char found[LENGTH];
    static const char *const places[] = {"models/tiny", "share/vdm/models/tiny", "models/tiny",
                                         "models/tiny"};
    char folder[LENGTH], tried[800] = "";
    const char *named = getenv("VDM_MODEL");
    if (named && *named) return named;
    ssize_t n = readlink("/proc/self/exe", folder, LENGTH - 1);
    if (n > 0) folder[n] = '\0';
    bool up = n > 0 || called_file(folder);
    for (int i = 0; i < 4 && up; i++) {
        if (i != 2) up = go_up(folder); /* 1 and 2: the same folder */
        if (!up || snprintf(found, LENGTH, "%s/%s", folder, places[i]) >= LENGTH) continue;
        if (is_model(found)) return found;
        size_t used = strlen(tried);
        snprintf(tried + used, sizeof tried - used, ", %.190s", found);
    }
    vdm_fail(err, "no model: expected --model DIR, a folder named by VDM_MODEL%s; found none of them", tried);
    return NULL;
}
