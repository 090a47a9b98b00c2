# `make help` lists what can be made. A machine with nothing installed starts with ./bootstrap.

PREFIX ?= /usr/local
DESTDIR ?=

# Rustup's programs go before a distribution's. Flags of the caller's would take the place of those for each target.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CDPATH
export CARGO_TARGET_DIR ?= $(CURDIR)/target

# FOREIGN: an architecture that is not this machine's. Debian's compilers make its programs.
NATIVE := $(or $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p'),$(shell uname -m)-unknown-linux-gnu)
FOREIGN := $(filter-out $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m))),$(subst x86_64,amd64,$(ARCH)))
ifneq ($(FOREIGN),)
$(if $(filter-out arm64,$(FOREIGN)),$(error netmode: there is no ARCH=$(ARCH), only arm64))
$(if $(filter-out build deb vm-test help clean,$(MAKECMDGOALS)),$(error netmode: ARCH=$(ARCH) goes with build, deb and vm-test alone))
endif
CARGO := $(if $(FOREIGN),tests/sandbox/cross,cargo)
TRIPLE := $(if $(FOREIGN),aarch64-unknown-linux-gnu,$(NATIVE))

# Programs run in the Debian 12 sandbox and on any user's machine whatever the builder's C library:
# they are linked statically. An explicit target keeps those flags away from procedural macros. Cargo does not strip
# a program whose package has a profile of its own.
STATIC := $(if $(findstring -gnu,$(TRIPLE)),CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols")
export NETMODE_BIN := $(CARGO_TARGET_DIR)/$(TRIPLE)/release

CARGO_DENY_VERSION := 0.20.2
TOOLS := $(CARGO_TARGET_DIR)/tools/bin

UNITS := netmode.service netmode.socket
# What is installed is laid out here first; the list of it is installed, too, for uninstall.
STAGE := $(CARGO_TARGET_DIR)/stage
LIST := $(PREFIX)/lib/netmode/installed-files

.PHONY: help privilege build demo test check bench vm-test vm-e2e vm-box vagrant-validate vagrant-test install uninstall deb clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

# Both at once: each ends in something that one processor does alone.
build: ## the programs, statically linked, release profile; ARCH=arm64: for such machines, on this one
	@echo 'netmode: building (release, $(TRIPLE))'
	@$(STATIC) $(CARGO) build --quiet --profile cni --locked --target $(TRIPLE) -p netmode-cni & \
	    $(STATIC) $(CARGO) build --quiet --release --locked --target $(TRIPLE) --workspace --exclude netmode-cni --bins; \
	    status=$$?; wait $$! && exit $$status
	@install -m 755 $(CARGO_TARGET_DIR)/$(TRIPLE)/cni/netmode-cni $(NETMODE_BIN)/netmode-cni

# Before the build, not after it.
privilege:
	@tests/sandbox/as-root true

demo: privilege build ## the main job, in a sandbox: containers in every mode, fetched from a neighbour
	@tests/sandbox/as-root tests/sandbox/enter --name demo --bind "$(CURDIR)/tests/demo:/demo:ro" -- sh /demo

# The package is tested where one can be made.
test: privilege build $(if $(shell command -v dpkg-deb),deb) ## every test this machine can run; STRICT=1: a skip is a failure
	@tests/sandbox/run-tests

check: $(TOOLS)/cargo-deny ## formatting, lints, licences and sources of dependencies, docs
	cargo fmt --all --check
	cargo clippy --quiet --locked --workspace --all-targets --features netmode-tests/bench -- -D warnings
	$(TOOLS)/cargo-deny --locked --log-level error check licenses bans sources
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --workspace --no-deps

# Unoptimised: it runs for a second and would take minutes more to build.
$(TOOLS)/cargo-deny:
	@echo 'netmode: building cargo-deny $(CARGO_DENY_VERSION), once'
	@env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --no-default-features \
	    --version $(CARGO_DENY_VERSION) --root $(CARGO_TARGET_DIR)/tools cargo-deny

bench: privilege build ## speed and memory beside Debian's docker, podman and CNI plugins
	@$(STATIC) cargo build --quiet --release --locked --target $(TRIPLE) -p netmode-tests --features bench --bin bench
	@if [ -x tests/bench ]; then \
	    NETMODE_SANDBOX_ROOT=$$(tests/sandbox/as-root tests/sandbox/root peers) tests/sandbox/as-root tests/bench; \
	else echo 'netmode: the benchmarks are not written yet (tests/bench)' >&2; exit 1; fi

vm-test: build ## the tests in virtual machines with Debian's kernels 6.1 and 6.12; VM_SUITES=all: more of them; ARCH=arm64
	@ARCH=$(FOREIGN) tests/vm/run $(VM_SUITES)

vm-e2e: privilege deb ## the package on a whole machine: systemd, containerd, a reboot, an upgrade (amd64)
	@tests/sandbox/as-root tests/vm/e2e

vm-box: privilege ## a Vagrant box for libvirt, made here (amd64)
	@tests/sandbox/as-root tests/vm/box

vagrant-validate: privilege ## what Vagrant says of vagrant/Vagrantfile
	@tests/sandbox/as-root tests/vm/vagrant validate

vagrant-test: privilege deb ## vagrant up with that box, the tests inside, vagrant destroy
	@tests/sandbox/as-root tests/vm/vagrant test

# A foreign program's manual is written by this machine's own.
deb: build ## a Debian package in dist/; ARCH=arm64
ifneq ($(FOREIGN),)
	@$(MAKE) --no-print-directory build ARCH=
	@NETMODE_ARCH=$(FOREIGN) NETMODE_NATIVE=$(CARGO_TARGET_DIR)/$(NATIVE)/release agent/package/deb $(NETMODE_BIN) dist
else
	@agent/package/deb $(NETMODE_BIN) dist
endif

install: ## programs, units, man pages, completion … to PREFIX (/usr/local), below DESTDIR; after make build
	@rm -rf $(STAGE) && umask 022 && agent/package/stage $(NETMODE_BIN) $(STAGE) $(PREFIX)
	@cd $(STAGE) && find . \( -type f -o -type l \) -printf '%y%m /%P\n' | sort -k2 >$(STAGE).list
	@while read -r mode file; do case $$mode in \
	    l*) mkdir -p "$$(dirname "$(DESTDIR)$$file")" && cp -fP "$(STAGE)$$file" "$(DESTDIR)$$file" || exit ;; \
	    f*) install -D -m $${mode#f} "$(STAGE)$$file" "$(DESTDIR)$$file" || exit ;; \
	esac; done <$(STAGE).list
	@cut -d' ' -f2- $(STAGE).list | install -D -m 644 /dev/stdin '$(DESTDIR)$(LIST)'
	@rm -rf $(STAGE) $(STAGE).list
	@if [ -z '$(DESTDIR)' ]; then \
	    getent group netmode >/dev/null || groupadd --system netmode; \
	    [ ! -d /run/systemd/system ] || systemctl daemon-reload; \
	fi
	@[ $(PREFIX) = /usr ] || echo 'netmode: NetworkManager reads only /etc and /usr/lib: where it runs, link $(PREFIX)/lib/NetworkManager/conf.d/10-netmode.conf into /etc/NetworkManager/conf.d'
	@echo 'netmode: installed in $(DESTDIR)$(PREFIX); start it with: systemctl enable --now netmode.socket netmode'

uninstall: ## what install put there, and what runs by it; configuration and records stay
	@[ -e '$(DESTDIR)$(LIST)' ] || { echo 'netmode: $(DESTDIR)$(LIST) is missing: nothing was installed there' >&2; exit 1; }
	@if [ -z '$(DESTDIR)' ]; then \
	    PATH="$(PREFIX)/bin:$$PATH" '$(PREFIX)/lib/netmode/take-back' || \
	    { echo 'netmode: not everything was taken back, so nothing was removed; "netmode doctor" shows why' >&2; exit 1; }; \
	fi
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl disable --quiet --now $(UNITS) 2>/dev/null || :; fi
	@while read -r file; do rm -f "$(DESTDIR)$$file"; done <'$(DESTDIR)$(LIST)'
	@rm -f '$(DESTDIR)$(LIST)'
	@cd '$(DESTDIR)$(PREFIX)' && rmdir lib/netmode/cni lib/netmode share/doc/netmode/cni/examples share/doc/netmode/cni \
	    share/doc/netmode/examples share/doc/netmode
	@cd '$(DESTDIR)$(PREFIX)' && rmdir --ignore-fail-on-non-empty lib/cni libexec/cni
	@[ ! -d '$(DESTDIR)$(PREFIX)/share/netmode' ] || find '$(DESTDIR)$(PREFIX)/share/netmode' -depth -type d -empty -delete
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo 'netmode: removed; /etc/netmode and /var/lib/netmode stay'

clean: ## everything under target/
	@tests/sandbox/as-root rm -rf --one-file-system $(CARGO_TARGET_DIR)
