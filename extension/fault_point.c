/*
 * fault_point.c: what a process does at a place that a test has armed.
 *
 * A test arms one point by a file in the data directory, "NAME ACTION". The first process that comes there takes the file by
 * renaming it, so a point acts once, in one process, and a crash's next start does not meet it again:
 *
 *	kafka_fault -rename-> kafka_fault.PID -removed by the test-> the process goes on
 *
 * A file and not a setting: it holds at once, in every process, in the middle of a transaction too. ACTION is
 *
 *	wait		stands still until the file is removed or the process is asked to end
 *	error		raises an error that is no record's fault
 *	conflict	raises one after which a batch is tried again
 *
 * A kill needs no action: the test has the pid of who stands there.
 *
 * While a file kafka_fault_hang is there, no call into librdkafka that a thread makes returns.
 */
#include "postgres.h"

#ifdef KV_FAULT_POINTS

#include <unistd.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "fault_point.h"

#define ARMED "kafka_fault"
#define HANG "kafka_fault_hang"
#define LOOK_MS 5

static bool read_armed(char *point, char *action);
static void stand_still(const char *taken);


void
kv_fault_point(const char *name)
{
	char		point[64];
	char		action[64];
	char		taken[MAXPGPATH];

	if (!read_armed(point, action) || strcmp(point, name) != 0)
		return;
	snprintf(taken, sizeof(taken), "%s.%d", ARMED, MyProcPid);
	if (rename(ARMED, taken) != 0)
		return;					/* another process was first */
	write_stderr("kafka_views: process %d is at fault point %s: %s\n", MyProcPid, point, action);
	if (strcmp(action, "wait") == 0)
		stand_still(taken);
	else
		ereport(ERROR,
				(errcode(strcmp(action, "conflict") == 0 ? ERRCODE_T_R_DEADLOCK_DETECTED : ERRCODE_IO_ERROR),
				 errmsg("fault point %s", point)));
}

void
kv_fault_point_of(const char *when, const char *what)
{
	char		name[64];

	snprintf(name, sizeof(name), "%s_%s", when, what);
	kv_fault_point(name);
}

static bool
read_armed(char *point, char *action)
{
	FILE	   *file = fopen(ARMED, "r");
	bool		found = file != NULL && fscanf(file, "%63s %63s", point, action) == 2;

	if (file != NULL)
		fclose(file);
	return found;
}

/* See the header. Enters nothing of Postgres. */
bool
kv_fault_calls_hang(bool wait)
{
	while (wait && access(HANG, F_OK) == 0)
		(void) usleep(LOOK_MS * 1000);
	return access(HANG, F_OK) == 0;
}

/*
 * A stop, and the end of the postmaster, end it as they would end the work behind the point: where interrupts are held, as
 * between a commit and its transaction's end, later. An exit there would abort what has been committed, and panic.
 */
static void
stand_still(const char *taken)
{
	while (access(taken, F_OK) == 0 && !ShutdownRequestPending && !ProcDiePending)
	{
		if (WaitLatch(NULL, WL_TIMEOUT | WL_POSTMASTER_DEATH, LOOK_MS, PG_WAIT_EXTENSION) & WL_POSTMASTER_DEATH)
		{
			if (INTERRUPTS_CAN_BE_PROCESSED())
				proc_exit(1);
			return;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

#endif
