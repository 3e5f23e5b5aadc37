#!/usr/bin/env bash
# What older orders cost: the orders a second of one hot product in an empty table, and in one with many older orders, of
# other products and of the same.
#
#   contention/bench/history.sh FLASH_SALE CONTENTION [ROWS [ROUNDS [SECONDS]]]      both release builds; 10000000, 3, 8
#
# Both in turns, from a checkpoint on, on one PostgreSQL with durable commits, with 512 connections and a key for each order.
# Prints the orders a second, the WAL and the full-page images per order, and the medians' ratio. The older orders need
# about 6 GB; at the end `flash-sale verify` checks them and they are removed. DIR names a folder in which they are kept
# instead, and used again by the next run. SETTINGS are lines for postgresql.conf.
set -euo pipefail
service=$(readlink -f "$1") contention=$(readlink -f "$2")
rows=${3:-10000000} rounds=${4:-3} seconds=${5:-8} kept=${DIR:-}
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ../../scripts/lib.sh
need_psql

readonly connections=512 buyers=20000 old_users=500000 old_products=1000
dir=$(mktemp -d)
postgres=${kept:-$dir}/postgres
child=''
stop() {
  [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2>/dev/null || true
  child=
}
leave() {
  trap '' INT TERM HUP
  stop
  ../../scripts/postgres stop "$postgres" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

AUTH_SECRET=$(random_secret)
# The check of the invariants reads all orders, and may begin in any run.
export AUTH_SECRET LISTEN_ADDR=127.0.0.1:0 OPS_ADDR=127.0.0.1:0 VERIFY_SECONDS=0
mkdir -p "${postgres%/*}"
database_port=$(free_port)
../../scripts/postgres start "$postgres" "$database_port" >/dev/null
# The last line of a name counts, so these follow those of scripts/postgres; an earlier run may have left some.
sed -i '/^# history$/,$d' "$postgres/data/postgresql.conf"
if [ -n "${SETTINGS:-}" ]; then printf '# history\n%s\n' "$SETTINGS" >>"$postgres/data/postgresql.conf"; fi
../../scripts/postgres stop "$postgres"
../../scripts/postgres start "$postgres" "$database_port" >/dev/null
sql() { psql -qtAX -v ON_ERROR_STOP=1 -d "postgres://postgres@127.0.0.1:$database_port/$1" -c "$2"; }
"$contention" designs tokens --count "$buyers" --secret "$AUTH_SECRET" >"$dir/tokens"

# create NAME: a database with a hot product.
create() {
  sql postgres "CREATE DATABASE $1"
  "$service" migrate --database-url "postgres://postgres@127.0.0.1:$database_port/$1" >/dev/null
  sql "$1" "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version, max_per_order, waitlist,
      created_at, updated_at)
    VALUES (gen_random_uuid(), 'hot', 'Hot', 1999, 'EUR', 500000000, 500000000, 1, 1, false, now(), now())"
}

# fill: the older orders, of the last year. Ids are in the order of time, references and users are not; a tenth is of the hot
# product, four fifths hold their unit, half have a key. Without the indexes, which are then built at once.
fill() {
  sql filling "
    INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version, max_per_order, waitlist, created_at,
        updated_at)
      SELECT gen_random_uuid(), 'old-' || n, 'Old', 1999, 'EUR', 0, 0, 1, 1, false, now(), now()
      FROM generate_series(1, $old_products) AS n;
    CREATE TABLE former AS SELECT indexdef FROM pg_indexes WHERE tablename = 'orders' AND indexname <> 'orders_pkey';
    DO \$\$ DECLARE name text; BEGIN
      FOR name IN SELECT indexname FROM pg_indexes WHERE tablename = 'orders' AND indexname <> 'orders_pkey'
        LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
    END \$\$" >/dev/null
  sql filling "
    SET synchronous_commit = off;
    WITH products AS (SELECT array_agg(id ORDER BY sku = 'hot', sku) AS ids FROM products)
    INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, status, idempotency_key,
        idempotency_request, created_at, confirmed_at)
      SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || '8'
            || substr(hash, 4, 15))::uuid,
        'FS-' || (SELECT string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (bits >> 5 * i & 31)::int + 1, 1), '')
            FROM generate_series(0, 11) AS i),
        CASE n % 10 WHEN 0 THEN ids[$old_products + 1] ELSE ids[1 + n % $old_products] END,
        'buyer-' || 1 + ('x' || substr(hash, 1, 7))::bit(28)::int % $old_users,
        1, 1999, 'EUR', CASE n / 10 % 10 WHEN 0 THEN 'expired' WHEN 1 THEN 'cancelled' ELSE 'confirmed' END,
        CASE n % 2 WHEN 0 THEN 'key-' || n END, CASE n % 2 WHEN 0 THEN 'quantity=1' END, at, at
      FROM products, generate_series(1, $rows) AS n,
        LATERAL (SELECT md5(n::text) AS hash, now() - interval '1 year' * (1 - n / ($rows + 1.0)) AS at,
          (n::bigint * 668265263 % 1073741824) << 30 | n::bigint * 374761393 % 1073741824 AS bits) AS made"
  sql filling "
    SET maintenance_work_mem = '512MB';
    DO \$\$ DECLARE statement text; BEGIN
      FOR statement IN SELECT indexdef FROM former LOOP EXECUTE statement; END LOOP;
    END \$\$;
    DROP TABLE former;
    WITH held AS (SELECT product_id, count(*) AS units FROM orders WHERE status = 'confirmed' GROUP BY product_id)
    UPDATE products SET stock_total = stock + units FROM held WHERE product_id = id"
  sql filling "VACUUM ANALYZE"
}

# run NAME: a round of load in that database; adds orders a second, bytes of WAL and full-page images per order to a file.
run() {
  local before after orders failed took product
  sql postgres CHECKPOINT
  product=$(sql "$1" "SELECT id FROM products WHERE sku = 'hot'")
  export DATABASE_URL=postgres://postgres@127.0.0.1:$database_port/$1 DATA_DIR=$dir/data
  start_service "$service" "$dir/addresses" 2>"$dir/log" || { cat "$dir/log" >&2; die "the service did not start"; }
  wal() { sql postgres "SELECT wal_bytes, wal_fpi FROM pg_stat_wal" | tr '|' ' '; }
  read -ra before < <(wal)
  # shellcheck disable=SC2154 # start_service sets `public`
  wrk --threads 2 --connections "$connections" --duration "${seconds}s" --timeout 10s --script keyed.lua "http://$public" \
    -- "$dir/tokens" "$product" >"$dir/run" 2>&1 || { cat "$dir/run" >&2; die "the load failed"; }
  read -ra after < <(wal)
  read -r orders failed took < <(sed -n 's/^FIGURES //p' "$dir/run")
  [ "$failed" = 0 ] || die "$failed requests were not answered with an order"
  stop
  unset DATABASE_URL
  echo "$orders $took ${before[*]} ${after[*]}" |
    awk '{ printf "%d %d %.2f\n", $1 / $2, ($5 - $3) / $1, ($6 - $4) / $1 }' >>"$dir/$1.runs"
}

if [ -z "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'old'")" ]; then
  say "writing $rows older orders"
  # Under another name until it is complete.
  sql postgres "DROP DATABASE IF EXISTS filling"
  create filling
  fill
  sql postgres "ALTER DATABASE filling RENAME TO old"
fi
for ((round = 1; round <= rounds; round++)); do
  sql postgres "DROP DATABASE IF EXISTS empty"
  create empty
  for how in empty old; do run "$how"; done
  sql postgres "DROP DATABASE empty WITH (FORCE)"
done
if [ -z "$kept" ]; then
  "$service" verify --database-url "postgres://postgres@127.0.0.1:$database_port/old" >"$dir/verify" ||
    { cat "$dir/verify"; die "the invariants are broken"; }
fi
median() { sort -n "$dir/$1.runs" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for how in empty old; do
  echo "$how: $(cut -d ' ' -f 1 "$dir/$how.runs" | tr '\n' ' ')orders/s, median $(median "$how"), $(awk -v a="$(median "$how")" -v b="$(median empty)" 'BEGIN { printf "%.2f", a / b }') of the empty table;" \
    "WAL bytes per order $(cut -d ' ' -f 2 "$dir/$how.runs" | tr '\n' ' '), full-page images per order $(cut -d ' ' -f 3 "$dir/$how.runs" | tr '\n' ' ')"
done
sql old "SELECT 'old: ' || pg_size_pretty(pg_database_size('old')) || ' in ' || (SELECT count(*) FROM orders) || ' orders'"
