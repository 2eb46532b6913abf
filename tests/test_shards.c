/* vdm arc from its command line, on a tiny random model: a task, folders in shards, kills and what is there
 * after them, a task that fails, merging. */
#include "program.h"
#include "tiny.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char other[sizeof printed];
static const char FAST[] =
    "--model model --size 32x32 --cell 4 --border 0 --align 4 --rank 2 --batch 2 --threads 1 "
    "--steps 6 --sample-steps 1 --watch-every 0";

/* `vdm arc WORDS` with the settings above; only a folder of tasks has states. */
static void arc(int status, const char *piece, const char *words)
{
    expect(status, piece, "arc %s %s%s", words, FAST, strstr(words, "--out ") ? " --save-every 1" : "");
}

static void merge(int status, const char *piece, const char *words)
{
    expect(status, piece, "arc --report %s -o page.html", words);
}

/* Takes the times away, which a resumed task does not have: , "seconds": 1.2 at the end of a line. */
static void without_times(char *text)
{
    static const char key[] = ", \"seconds\": ";
    for (char *at = strstr(text, key); at; at = strstr(at, key)) {
        char *number = at + sizeof key - 1, *end = number + strspn(number, "0123456789.");
        memmove(at, end, strlen(end) + 1);
    }
}

static void same_but_times(const char *a, const char *b)
{
    size_t n = slurp(printed, sizeof printed, a), m = slurp(other, sizeof other, b);
    without_times(printed);
    without_times(other);
    CHECK(n > 100 && m > 100 && strcmp(printed, other) == 0, "%s and %s differ:\n%s\n%s", a, b, printed,
          other);
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
    CHECK(strstr(printed, "truth") && strstr(printed, "answer 1"), "no grids in %s", printed);
    CHECK(!strchr(printed, '\033'), "colours where there is no terminal");
    arc(0, "fall: ", "tasks/a/fall.json -o one --attempts 3 --augment 2 --size-rule infer --colour affine");
    CHECK(strstr(printed, "read from the generated picture"), "the rule isn't named: %s", printed);
    arc(0, "fall: ", "tasks/a/fall.json -o shots --shots 1 --colour palette");
    slurp(other, sizeof other, "shots/arc.html");
    CHECK(strstr(other, "Learned from 1 pair in") != NULL, "arc.html: not the pairs of --shots");
    arc(0, "0 with 2", "tasks/a/fall.json -o two");
    slurp(other, sizeof other, "two/arc.html");
    for (int i = 0; i < 6; i++) CHECK(strstr(other, pieces[i]), "arc.html: expected '%s'", pieces[i]);
    arc(1, "bad.json", "tasks/b/bad.json -o bad");
    write_text("unsolved.json",
               "{\"train\":[{\"input\":[[1]],\"output\":[[2]]}],\"test\":[{\"input\":[[3]]}]}\n");
    arc(1, "size-rule same or infer", "unsolved.json -o unsolved");
    arc(0, "right answers are not known", "unsolved.json -o unsolved --size-rule same");
}

/* In one view the first answer is that of --seed, however many attempts there are. With this seed the second answer of
 * eight is the most frequent one. */
static void check_attempts(void)
{
    write_text(
        "cell.json",
        "{\"train\":[{\"input\":[[1]],\"output\":[[2]]}],\"test\":[{\"input\":[[3]],\"output\":[[1]]}]}\n");
    for (int n = 1; n <= 8; n += 7)
        expect(0, "1 of 1 test exact with 1 attempt",
               "arc cell.json -o cell --attempts %d %s --steps 1 --seed 4", n, FAST);
}

/* --shots N --augment M: the first N pairs, in every view. */
static void check_shots_in_views(void)
{
    expect_shell(
        0, "",
        "tr -d '\n' < tasks/a/count.json | sed 's/\\]\\]}, *{\"input\": \\[\\[1,0,0.*\"test\"/]]}], \"test\"/' "
        "> first.json && grep -c input first.json");
    arc(0, "6 steps on 1 pair in 4 views", "first.json -o first --augment 3");
    arc(0, "6 steps on 1 pair in 4 views", "tasks/a/count.json -o few --shots 1 --augment 3");
    CHECK(strstr(printed, "count: 1 pair to learn from") != NULL, "%s", printed);
    expect_same("few/lora.safetensors", "first/lora.safetensors", true);
    arc(0, "6 steps on 2 pairs in 3 views", "tasks/a/count.json -o all --augment 2");
    slurp(other, sizeof other, "all/arc.html");
    CHECK(strstr(other, "trained on 2 pairs") && strstr(other, "Learned from 2 pairs"), "%s", "all/arc.html");
    expect(0, "\"pairs\": 2,", "info all/lora.safetensors");
    arc(0, "--shots 5: tasks/a/count.json has 2 pairs", "tasks/a/count.json -o many --shots 5 --augment 2");
    expect_same("many/lora.safetensors", "all/lora.safetensors", true);
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
    arc(2, "I from 1 to N", "tasks --out x.jsonl --shard '1/ 2'");
    arc(2, "I from 1 to N", "tasks --out x.jsonl --shard +1/2");
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

/* A second attempt that repeats the first is none, which is printed. */
static void check_attempts_of_submissions(void)
{
    static const char *const cases[][3] = {
        {"--attempts 1", "s|x|x|",
         "has one attempt at each test, that of the results (--attempts 1): attempt_2 repeats it at 2 tests\n"},
        {"--attempts 2", "s|\"answers\": [^]]*|\"answers\": [\"12\", \"34\"|",
         "has two attempts at each test\n"},
        {"--attempts 2", "s|\"answers\": [^]]*|\"answers\": [\"12\"|; 1s|\"12\"]|\"12\", \"34\"]|",
         "has two attempts at each test; at 1 test the answers are equal, and attempt_2 repeats attempt_1\n"},
        {"--attempts 3",
         "s|\"answers\": [^]]*|\"answers\": [\"12\", \"34\", \"56\"|; 1s|\"attempts\": .*|\"error\": \"x\", \"failed_tests\": 2}|",
         "has two attempts at each test, the first of 3; at 2 tests of failed tasks both are a cell of 0\n"}};
    for (int i = 0; i < 4; i++) {
        char words[100];
        snprintf(words, sizeof words, "prize/a_challenges.json --out n%d.jsonl --size-rule same %s", i,
                 cases[i][0]);
        arc(0, "2 tasks, solved", words);
        expect_shell(0, "", "sed '%s' n%d.jsonl > hand%d.jsonl", cases[i][1], i, i);
        expect(0, cases[i][2], "arc --report hand%d.jsonl -o hand%d.json", i, i);
    }
}

/* A task of a collection that was changed is noticed, too; an answer that is known since is added to its result. */
static void check_changed_member(void)
{
    expect_shell(0, "", "cp prize.jsonl unknown.jsonl");
    expect_shell(0, "", "sed -i 's/\\[\\[\\[6, 5\\]\\]\\]/&, \"bb\": [[[8, 7]]]/' prize/a_solutions.json");
    arc(0, "prize.jsonl: the right answers of 1 task are known since",
        "prize/a_challenges.json --out prize.jsonl --size-rule same");
    CHECK(strstr(printed, "2 tasks already have a result") && !strstr(printed, "without known answer"), "%s",
          printed);
    arc(0, "2 tasks already have a result", "prize/a_challenges.json --out prize.jsonl --size-rule same");
    CHECK(!strstr(printed, "known since"), "%s", printed);
    expect_shell(0, "", "sed 's/\"truth\": \"87\"/\"truth\": \"\"/' prize.jsonl | cmp - unknown.jsonl");
    static const char *const merged[] = {"unknown.jsonl prize.jsonl", "prize.jsonl unknown.jsonl"};
    for (int i = 0; i < 2; i++) {
        merge(0, "all                      2", merged[i]);
        CHECK(!strstr(printed, "without known answer"), "%s: %s", merged[i], printed);
    }
    expect_shell(0, "", "sed 's/\"truth\": \"87\"/\"truth\": \"88\"/' prize.jsonl > wrong.jsonl");
    merge(1, "bb: test[0]: two different right answers", "prize.jsonl wrong.jsonl");
    merge(0, "1 task without known answer", "unknown.jsonl");
    expect_shell(0, "", "sed -i 's/\\(\"bb\".*\\)\\[\\[4, 3\\]\\]/\\1[[4, 4]]/' prize/a_challenges.json");
    arc(1,
        "line 2: the result of 'bb' is that of another task: prize/a_challenges.json/bb.json was changed since",
        "prize/a_challenges.json --out prize.jsonl --size-rule same");
}

/* Solutions to challenges are no tasks; any other file is one, or is reported. */
static void check_solutions(void)
{
    expect_shell(
        0, "",
        "mkdir -p left/1/2/3/4/5/6 && cp tasks/a/fall.json left/solutions_of_a_maze.json && "
        "cp tasks/a/fall.json left/1/2/3/4/5/6/deep.json && cp prize/a_solutions.json left/x_solutions.json");
    arc(0, "left/x_solutions.json is left out: expected a task", "left --out left.jsonl");
    CHECK(strstr(printed, "2 tasks, solved"), "%s", printed);
    slurp(other, sizeof other, "left.jsonl");
    CHECK(strstr(other, "\"task\": \"solutions_of_a_maze\"") &&
              strstr(other, "\"task\": \"1/2/3/4/5/6/deep\""),
          "%s", other);
    expect_shell(0, "", "mkdir -p left/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17");
    arc(1, "11/12/13/14/15/16/17: expected folders nested at most 16 deep", "left --out left.jsonl");
    expect_shell(
        0, "", "mkdir list && cp prize/a_challenges.json list && echo '[[[6, 5]]]' > list/a_solutions.json");
    arc(1, "list/a_solutions.json: document: found an array of 1, expected an object",
        "list --out list.jsonl");
    arc(1, "list/a_solutions.json: document: found an array", "list/a_challenges.json --out list.jsonl");
    expect_shell(0, "", "! test -s list.jsonl");
}

/* A task that failed is handed in with as many entries as it has tests. */
static void check_failed_submission(void)
{
    expect_shell(0, "", "mkdir hand");
    write_text("hand/challenges.json",
               "{\"cc\": {" PAIRS_ ", \"test\": [{\"input\": [[5, 6]]}, {\"input\": [[7, 8]]}]}}");
    arc(1, "1 task could not be answered",
        "hand/challenges.json --out hand.jsonl"); /* the size is not known */
    CHECK(strstr(printed, "solved 0 of 0") && strstr(printed, "failed 1, without known answer 1"), "%s",
          printed);
    expect(0, "1 task without known answer, not counted; 1 of them failed\n",
           "arc --report hand.jsonl -o hand.json");
    CHECK(!strstr(printed, "all "), "a task without known answers is counted: %s", printed);
    slurp(other, sizeof other, "hand.json");
    const char *first = strstr(other, "{\"attempt_1\": [[0]]"),
               *second = first ? strstr(first + 2, "\"attempt_1\"") : NULL;
    CHECK(strncmp(other, "{\"cc\": [", 8) == 0 && second && !strstr(second + 1, "\"attempt_1\""), "%s",
          other);
    expect_shell(
        0, "",
        "sed 's/\"failed_tests\": 2, //; s/\"configuration\": \"[^\"]*\", //; s/\"task_hash\": \"[^\"]*\", //' "
        "hand.jsonl > before.jsonl");
    expect(1, "cc: this task failed, and its number of tests is not known",
           "arc --report before.jsonl -o before.json");
    expect(0, "of 1 the number of tests is not known", "arc --report before.jsonl -o before.html");
    CHECK(strstr(printed,
                 "; of 1 the line does not state whether the right answers are known: counted as well\n"),
          "%s", printed);
    expect_shell(0, "", "! test -e before.json");
}

/* A failed task counts as not solved only if its answers are known, be it later. */
static void check_failed_unknown(void)
{
    expect_shell(0, "", "cp hand.jsonl later.jsonl && cp -r hand later");
    expect(0, "", "arc --report hand.jsonl -o hand.html");
    slurp(other, sizeof other, "hand.html");
    CHECK(strstr(other, "no task has a known answer: none of 1 is counted") &&
              strstr(other, "<p>1 without a known answer: in no count.</p>") && strstr(other, "<td>cc</td>"),
          "hand.html");
    expect_shell(0, "", "sed -i 's/\\[\\[5, 6\\]\\]/&, \"output\": [[6, 5]]/' later/challenges.json");
    arc(1, "1 task already has a result",
        "later/challenges.json --out later.jsonl"); /* one of two is known */
    CHECK(strstr(printed, "failed 1, without known answer 1"), "%s", printed);
    write_text("later/solutions.json", "{\"cc\": [[[6, 5]], [[8, 7]]]}");
    arc(1, "later.jsonl: the right answers of 1 task are known since",
        "later/challenges.json --out later.jsonl");
    CHECK(strstr(printed, "failed 1;"), "%s", printed);
    expect_shell(0, "", "grep -q '\"failed_tests\": 2, \"known_tests\": 2' later.jsonl");
    for (int i = 0; i < 2; i++) {
        merge(0, "1 task failed: counted as not solved\n",
              i ? "later.jsonl hand.jsonl" : "hand.jsonl later.jsonl");
        CHECK(strstr(printed, "0.00%  |     2 "), "its tests are not counted: %s", printed);
        CHECK(strstr(printed, "1 task is in several files"), "%s", printed);
    }
    expect_shell(0, "", "sed 's/\"known_tests\": 2/\"known_tests\": 3/' later.jsonl > more.jsonl");
    merge(1, "more.jsonl: line 1: known_tests: found '3', expected an integer from 0 to 2", "more.jsonl");
}

/* Folders: their paths are compared as they are, whatever their length; one without a known test is in no mean. */
static void check_folders(void)
{
    char a[111], b[111];
    memset(a, 'f', 110);
    a[60] = '/', a[109] = '1', a[110] = '\0';
    snprintf(b, sizeof b, "%.109s2", a);
    expect_shell(0, "", "grep '\"bb\"' prize.jsonl | sed 's|\"bb\"|\"%s/x\"|' > one.jsonl", a);
    expect_shell(0, "", "sed 's|\"%s/x\"|\"%s/y\"|' one.jsonl > other.jsonl", a, b);
    merge(0, "mean over 2 folders, 2 attempts", "one.jsonl other.jsonl");
    CHECK(strstr(printed, a) && strstr(printed, b), "two folders in %s", printed);
    expect_shell(0, "",
                 "sed 's|\"%s/x\"|\"B/y\"|; s|\"attempts\": .*|\"error\": \"gone\"}|' one.jsonl > bad.jsonl",
                 a);
    expect_shell(0, "", "sed 's|\"answers\": .*|\"answers\": [\"87\"]}]}|' one.jsonl > exact.jsonl");
    merge(0, "tests exact, mean over 1 folder, 2 attempts: 100.00%\n", "exact.jsonl bad.jsonl");
    CHECK(strstr(printed, "1 folder without a known test: not in the mean\n"), "%s", printed);
    slurp(other, sizeof other, "page.html");
    CHECK(strstr(other, "with 1 attempt, mean over 1 folder: 100.00 %.</p>") &&
              strstr(other, "<p>1 folder without a known test: not in the mean.</p>"),
          "page.html");
}

/* A name that fits into a path is one, though it has more than 1024 bytes. */
static void check_long_names(void)
{
    expect_shell(0, "",
                 "d=long; for i in 1 2 3 4 5; do d=$d/$(printf '%%0199d' $i); done; mkdir -p $d && "
                 "cp tasks/a/fall.json $d/$(printf '%%0100d' 6).json");
    arc(0, "1 task, solved", "long --out long.jsonl");
    CHECK(strstr(printed, "failed 0"), "%s", printed);
    expect(0, "", "arc long --vae-roundtrip --model model --size 32x32 --border 0");
}

/* A file that is not a task has a line, but no entry in a submission; a submission in the folder is not a task at all. */
static void check_unreadable_submission(void)
{
    expect_shell(
        0, "",
        "mkdir kaggle && cp hand/challenges.json kaggle && echo '[' > kaggle/bad.json && "
        "echo '{\"cc\": [{\"attempt_1\": [[0]], \"attempt_2\": [[0]]}]}' > kaggle/sample_submission.json");
    arc(1, "kaggle/sample_submission.json is left out: it is a submission, not a task",
        "kaggle --out kaggle.jsonl");
    expect_shell(0, "", "test $(wc -l < kaggle.jsonl) = 2");
    expect(0, "bad is left out of the submission: ", "arc --report kaggle.jsonl -o kaggle.out.json");
    expect_same("hand.json", "kaggle.out.json", true);
}

/* A whole run, twice: nothing is done twice, other settings are rejected. */
static void check_folder_run(void)
{
    arc(1, "4 tasks, solved 0, failed 1", "tasks --out all.jsonl");
    arc(1, "all.jsonl: 4 tasks already have a result", "tasks --out all.jsonl");
    static const char *const others[][2] = {
        {"--seed: found 42, expected 3", "--seed 3"},
        {"found a result of a set of 4 tasks, expected 2 (--limit, or files were added or removed)",
         "--limit 2"},
        {"--ensemble: found 1, expected 2", "--ensemble 2"},
        {"--pure-noise: found 0, expected 0.5", "--pure-noise 0.5"},
        {"--phi: found none, expected tiles:2x2", "--phi tiles:2x2"},
        {"--tiled: found none, expected given", "--tiled"},
        {"--shots: found 0, expected 1", "--shots 1 --augment 2"},
        {"--augment: found 0, expected 2", "--augment 2"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char piece[96], words[96];
        snprintf(piece, sizeof piece, "all.jsonl: line 1 is from another run: %s\n", others[i][0]);
        snprintf(words, sizeof words, "tasks --out all.jsonl %s", others[i][1]);
        arc(1, piece, words);
    }
    slurp(printed, sizeof printed, "all.jsonl");
    int lines = 0;
    for (const char *c = printed; *c; c++) lines += *c == '\n';
    CHECK(lines == 4 && strstr(printed, "\"error\": \""), "%d lines: %s", lines, printed);
    expect_shell(0, "", "test ! -e all.jsonl.work");
    merge(0, "1 task failed: counted as not solved", "all.jsonl");
    CHECK(strstr(printed, "a ") && strstr(printed, "mean over 2 folders") &&
              strstr(printed, "grids of up to 8"),
          "%s", printed);
    slurp(other, sizeof other, "page.html");
    CHECK(strstr(other, "Not solved") && strstr(other, "b/bad") && strstr(other, "alt=\"truth of a/fall\""),
          "page.html");
}

/* What is not an option: a task that is twice in the file, other weights, results of earlier versions and builds, which gave
 * other answers with the same options. */
static void check_other_results(void)
{
    expect_shell(0, "", "sed '1p' all.jsonl > other.jsonl");
    arc(1, "other.jsonl: line 2: found a second result of task 'a/count', expected one (line 1)",
        "tasks --out other.jsonl");
    expect_shell(
        0, "",
        "sed '1{h;p;s/.*//p;g}' all.jsonl > other.jsonl"); /* an empty line, which editors leave, counts */
    arc(1, "other.jsonl: line 3: found a second result of task 'a/count', expected one (line 1)",
        "tasks --out other.jsonl");
    expect_shell(0, "", "sed 's/; contents ..../; contents 0000/' all.jsonl > other.jsonl");
    arc(1, "line 1 is from another run: the contents of files differ", "tasks --out other.jsonl");
    merge(1, "the contents of files differ", "all.jsonl other.jsonl");
    expect_shell(0, "", "sed 's/; contents [0-9a-f]*//' all.jsonl > other.jsonl");
    arc(1, "line 1 is from another run: one of the two is of version 0.1.0", "tasks --out other.jsonl");
    arc(0, "2 tasks, solved", "tasks/a --out other2.jsonl --shots 1 --augment 1");
    expect_shell(0, "",
                 "grep -q '; shots in every view; contents ' other2.jsonl && "
                 "sed 's/; shots in every view//' other2.jsonl > other3.jsonl");
    arc(1, "line 1 is from another run: --shots with --augment: one of the two is of an earlier build",
        "tasks/a --out other3.jsonl --shots 1 --augment 1");
    arc(0, "2 tasks, solved", "tasks/a --out seeds.jsonl --attempts 3");
    expect_shell(0, "", "sed 's/; answers by seed//' seeds.jsonl > other3.jsonl");
    arc(1, "line 1 is from another run: --attempts above 2: one of the two is of an earlier build",
        "tasks/a --out other3.jsonl --attempts 3");
    merge(1, "results of different runs: 'b/twice' is one of 4 tasks, 'count' one of 2",
          "all.jsonl seeds.jsonl");
}

/* The tensors of an adapter with another alpha for some of its modules. */
static void write_adapter(const char *alpha)
{
    char metadata[256];
    vdm_error err;
    vdm_safetensors f;
    if (!CHECK(vdm_safetensors_open(&f, "one/lora.safetensors", &err) == 0, "%s", err.text)) return;
    snprintf(
        metadata, sizeof metadata,
        "{\"transformer.lora_alpha\": 2, \"transformer.r\": 2, \"transformer.alpha_pattern\": {\"to_q\": %s}}",
        alpha);
    const char *const pairs[][2] = {{"lora_adapter_metadata", metadata}};
    CHECK(vdm_safetensors_write("init.safetensors", f.tensors, f.count, pairs, 1, &err) == 0, "%s", err.text);
    vdm_safetensors_close(&f);
}

/* Alphas of modules are in no tensor and no option. */
static void check_init(void)
{
    write_adapter("3");
    arc(0, "--limit 3: tasks/a has 2 tasks", "tasks/a --out init.jsonl --init init.safetensors --limit 3");
    arc(0, "2 tasks already have a result", "tasks/a --out init.jsonl --init init.safetensors");
    write_adapter("4");
    arc(1, "line 1 is from another run: the contents of files differ",
        "tasks/a --out init.jsonl --init init.safetensors");
}

/* The results of another set of as many tasks, or of so many tasks that they are of two sets. */
static void check_two_sets(void)
{
    expect_shell(
        0, "",
        "mkdir second && for i in w x y z; do cp tasks/a/fall.json second/$i.json; done; cp all.jsonl set.jsonl");
    arc(1, "set.jsonl: line 1: found a result of task 'a/count', expected one of the 4 tasks of second",
        "second --out set.jsonl");
    expect_same("all.jsonl", "set.jsonl", true);
    expect_shell(0, "", "sed 's/\"task\": \"/&second-/' all.jsonl > set.jsonl");
    merge(1, "results of different sets of tasks: each line is of a set of 4 tasks, found 8 tasks",
          "all.jsonl set.jsonl");
}

/* A changed configuration of the model is another run. The hash knows what vdm obeys. */
static void check_configurations(void)
{
    static const char *const changes[][2] = {
        {"scheduler/scheduler_config.json", "s/CogVideoXDDIMScheduler/CogVideoXDPMScheduler/"},
        {"vae/config.json", "s/\"scaling_factor\": [0-9.]*/\"scaling_factor\": 0.5/"},
        {"transformer/config.json", "s/\"norm_eps\": 1e-05/\"norm_eps\": 1e-04/"}};
    for (int i = 0; i < 3; i++) {
        expect_shell(0, "", "cp model/%s stored && sed -i '%s' model/%s && ! cmp -s stored model/%s",
                     changes[i][0], changes[i][1], changes[i][0], changes[i][0]);
        arc(1, "line 1 is from another run: a configuration of model was changed since",
            "tasks --out all.jsonl");
        expect_shell(0, "", "cp stored model/%s", changes[i][0]);
    }
    expect_shell(
        0, "",
        "cp model/vae/config.json stored && sed -i 's/^{/{\"_name_or_path\": \"x\", /' model/vae/config.json");
    arc(1, "4 tasks already have a result", "tasks --out all.jsonl");
    expect_shell(0, "", "cp stored model/vae/config.json");
    expect_shell(0, "",
                 "sed '2s/\"configuration\": \"..../\"configuration\": \"0000/' all.jsonl > set.jsonl");
    merge(1, "the model's configurations are others for 'a/fall' than for 'a/count'", "set.jsonl");
    expect_shell(0, "", "sed '2s/\"configuration\": \"/&x/' all.jsonl > set.jsonl");
    merge(1, "set.jsonl: line 2: configuration: found", "set.jsonl");
}

/* Results are those of the tasks as they were, which is found out before the first task is learned. */
static void check_changed_tasks(void)
{
    expect_shell(0, "",
                 "cp -r tasks edited && sed -i '0,/8,0,1,0/s//8,0,1,1/' edited/a/fall.json && "
                 "sed 1d all.jsonl > edited.jsonl && cp edited.jsonl stored");
    arc(1,
        "edited.jsonl: line 1: the result of 'a/fall' is that of another task: edited/a/fall.json was changed since",
        "edited --out edited.jsonl");
    expect_same("edited.jsonl", "stored", true);
    expect_shell(0, "", "cp tasks/a/fall.json edited/a && cp tasks/a/fall.json edited/b/bad.json");
    arc(1, "line 2: the result of 'b/bad' is that of another task", "edited --out edited.jsonl");
    expect_shell(0, "", "sed -i 2d edited.jsonl");
    arc(0, "4 tasks, solved", "edited --out edited.jsonl"); /* a/count and b/bad */
}

/* Lines of a version that did not write hashes are continued, and what is not compared is printed. */
static void check_earlier_version(void)
{
    expect_shell(0, "",
                 "sed 's/\"configuration\": \"[0-9a-f]*\", //; s/\"task_hash\": \"[0-9a-f]*\", //; "
                 "s/\"failed_tests\": [0-9]*, //; 4d' all.jsonl > old.jsonl && ! grep -q hash old.jsonl");
    arc(1, "old.jsonl: 3 results are of an earlier version, without hashes", "tasks --out old.jsonl");
    CHECK(strstr(printed, "old.jsonl: 3 tasks already have a result"), "%s", printed);
    merge(0, "4 tasks are in several files", "old.jsonl all.jsonl");
}

static void check_shards(void)
{
    arc(1, "2 tasks", "tasks --out s1.jsonl --shard 1/2");
    arc(0, "2 tasks", "tasks --out s2.jsonl --shard 2/2");
    merge(0, "size rule oracle", "all.jsonl");
    memcpy(other, printed, sizeof printed);
    merge(0, "size rule oracle", "s1.jsonl s2.jsonl");
    CHECK(strcmp(printed, other) == 0, "the shards merge to\n%s\nthe whole run to\n%s", printed, other);
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

/* A last line without "\n", which editors take away, is a result; one without its end is not, which is printed. */
static void check_last_line(void)
{
    expect_shell(0, "", "head -c -1 all.jsonl > unended.jsonl");
    merge(0, "size rule oracle", "unended.jsonl");
    memcpy(other, printed, sizeof printed);
    merge(0, "size rule oracle", "all.jsonl");
    CHECK(strcmp(printed, other) == 0, "without the last \\n:\n%s\nexpected\n%s", other, printed);
    arc(1, "unended.jsonl: 4 tasks already have a result", "tasks --out unended.jsonl");
    CHECK(!strstr(printed, "cut off"), "%s", printed);
    expect_same("unended.jsonl", "all.jsonl", true);
    expect_shell(0, "",
                 "head -c -2 all.jsonl > unended.jsonl; printf '%%s' '{\"task\": \"a/fall\"}' > field.jsonl");
    merge(0, "unended.jsonl: the last line is left out: ", "unended.jsonl");
    CHECK(strstr(printed, "1 of 4 tasks has no result yet") != NULL, "%s", printed);
    arc(1, "unended.jsonl: the last line is cut off: ", "tasks --out unended.jsonl");
    CHECK(strstr(printed, "unended.jsonl: 3 tasks already have a result") != NULL, "%s", printed);
    same_but_times("all.jsonl", "unended.jsonl");
    merge(1, "field.jsonl: line 1: run", "field.jsonl");
}

/* Kills until the run ends by itself; the results have to be the same. */
static void check_kills(void)
{
    int killed = 0;
    for (int ms = 40;
         ms < 20000 && kill_vdm(NULL, ms, "arc tasks --out killed.jsonl --save-every 1 %s", FAST);
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

/* Stopped by a signal: the same command continues; the state of a task that was changed meanwhile is not used. The time
 * before the stop is not in the state: the line has none. */
static void check_interrupted(void)
{
    static const char words[] =
        "arc stop --model model --size 32x32 --cell 4 --border 0 --rank 2 --batch 2 --threads 1 "
        "--steps 300 --sample-steps 1 --save-every 1 --watch-every 0 --out";
    expect_shell(0, "", "mkdir stop && cp tasks/a/fall.json stop");
    expect_shell(
        1, "state.safetensors; the same command continues",
        "\"$VDM\" %s stop.jsonl & for i in $(seq 600); do ls stop.jsonl.work/*/state.safetensors && break; sleep 0.05; "
        "done; kill -TERM $!; wait $!",
        words);
    CHECK(strstr(printed, "interrupted after step") && !strstr(printed, "--resume"), "%s", printed);
    expect_shell(0, "", "cp -r stop.jsonl.work resumed.jsonl.work");
    expect(0, " (resumed); solved ", "%s resumed.jsonl", words);
    expect_shell(0, "", "! grep seconds resumed.jsonl && ! test -e resumed.jsonl.work");
    expect_shell(
        0, "",
        "cp -r stop.jsonl.work damaged.jsonl.work && for i in damaged.jsonl.work/*/state.safetensors; do "
        "head -c 999 $i > cut && mv cut $i; done");
    expect(0, "/state.safetensors: ", "%s damaged.jsonl", words);
    CHECK(strstr(printed, "this state is not used, the task begins again") &&
              strstr(printed, "1 task, solved"),
          "%s", printed);
    same_but_times("resumed.jsonl", "damaged.jsonl");
    merge(0, "size rule oracle", "resumed.jsonl");
    expect_shell(0, "", "sed -i '0,/8,0,1,0/s//8,0,1,1/' stop/fall.json");
    expect(0, "1 task, solved", "%s stop.jsonl", words);
    CHECK(strstr(printed, "stop.jsonl.work is not removed"), "%s", printed);
    expect_shell(0, "", "grep -q '\\], \"seconds\": [0-9.]*}$' stop.jsonl");
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
    arc(1, "another run: --views: found 6, expected 5", "tasks --out views.jsonl --views 5");
    arc(1, "4 tasks", "tasks --out views2.jsonl --views 6 --threads 2");
    same_but_times("views.jsonl", "views2.jsonl");
    write_text("model/vdm.json", "{\"arc\": {\"views\": 6}}");
    arc(1, "4 tasks already have a result", "tasks --out views.jsonl");
    arc(0, "fall: ", "tasks/a/fall.json -o views3 --augment 1");
    expect_shell(0, "", "rm model/vdm.json model/view_embeds.safetensors");
}

/* fit does not replace an adapter without a state: that of a task, or of a run whose state was deleted. */
static void check_existing_adapter(const char *canvas)
{
    static const char *const folders[] = {"solved", "stateless"};
    static const char *const says[] = {
        "solved: expected a folder without a run of 'vdm arc', whose files would be replaced, found its arc.html",
        "stateless: expected a folder without an adapter, found lora.safetensors"};
    arc(0, "fall: ", "tasks/a/fall.json -o solved");
    arc(0, "fall: ", "tasks/a/fall.json -o solved"); /* the same command again may */
    expect_shell(0, "", "cp -r fit stateless && rm stateless/state.safetensors");
    for (int i = 0; i < 2; i++) {
        expect_shell(0, "", "cp %s/lora.safetensors stored", folders[i]);
        expect(1, says[i], "fit tasks/a/fall.json %s -o %s --steps 2 --rank 2 --batch 1", canvas, folders[i]);
        expect_same(i ? "stateless/lora.safetensors" : "solved/lora.safetensors", "stored", true);
    }
    expect_shell(0, "", "rm solved/lora.safetensors solved/train.csv solved/arc.html");
    expect(0, "2 steps on 3 pairs", "fit tasks/a/fall.json %s -o solved --steps 2 --rank 2 --batch 1",
           canvas);
}

/* An ARC-AGI file is a task of fit, eval and info too; and the VAE's share of cells. */
static void check_task_commands(void)
{
    const char *canvas = "--model model --size 32x32 --cell 4 --border 0";
    expect(0, "2 steps on 3 pairs", "fit tasks/a/fall.json %s -o fit --steps 2 --rank 2 --batch 1", canvas);
    expect_shell(0, "", "cp fit/lora.safetensors fit/train.csv .");
    arc(1, "fit: expected a folder without a run of 'vdm fit'", "tasks/a/fall.json -o fit");
    expect_same("fit/lora.safetensors", "lora.safetensors", true);
    expect_same("fit/train.csv", "train.csv", true);
    check_existing_adapter(canvas);
    expect(0, "1 answered, 1 scored, mean cells",
           "eval tasks/b/twice.json %s -o eval --lora fit/lora.safetensors --sample-steps 1", canvas);
    expect(0, "an ARC-AGI task: grids of up to 8 rows and 6 columns", "info tasks/b/twice.json");
    expect_shell(0, "", "mkdir mixed && cp tasks/a/*.json tasks/b/bad.json mixed");
    write_text(
        "mixed/large.json",
        "{\"train\":[{\"input\":[[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8]],\"output\":[[2]]}],\"test\":[{\"input\":[[3]]}]}\n");
    expect(0, "cells recovered",
           "arc tasks/a --vae-roundtrip --model model --size 32x32 --border 0 --shots 1 --limit 2");
    CHECK(!strstr(printed, "--limit"), "%s", printed);
    expect(0, "--limit 3: tasks/a has 2 tasks",
           "arc tasks/a --vae-roundtrip --model model --size 32x32 --border 0 --shots 1 --limit 3");
    CHECK(strstr(printed, "    32x32     4 ") != NULL, "%s", printed);
    expect(0, "left out: 2 tasks; the first: mixed/bad.json: JSON",
           "arc mixed --vae-roundtrip --model model --size 32x32 --border 1 --shots 1");
    CHECK(strstr(printed, "    32x32     4 ") != NULL, "%s", printed);
    /* count.json, cells of 8: a canvas of the same height, but wider; and one of the same width, but higher */
    expect(0, "    48x48     8 ",
           "arc tasks/a --vae-roundtrip --model model --size 48x32 --cell 8 --border 0 --grow 64");
    expect(0, "    48x48     8 ",
           "arc tasks/a --vae-roundtrip --model model --size 32x48 --cell 8 --border 0 --grow 64");
    expect(0, "", "arc tasks/a --vae-roundtrip --model model --size 128x128 --border 0 --shots 1");
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
    check_attempts();
    check_shots_in_views();
    check_collection();
    check_attempts_of_submissions();
    check_changed_member();
    check_solutions();
    check_failed_submission();
    check_failed_unknown();
    check_folders();
    check_long_names();
    check_unreadable_submission();
    check_folder_run();
    check_other_results();
    check_init();
    check_shards();
    check_last_line();
    check_two_sets();
    check_configurations();
    check_changed_tasks();
    check_earlier_version();
    check_kills();
    check_interrupted();
    check_lock();
    check_views();
    check_task_commands();
    return check_end("shards");
}
