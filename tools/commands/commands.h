/* The commands of the program, a file each: cmd_NAME.c. They receive the words after the command, and return the
 * program's exit status. */
#ifndef VDM_COMMANDS_H
#define VDM_COMMANDS_H

int command_info(int argc, char **argv);
int command_demo(int argc, char **argv);
int command_fit(int argc, char **argv);
int command_prompt(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_vote(int argc, char **argv);
int command_interp(int argc, char **argv);
int command_tasks(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_golden(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_arc(int argc, char **argv);

#endif
