/* Files and folders of a command. */
#include "tools/run/file_checks.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int writable(const char *path, vdm_error *err)
{
    vdm_file f;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return vdm_fail(err, "%s: expected a file to write, found something else", path);
    if (vdm_file_open(&f, path, err)) return -1;
    vdm_file_abandon(&f);
    return 0;
}

int make_folder(const char *path, vdm_error *err)
{
    struct stat st;
    if (mkdir(path, 0777) && errno != EEXIST)
        return vdm_fail(err, "%s: this folder can't be made: %s", path, strerror(errno));
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return vdm_fail(err, "%s: expected a folder, found a file", path);
    return 0;
}

int check_utf8(const char *text, vdm_error *err)
{
    for (const char *at = text; *at;) {
        int n = vdm_utf8_length(at, strnlen(at, 4));
        if (n < 1) return vdm_fail(err, "%s: expected text in UTF-8, found another byte", text);
        at += n;
    }
    return 0;
}

bool has(const char *folder, const char *name)
{
    vdm_error err;
    struct stat st;
    char *path = vdm_path(folder, name, &err);
    bool there = path && stat(path, &st) == 0;
    vdm_free(path);
    return there;
}

int count_files(const char *folder, const char *ending)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *last = strrchr(e->d_name, '.');
        n += last && strcmp(last, ending) == 0;
    }
    if (d) closedir(d);
    return n;
}

/* Recognised by the system's message, which ends the sentence, or by that of vdm_alloc. */
bool is_machine_fault(const vdm_error *err)
{
    static const int reasons[] = {ENOSPC,
                                  EIO,
                                  ENOMEM,
                                  EMFILE,
                                  ENFILE,
                                  EROFS,
                                  EFBIG,
                                  EACCES,
                                  EPERM
#ifdef EDQUOT
                                  ,
                                  EDQUOT
#endif
    };
    if (strstr(err->text, "no memory for") || strstr(err->text, "another run is writing")) return true;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (strstr(err->text, strerror(reasons[i]))) return true;
    return false;
}
