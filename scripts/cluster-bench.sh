# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with scripts/cluster, its parts, and contention/bench
# scripts/cluster bench: the parts that it measures, the load, the report. Sourced, never run.
#
#   scripts/cluster bench [--quick] [--only NAME,…] [--out FILE]
#
#   --quick      one round of short runs: a smoke test, not for comparisons
#   --only NAME  some of quorum, nodes, processes, distance, fail-over, half-open, rolling, quota
#   --out FILE   writes the report to FILE as well
#
# ROUNDS (3) and DURATION (5, seconds of a throughput run) can be set; FLASH_SALE and CONTENTION to programs that are
# already built. Starts everything itself in a temporary folder, and stops it. Each run has a database of its own, which
# `flash-sale verify` then checks; a breach, a lost or a repeated order fails the benchmark.

# shellcheck source=contention/bench/runs.sh
. contention/bench/runs.sh
# shellcheck source=contention/bench/report.sh
. contention/bench/report.sh
# shellcheck source=contention/bench/cluster-runs.sh
. contention/bench/cluster-runs.sh

readonly measurements='quorum nodes processes distance fail-over half-open rolling quota'
# Without what only watches; and a node that is not part of a rolling change stops at once.
all_parts="monitor $postgres_nodes haproxy-db $lock_nodes $redis_nodes $service_nodes haproxy"
watchers='' SHUTDOWN_DELAY_MS=0
# The usual ports stay free.
STOP_WITH=$$
servers='' clients='' links='' shops=() quotas=()

bench_usage() { sed -n '/^#   scripts.cluster bench/,/^$/{s/^# \{0,1\}//;p;}' scripts/cluster-bench.sh; exit 2; }

bench_options() {
  shown="${ROUNDS:+ROUNDS=$ROUNDS }${DURATION:+DURATION=$DURATION }scripts/cluster bench${*:+ $*}"
  rounds=${ROUNDS:-3} duration=${DURATION:-5} only='' out=''
  while [ $# -gt 0 ]; do
    case $1 in
      --quick) rounds=1 duration=2 ;;
      --only) only=${2:-}; shift ;;
      --out) out=${2:-}; shift ;;
      *) bench_usage ;;
    esac
    shift
  done
  [[ -z $out || $out == /* ]] || out=$caller/$out
  local name
  for name in ${only//,/ }; do [[ " $measurements " == *" $name "* ]] || die "unknown measurement $name: $measurements"; done
}

wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }
# Whether one of these is wanted.
wanted_one() {
  local name
  for name in "$@"; do ! wanted "$name" || return 0; done
  return 1
}

# Copies the programs, so that a build meanwhile does not change what is measured.
bench_programs() {
  local name built
  for name in flash-sale contention; do
    built=$binary
    [ "$name" = flash-sale ] || built=${CONTENTION:-}
    [ -n "$built" ] || { need_cargo; built=$(release_build "$name"); }
    cp "$built" "$dir/$name"
  done
  binary=$dir/flash-sale service=$binary client=$dir/contention
}

bench() {
  local caller=$OLDPWD round name
  bench_options "$@"
  need_tools
  ensure wrk || exit
  postgres=$(postgres_programs) PATH=$(postgres_programs):$PATH
  if [ -n "${CONTENTION:-}" ] && [[ $CONTENTION != /* ]]; then CONTENTION=$caller/$CONTENTION; fi
  # Not below the caller's temporary folder, whose path may be too long for sockets.
  dir=$(mktemp -d /var/tmp/flash-sale-bench-XXXXXX)
  prepare_folder
  mkdir "$dir/results"
  trap leave_bench EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  bench_programs
  bench_parts
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    sync_time >>"$dir/results/fsync"
    for name in $measurements; do ! wanted "$name" || "measure_${name//-/_}"; done
  done
  bench_report >"$dir/report"
  [ -z "$out" ] || cp "$dir/report" "$out"
  cat "$dir/report"
}

# Only what the wanted measurements need.
bench_parts() {
  local name
  make_secret
  AUTH_SECRET=$(cat "$dir/secret")
  export AUTH_SECRET
  ulimit -Sn "$(ulimit -Hn)"
  echo --rate-limit-per-minute=0 >"$dir/flags"
  for name in $all_parts $more_ports single; do
    [ -d "$dir/$name" ] || mkdir "$dir/$name"
    choose_port "$name"
  done
  say "starting the databases, Redis and HAProxy"
  # A database of the name of the caller's user is of no use; the runs sign in as postgres everywhere.
  scripts/postgres start "$dir/single" "$(port_of single)"
  if wanted_one quorum nodes fail-over rolling quota; then
    start_postgres_nodes
    [ "$superuser" = postgres ] || ask haproxy-db 'CREATE ROLE postgres SUPERUSER LOGIN'
  fi
  for name in $lock_nodes; do start_part "$name"; done
  lock_urls=$(lock_urls)
  if wanted_one nodes fail-over rolling quota; then
    for name in $redis_nodes; do start_part "$name"; done
    join_redis_nodes
    start_part haproxy
  fi
  "$client" designs tokens --count 20000 --secret "$AUTH_SECRET" >"$dir/tokens"
  use single
  # The figures mean nothing if a commit is not on the disk when it is answered.
  [ "$(sql postgres 'SHOW fsync') $(sql postgres 'SHOW synchronous_commit')" = "on on" ] || die "commits are not durable"
}

sql() { psql -qtAX -v ON_ERROR_STOP=1 -d "postgres://postgres@127.0.0.1:$postgres_port/$1" -c "$2"; }

# use SERVER: the next runs are on this server: single, primary (directly), or haproxy-db.
use() {
  local server=$1
  [ -z "$database" ] || sql postgres "DROP DATABASE $database WITH (FORCE)"
  database=
  [ "$server" != primary ] || server=$(primary_of_postgres) || die "no PostgreSQL node takes writes"
  postgres_port=$(port_of "$server")
}

leave_bench() {
  local code=$? pid
  trap '' INT TERM HUP
  set +e
  # shellcheck disable=SC2086 # lists of process ids
  [ -z "$links" ] || kill -KILL $links 2>/dev/null
  # shellcheck disable=SC2086
  [ -z "$clients$servers" ] || { kill -TERM $clients $servers; wait $clients $servers; } 2>/dev/null
  stop_all
  for pid in ${quotas[0]+"${quotas[@]}"}; do rmdir "$pid"; done
  [ ! -d "$dir/single/data" ] || scripts/postgres stop "$dir/single"
  if [ "$code" = 0 ]; then rm -rf "$dir"; else say "the logs are in $dir"; fi
}

# The report

# ratios NAME OTHER [COLUMN]: of each round, because rounds differ more than runs within a round.
ratios() {
  local column=${3:-1}
  paste -d ' ' <(cut -d ' ' -f "$column" "$dir/results/$1") <(cut -d ' ' -f "$column" "$dir/results/$2") |
    awk '{ print $1 / ($2 > 0 ? $2 : 0.1) }'
}
# rounds_of NAME [COLUMN]
rounds_of() { cut -d ' ' -f "${2:-1}" "$dir/results/$1"; }

# figure TEXT UNIT [SIGN BOUND]: a row, from a value per round on standard input; without a bound nothing is asked.
figure() {
  local values middle each met='' asked=''
  values=$(cat)
  [ -n "$values" ] || return 0
  middle=$(median <<<"$values")
  each=$(while read -r value; do number "$value"; done <<<"$values" | paste -s -d ' ')
  if [ -n "${3:-}" ]; then
    asked="$3 $4$2"
    met=$(awk -v value="$middle" -v bound="$4" -v sign="$3" 'BEGIN {
      met = sign == "≥" ? value >= bound : sign == "≤" ? value <= bound : sign == "=" ? value == bound : value < bound
      print met ? "yes" : "**no**"
    }')
  fi
  echo "| $1 | $each | **$(number "$middle")$2** | $asked | $met |"
}
# orders_a_second TEXT NAME
orders_a_second() { rounds_of "$2" | figure "$1, orders/s" ''; }

bench_report() {
  cat <<END
\`$shown\`: $rounds rounds in turns, $duration s a throughput run; all parts and the load on the same machine.
$(machine), $(haproxy -v | sed -n 's/^\(HAProxy\) version \([^ -]*\).*/\1 \2/p').
A write reached the disk in $(paste -s -d ' ' "$dir/results/fsync") µs ($sync_means, round by round); load average $(cut -d ' ' -f 1 /proc/loadavg) at the end.

| what | each round | median | asked | met |
|---|---|---:|---:|---|
END
  local name
  for name in $measurements; do ! wanted "$name" || "report_${name//-/_}"; done
}
