/* Keys of a model's configurations that nothing reads. */
#ifndef VDM_IGNORED_KEYS_H
#define VDM_IGNORED_KEYS_H

/* Prints on stderr the keys that the classes of the model's parts don't have: a name that is misspelt would leave its
 * default without a word. Files that can't be read are left to their readers. */
void ignored_keys_print(const char *model);

#endif
