# shellcheck shell=bash
# The parts of scripts/cluster: how each is started, killed and asked. Sourced, never run. `dir` is the cluster's folder, in
# which each part has a folder with its pid, port and log.

postgres_nodes='pg-1 pg-2 pg-3'
service_nodes='node-1 node-2 node-3'
lock_nodes='lock-1 lock-2 lock-3'
# Three primaries, each with a replica.
redis_nodes='redis-1 redis-2 redis-3 redis-4 redis-5 redis-6'
exporters='exporter-1 exporter-2 exporter-3'
watchers="$exporters prometheus"
# In the order of the start.
all_parts="monitor $postgres_nodes haproxy-db $lock_nodes $redis_nodes $service_nodes haproxy $watchers"
# Further listeners of these parts.
more_ports='ops-1 ops-2 ops-3 haproxy-metrics haproxy-db-metrics'

need_tools() {
  local tool
  for tool in redis-server redis-cli postgresql pg_autoctl psql haproxy; do ensure "$tool" || exit; done
  # The cluster sells without them.
  ensure prometheus "no dashboards" || true
  ensure prometheus-postgres-exporter "no metrics of PostgreSQL" || true
}

# prepare_folder: empties the folder, and sets `dir` to its absolute path.
prepare_folder() {
  ! running || die "a cluster runs in $dir already, as process $(cat "$dir/pid")"
  # Only what a former start has made here.
  [ ! -d "$dir" ] || [ -f "$dir/binary" ] || [ -z "$(ls -A "$dir")" ] || die "$dir has other files: choose another CLUSTER_DIR"
  rm -rf "$dir"
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ "${#dir}" -le 80 ] || die "the path of $dir is too long for the sockets in it"
  for name in $all_parts $more_ports; do mkdir "$dir/$name"; done
  for name in monitor $postgres_nodes; do mkdir "$dir/$name/run"; done
  if [ "$(id -u)" = 0 ]; then
    for name in monitor $postgres_nodes; do chown postgres "$dir/$name" "$dir/$name/run"; done
    let_through "$dir/pg-1"
    (cd / && "${as_postgres[@]}" test -w "$dir/pg-1") ||
      die "PostgreSQL runs as user postgres here, who cannot reach $dir: choose a folder below /var/tmp"
  fi
}

# make_secret: that of the nodes is the caller's AUTH_SECRET, or a new one.
make_secret() {
  (umask 077 && printf %s "${AUTH_SECRET:-$(random_secret)}" >"$dir/secret")
  unset AUTH_SECRET
}

# choose_port PART: a free one that no other part has been given.
choose_port() {
  local port
  # A test leaves the usual ones to others.
  port=$(case ${STOP_WITH:+test-}$1 in haproxy) echo 8080 ;; prometheus) echo 9090 ;; *) a_port "$1" ;; esac)
  while port_taken "$port" || cat "$dir"/*/port 2>/dev/null | grep -qx "$port"; do port=$(a_port "$1"); done
  echo "$port" >"$dir/$1/port"
}
# A member of a Redis Cluster listens 10,000 ports higher as well, which has to be below the range of outgoing connections.
a_port() {
  local port
  port=$(free_port)
  case $1 in
    redis-*) while [ "$port" -gt 22700 ] || port_taken $((port + 10000)); do port=$(free_port); done ;;
  esac
  echo "$port"
}
port_of() { cat "$dir/$1/port"; }

# is_up PART: an ended process that its parent has not looked at yet counts as gone.
is_up() {
  [ -s "$dir/$1/pid" ] || return 1 # a bare one is 0 in a trap
  case $(ps -o stat= -p "$(cat "$dir/$1/pid")") in '' | Z*) return 1 ;; esac
}
is_down() { ! is_up "$1"; }

# launch PART COMMAND…: starts it in a process group of its own, so that a Ctrl-C reaches this script only.
launch() {
  local name=$1
  shift
  start_group "$@" >>"$dir/$name/log" 2>&1
  # shellcheck disable=SC2154 # start_group sets it
  echo "$child" >"$dir/$name/pid"
}

# tree PID: the process and all that it has started. From one listing: a server has a hundred processes.
tree() {
  ps -A -o pid= -o ppid= | awk -v root="$1" '
    { parent[$1] = $2 }
    END { for (pid in parent) { up = pid; while (up != root && up in parent) up = parent[up]; if (up == root) print pid } }'
}

# signal_part SIGNAL PART: STOP and CONT go to all of its processes, other signals to the first.
signal_part() {
  local pids
  is_up "$2" || return 0
  pids=$(cat "$dir/$2/pid")
  case $1 in STOP | CONT) pids=$(tree "$pids") ;; esac
  # shellcheck disable=SC2086 # a list of process ids
  kill "-$1" $pids 2>/dev/null || true
}

# kill_part PART: stopped first, so that nothing starts a new process meanwhile.
kill_part() {
  local pids
  is_up "$1" || return 0
  signal_part STOP "$1"
  pids=$(tree "$(cat "$dir/$1/pid")")
  # shellcheck disable=SC2086
  kill -KILL $pids 2>/dev/null || true
  wait_for 10 is_down "$1" || die "$1 does not end"
  # A fail-over manager that starts again refuses while the system has a process of its former number.
  wait_for 10 is_gone "$1" || true
}
is_gone() { ! kill -0 "$(cat "$dir/$1/pid")" 2>/dev/null; }

# quit PART: asks it to stop, and waits.
quit() {
  signal_part TERM "$1"
  wait_for 60 is_down "$1" || die "$1 does not stop"
}

start_part() {
  case $1 in
    monitor | pg-*) launch "$1" autoctl "$1" run --pgdata "$dir/$1/data" ;;
    lock-*) start_redis "$1" ;;
    redis-*) start_redis "$1" --cluster-enabled yes --cluster-node-timeout 2000 --repl-diskless-sync-delay 0 ;;
    node-*) start_node "$1" ;;
    haproxy) start_haproxy ;;
    haproxy-db) start_haproxy_db ;;
    exporter-*) start_exporter "$1" ;;
    prometheus) start_prometheus ;;
  esac
}

# PostgreSQL

# It refuses to run as root. initdb names the superuser after the user that runs it.
as_postgres=(env) superuser=$(id -un)
if [ "$superuser" = root ]; then
  as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups env) superuser=postgres
fi

database_url() { echo "postgres://$superuser@127.0.0.1:$(port_of haproxy-db)/${database:-shop}"; }
monitor_url() { echo "postgres://autoctl_node@127.0.0.1:$(port_of monitor)/pg_auto_failover"; }
# ask PART SQL: an answer of this server, within two seconds.
ask() { PGCONNECT_TIMEOUT=2 timeout 2 psql -qtAX -h 127.0.0.1 -p "$(port_of "$1")" -U "$superuser" -d "${3:-postgres}" -c "$2" 2>/dev/null; }

# autoctl PART ARGUMENT…: becomes pg_autoctl, so call it in a shell of its own. With all files in the part's folder; from the
# root folder, because PostgreSQL's user may not enter the caller's; with a UTF-8 locale, from which initdb takes the
# encoding. pg_autoctl calls initdb and pg_ctl by their names.
autoctl() {
  local home=$dir/$1
  shift
  cd /
  exec "${as_postgres[@]}" HOME="$home" XDG_CONFIG_HOME="$home/config" XDG_DATA_HOME="$home/state" \
    XDG_RUNTIME_DIR="$home/run" PG_REGRESS_SOCK_DIR="$home" PGHOST="$home" LC_ALL=C.UTF-8 \
    PATH="$(postgres_programs):/usr/bin:/bin" pg_autoctl "$@"
}

call_autoctl() {
  (autoctl "$@" >>"$dir/$1/log" 2>&1) || die "pg_autoctl failed: see $dir/$1/log"
}

# A dead machine is noticed after 1.5 s; the two that are left compare what they have, and one becomes the primary. The
# old one gets no quorum from then on, so the time that it has to step down may be short. On a machine that is busy with
# other things these times would take a slow answer for a dead machine: FAILOVER_FACTOR multiplies them.
tune_monitor() {
  local factor=${FAILOVER_FACTOR:-1}
  cat >>"$dir/monitor/data/postgresql.conf" <<END
pgautofailover.health_check_period = $((500 * factor))
pgautofailover.health_check_timeout = $((500 * factor))
pgautofailover.health_check_max_retries = 2
pgautofailover.health_check_retry_delay = 300
pgautofailover.node_considered_unhealthy_timeout = $((1500 * factor))
pgautofailover.primary_demote_timeout = $((1200 * factor))
END
}

start_postgres_nodes() {
  local name
  call_autoctl monitor create monitor --pgdata "$dir/monitor/data" --pgport "$(port_of monitor)" --hostname 127.0.0.1 \
    --auth trust --no-ssl
  tune_monitor
  start_part monitor
  wait_for 60 monitor_answers || die "the monitor does not answer: see $dir/monitor/log"
  for name in $postgres_nodes; do
    call_autoctl "$name" create postgres --pgdata "$dir/$name/data" --pgport "$(port_of "$name")" --listen 127.0.0.1 \
      --hostname 127.0.0.1 --name "$name" --username "$superuser" --dbname shop --monitor "$(monitor_url)" --auth trust --no-ssl
    call_autoctl "$name" config set --pgdata "$dir/$name/data" timeout.network_partition_timeout 1
    # The standbys copy it. Three service nodes, and load of other kinds.
    [ "$name" != pg-1 ] || echo 'max_connections = 300' >>"$dir/$name/data/postgresql.conf"
    start_part "$name"
    [ "$name" != pg-1 ] || wait_for 60 single_primary || die "PostgreSQL does not start: see $dir/$name/log"
  done
  wait_for 120 quorum_of_three || die "the standbys do not follow: see $dir/pg-2/log"
  ask pg-1 'CREATE ROLE haproxy LOGIN; GRANT pg_monitor TO haproxy' || die "PostgreSQL does not take the role of HAProxy"
  start_part haproxy-db
  wait_for 60 haproxy_db_ready || die "HAProxy finds no primary: see $dir/haproxy-db/log"
}
monitor_answers() { [ "$(ask monitor 'SELECT 1' pg_auto_failover)" = 1 ]; }
single_primary() { [ "$(ask pg-1 'SELECT pg_is_in_recovery()')" = f ]; }
quorum_of_three() { [ "$(ask pg-1 "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")" = 2 ]; }
haproxy_db_ready() { [ "$(ask haproxy-db 'SELECT pg_is_in_recovery()')" = f ]; }

primary_of_postgres() {
  local name
  for name in $postgres_nodes; do
    [ "$(ask "$name" 'SELECT pg_is_in_recovery()')" != f ] || { echo "$name"; return; }
  done
  return 1
}
monitor_state() {
  # shellcheck disable=SC2016 # the dollars are PostgreSQL's quotes
  ask monitor 'SELECT nodename, reportedstate, CASE health WHEN 1 THEN $$healthy$$ ELSE $$not healthy$$ END
    FROM pgautofailover.node ORDER BY 1' pg_auto_failover
}

# Redis

redis_url() { echo "redis-cluster://127.0.0.1:$(port_of redis-1)?node=127.0.0.1:$(port_of redis-2)&node=127.0.0.1:$(port_of redis-3)"; }
lock_urls() {
  local name urls=
  for name in $lock_nodes; do urls=$urls${urls:+,}redis://127.0.0.1:$(port_of "$name"); done
  echo "$urls"
}

# Nothing is kept on disk: a lock node that starts again is used after it has answered for longer than a lock lives.
start_redis() {
  local name=$1
  shift
  launch "$name" redis-server --port "$(port_of "$name")" --bind 127.0.0.1 --dir "$dir/$name" --save '' --appendonly no "$@"
  wait_for 10 port_taken "$(port_of "$name")" || die "Redis did not start: see $dir/$name/log"
}

join_redis_nodes() {
  local name addresses=
  for name in $redis_nodes; do addresses="$addresses 127.0.0.1:$(port_of "$name")"; done
  # shellcheck disable=SC2086 # a list of addresses
  redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes >"$dir/redis-1/create" ||
    die "the Redis Cluster was not created: see $dir/redis-1/create"
  # A primary that is killed before the first sync of its replica is never failed over.
  for name in $redis_nodes; do wait_for 30 redis_joined "$name" || die "$name does not join the Redis Cluster"; done
}
redis_joined() {
  local port
  port=$(port_of "$1")
  redis-cli -p "$port" cluster info | grep -q cluster_state:ok &&
    ! redis-cli -p "$port" info replication | grep -q master_link_status:down
}
primary_of_redis() {
  local name
  for name in $redis_nodes; do
    ! redis-cli -p "$(port_of "$name")" info replication 2>/dev/null | grep -q role:master || { echo "$name"; return; }
  done
  return 1
}

# The service, and HAProxy

start_node() {
  local name=$1 number=${1#node-} flags=()
  while IFS= read -r flag; do [ -z "$flag" ] || flags+=("$flag"); done <"$dir/flags"
  # HAProxy notices within two seconds that the node is not ready any more.
  launch "$name" env -u AUTH_SECRET DATABASE_URL="$(database_url)" REDIS_URL="$(redis_url)" REDIS_LOCK_URLS="$(lock_urls)" \
    AUTH_SECRET_FILE="$dir/secret" DATA_DIR="$dir/$name/data" SHUTDOWN_DELAY_MS="${SHUTDOWN_DELAY_MS:-5000}" \
    LISTEN_ADDR="127.0.0.1:$(port_of "$name")" OPS_ADDR="127.0.0.1:$(port_of "ops-$number")" \
    "${binary:?}" serve ${flags[0]+"${flags[@]}"}
  wait_for 60 node_ended_or_ready "$name" || die "$name is not ready: see $dir/$name/log"
  is_up "$name" || die "$name has ended: see $dir/$name/log"
}
node_ended_or_ready() { is_down "$1" || http_get "127.0.0.1:$(port_of "$1")" /health/ready >/dev/null; }

start_haproxy() {
  launch haproxy env API_BIND="127.0.0.1:$(port_of haproxy)" METRICS_BIND="127.0.0.1:$(port_of haproxy-metrics)" \
    NODE_1="127.0.0.1:$(port_of node-1)" NODE_2="127.0.0.1:$(port_of node-2)" NODE_3="127.0.0.1:$(port_of node-3)" \
    CONNECTIONS_MAX=4000 haproxy -db -f deploy/haproxy/haproxy.cfg
}
start_haproxy_db() {
  launch haproxy-db env DB_BIND="127.0.0.1:$(port_of haproxy-db)" METRICS_BIND="127.0.0.1:$(port_of haproxy-db-metrics)" \
    PG_1="127.0.0.1:$(port_of pg-1)" PG_2="127.0.0.1:$(port_of pg-2)" PG_3="127.0.0.1:$(port_of pg-3)" \
    haproxy -db -f deploy/haproxy/postgres.cfg
}
# haproxy_sees SERVER STATE: whether HAProxy has this server in this state.
haproxy_sees() {
  http_get "127.0.0.1:$(port_of haproxy-metrics)" /metrics |
    grep -q "^haproxy_server_status{proxy=\"by_product\",server=\"$1\",state=\"$2\"} 1"
}
haproxy_servers() {
  for name in haproxy haproxy-db; do
    http_get "127.0.0.1:$(port_of "$name-metrics")" /metrics |
      sed -n 's/^haproxy_server_status{proxy="\([^"]*\)",server="\([^"]*\)",state="\([A-Z]*\)"} 1.*/HAProxy \1: \2 \3/p'
  done
}

# Prometheus

start_exporter() {
  has prometheus-postgres-exporter || return 0
  launch "$1" env DATA_SOURCE_NAME="postgresql://$superuser@127.0.0.1:$(port_of "pg-${1#exporter-}")/postgres?sslmode=disable" \
    prometheus-postgres-exporter --web.listen-address="127.0.0.1:$(port_of "$1")" --disable-settings-metrics
}

targets() {
  local name list=
  for name in "$@"; do list=$list${list:+, }\"127.0.0.1:$(port_of "$name")\"; done
  echo "[$list]"
}
start_prometheus() {
  has prometheus || return 0
  cp -R prometheus "$dir/"
  cat >"$dir/prometheus.yml" <<END
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 2s }
rule_files: [prometheus/rules.yml]
scrape_configs:
  - job_name: flash-sale
    static_configs: [{ targets: $(targets ops-1 ops-2 ops-3) }]
  - job_name: haproxy
    static_configs: [{ targets: $(targets haproxy-metrics haproxy-db-metrics) }]
  - job_name: postgres
    static_configs: [{ targets: $(targets exporter-1 exporter-2 exporter-3) }]
END
  launch prometheus prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/prometheus/tsdb" \
    --web.listen-address="127.0.0.1:$(port_of prometheus)"
}
