#!/usr/bin/env bash
# What a scrape costs with 200 products that have orders: minimum, median and maximum of 50, in both formats.
#
#   contention/bench/scrape.sh FLASH_SALE CONTENTION      both release builds
set -euo pipefail
service=$(readlink -f "$1") contention=$(readlink -f "$2")
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ../../scripts/lib.sh

dir=$(mktemp -d)
child=
stop() {
  [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

AUTH_SECRET=$(random_secret)
export AUTH_SECRET DATA_DIR=$dir LISTEN_ADDR=127.0.0.1:0 OPS_ADDR=127.0.0.1:0
start_service "$service" "$dir/addresses" 2>"$dir/log" || { cat "$dir/log" >&2; die "the service did not start"; }
# shellcheck disable=SC2154 # start_service sets both addresses
"$contention" ./many-products.toml --target "http://$public" >"$dir/run" 2>&1 || { cat "$dir/run" >&2; die "the load failed"; }

for accept in 'text/plain' 'application/openmetrics-text;version=1.0.0'; do
  # shellcheck disable=SC2154
  scrape() { curl -s -o "$1" -H "Accept: $accept" -w '%{time_total}\n' "http://$operations/metrics"; }
  scrape "$dir/metrics" >/dev/null
  echo "$accept: $(wc -l <"$dir/metrics") lines, $(wc -c <"$dir/metrics") bytes"
  for _ in {1..50}; do scrape /dev/null; done | sort -n |
    awk '{ ms[NR] = $1 * 1000 } END { printf "  min %.1f ms, median %.1f ms, max %.1f ms\n", ms[1], ms[25], ms[NR] }'
done
