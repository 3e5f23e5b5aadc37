#!/usr/bin/env bash
# What it costs orders to be watched: the same service alone, with 20 viewers of the live monitor and a scrape a second,
# and with 1 % of the requests traced to a collector that takes every span.
#
#   contention/bench/watched.sh FLASH_SALE CONTENTION [ROUNDS [SECONDS [CONNECTIONS]]]      both release builds
#
# The three in turns, a new database each; prints the orders a second of each round, and the medians' ratio to "alone".
set -euo pipefail
service=$(readlink -f "$1") contention=$(readlink -f "$2")
rounds=${3:-5} seconds=${4:-4} connections=${5:-512}
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ../../scripts/lib.sh
need_psql

dir=$(mktemp -d)
children=()
child=
stop() {
  local each
  for each in "$child" ${children[@]+"${children[@]}"}; do
    [ -z "$each" ] || { kill -TERM "$each" && wait "$each"; } 2>/dev/null || true
  done
  child=
  children=()
}
leave() {
  stop
  ../../scripts/postgres stop "$dir/postgres" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

AUTH_SECRET=$(random_secret)
export AUTH_SECRET LISTEN_ADDR=127.0.0.1:0 OPS_ADDR=127.0.0.1:0
database_port=$(free_port)
../../scripts/postgres start "$dir/postgres" "$database_port" >/dev/null
sql() { psql -qtAX -v ON_ERROR_STOP=1 -d "postgres://postgres@127.0.0.1:$database_port/postgres" -c "$1"; }

viewers() {
  local each
  for each in {1..20}; do
    curl -sN "http://$operations/monitor/events" >/dev/null &
    children+=($!)
  done
  (while sleep 1; do
    curl -s -H 'Accept: application/openmetrics-text;version=1.0.0' "http://$operations/metrics" >/dev/null
  done) &
  children+=($!)
}

# Answers every request with 200 and counts nothing.
collector() {
  python3 - "$1" <<'END' &
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Collector(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Collector).serve_forever()
END
  children+=($!)
}

# run HOW: the orders a second, appended to a file of this name.
run() {
  local how=$1 name=shop_$RANDOM$RANDOM port
  sql "CREATE DATABASE $name"
  export DATABASE_URL=postgres://postgres@127.0.0.1:$database_port/$name DATA_DIR=$dir/$name
  unset OTEL_EXPORTER_OTLP_ENDPOINT OTEL_TRACES_SAMPLER_ARG
  if [ "$how" = traced ]; then
    port=$(free_port)
    collector "$port"
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$port OTEL_TRACES_SAMPLER_ARG=0.01
  fi
  start_service "$service" "$dir/addresses" 2>"$dir/log" || { cat "$dir/log" >&2; die "the service did not start"; }
  [ "$how" != watched ] || viewers
  # shellcheck disable=SC2154 # start_service sets both addresses
  "$contention" throughput --target "http://$public" --seconds "$seconds" --connections "$connections" >"$dir/run" 2>&1 ||
    { cat "$dir/run" >&2; die "the load failed"; }
  grep -oE 'created [0-9,]+$' "$dir/run" | tail -n 1 | tr -dc '0-9\n' | awk -v s="$seconds" '{ print int($1 / s) }' >>"$dir/$how"
  stop
  sql "DROP DATABASE $name WITH (FORCE)"
}

for ((round = 1; round <= rounds; round++)); do
  for how in alone watched traced; do run "$how"; done
done
median() { sort -n "$dir/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for how in alone watched traced; do
  echo "$how: $(tr '\n' ' ' <"$dir/$how") median $(median "$how"), $(awk -v a="$(median "$how")" -v b="$(median alone)" 'BEGIN { printf "%.2f", a / b }') of alone"
done
