/*-------------------------------------------------------------------------
 * kv_kafka.c
 *	  The tests' Kafka client: makes topics, produces lines, reads topics.
 *
 * Why it exists: a test needs a topic made, three records produced or a sink
 * read in a few milliseconds and without a JVM, and must see what any other
 * client sees, so it shares no code with the extension.
 *
 * Invariant: exit status 0 means that all of it happened: every record was
 * acknowledged, every partition was read to the end it had at the start.
 * Usage is in the text below, examples in regress/README.md.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
"usage: kv_kafka [-b BROKER] COMMAND ...     (BROKER: default $KAFKA_BROKER)\n"
"  create TOPIC [PARTITIONS] [on=BROKER_ID] [config=value ...]\n"
"  delete TOPIC ...\n"
"  add-partitions TOPIC NEW_TOTAL\n"
"  configure TOPIC config=value ...   the rest goes back to the broker's defaults\n"
"  trim TOPIC [OFFSET]            deletes its records, or those before an offset\n"
"  topics                         name <tab> partitions, sorted by name\n"
"  leaders                        topic <tab> partition <tab> broker that leads it\n"
"  produce TOPIC [--partition N] [--hex|--copy] [--full] [--linger MS] [--transaction ID]\n"
"      standard input, a record a line: [partition=N ][ts=MS ][header=NAME:VALUE ]KEY<tab>VALUE\n"
"      no tab: no key; \\N alone: null; --hex: key and value are hex digits;\n"
"      --copy: as COPY writes text (backslash escapes), here and in consume;\n"
"      --full: each line is PARTITION<tab>MS<tab>KEY<tab>VALUE, \\N for the default\n"
"      --linger: so long a batch (1 MB at most) waits for more records; default 5\n"
"      --transaction: all of it is one transaction, which is open until the input ends\n"
"  consume TOPIC ... [--partition N] [--isolation read_committed|read_uncommitted] [--format F] [--hex|--copy]\n"
"      from the start to the end as it is now, topic by topic and partition by partition;\n"
"      F: %p partition %o offset %t timestamp (ms) %k key %v value %h headers (NAME=VALUE, by comma)\n"
"      %T topic, \\t \\n; default %p\\t%o\\t%t\\t%k\\t%v\\t%h; null is \\N; tab and newline in data are \\t \\n\n"
"  end TOPIC                      partition <tab> first offset <tab> high watermark\n"
"  settle TOPIC ...               waits until no transaction is open in them\n"
"  group GROUP                    topic <tab> partition <tab> committed offset <tab> metadata\n"
"  commit TOPIC GROUP ...         commits offset 0 of its partition 0 for each group\n"
"  forget-group GROUP             deletes them\n";

Options		options = {
	.partition = -1,
	.isolation = "read_committed",
	.format = "%p\\t%o\\t%t\\t%k\\t%v\\t%h",
	.linger_ms = "5",
};

/*
 * Ends the program without destroying the client. Not exit(): librdkafka's
 * threads still run, and crash in what exit handlers have taken down.
 */
static _Noreturn void
leave(int status)
{
	if (fflush(stdout) != 0)
		status = 1;
	_exit(status);
}

/* Prints a message and ends the program with status 1. */
_Noreturn void
die(const char *message,...)
{
	va_list		args;

	fflush(stdout);
	fputs("kv_kafka: ", stderr);
	va_start(args, message);
	vfprintf(stderr, message, args);
	va_end(args);
	fputc('\n', stderr);
	leave(1);
}

/* Reads a whole decimal number that is not negative; ends the program at anything else. */
int64_t
parse_number(const char *text, const char *what)
{
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < 0)
		die("%s is not a number: %s", what, text);
	return number;
}

static _Noreturn void
usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"broker", required_argument, NULL, 'b'},
		{"partition", required_argument, NULL, 'p'},
		{"isolation", required_argument, NULL, 'i'},
		{"format", required_argument, NULL, 'f'},
		{"hex", no_argument, NULL, 'x'},
		{"copy", no_argument, NULL, 'c'},
		{"full", no_argument, NULL, 'F'},
		{"linger", required_argument, NULL, 'l'},
		{"transaction", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0}
	};
	static const struct
	{
		const char *name;
		int			arguments;	/* at least */
		void		(*run) (int argc, char **argv);
	}			commands[] = {
		{"create", 1, create_topic},
		{"delete", 1, delete_topics},
		{"add-partitions", 2, add_partitions},
		{"configure", 2, configure_topic},
		{"trim", 1, trim_topic},
		{"topics", 0, list_topics},
		{"leaders", 0, list_leaders},
		{"produce", 1, produce},
		{"consume", 1, consume},
		{"end", 1, print_ends},
		{"settle", 1, settle_topics},
		{"group", 1, print_group},
		{"commit", 2, commit_start},
		{"forget-group", 1, forget_group},
	};
	int			letter;

	options.broker = getenv("KAFKA_BROKER");
	while ((letter = getopt_long(argc, argv, "b:", long_options, NULL)) != -1)
	{
		switch (letter)
		{
			case 'b':
				options.broker = optarg;
				break;
			case 'p':
				options.partition = (int) parse_number(optarg, "--partition");
				break;
			case 'i':
				options.isolation = optarg;
				break;
			case 'f':
				options.format = optarg;
				break;
			case 'x':
				options.hex = true;
				break;
			case 'c':
				options.copy_text = true;
				break;
			case 'F':
				options.full_lines = true;
				break;
			case 't':
				options.transaction = optarg;
				break;
			case 'l':
				(void) parse_number(optarg, "--linger");
				options.linger_ms = optarg;
				break;
			default:
				usage();
		}
	}
	if (optind >= argc)
		usage();
	if (options.broker == NULL || *options.broker == '\0')
		die("which broker? -b HOST:PORT or KAFKA_BROKER");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		if (argc - optind - 1 < commands[i].arguments)
			usage();
		commands[i].run(argc - optind - 1, argv + optind + 1);
		leave(0);
	}
	usage();
}
