# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/bench sets them
# Figures and report of scripts/bench; sourced, never run.
# Each result is a file with one line per round: per second, share refused, p50, p95, p99.

# keep NAME ANSWERS REFUSALS SECONDS P50 P95 P99: records a run. Refusals count only where they are measured.
keep() {
  local refusals=$3
  [[ $1 != sold-out-* ]] || refusals=0
  awk -v n="$2" -v refused="$refusals" -v took="$4" -v waits="$5 $6 $7" \
    'BEGIN { printf "%.1f %.1f %s\n", (n - refused) / took, (n ? refused / n * 100 : 0), waits }' >>"$dir/results/$1"
}

# sync_time: microseconds of one fdatasync, or of one commit where pg_test_fsync is missing.
sync_time() {
  local tool=$postgres/pg_test_fsync
  sync_means=fdatasync
  if [ -x "$tool" ]; then
    # awk exits after the first figure, which ends the tool early.
    timeout 10 "$tool" -s 1 -f "$dir/sync" 2>/dev/null | awk '/^ *fdatasync .*ops\/sec/ { print $(NF - 1); exit }' || true
  else
    sync_means="one commit of one client"
    sql postgres 'CREATE TABLE IF NOT EXISTS syncs (n int)' 2>>"$dir/log"
    echo 'INSERT INTO syncs VALUES (1)' >"$dir/sync.sql"
    pgbench -n -t 100 -f "$dir/sync.sql" "postgres://postgres@127.0.0.1:$postgres_port/postgres" 2>>"$dir/log" |
      sed -n 's/^latency average = \([0-9.]*\) ms$/\1/p' | awk '{ print $1 * 1000 }'
  fi
}

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# middle NAME [COLUMN]: the median over the rounds; fails where NAME was not measured.
middle() { [ -s "$dir/results/$1" ] && awk -v column="${2:-1}" '{ print $column }' "$dir/results/$1" | median; }

# ratio NAME OTHER: the median of the ratios per round, because rounds differ more than runs within a round.
ratio() {
  [ -s "$dir/results/$1" ] && [ -s "$dir/results/$2" ] || return
  paste -d ' ' <(cut -d ' ' -f 1 "$dir/results/$1") <(cut -d ' ' -f 1 "$dir/results/$2") |
    awk '{ print $1 / ($2 > 0 ? $2 : 0.1) }' | median
}

# number VALUE: rounded to about three digits, with commas.
number() {
  local n
  n=$(awk -v n="$1" 'BEGIN { printf((n < 10 ? "%.2f" : n < 100 ? "%.1f" : "%.0f"), n) }')
  while [[ $n =~ ^([0-9]+)([0-9]{3})([^0-9].*)?$ ]]; do n=${BASH_REMATCH[1]},${BASH_REMATCH[2]}${BASH_REMATCH[3]}; done
  echo "$n"
}

# way NAME TEXT: a row of the first table.
way() {
  local per_second each
  per_second=$(middle "$1") || return 0
  each=$(while read -r value _; do number "$value"; done <"$dir/results/$1" | paste -s -d ' ')
  echo "| $2 | **$(number "$per_second")** | $each | $(middle "$1" 3) | $(middle "$1" 4) | $(middle "$1" 5) | $(middle "$1" 2) % |"
}

# target TEXT VALUE SIGN BOUND UNIT: a row of the second table; nothing where VALUE is missing.
target() {
  [ -n "$2" ] || return 0
  local met
  met=$(awk -v value="$2" -v bound="$4" -v sign="$3" 'BEGIN {
    met = sign == "≥" ? value >= bound : value < bound
    print met ? "yes" : "**no**"
  }')
  echo "| $1 | $(number "$2")$5 | $3 $4$5 | $met |"
}

machine() {
  local cpu memory
  cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
  echo "$(nproc) cores (${cpu:-unknown}), $memory, $(uname -sr), $("$postgres/postgres" --version | cut -d ' ' -f 1-3)," \
    "Redis $(redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/')"
}

report() {
  cat <<END
\`$shown\`: $rounds × $duration s a run, medians; the load client runs on the same machine.
$(machine).
A write reached the disk in $(paste -s -d ' ' "$dir/results/fsync") µs ($sync_means, round by round); load average $(cut -d ' ' -f 1 /proc/loadavg) at the end.

| one hot product | per second | each round | p50 ms | p95 ms | p99 ms | refused |
|---|---:|---|---:|---:|---:|---:|
END
  way orders-128 "**orders**, 128 connections"
  way orders-512 "**orders**, 512 connections"
  way orders-1000 "**orders**, 1,000 connections"
  way three "**orders**, three processes, 129 connections"
  way limited-128 "with the rate limit over all nodes, 128 connections"
  way limited-512 "with the rate limit over all nodes, 512 connections"
  way limited-1000 "with the rate limit over all nodes, 1,000 connections"
  way everything-128 "with rate limit, hold, limit per user and waitlist, 128 connections"
  way everything-512 "with rate limit, hold, limit per user and waitlist, 512 connections"
  way everything-1000 "with rate limit, hold, limit per user and waitlist, 1,000 connections"
  way base-128 "the base's orders, 128 connections"
  way base-512 "the base's orders, 512 connections"
  way base-1000 "the base's orders, 1,000 connections"
  way availability "\`GET …/availability\`, 128 connections"
  way batch-1 "orders with \`ORDER_BATCH_MAX=1\`, 128 connections"
  way naive "naive: a Redlock per order, 128 connections"
  way row-lock "row lock per order, no Redis, 128 connections"
  way advisory-lock "advisory lock per order, no Redis, 128 connections"
  way statement "one statement per order, no Redis, 128 connections"
  way skip-locked "a row per unit, \`SKIP LOCKED\`, 128 connections"
  way decrement "a script decrements the stock in Redis, orders are written later, 128 connections"
  way pgbench "pgbench: \`BEGIN; UPDATE; INSERT; COMMIT\`, 8 clients"
  way sold-out-128 "sold-out answers, 128 connections"
  way sold-out-512 "sold-out answers, 512 connections"
  way sold-out-1000 "sold-out answers, 1,000 connections"
  way live-128 "\`GET /health/live\`, 128 connections"
  way live-512 "\`GET /health/live\`, 512 connections"
  way live-1000 "\`GET /health/live\`, 1,000 connections"
  cat <<END

| target | measured | required | met |
|---|---:|---:|---|
END
  target "orders to the naive design" "$(ratio orders-128 naive)" ≥ 100 ×
  target "orders to pgbench" "$(ratio orders-128 pgbench)" ≥ 5 ×
  target "orders to \`GET /health/live\`, 128 connections" "$(ratio orders-128 live-128)" ≥ 0.25 ×
  target "orders to \`GET /health/live\`, 512 connections" "$(ratio orders-512 live-512)" ≥ 0.25 ×
  target "orders to \`GET /health/live\`, 1,000 connections" "$(ratio orders-1000 live-1000)" ≥ 0.25 ×
  target "three processes together to one" "$(ratio three orders-128)" ≥ 0.5 ×
  target "three processes, worst p99" "$(middle three 5)" "<" 150 " ms"
  target "sold out to \`GET /health/live\`, 128 connections" "$(ratio sold-out-128 live-128)" ≥ 0.5 ×
  target "sold out to \`GET /health/live\`, 512 connections" "$(ratio sold-out-512 live-512)" ≥ 0.5 ×
  target "sold out to \`GET /health/live\`, 1,000 connections" "$(ratio sold-out-1000 live-1000)" ≥ 0.5 ×
  target "with everything to the base's orders, 128 connections" "$(ratio everything-128 base-128)" ≥ 0.85 ×
  target "with everything to the base's orders, 512 connections" "$(ratio everything-512 base-512)" ≥ 0.85 ×
  target "with everything to the base's orders, 1,000 connections" "$(ratio everything-1000 base-1000)" ≥ 0.85 ×
  target "availability to \`GET /health/live\`" "$(ratio availability live)" ≥ 0.6 ×
  target "10,000 expired holds offered to 10,000 waiting buyers" "$(middle settle)" "<" 5 " s"
  target "resident when idle, embedded default" "$(middle idle)" "<" 64 " MiB"
  target "resident with 10,000 open connections" "$(middle held)" "<" 300 " MiB"
  target "ready, embedded default, median of 5" "$(middle ready)" "<" 1000 " ms"
}
