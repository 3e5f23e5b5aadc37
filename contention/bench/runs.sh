# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with scripts/bench
# Runs of scripts/bench: servers, load, and a function per measurement; sourced, never run. scripts/cluster bench uses the
# servers and the load too.

# The caller's settings for a service must not change what is measured.
unset LISTEN_ADDR OPS_ADDR DATA_DIR DATABASE_URL DATABASE_DIRECT_URL DATABASE_POOL_MAX REDIS_LOCK_URLS REDIS_URL AUTH_PUBLIC_KEY \
  AUTH_JWKS_URL AUTH_ISSUER AUTH_AUDIENCE AUTH_ADMIN_CLAIM \
  LOCK_TTL_MS LOCK_PATIENCE_MS ORDER_BATCH_MAX LANE_QUEUE_MAX CONNECTIONS_MAX STREAMS_MAX \
  ADDRESS_RATE_LIMIT_PER_MINUTE TRUSTED_PROXIES REQUEST_TIMEOUT_MS VERIFY_SECONDS ACCESS_LOG OTEL_EXPORTER_OTLP_ENDPOINT \
  OTEL_TRACES_SAMPLER_ARG OTEL_SERVICE_NAME RUST_LOG LOG_FORMAT

# fresh: a new database for each run, so that no run has the rows of an earlier one.
database=
fresh() {
  [ -z "$database" ] || sql postgres "DROP DATABASE $database WITH (FORCE)"
  database=run_${EPOCHREALTIME//[!0-9]/} sold=0 counted=0 loaded=0
  sql postgres "CREATE DATABASE $database"
  database_url=postgres://postgres@127.0.0.1:$postgres_port/$database
  "$service" migrate --database-url "$database_url" >/dev/null
  sql postgres CHECKPOINT
}

# offer STOCK: a new product on sale; sets `product`.
offer() {
  product=$(sql "$database" "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version,
      max_per_order, waitlist, created_at, updated_at)
    VALUES (gen_random_uuid(), 'stock-$1', 'Hot', 1999, 'EUR', $1, $1, 1, 1, false, now(), now()) RETURNING id")
}

# offer_with_everything: a new product whose orders are holds, with a limit per user and a waitlist.
offer_with_everything() {
  offer 1000000001
  sql "$database" "UPDATE products SET hold_seconds = 3600, max_per_user = 1000, waitlist = true WHERE id = '$product'"
}

# offer_units STOCK: a new product with a row for each unit, for the design that takes such rows.
units_a_second=20000
offer_units() {
  offer "$1"
  sql "$database" "INSERT INTO units (product_id) SELECT '$product' FROM generate_series(1, $1)"
  sql "$database" "VACUUM ANALYZE units"
}

# Two services: one with a rate limit in Redis that no user reaches, and one without a limit.
limited=(--rate-limit-per-minute 100000000) unlimited=(--rate-limit-per-minute 0)

# serve [FLAG]…: one more service process on the database; sets `operations`.
serve() {
  start_service "$service" "$dir/addresses" --listen-addr 127.0.0.1:0 --ops-addr 127.0.0.1:0 \
    --data-dir "$dir/data" --database-url "$database_url" --redis-lock-urls "$lock_urls" \
    "$@" 2>>"$dir/log" || die "the service did not start: $(tail -n 1 "$dir/log")"
  servers="$servers $child"
  shops+=("$public")
}

# serve_design NAME: starts a baseline design.
serve_design() {
  start_group "${designs[@]}" --design "$1" --database-url "$database_url" --redis-lock-urls "$lock_urls" \
    >"$dir/addresses" 2>>"$dir/log"
  servers=$child
  wait_for 10 grep -q '^listening' "$dir/addresses" || die "the design $1 did not start: $(tail -n 1 "$dir/log")"
  shops=("$(reachable listening "$dir/addresses")")
}

# close_shop: stops the servers gracefully and checks the database.
close_shop() {
  stop_servers
  # When the load client disconnects, a baseline may abandon a transaction, which PostgreSQL then ends.
  ! grep -v 'idle-in-transaction' "$dir/log" | grep -m 1 -i '^error\|ERROR' >&2 || die "a server reported an error"
  check_database
}

stop_servers() {
  local pid
  # shellcheck disable=SC2086 # a list of process ids
  kill -TERM $servers
  for pid in $servers; do wait_child "$pid" || die "a server failed: $(tail -n 1 "$dir/log")"; done
  servers='' shops=()
}

verify_invariants() {
  local breaches
  breaches=$(timeout 120 "$service" verify --database-url "$database_url") || die "the invariants are broken: $breaches"
}

# check_database: the invariants, and that the load client and the database have counted the same orders.
check_database() {
  verify_invariants
  sold=$(sql "$database" "SELECT coalesce(sum(quantity), 0) FROM orders")
  # Orders in flight at the end of the load were sold but not counted.
  ((sold >= counted && sold <= counted + loaded)) ||
    die "the load client counted $counted orders, the database has $sold"
}

# load NUMBER CONNECTIONS SECONDS ADDRESS PATH [PRODUCT]…: starts wrk, which writes its figures to a file.
load() {
  # Two threads for a single server, one each for several.
  start_group wrk --threads $((${#shops[@]} == 1 ? 2 : 1)) --connections "$2" --duration "$3s" --timeout 10s \
    --script contention/bench/load.lua "http://$4$5" ${6:+-- "$dir/tokens" "${@:6}"} >"$dir/client-$1"
  clients="$clients $child"
}

# measure NAME CONNECTIONS PATH [PRODUCT]…: warms up for a second, then records a run. The connections are divided among
# all servers; the highest latency of each percentile counts.
measure() {
  local name=$1 seconds number client
  local answers refusals broken took waits
  say "$name"
  for seconds in 1 "$duration"; do
    rm -f "$dir"/client-*
    for number in "${!shops[@]}"; do
      load "$number" $(($2 / ${#shops[@]})) "$seconds" "${shops[number]}" "${@:3}"
    done
    for client in $clients; do wait_child "$client" || die "$name: wrk failed"; done
    clients=
    read -r answers refusals broken took waits < <(awk '$1 == "FIGURES" {
        n += $2; refused += $3; broken += $4; took = $5; for (i = 6; i <= 8; i++) if ($i > w[i]) w[i] = $i
      } END { print n + 0, refused + 0, broken + 0, took, w[6], w[7], w[8] }' "$dir"/client-*)
    [ "$broken" = 0 ] || die "$name: $broken requests were not answered"
    if [ $# -ge 4 ]; then counted=$((counted + answers - refusals)) loaded=$((loaded + $2)); fi
  done
  # shellcheck disable=SC2086 # three figures
  keep "$name" "$answers" "$refusals" "$took" $waits
}

run_pgbench() {
  say pgbench
  fresh
  offer 1000000000
  cat >"$dir/order.sql" <<END
BEGIN;
UPDATE products SET stock = stock - 1, version = version + 1, updated_at = now() WHERE id = '$product';
INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, status, created_at, confirmed_at)
  VALUES (gen_random_uuid(), substr(md5(random()::text), 1, 11), '$product', 'buyer', 1, 1999, 'EUR', 'confirmed', now(), now());
COMMIT;
END
  local tps
  tps=$(pgbench -n -M prepared -c 8 -j 2 -T "$duration" -f "$dir/order.sql" "$database_url" 2>>"$dir/log" |
    sed -n 's/^tps = \([0-9.]*\).*/\1/p')
  keep pgbench "$tps" 0 1 - - -
}

# With few connections the batch cycle is the limit, with many the CPU.
run_service() {
  local count
  for count in $connection_counts; do
    fresh
    serve "${limited[@]}"
    measure "live-$count" "$count" /health/live
    offer 0
    measure "sold-out-$count" "$count" /orders "$product"
    all_sold_out
    offer 1000000000
    measure "limited-$count" "$count" /orders "$product"
    offer_with_everything
    measure "everything-$count" "$count" /orders "$product"
    close_shop
    fresh
    serve "${unlimited[@]}"
    offer 1000000000
    measure "orders-$count" "$count" /orders "$product"
    close_shop
    [ -z "$base" ] || run_base "$count"
  done
}

# run_base CONNECTIONS: the same orders on a service that was built from another commit.
run_base() {
  local built=$service
  service=$base
  fresh
  serve "${limited[@]}"
  offer 1000000000
  measure "base-$1" "$1" /orders "$product"
  close_shop
  service=$built
}

# all_sold_out: checks that every refusal was sold_out.
all_sold_out() {
  local others
  others=$(http_get "$operations" /metrics |
    awk '/^flash_sale_orders_total/ && !/outcome="sold_out"/ { sum += $NF } END { print sum + 0 }')
  [ "$others" = 0 ] || die "$others answers were not sold_out"
  [ "$counted" = 0 ] || die "$counted orders of a product without stock"
}

run_availability() {
  fresh
  serve
  offer 1000000000
  measure live "$connections" /health/live
  measure availability "$connections" "/products/$product/availability"
  close_shop
}

# Seconds from the expiry of the holds until every waiting buyer has an order.
run_settle() {
  say settle
  local deadline offered=0
  fresh
  serve
  offer "$settled"
  deadline=$((${EPOCHREALTIME%.*} + 5))
  sql "$database" "
    UPDATE products SET stock = 0, hold_seconds = 3600, waitlist = true WHERE id = '$product';
    INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, status, created_at, expires_at)
      SELECT gen_random_uuid(), 'FS-' || n, '$product', 'holder-' || n, 1, 1999, 'EUR', 'pending', now(), to_timestamp($deadline)
      FROM generate_series(1, $settled) AS n;
    INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, created_at)
      SELECT gen_random_uuid(), '$product', 'waiter-' || n, 1, 'waiting', now() FROM generate_series(1, $settled) AS n"
  [ "${EPOCHREALTIME%.*}" -lt "$deadline" ] || die "settle: inserting the rows took too long"
  until [ "$offered" = "$settled" ]; do
    [ "${EPOCHREALTIME%.*}" -lt $((deadline + 60)) ] || die "settle: only $offered of $settled after a minute"
    sleep 0.05
    offered=$(sql "$database" "SELECT count(*) FROM waitlist_entries WHERE status = 'offered'")
  done
  echo "$EPOCHREALTIME $deadline" | awk '{ printf "%.2f\n", $1 - $2 }' >"$dir/results/settle"
  sold=0 counted=0 loaded=$((settled * 2))
  close_shop
}

run_batch_1() {
  fresh
  serve "${unlimited[@]}" --order-batch-max 1
  offer 1000000000
  measure batch-1 "$connections" /orders "$product"
  close_shop
}

# run_design NAME
run_design() {
  fresh
  serve_design "$1"
  if [ "$1" = skip-locked ]; then offer_units $((units_a_second * (duration + 1))); else offer 1000000000; fi
  measure "$1" "$connections" /orders "$product"
  close_shop
}

run_three() {
  fresh
  serve "${unlimited[@]}"
  serve "${unlimited[@]}"
  serve "${unlimited[@]}"
  offer 1000000000
  measure three $((connections / 3 * 3 + 3)) /orders "$product"
  close_shop
}

# embedded: the service with its defaults, in a new folder.
embedded() {
  start_service "$service" "$dir/addresses" --listen-addr 127.0.0.1:0 --ops-addr 127.0.0.1:0 \
    --data-dir "$(mktemp -d "$dir/embedded-XXXXXX")" 2>>"$dir/log" || die "the service did not start"
  servers=$child
}

stop_embedded() {
  kill -TERM "$servers"
  wait_child "$servers" || die "the service did not stop gracefully"
  servers=
}

resident() { awk '/^VmRSS/ { printf "%.1f\n", $2 / 1024 }' "/proc/$1/status"; }

run_memory() {
  say memory
  ulimit -Sn "$(ulimit -Hn)"
  embedded
  sleep 2
  resident "$child" >"$dir/results/idle"
  local of=$child
  if [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt $((held_open + 500)) ]; then
    start_group "${designs[@]}" hold --count "$held_open" "$public" >"$dir/held"
    servers="$of $child"
    wait_for 60 grep -q '^holding' "$dir/held" || die "could not open $held_open connections"
    # A connection is idle after a second.
    sleep 3
    resident "$of" >"$dir/results/held"
    kill -TERM "$child"
    wait "$child" || true
    servers=$of
  else
    say "skipping $held_open connections: at most $(ulimit -n) files may be open here (ulimit -n)"
  fi
  stop_embedded
}

run_ready() {
  say ready
  local try began port
  for try in 1 2 3 4 5; do
    port=$(free_port)
    began=${EPOCHREALTIME/./}
    start_group "$service" serve --listen-addr "127.0.0.1:$port" --ops-addr 127.0.0.1:0 \
      --data-dir "$dir/ready-$try" >"$dir/addresses" 2>>"$dir/log"
    servers=$child
    until http_get "127.0.0.1:$port" /health/ready >/dev/null; do
      alive "$child" || die "the service ended early"
      [ $((${EPOCHREALTIME/./} - began)) -lt 30000000 ] || die "the service is not ready after 30 s"
      sleep 0.002
    done
    echo $(((${EPOCHREALTIME/./} - began) / 1000)) >>"$dir/results/ready"
    stop_embedded
  done
}
