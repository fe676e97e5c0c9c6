/*-------------------------------------------------------------------------
 * set_clock.c
 *	  Sets the clock of a server that is started with LD_PRELOAD, as a person or NTP may set that of a machine.
 *
 * PostgreSQL tells the time by gettimeofday. The file that SET_CLOCK names says by how many seconds it is wrong. Threads of
 * libraries, which wait by the clock, are left alone, and the monotonic clock nobody can set.
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Gives the seconds that the file names; 0 where it cannot be read. */
static long
seconds_set(void)
{
	const char *name = getenv("SET_CLOCK");
	char		text[32] = "";
	int			fd = name != NULL && gettid() == getpid() ? open(name, O_RDONLY) : -1;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atol(text);
}

int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	time->tv_sec = now.tv_sec + seconds_set();
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}
