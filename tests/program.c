#include "program.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char printed[1 << 20];
static char line[1 << 14];

bool find_program(void)
{
    char here[256] = "", path[1024];
    const char *name = getenv("VDM");
    if (!name) name = "build/vdm";
    bool found = *name == '/' || getcwd(here, sizeof here);
    snprintf(path, sizeof path, "%s%s%s", here, *here ? "/" : "", name);
    return CHECK(found && access(path, X_OK) == 0 && setenv("VDM", path, 1) == 0, "%s: no program to test",
                 path);
}

/* The command line that is to run. */
static void fill_line(const char *format, va_list args)
{
    static char words[sizeof line / 2];
    size_t n = (size_t)snprintf(line, sizeof line, "exec 2>&1; ");
    vsnprintf(words, sizeof words, format, args);
    for (const char *w = words; *w && n < sizeof line;) {
        int plain = (int)strcspn(w, "@");
        n += (size_t)snprintf(line + n, sizeof line - n, "%.*s%s", plain, w, w[plain] ? check_folder() : "");
        w += plain + (w[plain] == '@');
    }
}

static int run(const char *format, va_list args)
{
    fill_line(format, args);
    FILE *p = popen(line, "r");
    if (!CHECK(p != NULL, "%s: can't be run", line)) return -1;
    printed[fread(printed, 1, sizeof printed - 1, p)] = '\0';
    int status = pclose(p);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int shell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = run(format, args);
    va_end(args);
    return status;
}

void expect_shell(int status, const char *piece, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int found = run(format, args);
    va_end(args);
    CHECK(found == status, "%s: expected status %d, found %d: %s", line, status, found, printed);
    CHECK(strstr(printed, piece) != NULL, "%s: expected '%s' in: %s", line, piece, printed);
}

bool kill_shell(const char *file, int milliseconds, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill_line(format, args);
    va_end(args);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    const struct timespec pause = {0, 2000000};
    for (int i = 0; i < milliseconds && !(file && access(path_of(file), F_OK) == 0); i += 2)
        nanosleep(&pause, NULL);
    int status = 0;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

const char *path_of(const char *name)
{
    static char path[2][600];
    static int turn;
    snprintf(path[turn ^= 1], sizeof path[0], "%s/%s", check_folder(), name);
    return path[turn];
}

size_t slurp(char *text, size_t size, const char *name)
{
    FILE *f = fopen(path_of(name), "rb");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
    return n;
}

void write_text(const char *name, const char *format, ...)
{
    va_list args;
    FILE *f = fopen(path_of(name), "w");
    if (!CHECK(f != NULL, "%s: can't be written", name)) return;
    va_start(args, format);
    bool written = vfprintf(f, format, args) >= 0;
    va_end(args);
    CHECK(fclose(f) == 0 && written, "%s: can't be written", name);
}

static uint64_t hash_of(const char *name)
{
    vdm_error err;
    char *data;
    size_t size;
    if (!CHECK(vdm_read_file(path_of(name), (size_t)1 << 28, &data, &size, &err) == 0, "%s", err.text))
        return 0;
    uint64_t hash = check_hash(data, (int64_t)size);
    vdm_free(data);
    return hash;
}

void expect_same(const char *a, const char *b, bool same)
{
    CHECK((hash_of(a) == hash_of(b)) == same, "%s and %s: expected %s", a, b,
          same ? "the same bytes" : "other bytes");
}
