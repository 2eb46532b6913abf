/* vdm arc from its command line, on a tiny random model: a task, folders in shards, kills and what is there
 * after them, a task that fails, merging. */
#include "program.h"
#include "tiny.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char other[sizeof said];
static const char FAST[] =
    "--model model --size 32x32 --cell 4 --border 0 --align 4 --rank 2 --batch 2 --threads 1 "
    "--steps 6 --sample-steps 1 --save-every 1 --watch-every 0";

/* `vdm arc WORDS` with the settings above. */
static void arc(int status, const char *piece, const char *words)
{
    expect(status, piece, "arc %s %s", words, FAST);
}

static void merge(int status, const char *piece, const char *words)
{
    expect(status, piece, "arc --report %s -o page.html", words);
}

/* Takes the times away: "seconds": 1.2 at the end of a line. */
static void without_times(char *text)
{
    static const char key[] = "\"seconds\": ";
    for (char *at = strstr(text, key); at; at = strstr(at + 1, key)) {
        char *number = at + sizeof key - 1, *end = number + strspn(number, "0123456789.");
        memmove(number, end, strlen(end) + 1);
    }
}

static void same_but_times(const char *a, const char *b)
{
    size_t n = slurp(said, sizeof said, a), m = slurp(other, sizeof other, b);
    without_times(said);
    without_times(other);
    CHECK(n > 100 && m > 100 && strcmp(said, other) == 0, "%s and %s differ:\n%s\n%s", a, b, said, other);
}

/* ------------------------------------------------------------------------------------------------
 * What the program works on */

/* Three good tasks in two folders, and one that can't be read. */
static void write_tasks(void)
{
    expect_shell(0, "",
                 "mkdir -p @/tasks/a @/tasks/b && echo none > @/tasks/b/notes.txt && "
                 "cp tests/arc/move/fall.json tests/arc/count.json @/tasks/a && "
                 "cp tests/arc/grow/twice.json @/tasks/b");
    write_text("tasks/b/bad.json", "{\"train\": [[\n");
}

/* ------------------------------------------------------------------------------------------------
 * Checks */

static void check_single(void)
{
    const char *pieces[] = {"The tests",          "Generated frames",
                            "--size-rule oracle", "alt=\"truth of fall\"",
                            "<polyline",          "someone who solves the task"};
    arc(0, "test exact with 1 attempt", "tasks/a/count.json -o one");
    CHECK(strstr(said, "truth") && strstr(said, "answer 1"), "no grids in %s", said);
    CHECK(!strchr(said, '\033'), "colours where there is no terminal");
    arc(0, "fall: ", "tasks/a/fall.json -o one --attempts 3 --augment 2 --size-rule infer --colour affine");
    CHECK(strstr(said, "read from the generated picture"), "the rule isn't named: %s", said);
    arc(0, "fall: ", "tasks/a/fall.json -o shots --shots 1 --colour palette");
    slurp(other, sizeof other, "shots/arc.html");
    CHECK(strstr(other, "Learned from 1 pairs") != NULL, "arc.html: not the pairs of --shots");
    arc(0, "0 with 2", "tasks/a/fall.json -o two");
    slurp(other, sizeof other, "two/arc.html");
    for (int i = 0; i < 6; i++) CHECK(strstr(other, pieces[i]), "arc.html: expected '%s'", pieces[i]);
    arc(1, "bad.json", "tasks/b/bad.json -o bad");
    write_text("kept.json",
               "{\"train\":[{\"input\":[[1]],\"output\":[[2]]}],\"test\":[{\"input\":[[3]]}]}\n");
    arc(1, "size-rule same or infer", "kept.json -o kept");
    arc(0, "right answers are not known", "kept.json -o kept --size-rule same");
}

static void check_usage(void)
{
    arc(2, "expected a task", "");
    arc(2, "one task or folder", "tasks tasks");
    arc(2, "expected --out", "tasks");
    arc(2, "go with a folder", "tasks/a/fall.json --shard 1/2");
    arc(2, "oracle|same|infer", "tasks/a/fall.json --size-rule guess");
    arc(2, "I from 1 to N", "tasks --out x.jsonl --shard 0/4");
    arc(2, "I from 1 to N", "tasks --out x.jsonl --shard 5/4");
    arc(2, "I from 1 to N", "tasks --out x.jsonl --shard 1/2/3");
    expect_shell(0, "", "mkdir none");
    arc(1, "found none", "none --out x.jsonl");
    arc(1, "no-folder", "tasks --out no-folder/x.jsonl");
}

/* ARC Prize's files: challenges are a folder of tasks, solutions lie next to them, two attempts are handed in. */
static void check_collection(void)
{
#define PAIRS_ \
    "\"train\": [{\"input\": [[1, 2]], \"output\": [[2, 1]]}, {\"input\": [[3, 4]], \"output\": [[4, 3]]}]"
    expect_shell(0, "", "mkdir prize");
    write_text("prize/a_challenges.json",
               "{\"aa\": {" PAIRS_ ", \"test\": [{\"input\": [[5, 6]]}]}, \"bb\": {" PAIRS_
               ", \"test\": [{\"input\": [[7, 8]]}]}}");
    write_text("prize/a_solutions.json", "{\"aa\": [[[6, 5]]]}");
    expect(0, "2 ARC-AGI tasks", "info prize/a_challenges.json");
    expect(0, "task 'aa', 2 training pairs", "info prize/a_challenges.json/aa.json");
    arc(0, "2 tasks, solved", "prize/a_challenges.json --out prize.jsonl --size-rule same");
    slurp(other, sizeof other, "prize.jsonl");
    CHECK(strstr(other, "\"task\": \"aa\"") && strstr(other, "\"truth\": \"65\"") &&
              strstr(other, "\"truth\": \"\""),
          "one truth is known, one isn't: %s", other);
    arc(0, "2 tasks, solved", "prize --out folder.jsonl --size-rule same");
    slurp(other, sizeof other, "folder.jsonl");
    CHECK(strstr(other, "\"task\": \"a_challenges.json/bb\""), "tasks of a folder's collection: %s", other);
    expect(0, "submission.json has two attempts", "arc --report prize.jsonl -o submission.json");
    slurp(other, sizeof other, "submission.json");
    CHECK(strncmp(other, "{\"aa\": [{\"attempt_1\": [[", 24) == 0 && strstr(other, "\"attempt_2\": [[") &&
              strstr(other, "\"bb\": [{\"attempt_1\""),
          "%s", other);
}

/* A whole run, twice: nothing is done twice, other settings are rejected. */
static void check_folder_run(void)
{
    arc(1, "4 tasks, solved 0, failed 1", "tasks --out all.jsonl");
    arc(1, "all.jsonl: 4 tasks already have a result", "tasks --out all.jsonl");
    arc(1, "another run", "tasks --out all.jsonl --seed 3");
    arc(1, "another run", "tasks --out all.jsonl --limit 2");
    arc(1, "another run", "tasks --out all.jsonl --ensemble 2");
    arc(1, "another run", "tasks --out all.jsonl --pure-noise 0.5");
    slurp(said, sizeof said, "all.jsonl");
    int lines = 0;
    for (const char *c = said; *c; c++) lines += *c == '\n';
    CHECK(lines == 4 && strstr(said, "\"error\": \""), "%d lines: %s", lines, said);
    expect_shell(0, "", "test ! -e all.jsonl.work");
    merge(0, "1 tasks failed", "all.jsonl");
    CHECK(strstr(said, "a ") && strstr(said, "mean over 2 folders") && strstr(said, "grids of up to 8"), "%s",
          said);
    slurp(other, sizeof other, "page.html");
    CHECK(strstr(other, "Not solved") && strstr(other, "b/bad") && strstr(other, "alt=\"truth of a/fall\""),
          "page.html");
}

static void check_shards(void)
{
    arc(1, "2 tasks", "tasks --out s1.jsonl --shard 1/2");
    arc(0, "2 tasks", "tasks --out s2.jsonl --shard 2/2");
    merge(0, "size rule oracle", "all.jsonl");
    memcpy(other, said, sizeof said);
    merge(0, "size rule oracle", "s1.jsonl s2.jsonl");
    CHECK(strcmp(said, other) == 0, "the shards merge to\n%s\nthe whole run to\n%s", said, other);
    merge(0, "2 of 4 tasks have no result yet", "s2.jsonl");
    merge(0, "2 tasks are in several files", "all.jsonl s2.jsonl");
    arc(0, "2 tasks", "tasks --out seed.jsonl --limit 2 --seed 3");
    merge(1, "different runs", "all.jsonl seed.jsonl");
    expect_shell(0, "", "sed '1s/answers\": \\[\"[0-9]/answers\": [\"/' all.jsonl > changed.jsonl");
    merge(1, "", "all.jsonl changed.jsonl");
    expect_shell(0, "", "sed '2s/\"attempts/\"attempt/' all.jsonl > broken.jsonl");
    merge(1, "broken.jsonl: line 2: attempts", "broken.jsonl");
    expect_shell(0, "", ": > empty.jsonl");
    merge(1, "no results", "empty.jsonl");
    merge(1, "nothing.jsonl", "nothing.jsonl");
}

/* Kills until the run ends by itself; the results have to be the same. */
static void check_kills(void)
{
    int killed = 0;
    for (int ms = 40; ms < 20000 && kill_vdm(NULL, ms, "arc tasks --out killed.jsonl %s", FAST);
         ms += ms < 800 ? ms / 3 : ms)
        killed++;
    CHECK(killed >= 2, "%d kills: the run is too fast for the test", killed);
    arc(1, "4 tasks", "tasks --out killed.jsonl");
    same_but_times("all.jsonl", "killed.jsonl");
    expect_shell(0, "", "test ! -e killed.jsonl.work");
    /* a line that was being written is cut off, a task killed in its training is resumed */
    expect_shell(0, "", "(head -n 2 all.jsonl; sed -n 3p all.jsonl | head -c 99) > cut.jsonl");
    arc(1, "cut.jsonl: 2 tasks already have a result", "tasks --out cut.jsonl");
    same_but_times("all.jsonl", "cut.jsonl");
    printf("arc: killed %d times, resumed\n", killed);
}

/* Two runs can't write one file: this process holds the other's lock. */
static void check_lock(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    expect_shell(0, "", "mkdir locked.jsonl.work");
    int fd = open("locked.jsonl.work/lock", O_RDWR | O_CREAT, 0666);
    CHECK(fd >= 0 && fcntl(fd, F_SETLK, &l) == 0, "the test can't lock a file");
    arc(1, "another run is writing", "tasks --out locked.jsonl");
    close(fd);
    arc(1, "4 tasks", "tasks --out locked.jsonl");
    same_but_times("all.jsonl", "locked.jsonl");
}

/* Views in one adapter: learned, answered in all of them, counted. */
static void check_views(void)
{
    vdm_error err;
    arc(1, "view_embeds.safetensors", "tasks/a/fall.json -o views --views 3");
    CHECK(tiny_write_views("model", 6, 5, &err) == 0, "%s", err.text);
    arc(1, "--augment 2, --views 3: expected one of the two",
        "tasks/a/fall.json -o views --augment 2 --views 3");
    arc(0, "fall: ", "tasks/a/fall.json -o views --views 6"); /* transposed ones too */
    arc(0,
        "count: ", "tasks/a/count.json -o views2 --views 6 --attempts 3 --size-rule infer --colour palette");
    arc(1, "4 tasks, solved", "tasks --out views.jsonl --views 6");
    arc(1, "another run", "tasks --out views.jsonl --views 5");
    arc(1, "4 tasks", "tasks --out views2.jsonl --views 6 --threads 2");
    same_but_times("views.jsonl", "views2.jsonl");
    write_text("model/vdm.json", "{\"arc\": {\"views\": 6}}");
    arc(1, "4 tasks already have a result", "tasks --out views.jsonl");
    arc(0, "fall: ", "tasks/a/fall.json -o views3 --augment 1");
    expect_shell(0, "", "rm model/vdm.json model/view_embeds.safetensors");
}

/* An ARC-AGI file is a task of fit, eval and info too; and the VAE's share of cells. */
static void check_task_commands(void)
{
    const char *canvas = "--model model --size 32x32 --cell 4 --border 0";
    expect(0, "2 steps on 3 pairs", "fit tasks/a/fall.json %s -o fit --steps 2 --rank 2 --batch 1", canvas);
    expect(0, "1 answered, 1 scored, mean cells",
           "eval tasks/b/twice.json %s -o eval --lora fit/lora.safetensors --sample-steps 1", canvas);
    expect(0, "an ARC-AGI task: grids of up to 8 rows and 6 columns", "info tasks/b/twice.json");
    expect(0, "cells recovered", "arc tasks/a --vae-roundtrip %s --shots 1", canvas);
}

int main(void)
{
    vdm_error err;
    if (!find_program()) return check_end("shards");
    CHECK(tiny_write(path_of("model"), TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_tasks();
    if (!CHECK(chdir(check_folder()) == 0, "the test can't enter its folder")) return check_end("shards");
    check_usage();
    check_single();
    check_collection();
    check_folder_run();
    check_shards();
    check_kills();
    check_lock();
    check_views();
    check_task_commands();
    return check_end("shards");
}
