#!/usr/bin/env bash
# A mixed load for a long time at about 70 % of what the machine can do, to see what grows and what an order costs:
# orders with keys, holds, limits, cancellations, restocks, a waitlist, reads, and event streams that come and go, of 1,
# 10, 100 and 1,000 hot products in turns, a minute each, while each minute 3,600 more are made and sold out.
#
#   contention/bench/soak.sh FLASH_SALE CONTENTION [MINUTES [OUT]]      both release builds; 30 minutes
#
# Prints a Markdown table of each minute, and the growth after the first round. Its own PostgreSQL has durable commits.
# At the end `flash-sale verify` checks the database. SECONDS_A_TURN (60) can be set, for a quick look.
set -euo pipefail
service=$(readlink -f "$1") contention=$(readlink -f "$2")
minutes=${3:-30} out=${4:-} turn_seconds=${SECONDS_A_TURN:-60}
[ -z "$out" ] || [[ $out == /* ]] || out=$PWD/$out
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ../../scripts/lib.sh
need_psql
[ -n "${EPOCHREALTIME:-}" ] || die "needs bash 5"

readonly buyers=20000 connections=256 streams=100 share=70 turns=(1 10 100 1000)
dir=$(mktemp -d)
node='' child='' others=''
leave() {
  trap '' INT TERM HUP
  local each
  for each in $others "$child" "$node"; do
    [ -z "$each" ] || { kill -TERM "$each" && wait "$each"; } 2>/dev/null || true
  done
  ../../scripts/postgres stop "$dir/postgres" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

AUTH_SECRET=$(random_secret)
export AUTH_SECRET LISTEN_ADDR=127.0.0.1:0 OPS_ADDR=127.0.0.1:0 DATA_DIR=$dir/data
database_port=$(free_port)
../../scripts/postgres start "$dir/postgres" "$database_port" >/dev/null
export DATABASE_URL=postgres://postgres@127.0.0.1:$database_port/shop
sql() { psql -qtAX -v ON_ERROR_STOP=1 -d "${DATABASE_URL%/*}/${2:-shop}" -c "$1"; }
sql "CREATE DATABASE shop" postgres
postmaster=$(head -n 1 "$dir/postgres/data/postmaster.pid")

start_service "$service" "$dir/addresses" 2>"$dir/log" || { cat "$dir/log" >&2; die "the service did not start"; }
node=$child child=
env -u DATABASE_URL "$contention" designs tokens --count "$buyers" --secret "$AUTH_SECRET" >"$dir/tokens"
"$service" token --user soak --admin --ttl 48h >"$dir/admin"

# offer COUNT NAME STOCK TERMS: new products, whose ids replace the file NAME.
offer() {
  sql "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version, max_per_order, hold_seconds,
      max_per_user, waitlist, created_at, updated_at)
    SELECT gen_random_uuid(), '$2-' || n || '-$EPOCHREALTIME', 'Soak', 1999, 'EUR', $3, $3, 1, 1, $4, now(), now()
    FROM generate_series(1, $1) AS n RETURNING id" >"$dir/$2.new"
  mv "$dir/$2.new" "$dir/$2"
}

# load RATE SECONDS: starts the load; RATE 0 is as fast as the service answers.
load() {
  start_group wrk --threads 2 --connections "$connections" --duration "$2s" --timeout 10s \
    --script soak.lua "http://$public" -- "$dir" "$1" 2 >"$dir/client"
}
# ended: waits for its end; sets `figures`: requests, refusals, requests without an answer, seconds.
ended() {
  wait_child "$child" || { cat "$dir/client" >&2; die "wrk failed"; }
  child=
  read -ra figures < <(sed -n 's/^FIGURES //p' "$dir/client")
}

metrics() { http_get "$operations" /metrics >"$dir/metrics"; }
# metric PATTERN: the sum of the series that match.
metric() { awk -v p="$1" '$0 ~ p { sum += $NF } END { printf "%d\n", sum }' "$dir/metrics"; }
orders() { metric '^flash_sale_orders_total.*outcome="created"'; }

# Clock ticks of CPU: of the service; and of PostgreSQL with its processes, also those that have ended.
ticks_of() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
postgres_ticks() {
  # shellcheck disable=SC2046 # a list of files
  cat "/proc/$postmaster/stat" $(sed 's,\([0-9]\+\) \?,/proc/\1/stat ,g' "/proc/$postmaster/task/$postmaster/children") 2>/dev/null |
    awk -v main="$postmaster" '{ pid = $1; sub(/.*\) /, ""); sum += $12 + $13; if (pid == main) sum += $14 + $15 } END { print sum }'
}

# sample: what the process holds at the moment.
sample() {
  metrics
  local pid=$node
  rss=$(awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")
  threads=$(awk '/^Threads/ { print $2 }' "/proc/$pid/status")
  files=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
  lanes=$(metric '^tokio_tasks.runtime="lanes"')
  open=$(metric '^flash_sale_connections[ {]')
  streaming=$(metric '^flash_sale_streams[ {]')
  series=$(grep -vc '^#' "$dir/metrics")
  sessions=$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND pid <> pg_backend_pid()")
}

rates=()
# calibrate TURN: the requests a second without a schedule, in the first round.
calibrate() {
  load 0 5
  ended
  rates[$1]=$(awk -v n="${figures[0]}" -v s="${figures[3]}" -v share="$share" 'BEGIN { printf "%d", n / s * share / 100 }')
}

# turn MINUTE: a minute with one number of hot products, and its row.
turn() {
  local kind=$((($1 - 1) % ${#turns[@]})) before=() after=()
  offer "${turns[kind]}" hot 1000000 'NULL, NULL, false'
  [ -n "${rates[kind]:-}" ] || calibrate "$kind"
  metrics
  before=("$(orders)" "$(ticks_of "$node")" "$(postgres_ticks)")
  load "${rates[kind]}" "$turn_seconds"
  # While the load goes on, so that minutes are compared in the same state.
  sleep $((turn_seconds * 4 / 5))
  sample
  ended
  [ "${figures[2]}" = 0 ] || say "minute $1: ${figures[2]} requests without an answer"
  metrics
  after=("$(orders)" "$(ticks_of "$node")" "$(postgres_ticks)")
  awk -v minute="$1" -v hot="${turns[kind]}" -v orders=$((after[0] - before[0])) -v seconds="${figures[3]}" -v asked="${figures[0]}" \
    -v cpu=$((after[1] - before[1])) -v db=$((after[2] - before[2])) -v hz="$(getconf CLK_TCK)" \
    -v rest="$rss $files $threads $lanes $open $streaming $series $sessions" 'BEGIN {
      us = 1e6 / hz / (orders ? orders : 1)
      printf "%d %d %.0f %.0f %.1f %.1f %s\n", minute, hot, asked / seconds, orders / seconds, cpu * us, db * us, rest
    }' >>"$dir/minutes"
  tail -n 1 "$dir/minutes" >&2
}

machine() {
  local cpu
  cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  echo "$(nproc) cores (${cpu:-unknown}), $(uname -sr), $(postgres_bin >/dev/null && "$(postgres_bin)/postgres" --version | cut -d ' ' -f 1-3)"
}

report() {
  echo "\`contention/bench/soak.sh\`, $minutes turns of $turn_seconds s; $(machine)."
  echo "Load client, service and PostgreSQL share the machine; load average $(cut -d ' ' -f 1 /proc/loadavg) at the end."
  echo
  echo "| minute | hot products | requests/s | orders/s | CPU µs per order, service | PostgreSQL | resident MiB | files | threads | lane tasks | connections | streams | series | sessions |"
  echo "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
  awk '{ printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; print "" }' "$dir/minutes"
  echo
  # The first round warms up. Minutes of the same number of hot products are compared.
  awk -v kinds="${#turns[@]}" '
    function row(name, column, i, k, grown, line) {
      line = "| " name " |"
      for (k = 1; k <= kinds; k++) {
        grown = (first[k] && last[k] > first[k]) ? value[last[k], column] / value[first[k], column] * 100 - 100 : "-"
        line = line (grown == "-" ? " - |" : sprintf(" %+.1f %% |", grown))
      }
      print line
    }
    {
      k = (NR - 1) % kinds + 1
      for (i = 1; i <= NF; i++) value[NR, i] = $i
      if (NR > kinds && !first[k]) first[k] = NR
      last[k] = NR
      hot[k] = $2
    }
    END {
      printf "| growth from the second round to the last, hot products: |"
      for (k = 1; k <= kinds; k++) printf " %s |", hot[k]
      printf "\n|---|"; for (k = 1; k <= kinds; k++) printf "---:|"; print ""
      row("resident", 7); row("files", 8); row("threads", 9); row("series", 13); row("sessions", 14)
      row("CPU of the service per order", 5); row("CPU of PostgreSQL per order", 6)
    }' "$dir/minutes"
}

offer 20 held 100 '20, 2, true'
offer 1 hot 1000000 'NULL, NULL, false'
python3 streams.py "$public" "$dir" "$streams" >"$dir/streams" 2>&1 &
others=$!
: >"$dir/minutes"
for ((minute = 1; minute <= minutes; minute++)); do turn "$minute"; done
kill -TERM "$others"
wait "$others" 2>/dev/null || true
others=
kill -TERM "$node"
wait_child "$node" || { tail "$dir/log" >&2; die "the service failed"; }
node=
{
  report
  echo
  echo "\`flash-sale verify\`: $("$service" verify | tail -n 1); $(sql "SELECT count(*) FROM orders") orders of $(sql "SELECT count(*) FROM products") products, database $(sql "SELECT pg_size_pretty(pg_database_size('shop'))")."
} >"$dir/report"
[ ! -s "$dir/streams" ] || { say "streams that were refused:"; sort "$dir/streams" | uniq -c | sort -rn | head -n 5 >&2; }
[ -z "$out" ] || cp "$dir/report" "$out"
cat "$dir/report"
