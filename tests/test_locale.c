/* A program that has called setlocale(LC_ALL, ""), in a country with a decimal comma: the files that the library writes
 * have the same bytes, and it reads files that were written elsewhere. */
#include "check.h"
#include "files/fit_state.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static vdm_error err;

static const char *path_of(const char *folder, const char *name)
{
    static char path[2][600];
    static int next;
    next = !next;
    snprintf(path[next], sizeof path[next], "%s/%s/%s", check_folder(), folder, name);
    return path[next];
}

/* ------------------------------------------------------------------------------------------------
 * The locale */

/* LC_NUMERIC as glibc's localedef compiles it: few systems have another locale than C installed. The offsets of decimal
 * sign, thousands separator, grouping, both signs as wide characters, and the encoding's name follow the count. */
static void write_locale(void)
{
    const uint32_t words[] = {0x20031115 ^ 1, 6, 32, 34, 36, 40, 44, 48};
    const uint32_t wide[] = {',', '.'};
    FILE *f = fopen(path_of("comma", "LC_NUMERIC"), "wb");
    if (!CHECK(f != NULL, "no locale is written")) return;
    fwrite(words, sizeof words, 1, f);
    fwrite(",\0.\0\3\3\0", 8, 1, f);
    fwrite(wide, sizeof wide, 1, f);
    fwrite("UTF-8", 6, 1, f);
    CHECK(fclose(f) == 0, "no locale is written");
}

static bool comma(void)
{
    static const char *const names[] = {"comma", "de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "German_Germany"};
    for (int i = 0; i < 5; i++)
        if (setlocale(LC_NUMERIC, names[i]) && strcmp(localeconv()->decimal_point, ",") == 0) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Files */

static void expect_same(const char *name)
{
    char *here = NULL, *there = NULL;
    size_t n = 0, m = 0;
    if (CHECK(!vdm_read_file(path_of("C", name), 1 << 20, &here, &n, &err), "%s", err.text) &&
        CHECK(!vdm_read_file(path_of("comma", name), 1 << 20, &there, &m, &err), "%s", err.text))
        CHECK(n == m && memcmp(here, there, n) == 0, "%s: other bytes with a decimal comma", name);
    vdm_free(here);
    vdm_free(there);
}

static void write_adapter(const char *folder)
{
    vdm_lora a;
    if (!CHECK(!vdm_lora_new(&a, 1, 64, VDM_ATTENTION, 4, 0.5, &err), "%s", err.text)) return;
    check_random(a.params, vdm_lora_count(&a), 1, 0.1f);
    a.facts = (vdm_lora_facts){.frames = 9, .height = 64, .width = 64, .image_latent_scale = 0.7, .pairs = 1};
    CHECK(!vdm_lora_write(&a, path_of(folder, "lora.safetensors"), &err), "%s", err.text);
    vdm_lora_free(&a);
}

static void read_adapter(const char *folder, const char *name, double alpha)
{
    const vdm_transformer_config c = {.layers = 1, .heads = 1, .head_dim = 64};
    vdm_lora a;
    if (!CHECK(!vdm_lora_read(&a, path_of(folder, name), &c, NULL, NULL, &err), "%s", err.text)) return;
    CHECK(fabs(a.alpha / a.rank - alpha / 4) < 1e-12, "%s: alpha %g of rank %d", name, a.alpha, a.rank);
    CHECK(!a.facts.frames || fabs(a.facts.image_latent_scale - 0.7) < 1e-12, "%s: scale %g", name,
          a.facts.image_latent_scale);
    vdm_lora_free(&a);
}

/* An adapter whose alpha is a number of the metadata. */
static void write_plain_alpha(void)
{
    static const float x[4 * 64];
    const char *const metadata[][2] = {{"ss_network_alpha", "0.5"}};
    const vdm_tensor tensors[] = {
        {"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight", VDM_F32, 2, {4, 64}, x, sizeof x},
        {"transformer.transformer_blocks.0.attn1.to_q.lora_B.weight", VDM_F32, 2, {64, 4}, x, sizeof x}};
    CHECK(!vdm_safetensors_write(path_of("C", "plain.safetensors"), tensors, 2, metadata, 1, &err), "%s",
          err.text);
}

static vdm_fit_state state_of(void)
{
    static float params[8], m[8], v[8];
    static vdm_fit_row rows[2];
    static const vdm_fit_setting settings[] = {{.name = "lr", .kind = VDM_SETTING_NUMBER, .number = 1.5e-4},
                                               {.name = NULL}};
    return (vdm_fit_state){
        .settings = settings, .n = 8, .params = params, .m = m, .v = v, .rows = rows, .max_steps = 1};
}

static void write_state(const char *folder)
{
    const vdm_fit_state s = state_of();
    CHECK(!vdm_fit_state_write(&s, path_of(folder, "state.safetensors"), &err), "%s", err.text);
}

static void read_state(const char *folder)
{
    vdm_fit_state s = state_of();
    CHECK(!vdm_fit_state_read(&s, path_of(folder, "state.safetensors"), &err), "%s", err.text);
}

/* ------------------------------------------------------------------------------------------------
 * Numbers */

static void test_numbers(void)
{
    static const struct {
        double x;
        const char *text;
    } numbers[] = {{0.5, "0.5"},
                   {32, "32"},
                   {-1.25e-7, "-1.2499999999999999e-07"},
                   {1e22, "1e+22"},
                   {0.1, "0.10000000000000001"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[VDM_JSON_NUMBER_TEXT];
        double x = 0;
        vdm_json_number_text(text, numbers[i].x);
        CHECK(strcmp(text, numbers[i].text) == 0, "%s: found %s", numbers[i].text, text);
        CHECK(vdm_json_number(&x, text) && x >= numbers[i].x && x <= numbers[i].x, "%s: read as %g", text, x);
    }
    static const char *const bad[] = {"", "0,5", "nan", "inf", "1 2", "\"1\"", "[1]", "1e999", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double x = 7;
        CHECK(!vdm_json_number(&x, bad[i]) && x >= 7 && x <= 7, "'%s' is not a number", bad[i]);
    }
}

int main(void)
{
    char folder[2][600];
    for (int i = 0; i < 2; i++) {
        snprintf(folder[i], sizeof folder[i], "%s/%s", check_folder(), i ? "comma" : "C");
        CHECK(mkdir(folder[i], 0777) == 0, "no folder %s", folder[i]);
    }
    write_locale();
    setenv("LOCPATH", check_folder(), 1);
    test_numbers();
    write_adapter("C");
    write_state("C");
    write_plain_alpha();
    read_adapter("C", "plain.safetensors", 0.5);
    if (!comma()) {
#ifdef __GLIBC__
        CHECK(false, "the locale that this test writes is not loaded");
#endif
        printf("test_locale: this system has no locale with a decimal comma: files were not compared\n");
        return check_end("locale");
    }
    test_numbers();
    write_adapter("comma");
    write_state("comma");
    read_adapter("C", "lora.safetensors", 0.5);
    read_adapter("comma", "lora.safetensors", 0.5);
    read_adapter("C", "plain.safetensors", 0.5);
    read_state("C");
    setlocale(LC_NUMERIC, "C");
    expect_same("lora.safetensors");
    expect_same("state.safetensors");
    return check_end("locale");
}
