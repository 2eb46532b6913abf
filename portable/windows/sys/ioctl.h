/* The terminal's width can't be asked for: see ../posix.h. */
#ifndef VDM_WINDOWS_IOCTL_H
#define VDM_WINDOWS_IOCTL_H
#define TIOCGWINSZ 0
struct winsize {
    unsigned short ws_col;
};
#define ioctl(fd, request, size) ((size)->ws_col = 0, -1)
#endif
