// Flash for tests: preloaded into a program, this makes /dev/mtd0 and /dev/mtd1 out of files in $MTD_SHIM.
// Writing only clears bits, erasing sets them, everything is write-protected until it is unlocked, blocks can be bad.
// $MTD_KIND: 3 NOR, 4 NAND. $MTD_ERASE_SIZE: bytes of a block. $MTD_BAD: start of a bad block.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mtd/mtd-user.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FDS 1024

static char is_flash[FDS], is_unlocked[FDS];

static int names_flash(const char *path) { return path && !strncmp(path, "/dev/mtd", 8); }
static int on_flash(int fd) { return fd >= 0 && fd < FDS && is_flash[fd]; }
static long setting(const char *name) { return getenv(name) ? strtol(getenv(name), NULL, 0) : -1; }

static const char *real_path(const char *path, char *buffer, size_t size)
{
	if (!names_flash(path))
		return path;
	snprintf(buffer, size, "%s/%s", getenv("MTD_SHIM"), path + strlen("/dev/"));
	return buffer;
}

static int open_any(const char *path, int flags, int mode)
{
	char buffer[512];
	int fd = REAL(open64)(real_path(path, buffer, sizeof buffer), flags, mode);
	if (fd >= 0 && fd < FDS) {
		is_flash[fd] = names_flash(path);
		is_unlocked[fd] = 0;
	}
	return fd;
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list rest; \
		va_start(rest, flags); \
		int mode = va_arg(rest, int); \
		va_end(rest); \
		return open_any(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

int close(int fd)
{
	if (fd >= 0 && fd < FDS)
		is_flash[fd] = 0;
	return REAL(close)(fd);
}

char *realpath(const char *restrict path, char *restrict out)
{
	if (!names_flash(path))
		return REAL(realpath)(path, out);
	return out ? strcpy(out, path) : strdup(path);
}

#define AS_FLASH(mode) ((mode) = ((mode) & ~S_IFMT) | S_IFCHR)

int stat(const char *restrict path, struct stat *restrict found)
{
	char buffer[512];
	int result = REAL(stat)(real_path(path, buffer, sizeof buffer), found);
	if (names_flash(path))
		AS_FLASH(found->st_mode);
	return result;
}

int statx(int at, const char *restrict path, int flags, unsigned int mask, struct statx *restrict found)
{
	char buffer[512];
	int result = REAL(statx)(at, path ? real_path(path, buffer, sizeof buffer) : path, flags, mask, found);
	if (names_flash(path) || (path && !*path && on_flash(at)))
		AS_FLASH(found->stx_mode);
	return result;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	va_start(rest, request);
	void *argument = va_arg(rest, void *);
	va_end(rest);
	if (!on_flash(fd))
		return REAL(ioctl)(fd, request, argument);
	struct mtd_info_user *info = argument;
	struct erase_info_user *stretch = argument;
	long block = setting("MTD_ERASE_SIZE");
	switch (request) {
	case MEMGETINFO:
		memset(info, 0, sizeof *info);
		info->type = setting("MTD_KIND");
		info->erasesize = block;
		info->size = lseek(fd, 0, SEEK_END);
		return 0;
	case MEMGETBADBLOCK:
		return *(loff_t *)argument == setting("MTD_BAD");
	case MEMISLOCKED:
		return !is_unlocked[fd];
	case MEMUNLOCK:
		is_unlocked[fd] = 1;
		return 0;
	case MEMLOCK:
		is_unlocked[fd] = 0;
		return 0;
	case MEMERASE:
		if (!is_unlocked[fd] || stretch->start % block || stretch->length % block ||
		    stretch->start == setting("MTD_BAD"))
			break;
		for (unsigned at = 0; at < stretch->length; at++)
			REAL(pwrite64)(fd, "\xff", 1, stretch->start + at);
		return 0;
	}
	errno = EINVAL;
	return -1;
}

static ssize_t program(int fd, const unsigned char *bytes, size_t size, off_t at)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char now;
		if (!is_unlocked[fd] || REAL(pread64)(fd, &now, 1, at + i) != 1) {
			errno = EIO;
			return -1;
		}
		now &= bytes[i];
		REAL(pwrite64)(fd, &now, 1, at + i);
	}
	return size;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at)
{
	return on_flash(fd) ? program(fd, bytes, size, at) : REAL(pwrite64)(fd, bytes, size, at);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	if (!on_flash(fd))
		return REAL(write)(fd, bytes, size);
	ssize_t written = program(fd, bytes, size, lseek(fd, 0, SEEK_CUR));
	if (written > 0)
		lseek(fd, written, SEEK_CUR);
	return written;
}
