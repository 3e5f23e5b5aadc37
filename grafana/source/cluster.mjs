// The cluster around the service: HAProxy's servers, PostgreSQL's replication, and how the nodes share the work.
import { colour, dashboard, lines, m, mp, occurred, query, quantile, rate, stat, tile } from './parts.mjs';

// HAProxy and PostgreSQL's exporters are jobs of their own, which the variables do not choose.
const server = (name, proxy, ...labels) => `${name}{${[`proxy="${proxy}"`, ...labels].join(',')}}`;
const UP = (proxy) => server('haproxy_server_status', proxy, 'state="UP"');
const STANDBYS = 'sum(pg_replication_slots_active)';
const LAG = 'max by (application_name) (pg_stat_replication_pg_wal_lsn_diff)';

export default dashboard({
  uid: 'flash-sale-cluster',
  title: 'Flash sale: cluster',
  description: 'The machines around a sale: which nodes and which PostgreSQL server HAProxy uses, how far the standbys are behind, how the nodes share the products.',
  rows: [
    [null, 5,
      stat({
        title: 'Nodes in use', w: 5, unit: 'short', decimals: 0, steps: [[null, colour.failure], [1, colour.busy], [2, colour.good]],
        queries: [query(`sum(max by (server) (${UP('by_product')}))`)],
        description: 'Service nodes that HAProxy sends requests to. Healthy: all. Less during a rolling change, one at a time; else the alert FlashSaleNodeOut fires.',
      }),
      tile({
        title: 'Database', w: 4,
        queries: [query(`clamp_max(max(${server('haproxy_backend_active_servers', 'postgres')}), 1)`)],
        states: [['No primary', colour.failure], ['Takes orders', colour.good]],
        description: 'Whether HAProxy finds a PostgreSQL server that writes and whose commits wait for a standby. No primary for ten seconds is a fail-over; for longer the alert FlashSaleNoPrimary fires.',
      }),
      stat({
        title: 'Standbys', w: 5, unit: 'short', decimals: 0, steps: [[null, colour.failure], [1, colour.busy], [2, colour.good]], queries: [query(STANDBYS)],
        description: 'Standbys that follow the primary. Healthy: 2. With 1 sales go on and one more loss stops them; with 0 no order is confirmed.',
      }),
      stat({
        title: 'Replication lag', w: 5, unit: 'bytes', decimals: 0, steps: [[null, colour.good], [16777216, colour.busy], [67108864, colour.failure]],
        queries: [query(`max(${LAG})`)],
        description: 'WAL that the slowest standby has not replayed. Healthy: under a megabyte. A commit waits for the fastest standby only.',
      }),
      stat({
        title: 'Fail-overs, 15 min', w: 5, unit: 'short', decimals: 0, steps: [[null, colour.good], [1, colour.busy]],
        queries: [query(`ceil(sum(changes(${UP('postgres')}[15m])) / 2)`)],
        description: 'How often HAProxy led the sessions to another PostgreSQL server, or had none for a while, within 15 minutes. Healthy: 0.',
      }),
    ],
    ['Nodes', 9,
      lines({
        title: 'Requests by node', w: 8, unit: 'reqps', below: true,
        queries: [query(`sum by (server) (${rate(server('haproxy_server_http_responses_total', 'by_product|nodes').replace('proxy="', 'proxy=~"'))})`, '{{server}}')],
        description: 'Requests that HAProxy gave to each node. All requests about a product go to one node, so a very hot product shows as one line above the others. Healthy: no line ends while its node is needed.',
      }),
      lines({
        title: 'Answer time by node', w: 8, unit: 's', below: true,
        queries: [query(`max by (server) (${server('haproxy_server_response_time_average_seconds', 'by_product')})`, '{{server}}')],
        description: 'Average over the last 1,024 requests about products, as HAProxy measures it. Healthy: the nodes are close together.',
      }),
      lines({
        title: 'Locks taken by node', w: 8, unit: 'ops', below: true,
        queries: [query(occurred('instance', mp('flash_sale_lock_acquire_total', 'outcome="acquired"')), '{{instance}}')],
        description: 'Hand-over: which node sells. When a node goes, the others take over its lines within seconds; when it is back, it gets the same products again.',
      }),
    ],
    [null, 9,
      lines({
        title: 'Lock wait by node, p99', w: 8, unit: 's', below: true,
        queries: [query(quantile(0.99, m('flash_sale_lock_wait_seconds_bucket'), 'instance'), '{{instance}}')],
        description: 'With affinity no node waits for another: a few milliseconds. Higher while products move from node to node.',
      }),
      lines({
        title: 'Retries and errors of HAProxy', w: 8, unit: 'ops', below: true,
        queries: [
          query(`sum(${rate('haproxy_backend_retry_warnings_total')})`, 'connections tried again'),
          query(`sum(${rate('haproxy_backend_connection_errors_total')})`, 'no connection'),
          query(`sum(${rate('haproxy_backend_response_errors_total')})`, 'no answer'),
        ],
        description: 'A connection that fails is tried at another node, because nothing was sent. "No answer" is a request that its node has received: its buyer gets 502 and repeats it with the same key. Healthy: 0, also during a rolling change.',
      }),
      lines({
        title: 'Failed checks by server', w: 8, unit: 'ops', below: true,
        queries: [query(`sum by (proxy, server) (${rate('haproxy_server_check_failures_total')})`, '{{proxy}} {{server}}')],
        description: 'Checks of servers that were in use. A server that stays out fails no more. Healthy: 0.',
      }),
    ],
    ['PostgreSQL', 9,
      lines({
        title: 'Sessions by server', w: 8, unit: 'short', decimals: 0, below: true,
        queries: [query(`max by (server) (${server('haproxy_server_current_sessions', 'postgres')})`, '{{server}}')],
        description: 'Sessions that HAProxy leads to each server: all go to the primary. At a fail-over they end, and begin again at the new one.',
      }),
      lines({
        title: 'Replication lag by standby', w: 8, unit: 'bytes', below: true, queries: [query(LAG, '{{application_name}}')],
        description: 'WAL that each standby has not replayed. Healthy: near 0. A line that climbs: a slow disk or network, or a long query on the standby.',
      }),
      lines({
        title: 'Standbys that follow', w: 8, unit: 'short', decimals: 0, below: true, queries: [query(STANDBYS, 'standbys')],
        description: 'Healthy: 2. A commit waits for one of them.',
      }),
    ],
  ],
});
