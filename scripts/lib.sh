# shellcheck shell=bash
# Functions shared by the scripts in this folder; sourced, never run.
# Plain bash 3.2 and nothing else: a fresh machine may have no curl, no python and no jq.

# Debian keeps haproxy there, which is not on the PATH of an ordinary user.
export PATH="$PATH:/usr/sbin"

say() { echo "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }

# as_root COMMAND…: runs it as root, or fails. Without a terminal sudo must not prompt for a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif ! command -v sudo >/dev/null; then echo "needs root, and there is no sudo" >&2; return 1
  elif [ -t 0 ]; then sudo "$@"
  else sudo -n "$@"
  fi
}

# postgres_bin: prints the folder of initdb and pg_ctl, which most distributions keep off the PATH.
postgres_bin() {
  local initdb
  initdb=$(command -v initdb) || initdb=$(
    for initdb in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /usr/libexec/postgresql*/initdb \
      /opt/homebrew/opt/postgresql*/bin/initdb /usr/local/opt/postgresql*/bin/initdb; do
      [ ! -x "$initdb" ] || echo "$initdb"
    done | sort -V | tail -n 1
  )
  [ -n "$initdb" ] && dirname "$initdb"
}

# postgres_programs: prints the folder of all programs of PostgreSQL: that of the real initdb, not of a link to it.
postgres_programs() { dirname "$(readlink -f "$(postgres_bin)/initdb")"; }

# need_psql: finds it also where only the server's package is installed.
need_psql() { command -v psql >/dev/null || PATH=$(postgres_programs):$PATH; }

# random_secret: prints 256 random bits.
random_secret() { od -An -N 32 -tx1 /dev/urandom | tr -d ' \n'; }

# postgres_version: prints the major version of the programs in that folder.
postgres_version() { "$(postgres_bin)/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/'; }

# let_through DIR: a fresh `mktemp -d` is closed to other users; lets them traverse the folders above DIR, not list them.
let_through() {
  local parent=$1
  while parent=$(dirname "$parent"); do
    case $parent in
      /tmp/* | /var/tmp/* | "${TMPDIR:-/tmp}"/*) chmod o+x "$parent" ;;
      *) break ;;
    esac
  done
}

has() {
  case $1 in
    postgresql) postgres_bin ;;
    prometheus) command -v prometheus && command -v promtool ;;
    alertmanager) command -v amtool && { command -v prometheus-alertmanager || command -v alertmanager; } ;;
    chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ||
      [ -x "/Applications/Chromium.app/Contents/MacOS/Chromium" ] ;;
    # Debian keeps a part of Python's own library in a package of its own.
    python-venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    # Debian keeps it where only root's PATH leads.
    pgbouncer) command -v pgbouncer || [ -x /usr/sbin/pgbouncer ] ;;
    *) command -v "$1" ;;
  esac >/dev/null
}

# packages MANAGER TOOL: the packages that bring TOOL; several lines are alternatives, tried in turn.
packages() {
  case $1:$2 in
    apt-get:redis-server) echo redis-server ;;
    dnf:redis-server) printf '%s\n' redis valkey-compat-redis ;; # Fedora 41 put Valkey in its place
    *:redis-server) echo redis ;;
    dnf:postgresql) echo postgresql-server ;;
    brew:postgresql) echo postgresql@17 ;;
    dnf:faketime | apk:faketime | brew:faketime) echo libfaketime ;;
    apt-get:alertmanager) echo prometheus-alertmanager ;;
    dnf:alertmanager) printf '%s\n' golang-github-prometheus-alertmanager alertmanager ;;
    dnf:prometheus) printf '%s\n' golang-github-prometheus prometheus ;;
    apt-get:chromium) printf '%s\n' 'chromium fonts-dejavu-core' 'chromium-browser fonts-dejavu-core' ;;
    dnf:chromium) echo chromium dejavu-sans-fonts ;;
    apk:chromium) echo chromium font-dejavu ;;
    apt-get:python-venv) echo python3 python3-venv ;;
    # The extension is for one version of the server. No other distribution packages it.
    apt-get:pg_autoctl) echo pg-auto-failover-cli "postgresql-$(postgres_version)-auto-failover" ;;
    apt-get:redis-cli) echo redis-tools ;;
    apt-get:psql) echo postgresql-client ;;
    *:python-venv) echo python3 ;;
    apt-get:systemd-analyze | dnf:systemd-analyze) echo systemd ;;
    dnf:kubectl) echo kubernetes-client ;;
    brew:kubectl) echo kubernetes-cli ;;
    apt-get:node | dnf:node | apk:node) echo nodejs ;;
    dnf:npm) printf '%s\n' nodejs-npm npm ;;
    brew:npm) echo node ;;
    *) echo "$2" ;;
  esac
}

apt_updated=
install_packages() {
  local manager=$1
  shift
  case $manager in
    apt-get)
      # Another process may hold the package lock for a while, above all right after the boot.
      local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
      # A source that cannot be refreshed does not stop the script: the install below decides.
      [ -n "$apt_updated" ] || as_root "${apt[@]}" update || true
      apt_updated=1
      as_root "${apt[@]}" install -y --no-install-recommends "$@" ;;
    dnf) as_root dnf install -y "$@" ;;
    apk) as_root apk add "$@" ;;
    brew) brew install "$@" ;; # refuses to run as root
  esac
}

# ensure TOOL [WITHOUT]: installs TOOL if it is missing. A failure prints its reason in one line, with the fallback
# WITHOUT, if there is one.
ensure() {
  local manager names log without=${2:+; going on without it: $2}
  has "$1" && return
  for manager in apt-get dnf apk brew; do
    command -v "$manager" >/dev/null && break
    manager=
  done
  [ -n "$manager" ] || { say "$1 is missing, and none of apt-get, dnf, apk and brew is here to install it$without"; return 1; }
  say "installing $1 with $manager"
  log=$(mktemp)
  while IFS= read -r names <&3; do
    # shellcheck disable=SC2086 # a line may name several packages
    if install_packages "$manager" $names >"$log" 2>&1 && has "$1"; then rm -f "$log"; return; fi
  done 3< <(packages "$manager" "$1")
  say "$1 is missing, and $manager could not install it: $(grep -v '^ *$' "$log" | tail -n 1)$without"
  rm -f "$log"
  return 1
}

# npm_packages FROM DIR [WITHOUT]: installs the packages of the lock file in FROM into DIR, unless they are there. A failure
# prints its reason in one line, with the fallback WITHOUT, if there is one.
npm_packages() {
  local log without=${3:+; going on without it: $3}
  cmp -s "$1/package-lock.json" "$2/installed" && return
  ensure npm "${3:-}" || return
  say "installing the packages of $1 into $2"
  mkdir -p "$2"
  cp "$1/package.json" "$1/package-lock.json" "$2/"
  log=$(mktemp)
  # Playwright drives the system's browser. What npm has in its cache needs no network.
  if (cd "$2" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --ignore-scripts --prefer-offline --no-audit --no-fund \
    --fetch-retries=1 --loglevel=error) >"$log" 2>&1
  then
    rm -f "$log"
    cp "$2/package-lock.json" "$2/installed"
  else
    say "the packages of $1 could not be installed: $(grep -vE '^npm error (code|syscall|errno)' "$log" | head -n 1)$without"
    rm -f "$log"
    return 1
  fi
}

# need_cargo: finds the toolchain also in a shell that started before rustup changed the PATH.
need_cargo() {
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
  command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
}

# target_dir: prints where Cargo builds, which a config file may set as well as CARGO_TARGET_DIR.
target_dir() {
  cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# release_build PROGRAM: builds flash-sale or contention and prints the path of its binary. With --bin and not with -p:
# so cargo resolves the same features for both programs, and what they share is compiled once.
release_build() {
  local target
  cargo build --release --locked --bin "$1" >&2 || return
  target=$(target_dir)
  echo "$target/release/$1"
}

# port_taken PORT: whether a process listens on 127.0.0.1:PORT.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: prints a free port from below the range that outgoing connections use.
free_port() {
  local port tries
  for ((tries = 0; tries < 100; tries++)); do
    port=$((20000 + RANDOM % 10000))
    port_taken "$port" || { echo "$port"; return; }
  done
  die "no free port found between 20000 and 29999"
}

# wait_for SECONDS COMMAND…: repeats COMMAND until it succeeds; fails when the time is over.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1 || true
  done
}

alive() { kill -0 "$1" 2>/dev/null; }

# http_get HOST:PORT PATH: prints the body of a 2xx answer; fails on everything else.
http_get() (
  host=${1%:*} status='' header=''
  host=${host#[} host=${host%]}
  exec 2>/dev/null 3<>"/dev/tcp/$host/${1##*:}" || exit 1
  # HTTP/1.0: the body comes unchunked and ends with the connection.
  printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" "$1" >&3
  IFS= read -r -t 5 status <&3 || exit 1
  while IFS= read -r -t 5 header <&3 && [ "$header" != $'\r' ]; do :; done
  case $status in 'HTTP/1.'[01]' 2'*) cat <&3 ;; *) cat <&3 >/dev/null; exit 1 ;; esac
)

# start_group COMMAND…: starts it in the background, in a process group of its own, and sets `child`.
# So a Ctrl-C reaches it once, through our trap, and not a second time from the terminal.
start_group() {
  set -m
  "$@" </dev/null &
  # shellcheck disable=SC2034 # the caller reads it
  child=$!
  set +m
}

# wait_child PID: waits through any number of trapped signals and returns the exit code of PID.
wait_child() {
  local code=0 last=0
  wait "$1" || code=$?
  while alive "$1"; do code=0; wait "$1" || code=$?; done
  # If a trap interrupted the wait and PID ended before the check, its exit code must still be read.
  wait "$1" 2>/dev/null || last=$?
  [ "$last" = 127 ] || code=$last
  return "$code"
}

# start_service BINARY OUTPUT [ARGUMENT]…: starts `serve` with its stdout in the file OUTPUT and returns when it takes
# orders. Sets `child`, and `public` and `operations`: the two addresses, which the service prints because a port may
# have been 0. Fails when it ended early or is not ready after a minute.
start_service() {
  local binary=$1 output=$2
  shift 2
  start_group "$binary" serve "$@" >"$output"
  wait_for 60 service_listens "$output" && alive "$child" || return
  public=$(reachable listening "$output")
  # shellcheck disable=SC2034 # the caller reads it
  operations=$(reachable operations "$output")
  wait_for 60 service_ready && alive "$child"
}
service_listens() { ! alive "$child" || [ "$(grep -cE '^(listening|operations) on http://' "$1")" = 2 ]; }
service_ready() { ! alive "$child" || http_get "$public" /health/ready >/dev/null; }

# reachable NAME FILE: the address behind "NAME on http://", with a wildcard address replaced by loopback.
reachable() { sed -n "s,^$1 on http://,,p" "$2" | sed -e 's,^0\.0\.0\.0:,127.0.0.1:,' -e 's,^\[::\]:,[::1]:,'; }
