# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sockpol: `make help` says what can be made.

VERSION := 0.1.0
O       ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
UNITDIR ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SHAREDIR    := $(PREFIX)/share/sockpol
DOCDIR      := $(PREFIX)/share/doc/sockpol
MANDIR      := $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
CC      ?= cc
CLANG   ?= clang
PKG_CONFIG ?= pkg-config
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /sbin/bpftool) bpftool)

ifeq ($(origin CC),default)
CC := gcc
endif

ifeq ($(V),1)
Q   :=
say  = @true
else
Q   := @
say  = @printf '  %-8s %s\n'
endif

# Root builds as whoever owns the place, so that they can go on there as themselves.
OWNER   := $(if $(filter 0,$(shell id -u)),$(shell stat -c '%u %g' $(firstword $(wildcard $(O)) $(dir $(abspath $(O)))) 2>/dev/null))
BUILDER := $(if $(filter-out 0,$(firstword $(OWNER))),setpriv --reuid=$(firstword $(OWNER)) --regid=$(lastword $(OWNER)) --clear-groups --)
# For the makes started here: as many jobs as processors, where the command line says nothing of it.
SUBMAKE  = $(BUILDER) $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

comma := ,

# What `make deps` installs, by Debian 12's names.
BUILD_DEPS  := gcc libc6-dev make clang bpftool pkg-config libbpf-dev libelf-dev zlib1g-dev libyaml-dev \
               libsystemd-dev libjansson-dev libmnl-dev uthash-dev
TEST_DEPS   := libcmocka-dev python3 iproute2 curl nginx
SYSTEM_DEPS := systemd-container debootstrap
LINT_DEPS   := clang-format clang-tidy cppcheck pyflakes3 patch
FUZZ_DEPS   := libclang-rt-dev

LIBS        := libbpf libelf zlib yaml-0.1 libsystemd jansson libmnl
PKG_CFLAGS   = $(shell $(PKG_CONFIG) --cflags $(LIBS))
PKG_LDLIBS   = $(shell $(PKG_CONFIG) --libs $(LIBS))

# The machine that CC compiles for: "x86_64", "aarch64".
TARGET      := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
TARGET_AR   := $(shell $(CC) -print-prog-name=ar)

WARNINGS    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
               -Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef -Wno-missing-field-initializers
HARDENING   := -fstack-protector-strong -fstack-clash-protection -fPIE -D_FORTIFY_SOURCE=2 \
               $(if $(filter x86_64,$(TARGET)),-fcf-protection)
SANITIZE    := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# -w: clang's warnings differ from gcc's, which every other build has.
FUZZ_CFLAGS := -O1 -g -w -fPIE $(SANITIZE) -fsanitize=fuzzer-no-link
CFLAGS      ?= -O2 -g
# A build of another ABI version, for tests of what agents of different versions do.
ABI_FLAGS    = $(if $(ABI),-DSP_ABI_VERSION=$(ABI))
# And one whose cache has room for 64 cgroups and lists of 8, so that tests see it evict.
ABI_FLAGS   += $(if $(TINY_CACHE),-DSP_CACHE_BITS=4 -DSP_LIST_BITS=2 -DSP_WALK_STATE_BITS=1)
BASE_CFLAGS  = $(ABI_FLAGS) -std=gnu11 -D_GNU_SOURCE -DSOCKPOL_VERSION='"$(VERSION)"' -Iagent -Iinclude -I$(O)/bpf \
               $(WARNINGS) $(PKG_CFLAGS)
LDFLAGS     ?=
BASE_LDFLAGS := -pie -Wl,-z,relro,-z,now

AGENT_SRC  := $(sort $(wildcard agent/*/*.c))
LIB_SRC    := $(filter-out agent/command/main.c,$(AGENT_SRC))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))
SKELETONS  := $(patsubst bpf/%.bpf.c,$(O)/bpf/%.skel.h,$(sort $(wildcard bpf/*.bpf.c)))

# The same, of the manual and the package.
BUILD_DEPS   += scdoc python3
TEST_DEPS    += mandoc
LINT_DEPS    += shellcheck
DEB_DEPS     := build-essential debhelper dpkg-dev
DEBTEST_DEPS := lintian debootstrap systemd-container

# The manual: its table of options comes from the agent's own.
MAN_PAGES  := $(O)/doc/sockpol.8 $(O)/doc/sockpol.policy.5
# So a build for another machine comes without.
MAN_BUILT  := $(if $(and $(shell command -v scdoc),$(shell command -v python3),$(filter $(TARGET),$(shell uname -m))),$(MAN_PAGES))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

.PHONY: all
all: $(O)/sockpol $(MAN_BUILT) ## build the agent, and the manual where scdoc is there

# Builds of the same sources.  $(1): the directory below $(O), $(2) and $(3): flags to compile and link with,
# $(4): another compiler.
define variant
$(O)/$(1)/%.o: agent/%.c Makefile | $(O)/$(1) $(SKELETONS)
	$$(say) CC $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(or $(4),$$(CC)) $(2) $$(BASE_CFLAGS) -MMD -MP -c -o $$@ $$<

$(O)/$(1)/libagent.a: $(patsubst agent/%.c,$(O)/$(1)/%.o,$(LIB_SRC))
	$$(say) AR $$@
	$$(Q)rm -f $$@ && $$(TARGET_AR) rcs $$@ $$^

$(O)/$(1)/sockpol: $(O)/$(1)/command/main.o $(O)/$(1)/libagent.a
	$$(say) LINK $$@
	$$(Q)$$(or $(4),$$(CC)) $(3) $$(BASE_LDFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(PKG_LDLIBS)
endef

# The product; under ASan and UBSan; one that can leave an option row out (SOCKPOL_TEST_SKIP_OPTION);
# with libFuzzer's counters.
$(eval $(call variant,agent,$$(CFLAGS) $$(HARDENING),$$(CFLAGS)))
$(eval $(call variant,asan,-O1 -g -fPIE $$(SANITIZE),$$(SANITIZE)))
$(eval $(call variant,mutant,$$(CFLAGS) $$(HARDENING) -DSOCKPOL_MUTANTS,$$(CFLAGS)))
$(eval $(call variant,fuzzed,$$(FUZZ_CFLAGS),$$(SANITIZE),$$(CLANG)))

$(O)/sockpol: $(O)/agent/sockpol
	$(Q)ln -f $< $@

.PHONY: other-abi
other-abi:
	+$(Q)$(SUBMAKE) O=$(O)/other-abi ABI=999 all

.PHONY: tiny-cache
tiny-cache:
	+$(Q)$(SUBMAKE) O=$(O)/tiny-cache TINY_CACHE=1 $(O)/tiny-cache/sockpol

# Agents of earlier versions, for the tests of their take-over; where the history has them.
EARLIER := first-edition abi-8
# The last one that pinned all in one directory (SP_ABI_VERSION 5), and the last of SP_ABI_VERSION 8.
COMMIT_first-edition := 5f2942e
COMMIT_abi-8         := e03e5dc
.PHONY: $(EARLIER)
$(EARLIER): %: $(O)/%/sockpol
$(EARLIER:%=$(O)/%/sockpol): COMMIT = $(COMMIT_$(notdir $(@D)))
$(EARLIER:%=$(O)/%/sockpol):
	$(Q)mkdir -p $(@D)/source
	+$(Q)! git cat-file -e $(COMMIT)^{commit} 2>/dev/null || { \
		git archive $(COMMIT) | tar -x -C $(@D)/source && \
		$(SUBMAKE) -C $(@D)/source O=build build/sockpol && ln -f $(@D)/source/build/sockpol $@; }

# The kernel side: built without any kernel's headers or BTF, relocated (CO-RE) when loaded.
# <asm/types.h> is where the compiler for the target looks for it.
BPF_CFLAGS = $(ABI_FLAGS) -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -Iinclude \
              $(shell $(CC) -E -Wp,-v -x c /dev/null 2>&1 | sed -n 's/^ \//-idirafter \//p')

# The object becomes a part of the agent: where it was built shall not be in it.
BPF_CFLAGS += -fdebug-compilation-dir=.

$(O)/bpf/%.bpf.o: bpf/%.bpf.c Makefile | $(O)/bpf
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/bpf/%.skel.h: $(O)/bpf/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@

$(addprefix $(O)/,bench agent asan mutant fuzzed bpf unit unit-asan policies tests lint fuzz):
	$(Q)mkdir -p $@

# The manual pages say when the sources were last changed, not when they were built; .nh and HY: the name of an
# option is searched for, so it must not be hyphenated.
# Whoever owns the repository; without one, when the Makefile was changed.
MAN_DATE = $(or $(SOURCE_DATE_EPOCH),$(shell git -c safe.directory='*' log -1 --format=%ct 2>/dev/null), \
             $(shell stat -c %Y Makefile))

.PHONY: doc
doc: $(MAN_PAGES) ## the manual pages (scdoc)

$(O)/doc:
	$(Q)mkdir -p $@

$(O)/doc/options.scd: $(O)/sockpol doc/option-table | $(O)/doc
	$(Q)$(O)/sockpol options --json >$(O)/doc/options.json
	$(Q)doc/option-table <$(O)/doc/options.json >$@

$(O)/doc/%: doc/%.scd $(O)/doc/options.scd Makefile
	$(say) DOC $@
	$(Q)sed -e '/^@OPTIONS@$$/{r $(O)/doc/options.scd' -e 'd}' -e 's/@VERSION@/$(VERSION)/' $< | \
		SOURCE_DATE_EPOCH=$(MAN_DATE) scdoc >$@.tmp
	$(Q)sed 's/^\.TH .*/&\n.nr HY 0\n.nh/' $@.tmp >$@

# Unit tests: no privilege.  `make test` runs them on the sanitized build, `make test-unit` on the plain one.
$(O)/unit/%: tests/unit/%.c $(O)/agent/libagent.a Makefile | $(O)/unit
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) $(HARDENING) $(BASE_CFLAGS) -Itests/unit -MMD -MP $(BASE_LDFLAGS) -o $@ $< \
		$(O)/agent/libagent.a $(PKG_LDLIBS) -lcmocka

$(O)/unit-asan/%: tests/unit/%.c $(O)/asan/libagent.a Makefile | $(O)/unit-asan
	$(say) CC $@
	$(Q)$(CC) -O1 -g $(SANITIZE) -fPIE $(BASE_CFLAGS) -Itests/unit -MMD -MP $(BASE_LDFLAGS) -o $@ $< \
		$(O)/asan/libagent.a $(PKG_LDLIBS) -lcmocka

# Fuzz targets: with libFuzzer, and with a main() of our own that replays the corpus on the sanitized build.
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SEEDS_loader := policies $(O)/fuzz/bad
FUZZ_SECONDS ?= 60
FUZZ_RUN     ?= $(FUZZ_TARGETS)
FUZZ_WRAP_loader := -Wl,--wrap=host_has_unix_hooks
FUZZ_WRAP_control := $(addprefix -Wl$(comma)--wrap=,sd_event_add_time_relative poll)
FUZZ_WRAP_pinned := $(addprefix -Wl$(comma)--wrap=,pin_get bpf_obj_get_info_by_fd bpf_map_lookup_elem bpf_map_lookup_batch \
                      host_has_unix_hooks host_read config_load config_free support_foresee cgroup_mount \
                      cgroup_path_of_id living_each sock_diag_listeners)

$(O)/fuzz/fuzz-%: tests/fuzz/fuzz_%.c $(O)/fuzzed/libagent.a Makefile | $(O)/fuzz
	$(say) CLANG $@
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer $(BASE_CFLAGS) -Itests/fuzz -MMD -MP $(BASE_LDFLAGS) $(FUZZ_WRAP_$*) \
		-o $@ $< $(O)/fuzzed/libagent.a $(PKG_LDLIBS)

# Seeds: the policy files of the bad input.  The directory appears complete or not at all.
$(O)/fuzz/bad: $(wildcard tests/bad/*.cases) tests/bad/run.py tests/bad/cases.py | $(O)/fuzz
	$(say) SEEDS $@
	$(Q)rm -rf $@ $@.tmp && tests/bad/run.py --write $@.tmp && mv $@.tmp $@

$(O)/fuzz/loader.dict: $(O)/sockpol tests/fuzz/dictionary.py $(O)/fuzz/bad | $(O)/fuzz
	$(say) DICT $@
	$(Q)$(O)/sockpol options --json | tests/fuzz/dictionary.py policies/*.yaml $(O)/fuzz/bad/*.yaml >$@

$(O)/fuzz/replay-%: tests/fuzz/replay.c tests/fuzz/fuzz_%.c $(O)/asan/libagent.a Makefile | $(O)/fuzz
	$(say) CC $@
	$(Q)$(CC) -O1 -g $(SANITIZE) -fPIE $(BASE_CFLAGS) -Itests/fuzz $(BASE_LDFLAGS) $(FUZZ_WRAP_$*) \
		-o $@ $(filter %.c,$^) $(O)/asan/libagent.a $(PKG_LDLIBS)

# The shipped policies, owned and writable as the loader wants it whoever cloned the repository.
POLICIES := $(sort $(wildcard policies/*.yaml))
$(O)/policies/%.yaml: policies/%.yaml | $(O)/policies
	$(Q)install -m 0644 $< $@

# Builds only when each row of the option table has its conformance cases.
LIVE := $(wildcard tests/live/*.py tests/live/*/*.py)
$(O)/tests/conformance-table: $(O)/sockpol $(LIVE) | $(O)/tests
	$(say) TABLE $@
	$(Q)$(O)/sockpol options --json >$@.json
	$(Q)tests/live/run.py --check-table --options-json $@.json >$@

# The benchmark's load, the library that does the same by LD_PRELOAD, and the BPF programs beside ours.
STEPS       := tcp-sock id cache policy ops count table
BENCH_FLAGS  = $(CFLAGS) $(HARDENING) -std=gnu11 -D_GNU_SOURCE $(WARNINGS)
BENCH_FILES := $(addprefix $(O)/bench/,load preload.so bpf_calls.so constants.bpf.o empty.bpf.o returns.bpf.o) $(STEPS:%=$(O)/bench/steps-%.bpf.o)

$(O)/bench/load: $(sort $(wildcard tests/bench/load*.c)) $(wildcard tests/bench/*.h) Makefile | $(O)/bench
	$(say) CC $@
	$(Q)$(CC) $(BENCH_FLAGS) $(BASE_LDFLAGS) -o $@ $(filter %.c,$^)

$(O)/bench/%.so: tests/bench/%.c $(wildcard tests/bench/*.h) Makefile | $(O)/bench
	$(say) CC $@
	$(Q)$(CC) $(filter-out -fPIE,$(BENCH_FLAGS)) -fPIC -fvisibility=hidden -shared -Wl,-z,relro,-z,now -o $@ $<

$(O)/bench/%.bpf.o: tests/bench/%.bpf.c $(wildcard tests/bench/*.h) Makefile | $(O)/bench
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

# One source, an object a step.
$(O)/bench/steps-%.bpf.o: tests/bench/steps.bpf.c $(wildcard tests/bench/*.h bpf/*.h include/*.h) Makefile | $(O)/bench
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -DSTEP=STEP_$(shell echo $* | tr a-z- A-Z_) -c -o $@ $<

# What the live tests start: an application, and, preloaded, failures of the agent's calls; and a congestion control.
$(O)/tests/whole: tests/live/whole.c Makefile | $(O)/tests
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) $(HARDENING) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(BASE_LDFLAGS) -o $@ $<

$(O)/tests/inject.so: tests/live/inject.c Makefile | $(O)/tests
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) -fPIC -shared -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -o $@ $<

# A congestion control of the tests' own; what the kernel knows of sockets that no application has.
$(O)/tests/%.bpf.o: tests/live/%.bpf.c Makefile | $(O)/tests
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

LIVE_BPF      := $(wildcard tests/live/*.bpf.c)
LIVE_PROGRAMS := $(O)/tests/whole $(O)/tests/inject.so $(LIVE_BPF:tests/live/%.c=$(O)/tests/%.o) tiny-cache

# The unaware program of the system test; static, as it runs in another Debian.
$(O)/tests/connector: tests/system/connector.c Makefile | $(O)/tests
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -static -o $@ $<

UNIT  = $(foreach t,$(UNIT_TESTS),--counts "unit $(t:test_%=%)=$(O)/unit/$t")
ASAN  = $(foreach t,$(UNIT_TESTS),--counts "asan $(t:test_%=%)=$(O)/unit-asan/$t")
CHECK = $(foreach p,$(POLICIES),--exit "check $p=$(O)/sockpol check $(O)/$p") \
        --counts "bad input=tests/bad/run.py --sockpol $(O)/sockpol" \
        --counts "doc=tests/doc/run.py --sockpol $(O)/sockpol --pages $(O)/doc"
RUN   = --exit "demo=tests/demo/demo.py --sockpol $(O)/sockpol" \
        --counts "live=tests/live/run.py --sockpol $(O)/sockpol" $(DIFFERENTIAL)
# Tests that measure time run on the plain build, too: the sanitized one is several times slower.
TIMED_TESTS := $(patsubst tests/unit/%.c,%,$(shell grep -lw clock_gettime tests/unit/test_*.c))
TIMED = $(foreach t,$(TIMED_TESTS),--counts "unit $(t:test_%=%)=$(O)/unit/$t")
REPLAY = $(foreach t,$(FUZZ_TARGETS),--counts "fuzz corpus, $t=$(O)/fuzz/replay-$t tests/fuzz/corpus/$t $(FUZZ_SEEDS_$t)")
DIFFERENTIAL = --counts "differential=tests/differential/run.py --sockpol $(O)/sockpol" \
               --counts "dry run=tests/differential/foresee.py --sockpol $(O)/sockpol"

.PHONY: tests-build live-build unit-build asan-build replay-build fuzz-build
unit-build: $(UNIT_TESTS:%=$(O)/unit/%)
asan-build: $(UNIT_TESTS:%=$(O)/unit-asan/%)
replay-build: $(FUZZ_TARGETS:%=$(O)/fuzz/replay-%) $(O)/fuzz/bad
fuzz-build: $(FUZZ_TARGETS:%=$(O)/fuzz/fuzz-%) $(O)/fuzz/loader.dict
live-build: all other-abi $(EARLIER) $(O)/mutant/sockpol $(LIVE_PROGRAMS) $(O)/tests/conformance-table
tests-build: live-build $(TIMED_TESTS:%=$(O)/unit/%) asan-build replay-build $(POLICIES:%=$(O)/%)

# tests/doc looks at the pages.
tests-build test-unit: doc

# Dependencies first, then a make that sees what they brought.
.PHONY: deps test-deps
deps: ## install what building needs (Debian 12; root or sudo)
	$(Q)tests/install-deps $(BUILD_DEPS)

test-deps: ## install what testing needs, too
	$(Q)tests/install-deps $(BUILD_DEPS) $(TEST_DEPS)

.PHONY: test
test: test-deps ## all tests on this kernel (root)
	+$(Q)$(SUBMAKE) tests-build
	$(Q)tests/run-all $(ASAN) $(TIMED) $(REPLAY) $(CHECK) $(RUN)

.PHONY: test-long
test-long: ## all that .ci/run does, with larger sizes and whole kernels: hours, at the end of an issue (root)
	$(Q).ci/run --long

.PHONY: test-unit
test-unit: all unit-build $(POLICIES:%=$(O)/%) ## tests that need no privilege
	$(Q)tests/run-all $(UNIT) $(CHECK)

.PHONY: test-asan
test-asan: asan-build replay-build ## the unit tests and the fuzzers' corpus under ASan and UBSan
	$(Q)tests/run-all $(ASAN) $(REPLAY)

.PHONY: fuzz
fuzz: deps ## libFuzzer over each target, for FUZZ_SECONDS (60)
	$(Q)tests/install-deps $(FUZZ_DEPS)
	+$(Q)$(SUBMAKE) fuzz-build
	$(Q)tests/run-all --counts "fuzz=tests/fuzz/run.py --build $(O)/fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_RUN)"

.PHONY: test-live
test-live: ## the agent on this kernel (root)
	+$(Q)$(SUBMAKE) live-build
	$(Q)tests/run-all $(RUN)

.PHONY: test-differential
test-differential: ## model, explain and live sockets on random policies: do they agree? (root)
	+$(Q)$(SUBMAKE) all
	$(Q)tests/run-all $(DIFFERENTIAL)

.PHONY: test-system
test-system: test-deps ## installed, in a real systemd (root; the first time it makes a Debian tree)
	$(Q)tests/install-deps $(SYSTEM_DEPS)
	+$(Q)$(SUBMAKE) all other-abi $(O)/tests/connector $(POLICIES:%=$(O)/%)
	$(Q)tests/run-all --counts "system=tests/system/run.py --build $(O)"

# Python's own tests, by Debian's name for the Python that is here.
UNAWARE_DEPS = libpython$(shell python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite

.PHONY: test-unaware
test-unaware: test-deps ## Python's own network tests, governed and not: do they end alike? (root)
	$(Q)tests/install-deps $(UNAWARE_DEPS)
	+$(Q)$(SUBMAKE) all
	$(Q)tests/run-all --counts "unaware=tests/unaware/run.py --sockpol $(O)/sockpol" \
		--counts "unaware, held=tests/unaware/run.py --sockpol $(O)/sockpol --application hold"

.PHONY: test-mutants
test-mutants: ## with each option left out, do its cases and only those fail? (root)
	+$(Q)$(SUBMAKE) $(O)/mutant/sockpol
	$(Q)tests/run-all --counts "mutants=tests/live/mutants.py --sockpol $(O)/mutant/sockpol"

# What the virtual machines of other kernels need besides, by Debian 12's names.
KERNELS_DEPS := $(if $(filter aarch64,$(shell uname -m)),qemu-system-arm,qemu-system-x86) cpio kmod bpftool procps
KERNELS_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sockpol/kernels

.PHONY: test-kernels
test-kernels: test-deps ## the live tests on Debian's 6.1 and 6.12, in virtual machines; KERNELS=--essential: a quarter of the time
	$(Q)tests/install-deps $(KERNELS_DEPS)
	+$(Q)$(SUBMAKE) all tiny-cache other-abi $(O)/tests/tcp_options.bpf.o
	$(Q)tests/run-all --counts "kernels=tests/kernels/run.py --sockpol $(O)/sockpol --cache $(KERNELS_CACHE) $(KERNELS)"

# What the benchmarks need besides, by Debian 12's names.
BENCH_DEPS  := bpftool iproute2 python3
CURVES_DEPS := gnuplot-nox
BENCH        = --build $(O) --policies policies

.PHONY: bench bench-curves bench-steps bench-doc bench-build
bench-build: all $(BENCH_FILES)

bench: deps ## what it costs, beside what one would do instead; less than five minutes (root)
	$(Q)tests/install-deps $(BENCH_DEPS)
	+$(Q)$(SUBMAKE) bench-build
	$(Q)tests/bench/bench.py $(BENCH) --json $(O)/bench.json

bench-curves: deps ## cost against options, rules, prefixes, depth, policies, cgroups: doc/curves.svg (root)
	$(Q)tests/install-deps $(BENCH_DEPS) $(CURVES_DEPS)
	+$(Q)$(SUBMAKE) bench-build
	$(Q)tests/bench/curves.py $(BENCH) --json $(O)/bench-curves.json --svg doc/curves.svg

bench-steps: deps ## where the nanoseconds of a governed socket go, step by step; less than a minute (root)
	$(Q)tests/install-deps $(BENCH_DEPS)
	+$(Q)$(SUBMAKE) bench-build
	$(Q)tests/bench/steps.py $(BENCH) --json $(O)/bench-steps.json

bench-doc: ## the last benchmarks' figures into doc/performance.md
	$(Q)tests/bench/report.py --json $(O)/bench.json --steps $(O)/bench-steps.json doc/performance.md

.PHONY: demo
demo: test-deps ## a web server and curl, before and after a policy (root)
	+$(Q)$(SUBMAKE) all
	$(Q)tests/demo/demo.py --sockpol $(O)/sockpol

# Each file is one target, so that lint runs in parallel and again only over what has changed.
C_FILES    := $(sort $(wildcard agent/*/*.[ch] include/*.h bpf/*.[ch] tests/unit/*.[ch] tests/bench/*.[ch] tests/live/*.c tests/system/*.c tests/fuzz/*.[ch]))
TIDY       := $(AGENT_SRC) $(sort $(wildcard bpf/*.bpf.c tests/unit/*.c tests/bench/*.c tests/live/*.c tests/system/*.c tests/fuzz/*.c))
TIDY_FLAGS  = $(BASE_CFLAGS) -Itests/unit -Itests/fuzz
$(O)/lint/bpf/% $(O)/lint/tests/bench/constants.bpf.c.tidy $(O)/lint/tests/bench/empty.bpf.c.tidy $(O)/lint/tests/bench/returns.bpf.c.tidy $(O)/lint/tests/bench/steps.bpf.c.tidy $(LIVE_BPF:%=$(O)/lint/%.tidy): TIDY_FLAGS = $(BPF_CFLAGS)

$(O)/lint/%.tidy: % .clang-tidy Makefile $(filter %.h,$(C_FILES)) $(SKELETONS)
	$(say) TIDY $<
	$(Q)mkdir -p $(@D)
	$(Q)clang-tidy --quiet $< -- $(TIDY_FLAGS) 2>$@.log >$@ || \
		{ cat $@ $@.log; exit 1; }

.PHONY: lint lint-run lint-rooms lint-stack lint-format lint-cppcheck lint-shell lint-python lint-examples
lint: test-deps ## clang-format, clang-tidy, cppcheck, shellcheck, pyflakes, BPF stack, what examples of changes cost
	$(Q)tests/install-deps $(LINT_DEPS)
	+$(Q)$(SUBMAKE) lint-run

lint-run: lint-rooms lint-stack lint-format lint-cppcheck lint-shell lint-python lint-examples $(TIDY:%=$(O)/lint/%.tidy)

lint-rooms:
	$(say) ROOMS
	$(Q)tests/lint/rooms.py --self-test
	$(Q)tests/lint/rooms.py

# What 6.1 counts of the stack, though it is not the kernel here.
lint-stack: $(SKELETONS:.skel.h=.bpf.o)
	$(say) STACK
	$(Q)tests/lint/stack.py --self-test --clang $(CLANG)
	$(Q)tests/lint/stack.py $^

lint-format:
	$(say) FORMAT
	$(Q)clang-format --dry-run -Werror $(C_FILES)

lint-cppcheck: $(SKELETONS)
	$(say) CPPCHECK
	$(Q)cppcheck --quiet --std=c11 --enable=warning,style,performance,portability --inline-suppr \
		--error-exitcode=1 --suppressions-list=tests/lint/suppressions --library=tests/lint/macros.cfg -Iagent -Iinclude agent tests/unit tests/fuzz

# Maintainer scripts have only lines that dh_installdeb completes: #DEBHELPER# is a comment.
SHELL_FILES := tests/install-deps tests/lint/examples.sh .ci/run $(sort $(wildcard dist/debian/*.postinst dist/debian/*.prerm dist/debian/*.postrm))
lint-shell:
	$(say) SHELL
	$(Q)shellcheck $(SHELL_FILES)
	$(Q)shellcheck -s bash dist/sockpol.bash-completion

PYTHON_FILES := doc/option-table tests/run-all $(sort $(wildcard tests/*/*.py tests/*/*/*.py))
lint-python:
	$(say) PYTHON
	$(Q)pyflakes3 $(PYTHON_FILES)

# Each patch states how many files it may touch, and builds; again only when something has changed.
EXAMPLE_PATCHES := $(sort $(wildcard tests/examples/*.patch))
lint-examples: $(EXAMPLE_PATCHES:%=$(O)/lint/%.built)

$(O)/lint/%.patch.built: %.patch tests/lint/examples.sh Makefile $(C_FILES) $(wildcard doc/*.scd tests/bad/*)
	$(say) EXAMPLE $<
	+$(Q)MAKE="$(SUBMAKE)" tests/lint/examples.sh $< $(@:.built=.tree) $(DEB_SOURCES)
	$(Q)touch $@

EXAMPLES := $(sort $(wildcard dist/examples/*))
# What README points to is installed beside it; what is of use beside the sources only is left out of it.
DOC_PAGES := doc/architecture.md doc/performance.md doc/curves.svg
INSTALLED_README = sed -e 's|doc/\([a-z]*\.md\)|\1|g' -e 's|dist/examples/|examples/|g' \
                       -e '/^\#\# Working on it$$/,/^Licence:/{/^Licence:/!d}' -e 's|, see LICENSES/||'

.PHONY: install
install: ## install below DESTDIR and PREFIX
	+$(Q)$(SUBMAKE) all
	$(Q)install -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(UNITDIR) $(TMPFILESDIR) $(SHAREDIR)/policies $(DOCDIR))
	$(Q)install -m 0755 $(O)/sockpol $(DESTDIR)$(PREFIX)/bin/sockpol
	$(Q)sed -e 's|@bindir@|$(PREFIX)/bin|' -e 's|@docdir@|$(DOCDIR)|' dist/sockpol.service.in \
		>$(DESTDIR)$(UNITDIR)/sockpol.service
	$(Q)chmod 0644 $(DESTDIR)$(UNITDIR)/sockpol.service
	$(Q)install -m 0644 dist/sockpol.tmpfiles $(DESTDIR)$(TMPFILESDIR)/sockpol.conf
	$(Q)install -m 0644 $(POLICIES) $(DESTDIR)$(SHAREDIR)/policies
	$(Q)$(INSTALLED_README) README.md >$(DESTDIR)$(DOCDIR)/README.md
	$(Q)chmod 0644 $(DESTDIR)$(DOCDIR)/README.md
	$(Q)install -m 0644 $(DOC_PAGES) $(DESTDIR)$(DOCDIR)
	$(Q)install -D -m 0644 dist/sockpol.bash-completion $(DESTDIR)$(COMPLETIONDIR)/sockpol
	$(Q)for example in $(EXAMPLES); do \
		install -D -m 0644 $$example $(DESTDIR)$(DOCDIR)/examples/$${example##*/} || exit 1; done
	$(Q)for page in $(MAN_BUILT); do \
		install -D -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done

.PHONY: uninstall
uninstall: ## remove what install installed
	$(Q)rm -f $(addprefix $(DESTDIR),$(PREFIX)/bin/sockpol $(UNITDIR)/sockpol.service \
		$(TMPFILESDIR)/sockpol.conf $(addprefix $(DOCDIR)/,README.md $(notdir $(DOC_PAGES))) $(addprefix $(SHAREDIR)/,$(POLICIES)) \
		$(COMPLETIONDIR)/sockpol $(foreach page,$(notdir $(MAN_PAGES)),$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(page)) \
		$(addprefix $(DOCDIR)/examples/,$(notdir $(EXAMPLES))))
	$(Q)for d in $(addprefix $(DESTDIR),$(SHAREDIR)/policies $(SHAREDIR) $(DOCDIR)/examples $(DOCDIR)); do \
		[ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done

# The Debian package is built from a copy of the sources, with dist/debian where Debian wants it, and with
# nothing of this make's environment.  DEB_BUILD_OPTIONS= has the tests run; they need TEST_DEPS.
DEB_TREE    := $(O)/deb/sockpol-$(VERSION)
DEB_SOURCES := bpf agent include tests policies doc dist LICENSES Makefile README.md

DEB_BUILD_OPTIONS ?= nocheck

.PHONY: deb deb-build
deb: ## the Debian package, in $(O)/deb
	$(Q)tests/install-deps $(BUILD_DEPS) $(DEB_DEPS)
	+$(Q)$(SUBMAKE) deb-build

deb-build:
	$(say) DEB '$(DEB_TREE): dpkg-buildpackage, half a minute or more; what it says is in $(O)/deb/build.log'
	$(Q)rm -rf $(DEB_TREE) $(O)/deb/sockpol*_$(VERSION)_* && mkdir -p $(DEB_TREE)
	$(Q)tar -c --mtime=@$(MAN_DATE) --exclude=__pycache__ $(DEB_SOURCES) | tar -x -C $(DEB_TREE)
	$(Q)mv $(DEB_TREE)/dist/debian $(DEB_TREE)/debian
	$(Q)sed -i 's/^VERSION := .*/VERSION := $(VERSION)/' $(DEB_TREE)/Makefile
	$(Q)sed -e 's/@VERSION@/$(VERSION)/' -e "s/@DATE@/$$(date -uRd @$(MAN_DATE))/" \
		$(DEB_TREE)/debian/changelog.in >$(DEB_TREE)/debian/changelog
	$(Q)cd $(DEB_TREE) && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(patsubst %,-u %,O V VERSION PREFIX DESTDIR) \
		DEB_BUILD_OPTIONS='$(DEB_BUILD_OPTIONS)' DEB_BUILD_PROFILES='$(filter nocheck,$(DEB_BUILD_OPTIONS))' \
		dpkg-buildpackage -b -us -uc -Jauto >../build.log 2>&1 || { cat ../build.log; exit 1; }
	$(Q)ls $(O)/deb/sockpol_$(VERSION)_*.deb

# Built a second time by the tests, as README says it: is it the same?  The connector is the system tests'.
.PHONY: test-deb
test-deb: test-deps ## the Debian package: lintian, its life in a real systemd (root)
	$(Q)tests/install-deps $(DEB_DEPS) $(DEBTEST_DEPS)
	+$(Q)$(SUBMAKE) deb-build DEB_BUILD_OPTIONS=
	+$(Q)$(if $(wildcard tests/system/connector.c),$(SUBMAKE) $(O)/tests/connector)
	$(Q)SOURCE_DATE_EPOCH=$(MAN_DATE) tests/run-all --counts "package=tests/package/run.py --build $(O) \
		--deb $(O)/deb/sockpol_$(VERSION)_$$(dpkg --print-architecture).deb"

.PHONY: clean
clean: ## remove what was built
	$(Q)rm -rf $(O)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo '  O=DIR builds there, V=1 shows the commands, DESTDIR= and PREFIX= say where to install.'

-include $(wildcard $(O)/*/*.d $(O)/*/*/*.d)
