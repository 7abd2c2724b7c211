/* A disk on which making something durable takes longer: each fsync and fdatasync returns SYNC_DELAY_US microseconds
 * late. Preloaded (LD_PRELOAD) into laked and into the probe beside it by run.py, so that a figure of a commit in durable
 * writes can be had for the disk one has in production, not only for the one of the machine at hand. Waits that overlap
 * overlap here as well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int late(const char *name, int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int outcome = sync(fd);
    const char *delay = getenv("SYNC_DELAY_US");
    if (delay)
        usleep((useconds_t)atoi(delay));
    return outcome;
}

int fsync(int fd) { return late("fsync", fd); }
int fdatasync(int fd) { return late("fdatasync", fd); }
