# kafka_views. `make help` lists the targets.
#
# Two halves: targets that need nothing but make (demo, test, bench, up, down) install what is missing and then call make
# again; the others are PGXS and need pg_config. So `make test` works where Postgres is not installed yet.

PG_CONFIG ?= pg_config
PLAY = .play

# npm trusts only its own list of authorities; Debian's also has those that the machine's owner added
SYSTEM_CAS = $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifneq ($(SYSTEM_CAS),)
export NODE_EXTRA_CA_CERTS ?= $(SYSTEM_CAS)
endif

.DEFAULT_GOAL := all
.PHONY: help demo test soak chaos bench up down deps

help:
	@echo 'make            build the extension and the test tool (warnings are errors)'
	@echo 'make install    install it into the Postgres of PG_CONFIG (with sudo where needed)'
	@echo 'make demo       the whole product in two minutes; KEEP=1 leaves it running'
	@echo 'make test       all tests;  regress/run sql/NAME, regress/run tap/NAME.pl: one of them'
	@echo 'make soak       1,000 random topologies against the reference simulator, then every fault point (hours); N=5000: more, SEED=...: again'
	@echo 'make chaos      faults at random under steady load for an hour, then everything is compared; TIME=seconds, SEED=...: again, BROKERS=2'
	@echo 'make bench      the benchmark of DESIGN.md section 6'
	@echo 'make up, down   a broker and a cluster to play with, in $(PLAY)'

deps:
	scripts/deps

demo: deps
	$(MAKE) --no-print-directory install
	examples/demo

test: deps
	$(MAKE) --no-print-directory install
	regress/run

soak: deps
	$(MAKE) --no-print-directory install
	N=$${N:-1000} GO_ON=1 TIMEOUT=86400 regress/run random/topologies.py
	N=all TIMEOUT=86400 regress/run tap/120_fault_points.pl

chaos: deps
	$(MAKE) --no-print-directory install
	/usr/bin/python3 regress/chaos/chaos.py

bench: deps
	$(MAKE) --no-print-directory install
	bench/run

up: deps
	$(MAKE) --no-print-directory install
	scripts/play up $(PLAY)

down:
	scripts/play down $(PLAY)

ifneq ($(shell command -v $(PG_CONFIG) 2>/dev/null),)

EXTENSION = kafka_views
MODULE_big = kafka_views
DATA = $(wildcard sql/kafka_views--*.sql)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard extension/*.c bgworker/*.c))) extension/format_json.o
TEST_TOOL = regress/tools/kv_kafka
CLOCK_TOOL = regress/tools/set_clock.so
EXTRA_CLEAN = $(TEST_TOOL) $(CLOCK_TOOL)

PG_CPPFLAGS = -Iextension -Ibgworker
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare \
	-Wno-declaration-after-statement -Werror -Werror=implicit-function-declaration
SHLIB_LINK = -lrdkafka -lsimdjson -lstdc++

# a build for tests that stop a process at a named place
ifdef FAULTS
PG_CPPFLAGS += -DKV_FAULT_POINTS
endif

# bitcode of our code gains nothing: nothing of it is inlined into expressions
override with_llvm = no
# a changed header rebuilds what includes it
override autodepend = yes
# where the Postgres folders are not ours, install goes through sudo
ifeq ($(DESTDIR)$(shell test -w "$$($(PG_CONFIG) --pkglibdir)" && echo writable),)
override install_bin = sudo install -c
override MKDIR_P = sudo mkdir -p
endif
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# C++ without exceptions: nothing may be thrown through Postgres' C (STYLE.md section 3)
extension/format_json.o: extension/format_json.cc
	@mkdir -p $(DEPDIR)
	$(CXX) -std=c++17 -fno-exceptions -fno-rtti -O2 -g -fPIC -Wall -Wextra -Werror -Iextension -MMD -MP -MF $(DEPDIR)/format_json.Po -c -o $@ $<

$(TEST_TOOL): $(filter-out %/set_clock.c,$(wildcard regress/tools/*.c regress/tools/*.h))
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -o $@ $(filter %.c,$^) -lrdkafka

$(CLOCK_TOOL): regress/tools/set_clock.c
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g -fPIC -shared -Wall -Wextra -Wno-unused-parameter -Werror -o $@ $<

all: $(TEST_TOOL) $(CLOCK_TOOL)

# pg_regress, isolation, pgTAP, TAP and randomised tests, on an installed build
.PHONY: installcheck
installcheck: $(TEST_TOOL) $(CLOCK_TOOL)
	regress/run

else

all install installcheck:
	@echo 'no $(PG_CONFIG) here: run scripts/deps first, or make test, which does' >&2; exit 1

endif
