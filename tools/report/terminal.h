/* Pictures and grids in the terminal. */
#ifndef VDM_TERMINAL_H
#define VDM_TERMINAL_H

#include "vdm_task.h"

/* Pictures in the terminal: two pixels a character in 24-bit colour, plain text elsewhere. */
typedef struct screen {
    bool colour;
    int columns;
} screen;
screen screen_of_stdout(void);
/* Prints n pictures side by side, each with its caption below; the place of one without pixels stays empty. grid: the
 * layout of the cells that they show, or NULL. */
void screen_print(const screen *s, const vdm_picture *pictures, const char *const *captions, int n,
                  const vdm_grid_layout *grid);

/* The same for grids, each of its own size; the place of one of 0 x 0 stays empty. */
void screen_print_grids(const screen *s, const vdm_grid *grids, const char *const *captions, int n,
                        vdm_palette palette);

#endif
