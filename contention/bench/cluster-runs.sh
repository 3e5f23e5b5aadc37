# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with scripts/cluster bench
# The measurements of scripts/cluster bench, and their rows in its report; sourced, never run.

# Seconds of a paced load: a fail-over or a change of all nodes, and time to sell what was delayed.
readonly paced_seconds=24 rolling_seconds=40 half_open_seconds=10
# Hundredths of a core for each node with a quota: so little that neither the database nor the load is the limit.
readonly quota=15

# keep_value NAME VALUE
keep_value() { echo "$2" >>"$dir/results/$1"; }

# offer_many COUNT: new products on sale; sets `products`.
offer_many() {
  mapfile -t products < <(sql "$database" "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version,
      max_per_order, waitlist, created_at, updated_at)
    SELECT gen_random_uuid(), 'one-of-many-' || n, 'Hot', 1999, 'EUR', 1000000000, 1000000000, 1, 1, false, now(), now()
    FROM generate_series(1, $1) AS n RETURNING id")
}

# start_nodes COUNT: that many behind HAProxy, which sees no others.
start_nodes() {
  local name number=0 state
  for name in $service_nodes; do
    number=$((number + 1))
    [ "$number" -gt "$1" ] || start_part "$name"
  done
  number=0
  for name in $service_nodes; do
    number=$((number + 1))
    state=$([ "$number" -gt "$1" ] && echo DOWN || echo UP)
    wait_for 60 haproxy_sees "$name" "$state" || die "HAProxy does not see $name as $state"
  done
}
stop_nodes() {
  local name
  # The second signal ends the announcement that a node stops.
  for _ in 1 2; do for name in $service_nodes; do signal_part TERM "$name"; done; sleep 0.3; done
  for name in $service_nodes; do wait_for 60 is_down "$name" || die "$name does not stop"; done
}

# start_link DELAY_US: a link to the database of the run; sets `link` and `link_url`.
start_link() {
  local port
  port=$(free_port)
  start_group "$client" designs link --listen "127.0.0.1:$port" --to "127.0.0.1:$postgres_port" --delay-us "$1" >>"$dir/log"
  link=$child links="$links $child"
  wait_for 10 port_taken "$port" || die "the link does not listen"
  link_url=postgres://postgres@127.0.0.1:$port/$database
}
end_link() {
  kill -KILL "$link"
  wait "$link" 2>/dev/null || true
  links=
}

# send TARGET,… PRODUCTS CONNECTIONS SECONDS RETRIES [RATE]: starts the load runner; without a rate it sends back to back.
send() {
  cat >"$dir/load.toml" <<END
name = "bench"
question = "What do buyers see of the cluster?"
users = 20000
stock = 10000000
products = $2
retries = $5

[[phase]]
arrival = "$([ -n "${6:-}" ] && echo rate || echo back_to_back)"
${6:+rate = $6}
connections = $3
seconds = $4

[expect]
sold = "any"
allow_unavailable = true
time_limit_ms = 60000
END
  rm -f "$dir/load.json"
  start_group "$client" "$dir/load.toml" --target "$1" --json "$dir/load.json" >"$dir/load" 2>&1
  clients=$child
}
# end_load: every check of the load runner has to hold, above all that each order that was answered is in the database.
end_load() {
  wait_child "$clients" || { cat "$dir/load" >&2; die "a check of the load runner does not hold"; }
  clients=
}
# told NAME: a figure of the load runner's report.
told() { sed -n "s|^ *\"$1\": \"\([^\"]*\)\".*|\1|p" "$dir/load.json" | head -n 1; }
p99_of_orders() { awk '/"winners": /{ seen = 1 } seen && /"p99_ms": / { gsub(/,/, "", $2); print $2; exit }' "$dir/load.json"; }
# answers CODE|-CODE: how many had this code, or another one.
answers() {
  awk -v code="${1#-}" -v other="${1%%[!-]*}" '
    /"code": / { split($2, part, "\""); now = part[2] }
    /"count": / && now { if ((now == code) == (other == "")) sum += $2; now = "" }
    END { print sum + 0 }' "$dir/load.json"
}
haproxy_url() { echo "http://127.0.0.1:$(port_of haproxy)"; }
has_sold() { [ "$(sql "$database" "SELECT count(*) FROM (SELECT FROM orders LIMIT $1) AS first")" -ge "$1" ]; }

# What the second machine's copy of each commit costs

measure_quorum() {
  local server
  for server in single primary haproxy-db; do
    use "$server"
    fresh
    serve "${unlimited[@]}"
    offer 1000000000
    measure "on-$server" 512 /orders "$product"
    close_shop
  done
}
report_quorum() {
  orders_a_second "one node, 512 connections, a single PostgreSQL" on-single
  orders_a_second "the same, three PostgreSQL with \`ANY 1\`" on-primary
  orders_a_second "the same, through HAProxy in front of them" on-haproxy-db
  ratios on-primary on-single | figure "three PostgreSQL with \`ANY 1\` ÷ a single one" '' ≥ 0.7
  ratios on-haproxy-db on-single | figure "the same, through HAProxy" ''
}

# What a third node brings where products are many: behind NAME NODES PRODUCTS

behind() {
  use haproxy-db
  fresh
  start_nodes "$2"
  if [ -n "${limited_by:-}" ]; then for number in $(seq "$2"); do limit "node-$number"; done; fi
  offer_many "$3"
  shops=("127.0.0.1:$(port_of haproxy)")
  measure "$1" 512 /orders "${products[@]}"
  stop_nodes
  shops=()
  check_database
}

measure_nodes() {
  behind one-behind 1 100
  behind three-behind 3 100
}
report_nodes() {
  orders_a_second "one node behind HAProxy, 512 connections, 100 products" one-behind
  orders_a_second "three nodes" three-behind
  ratios three-behind one-behind | figure "three nodes ÷ one behind HAProxy" '' ≥ 0.95
}

# limit NODE: bounds the processor time of a part, in slices of 10 ms.
limit() {
  local group=$quota_root/flash-sale-bench-$$-$1
  mkdir -p "$group"
  [[ " ${quotas[*]-} " == *" $group "* ]] || quotas+=("$group")
  if [ -e "$group/cpu.max" ]; then
    echo "$((quota * 100)) 10000" >"$group/cpu.max"
  else
    echo 10000 >"$group/cpu.cfs_period_us"
    echo $((quota * 100)) >"$group/cpu.cfs_quota_us"
  fi
  cat "$dir/$1/pid" >"$group/cgroup.procs"
}
# finds_quotas: whether this user may bound processes; sets `quota_root`.
finds_quotas() {
  local try
  for quota_root in /sys/fs/cgroup /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct; do
    try=$quota_root/flash-sale-bench-$$
    mkdir "$try" 2>/dev/null || continue
    if [ -w "$try/cpu.max" ] || [ -w "$try/cpu.cfs_quota_us" ]; then rmdir "$try"; return; fi
    rmdir "$try"
  done
  return 1
}

measure_quota() {
  finds_quotas || { say "nobody limits processes here: no measurement with quotas"; return 0; }
  local limited_by=$quota
  behind one-limited 1 30
  behind three-limited 3 30
}
report_quota() {
  local nodes="three nodes ÷ one, each with $quota % of a core, 30 products"
  [ -s "$dir/results/one-limited" ] || { echo "| $nodes | not measured: CPU quotas cannot be set here | | ≥ 1.8 | |"; return; }
  orders_a_second "one node behind HAProxy with $quota % of a core, 30 products" one-limited
  orders_a_second "three such nodes" three-limited
  ratios three-limited one-limited | figure "$nodes" '' ≥ 1.8
}

# Nodes that sell one product take turns

measure_processes() {
  local count each
  use single
  for count in 129 999; do
    for each in 1 3; do
      fresh
      for _ in $(seq "$each"); do serve "${unlimited[@]}"; done
      offer 1000000000
      measure "processes-$each-$count" "$count" /orders "$product"
      close_shop
    done
  done
}
report_processes() {
  local count ratio p99
  while read -r count ratio p99; do
    orders_a_second "one process, one product, $count connections" "processes-1-$count"
    orders_a_second "three processes" "processes-3-$count"
    ratios "processes-3-$count" "processes-1-$count" | figure "three processes ÷ one, $count connections" '' ≥ "$ratio"
    rounds_of "processes-3-$count" 5 | figure "three processes, p99, $count connections" ' ms' '<' "$p99"
  done <<<$'129 0.65 25\n999 0.90 60'
}

# A database that is further away. Both through a link, so that the link's own cost counts for neither.

measure_distance() {
  local delay direct
  use single
  for delay in 0 500; do
    fresh
    direct=$database_url
    start_link "$delay"
    database_url=$link_url
    serve "${unlimited[@]}"
    offer 1000000000
    measure "distance-$delay" 512 /orders "$product"
    database_url=$direct
    close_shop
    end_link
  done
}
report_distance() {
  orders_a_second "one node, 512 connections, the database behind a link" distance-0
  orders_a_second "the same link with 1 ms of delay there and back" distance-500
  ratios distance-500 distance-0 | figure "with 1 ms of delay ÷ without" '' ≥ 0.8
}

# The primary's machine dies

measure_fail_over() {
  local primary
  say fail-over
  use haproxy-db
  fresh
  start_nodes 3
  send "$(haproxy_url)" 10 1000 "$paced_seconds" 20 5000
  wait_for 60 has_sold 20000 || die "the cluster does not sell"
  primary=$(primary_of_postgres)
  kill_part "$primary"
  end_load
  keep_value fail-over-pause "$(told 'longest time without an order' | awk '{ print $1 / 1000 }')"
  keep_value fail-over-orders "$(($(answers created) + $(answers replayed)))"
  verify_invariants
  stop_nodes
  start_part "$primary"
  wait_for 120 two_standbys || die "$primary does not follow the new primary"
}
two_standbys() {
  local primary
  primary=$(primary_of_postgres) &&
    [ "$(ask "$primary" "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")" = 2 ]
}
report_fail_over() {
  rounds_of fail-over-orders | figure "primary killed at 5,000 orders/s: orders answered 201, all found on the new primary" ''
  rounds_of fail-over-pause | figure "time without a sale" ' s' ≤ 10
}

# One of two nodes keeps its connections to the database, and nothing passes over them

measure_half_open() {
  local direct figures
  say half-open
  use single
  fresh
  direct=$database_url
  serve "${unlimited[@]}"
  start_link 0
  database_url=$link_url
  serve "${unlimited[@]}"
  database_url=$direct
  send "http://${shops[0]},http://${shops[1]}" 1 12000 "$half_open_seconds" 0 2000
  wait_for 60 has_sold 5000 || die "two nodes do not sell"
  kill -STOP "$link"
  end_load
  kill -CONT "$link"
  figures=$(told 'node 1: longest time without an order, answers')
  keep_value half-open-pause "${figures%% ms*}"
  keep_value half-open-refused "$(sed -n 's/.*high_demand \([0-9]*\).*/\1/p' <<<"$figures" | grep . || echo 0)"
  keep_value half-open-created "$(sed -n 's/.*created \([0-9]*\).*/\1/p' <<<"$figures")"
  stop_servers
  end_link
  # Errors are due here, and in no other measurement.
  mv "$dir/log" "$dir/half-open-log"
  verify_invariants
}
report_half_open() {
  rounds_of half-open-created | figure "one of two nodes loses the database, half-open: orders of the other at 1,000/s" ''
  rounds_of half-open-pause | figure "longest time in which the other sells nothing" ' ms' '<' 400
  rounds_of half-open-refused | figure "its answers \`high_demand\`" '' = 0
}

# All nodes are replaced, one after the other

measure_rolling() {
  local capacity failed
  say rolling
  use haproxy-db
  fresh
  SHUTDOWN_DELAY_MS=5000
  start_nodes 3
  # As many connections as products: as at a rate, an order is a batch of its own. More would share batches, and sell more.
  send "$(haproxy_url)" 100 100 "$duration" 0
  end_load
  capacity=$(told 'orders/s')
  send "$(haproxy_url)" 100 1000 "$rolling_seconds" 0 $((capacity * 7 / 10))
  replace
  alive "$clients" || die "the load ended before the last node was replaced"
  end_load
  failed=$(answers -created)
  keep_value rolling-rate $((capacity * 7 / 10))
  keep_value rolling-failed "$failed"
  keep_value rolling-p99 "$(p99_of_orders)"
  stop_nodes
  SHUTDOWN_DELAY_MS=0
  verify_invariants
}
report_rolling() {
  orders_a_second "a rolling change of three nodes at 70 % load" rolling-rate
  rounds_of rolling-failed | figure "orders that failed or were repeated" '' = 0
  rounds_of rolling-p99 | figure "p99 during the change" ' ms' '<' 250
}
