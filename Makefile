# vdm: `make` builds vdm and libvdm.a, `make test` tests them; a C compiler and make are enough.
#   make demo | test | faults | kills | floors | fuzz | golden-check | peer | bench | bench-peer | sanitize | valgrind | install PREFIX=/usr/local | clean
#   CC, OPT (-O3), BUILD (build), THREADS (-pthread; empty: none), WERROR=1 (as in CI)
# Built-in rules would link x.d from x.d.o, which the kernels' rule below offers to make.
MAKEFLAGS += --no-builtin-rules
# All processors; `make -j1` or a make above this one decides otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(or $(shell getconf _NPROCESSORS_ONLN 2>/dev/null),1)
endif
CC ?= cc
OPT ?= -O3
BUILD ?= build
PREFIX ?= /usr/local

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(WERROR),-Werror)
# No -ffast-math and no contraction: the same bits from every compiler (vdm.h).
CFLAGS_ALL = -std=c11 $(OPT) -g -ffp-contract=off $(EXCESS) -fno-math-errno \
             -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -I. -Ifiles -Ikernels -Itask $(NEWER:%=-DVDM_HAS_%) $(PLATFORM) \
             $(WARN) $(THREADS) $(THREADS:%=-DVDM_THREADS) $(SANITIZE) $(CFLAGS)
LDLIBS = $(or $(THREADS),$(if $(WINDOWS),-lpthread)) $(SANITIZE) $(if $(HARDEN),$(HARDEN_LINK_FLAGS)) $(LDFLAGS) -lm
# Where gcc would compute float expressions in double, as ISO C allows (s390x): not so (math.c asks).
EXCESS := $(if $(filter 1,$(shell echo __FLT_EVAL_METHOD__ | $(CC) -std=c11 -E -P -)),-fexcess-precision=fast)

# POSIX threads and C11's atomics, if the compiler has both
THREADS_C = _Atomic int n; int main(void){return ++n + (pthread_self() == 0);}
THREADS := $(shell echo '$(THREADS_C)' | $(CC) -std=c11 -pthread -include pthread.h -x c -c - -o /dev/null 2>/dev/null && echo -pthread)

MACHINE := $(shell $(CC) -dumpmachine)
X86 := $(filter x86_64%,$(MACHINE))
# The last of these only where compiler (gcc 10, 11; clang 9, 12) and assembler know them, AMX on Linux
AMX_C = void f(void){_tile_release();}
NEWER := $(if $(X86),$(shell $(CC) -mavx512bf16 -x c -E /dev/null >/dev/null 2>&1 && echo avx512bf16))
NEWER += $(if $(and $(X86),$(findstring linux,$(MACHINE))),$(shell echo '$(AMX_C)' | \
  $(CC) -Werror -mavx512bf16 -mamx-tile -mamx-bf16 -include immintrin.h -x c -c - -o /dev/null 2>/dev/null && echo avx512amx))
# Code for AMX is in the set avx512bf16.
SETS = scalar $(if $(X86),avx2 avx512 $(filter avx512bf16,$(NEWER))) $(if $(filter aarch64% arm64%,$(MACHINE)),neon)
ISA_scalar =
ISA_neon =
ISA_avx2 = -mavx2 -mfma -mf16c
ISA_avx512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
ISA_avx512bf16 = $(ISA_avx512) -mavx512bf16 $(if $(filter avx512amx,$(NEWER)),-mamx-tile -mamx-bf16)

# mingw: the POSIX calls that it lacks; its gcc does not align stacks as the aligned moves of AVX need it.
WINDOWS := $(findstring mingw,$(MACHINE))
PLATFORM = $(if $(WINDOWS),-Iportable/windows -include portable/windows/posix.h -D__USE_MINGW_ANSI_STDIO=1 -D__USE_MINGW_ACCESS -Wno-format -Wno-float-conversion \
             -Wa$(comma)-muse-unaligned-vector-move)
comma = ,

# Hardening (SECURITY.md), where compiler and linker take all of it; not in kernels, and with no sanitizer. HARDEN= turns it
# off. Position independence is left to the compiler, which has it as its default in most systems.
HARDEN_TRIAL = int main(int n, char **v) { volatile char t[64]; t[n] = **v; return t[n]; }
HARDEN_FLAGS = -fstack-protector-strong $(if $(filter -O0,$(OPT)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDEN_LINK_FLAGS = -Wl,-z,relro -Wl,-z,now
HARDEN := $(if $(SANITIZE),,$(shell echo '$(HARDEN_TRIAL)' | $(CC) -Werror $(OPT) $(HARDEN_FLAGS) $(HARDEN_LINK_FLAGS) \
  -include string.h -x c - -o /dev/null 2>/dev/null && echo '$(HARDEN_FLAGS)'))

# The library: the method at the root, and its folders. Sources compiled once for each instruction set are listed separately.
PER_SET = kernels/set.c
SET_PARTS = $(patsubst %,kernels/%.c,products conv conv_strips winograd attention norms elementwise peak) # set.c includes them
FOLDERS = kernels files text task
LIB_SOURCES = $(filter-out $(PER_SET) $(SET_PARTS),$(wildcard *.c $(FOLDERS:%=%/*.c))) $(if $(WINDOWS),$(wildcard portable/windows/*.c))
LIB_OBJECTS = $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(foreach set,$(SETS),$(PER_SET:%.c=$(BUILD)/%@$(set).o))
TOOL_OBJECTS = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/*.c tools/*/*.c))
# Installed in addition to the program and the library
HEADERS = vdm.h files/vdm_files.h kernels/vdm_math.h task/vdm_task.h
MODEL_FILES = $(wildcard models/*/*.* models/*/*/*.*)
TESTS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))

all: vdm libvdm.a

vdm: $(BUILD)/vdm
	cp -f $< $@
libvdm.a: $(BUILD)/libvdm.a
	cp -f $< $@

$(BUILD)/libvdm.a: $(LIB_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/vdm: $(TOOL_OBJECTS) $(BUILD)/libvdm.a
	$(CC) $^ $(LDLIBS) -o $@

# -O3 is for loops over numbers: nothing in files/, text/, task/ and tests/ has any that take time, in tools/ not even -O2.
$(BUILD)/files/%.o $(BUILD)/text/%.o $(BUILD)/task/%.o $(BUILD)/tests/%.o: OPT := $(subst -O3,-O2,$(OPT))
$(BUILD)/tools/%.o: OPT := $(subst -O3,-O1,$(OPT))
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(filter kernels/%,$<),,$(HARDEN)) -MMD -MP -c $< -o $@
# kernels/set.c for avx2 is kernels/set@avx2.o. Locals for a debugger, who steps through kernels/plain.c, would take
# half of the compile time; so would -O3 of the scalar set, of which no speed is asked. -O2 of the others would save a
# quarter of their time, but training, sampling and the VAE would be slower by 1 to 5 %. But gcc then copies whole loops for
# each constant and each condition in them: that takes two fifths of the time, and saves 2 % of the instructions at the
# smallest sizes.
COPIES = -fno-ipa-cp-clone -fno-unswitch-loops
COPIES := $(shell $(CC) -Werror $(COPIES) -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(COPIES))
SET_FLAGS = -g1 $(if $(filter scalar,$(1)),$(subst -O3,-O2,$(filter -O%,$(OPT))),$(COPIES))
define for_set
$(BUILD)/kernels/%@$(1).o: kernels/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(if $$(BARE_KERNELS),$$(filter-out $$(SANITIZE),$$(CFLAGS_ALL)),$$(CFLAGS_ALL)) $(SET_FLAGS) $$(ISA_$(1)) \
	    -DVDM_SET_$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach set,$(SETS),$(eval $(call for_set,$(set))))

# Tests: one program per file of the library.
$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(BUILD)/tests/check.o $(BUILD)/tests/tiny.o $(BUILD)/tests/program.o $(BUILD)/libvdm.a
	$(CC) $^ $(LDLIBS) -o $@

# The generators of tasks and the reader of COCO are parts of the program: their tests link it, without its main.
$(BUILD)/tests/test_tasks $(BUILD)/tests/test_coco $(BUILD)/tests/test_options $(BUILD)/tests/test_fuzz $(BUILD)/tests/test_views $(BUILD)/tests/test_lock: $(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(BUILD)/tests/check.o $(filter-out %/main.o,$(TOOL_OBJECTS)) $(BUILD)/libvdm.a
	$(CC) $^ $(LDLIBS) -o $@

# The library that makes calls fail (tests/faults.c): with glibc only.
FAULTS_LIBRARY := $(if $(SANITIZE),,$(if $(shell $(CC) -include features.h -E -dM -x c /dev/null 2>/dev/null | grep '__GLIBC__ '),$(BUILD)/tests/faults.so))
# Every program runs, even if others fail; the last line is the sum of their "N passed, M failed".
test: $(TESTS) $(BUILD)/vdm $(FAULTS_LIBRARY) $(BUILD)/installed/lib/pkgconfig/vdm.pc
	@VDM=$(BUILD)/vdm FAULTS_LIBRARY="$(abspath $(FAULTS_LIBRARY))" BITS_BUILD=$(BUILD)/bits FLOORS_BUILD=$(BUILD) FLOORS="$(LIB_OBJECTS) $(TOOL_OBJECTS)" \
	    INSTALLED="$(abspath $(BUILD)/installed)" CC="$(CC)" CXX="$(EXAMPLE_CXX)" EXAMPLE_FLAGS="$(SANITIZE)" \
	    tests/run.sh $(if $(SANITIZE),,tests/bits.sh tests/docs.sh tests/faults.sh tests/floors.sh) tests/examples.sh tests/sizes.sh $(TESTS)
# Memory, files and disks that fail, at every call of every command (tests/faults.sh): half an hour.
faults: $(BUILD)/vdm $(FAULTS_LIBRARY)
	VDM=$(BUILD)/vdm FAULTS_LIBRARY="$(abspath $(FAULTS_LIBRARY))" FAULTS=all tests/faults.sh $(COMMANDS)
# Runs that are killed at random moments, KILLS of each command (tests/kills.sh): the same results.
kills: $(BUILD)/vdm
	VDM=$(BUILD)/vdm tests/kills.sh $(or $(KILLS),20) $(COMMANDS)
$(BUILD)/tests/faults.so: tests/faults.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 $(filter-out -Wpedantic,$(WARN)) -shared -fPIC $< -o $@ -ldl
# Which object uses whose symbols: folders refer downwards only, and the library's symbols begin with vdm_.
floors: $(LIB_OBJECTS) $(TOOL_OBJECTS)
	@FLOORS_BUILD=$(BUILD) FLOORS="$^" tests/floors.sh
# The C++ compiler that goes with the C compiler: of one family.
EXAMPLE_CXX = $(if $(filter-out default,$(origin CXX)),$(CXX),$(if $(findstring clang,$(CC)),clang++,g++))
# An installed copy, against which tests/examples.sh builds the examples.
$(BUILD)/installed/lib/pkgconfig/vdm.pc: $(BUILD)/vdm $(BUILD)/libvdm.a $(HEADERS) vdm.pc.in $(MODEL_FILES)
	@rm -rf $(BUILD)/installed
	$(MAKE) -s install DESTDIR= PREFIX="$(abspath $(BUILD)/installed)"
sanitize:
	$(MAKE) test BUILD=$(BUILD)/sanitize OPT=-O2 SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all"
# valgrind knows AVX2, but not AVX-512.
VALGRIND_TESTS = system lora fit sampler vae task golden
VALGRIND = valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9
valgrind:
	$(MAKE) valgrind-run BUILD=$(BUILD)/valgrind OPT=-O1
valgrind-run: $(BUILD)/vdm $(BUILD)/tests/test_program $(VALGRIND_TESTS:%=$(BUILD)/tests/test_%)
	printf '#!/bin/sh\nexec $(VALGRIND) $(BUILD)/vdm "$$@"\n' > $(BUILD)/vdm-valgrind && chmod +x $(BUILD)/vdm-valgrind
	VDM_ISA=avx2 RUNNER="$(VALGRIND)" tests/run.sh $(VALGRIND_TESTS:%=$(BUILD)/tests/test_%)
	VDM_ISA=avx2 VDM=$(BUILD)/vdm-valgrind VDM_BINARY=$(BUILD)/vdm tests/run.sh $(BUILD)/tests/test_program
# The bits of tests/golden/hashes.txt from every compiler, instruction set and number of threads; -all: from
# everything that Debian can emulate (tests/bits.sh), which takes the better part of an hour.
golden-check:
	BITS_BUILD=$(BUILD)/bits tests/bits.sh
golden-check-all:
	BITS_BUILD=$(BUILD)/bits tests/bits.sh here levels aarch64 riscv64 s390x armhf windows
$(BUILD)/tests/bits: $(BUILD)/tests/bits.o $(BUILD)/tests/check.o $(BUILD)/tests/tiny.o $(BUILD)/libvdm.a
	$(CC) $^ $(LDLIBS) -o $@

# Against diffusers, live: needs Python and, the first time, its packages.
peer:
	VDM_PEER_BUILD=$(BUILD) tests/peer/peers.sh
peer-driver: $(BUILD)/tests/peer/driver
$(BUILD)/tests/peer/driver: $(BUILD)/tests/peer/driver.o $(BUILD)/libvdm.a
	$(CC) $^ $(LDLIBS) -o $@

# This machine's speed, and PyTorch's for comparison, one job after the other: needs Python, as `make peer` does, and an
# idle machine. BENCH: names of jobs, options.
bench: $(BUILD)/vdm
	$(BUILD)/vdm bench $(BENCH) --json $(BUILD)/bench.json
PEER_PYTHON = $(or $(VDM_VENV),build/venv)/bin/python
bench-peer: $(BUILD)/vdm
	@[ -x $(PEER_PYTHON) ] || { echo "no $(PEER_PYTHON): 'make peer' makes it, or VDM_VENV names another"; exit 1; }
	VDM=$(BUILD)/vdm $(PEER_PYTHON) python/bench_peer.py $(BENCH) --json $(BUILD)/bench-peer.json

# Installs the program and the library stripped of debug symbols, the headers, vdm.pc, the embedded model, and man pages
# and completion made from the program's help (INSTALL_DOCS= leaves these out, for cross compilers).
STRIP ?= strip
INSTALL_DOCS ?= yes
TO = $(DESTDIR)$(PREFIX)
VERSION = $(shell sed -n 's/^.define VDM_VERSION "\(.*\)"/\1/p' vdm.h)
install: $(BUILD)/vdm $(BUILD)/libvdm.a
	install -d "$(TO)/bin" "$(TO)/lib/pkgconfig" "$(TO)/include"
	install -m 755 $(BUILD)/vdm "$(TO)/bin" && $(STRIP) "$(TO)/bin/vdm"
	install -m 644 $(BUILD)/libvdm.a "$(TO)/lib" && $(STRIP) -S "$(TO)/lib/libvdm.a"
	install -m 644 $(HEADERS) "$(TO)/include"
	sed 's|@prefix@|$(PREFIX)|; s|@version@|$(VERSION)|; s|@threads@|$(THREADS)|' vdm.pc.in > "$(TO)/lib/pkgconfig/vdm.pc"
	for f in $(MODEL_FILES); do \
	    install -d "$(TO)/share/vdm/$${f%/*}" && install -m 644 $$f "$(TO)/share/vdm/$$f" || exit 1; \
	done
ifneq ($(INSTALL_DOCS),)
	tools/install/man.sh $(BUILD)/vdm "$(TO)/share/man/man1"
	install -d "$(TO)/share/bash-completion/completions"
	tools/install/completion.sh $(BUILD)/vdm > "$(TO)/share/bash-completion/completions/vdm"
endif

# Fuzzers (clang's libFuzzer): tests/fuzz/fuzz_X.c becomes build/fuzz/fuzz_X, whose corpus is
# build/fuzz/fuzz_X-corpus, from the seeds of tests/fuzz/corpus/fuzz_X. Files are in memory (tests/fuzz/memory_files.h). The
# kernels are compiled without sanitizers: they see sizes that were checked, and would take minutes each. Comparisons are not
# traced: half of the time would go into those of loops over numbers.
# FUZZ: options for each, as -max_total_time=600.
FUZZERS = $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ ?= -max_total_time=300
fuzz:
	$(MAKE) fuzz-run CC=clang BUILD=build/fuzz OPT=-O1 BARE_KERNELS=yes PLATFORM="-include tests/fuzz/memory_files.h -Wno-macro-redefined" \
	    SANITIZE="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -fno-sanitize-coverage=trace-cmp"
fuzz-run: $(FUZZERS)
	@for f in $(FUZZERS); do mkdir -p $$f-corpus && seeds=tests/fuzz/corpus/$${f##*/} && \
	    $$f -rss_limit_mb=2048 -timeout=10 -close_fd_mask=3 $(FUZZ) $$f-corpus $$([ ! -d $$seeds ] || echo $$seeds) || exit 1; done
build/fuzz/fuzz_compare build/fuzz/fuzz_coco build/fuzz/fuzz_inject build/fuzz/fuzz_results: $(filter-out %/main.o,$(TOOL_OBJECTS))
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o build/fuzz/tests/fuzz/memory_files.o build/fuzz/libvdm.a
	$(CC) -fsanitize=fuzzer $(filter %.o,$^) build/fuzz/libvdm.a $(LDLIBS) -o $@

# Learns a task with the embedded model, and answers: a minute and a half on two fast cores, build included.
demo:
	@echo "Building vdm, up to a minute; then a model learns from 30 pairs of grids to exchange rows and columns, and answers 50 others."
	@$(MAKE) -s vdm
	./vdm demo

clean:
	rm -rf build vdm libvdm.a

.PHONY: all demo faults kills floors fuzz fuzz-run test sanitize valgrind valgrind-run golden-check golden-check-all bench bench-peer peer peer-driver install clean
.SECONDARY:
-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d $(BUILD)/*/*/*.d)
