/* Messages on the terminal. */
#include "tools/messages.h"
#include "tools/options.h"

#include <stdarg.h>
#include <string.h>

int fail(const vdm_error *err)
{
    fprintf(stderr, "vdm: %s\n", err->text);
    return FAILED;
}

const char *clean(const char *text)
{
    static char copies[4][4096];
    static int turn;
    char *copy = copies[turn = (turn + 1) % 4];
    snprintf(copy, sizeof copies[0], "%s", text);
    vdm_clean(copy);
    return copy;
}

bool has_ending(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

void format_bytes(char *text, size_t size, double bytes)
{
    const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) bytes /= 1024, u++;
    snprintf(text, size, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

void format_seconds(char *text, size_t size, double s)
{
    if (s < 0.1)
        snprintf(text, size, "%.0f ms", 1000 * s);
    else if (s < 10)
        snprintf(text, size, "%.1f s", s);
    else if (s < 100)
        snprintf(text, size, "%.0f s", s);
    else if (s < 2 * 3600)
        snprintf(text, size, "%.0f min", s / 60);
    else
        snprintf(text, size, "%.1f h", s / 3600);
}

double shown_share(double share, int decimals)
{
    double unit = 1;
    for (int i = 0; i < decimals; i++) unit /= 10;
    if (share > 0 && share < unit) return unit;
    return share < 1 && share > 1 - unit ? 1 - unit : share;
}

double shown_score(vdm_metric m, double score, int decimals)
{
    return m == VDM_METRIC_PSNR || m == VDM_METRIC_MAE ? score : shown_share(score, decimals);
}

int print_wrapped(const char *text, int at, int indent)
{
    enum { COLUMNS = 100 };
    while (*text) {
        int word = 1 + (int)strcspn(text + 1, " \n"); /* with the space or the line end before it */
        if (*text == '\n' || (*text == ' ' && at + word > COLUMNS)) {
            printf("\n%*s", indent, "");
            at = indent, text++, word--;
        }
        printf("%.*s", word, text);
        at += word, text += word;
    }
    return at;
}

int misuse(const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vdm_clean(text);
    fprintf(stderr, "vdm: %s\n", text);
    return USAGE;
}

/* A word with any other character is put in single quotes. */
static const char PLAIN[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=,+@%";

char *command_line(const char *name, int argc, char **argv, vdm_error *err)
{
    size_t size = strlen(name) + 8;
    for (int i = 0; i < argc; i++) size += 4 * strlen(argv[i]) + 3; /* a quote takes four bytes: '\'' */
    char *line = vdm_alloc(size, 1, "the command", err), *to = line;
    if (!line) return NULL;
    to += snprintf(to, size, "vdm %s", name);
    for (int i = 0; i < argc; i++) {
        bool plain = *argv[i] && strspn(argv[i], PLAIN) == strlen(argv[i]);
        *to++ = ' ';
        if (!plain) *to++ = '\'';
        for (const char *c = argv[i]; *c; c++) {
            if (*c == '\'')
                memcpy(to, "'\\''", 4), to += 4;
            else
                *to++ = *c;
        }
        if (!plain) *to++ = '\'';
    }
    return line;
}
