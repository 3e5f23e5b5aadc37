// Service: rate, errors and duration of each route; use, saturation and errors of each resource.
import { colour, dashboard, kinds, lines, m, mp, occurred, query, rate, stat, sumRate, table, tile } from './parts.mjs';

const REQUESTS = m('flash_sale_http_requests_total');
const ERRORS = m('flash_sale_http_requests_total', 'status=~"5.."');
const SECONDS = m('flash_sale_http_request_duration_seconds_bucket');
const route = (value) => `sum by (route) (label_join(${value}, "route", " ", "method", "route"))`;
const seen = `${route(`increase(${REQUESTS}[$__range] @ end())`)} > 0`;
const slowest = `histogram_quantile(0.99, sum by (route, le) (label_join(${rate(SECONDS)}, "route", " ", "method", "route")))`;
const median = slowest.replace('0.99', '0.5');
const USED = m('flash_sale_db_pool_connections', 'state="used"');
const busyRuntime = m('tokio_busy_ratio');
const amber = { thresholds: { mode: 'absolute', steps: [{ color: 'text', value: null }, { color: colour.busy, value: 0.25 }, { color: colour.failure, value: 1 }] }, 'custom.cellOptions': { type: 'color-text' } };
const red = { thresholds: { mode: 'absolute', steps: [{ color: 'text', value: null }, { color: colour.failure, value: 0.0001 }] }, 'custom.cellOptions': { type: 'color-text' } };

const yesNo = {
  mappings: [{ type: 'value', options: { 0: { text: 'no', color: colour.failure, index: 0 }, 1: { text: 'yes', color: colour.good, index: 1 } } }],
  'custom.cellOptions': { type: 'color-text' },
};

export default dashboard({
  uid: 'flash-sale-service',
  title: 'Flash sale: service',
  description: 'Requests by route, and the use of pools, lanes, connections, runtimes and processes.',
  rows: [
    [null, 5,
      tile({
        title: 'Ready', w: 4, queries: [query(`min(${m('flash_sale_ready')})`)], states: [['Not all', colour.failure], ['Ready', colour.good]],
        description: 'Whether every process can take orders, as /health/ready answers. Not all: at least one has lost its database or is about to stop, and the load balancer should send it nobody.',
      }),
      stat({
        title: 'Requests per second', w: 4, unit: 'short', decimals: 0, steps: [[null, colour.neutral]], queries: [query(sumRate(REQUESTS))],
        description: 'HTTP requests per second of both listeners and all processes. Healthy: follows the visitors.',
      }),
      stat({
        title: 'Server errors', w: 4, unit: 'percentunit', decimals: 2, steps: [[null, colour.good], [0.001, colour.busy], [0.01, colour.failure]],
        queries: [query(`(${sumRate(ERRORS)} or vector(0)) / clamp_min(${sumRate(REQUESTS)}, 2)`)],
        description: 'The share of requests answered with a 5xx. Healthy: 0; above 1 % the alert FlashSaleServerErrors fires.',
      }),
      stat({
        title: 'Busiest runtime', w: 4, unit: 'percentunit', decimals: 0, steps: [[null, colour.good], [0.7, colour.busy], [0.9, colour.failure]],
        queries: [query(`max(${busyRuntime})`)],
        description: 'How much of their time the threads of the busiest Tokio runtime work. Healthy: below 70 %; near 100 % the process needs more cores, or there have to be more processes.',
      }),
      stat({
        title: 'File descriptors', w: 4, unit: 'percentunit', decimals: 0, steps: [[null, colour.good], [0.5, colour.busy], [0.8, colour.failure]],
        queries: [query(`max(${m('process_open_fds')} / ${m('process_max_fds')})`)],
        description: 'Share of the permitted file descriptors in use, in the process that uses most. Healthy: below 80 %; at 100 % connections are not accepted.',
      }),
      tile({
        title: 'Database', w: 4, queries: [query(`max(${m('flash_sale_db_only_reads')})`)], states: [['Writes', colour.good], ['Only reads', colour.failure]],
        description: 'Whether the database takes writes. Only reads: a fail-over is under way, or DATABASE_URL leads to a standby; orders are answered unavailable.',
      }),
    ],
    ['Requests: rate, errors, duration', 9,
      lines({
        title: 'Requests by route', w: 12, unit: 'reqps', queries: [query(`${route(rate(REQUESTS))} and on (route) (${seen})`, '{{route}}')],
        description: 'HTTP requests per second by method and route, of both listeners. Healthy: mostly reads before the drop, POST /orders during it.',
      }),
      lines({
        title: 'Answers by status', w: 12, unit: 'reqps', stack: true, queries: [query(occurred('status', REQUESTS), '{{status}}')],
        description: 'HTTP answers per second. Healthy: 2xx (green); 409 (sold out) after the sale; 400 and 429 (amber, high_demand and limits) in short peaks; 5xx (red) never.',
      }),
    ],
    [null, 9,
      table({
        title: 'Routes', w: 12, label: 'route', heading: 'Route', sortBy: 'Requests/s',
        description: 'One line for each method and route. Healthy: no errors; p99 under 250 ms; event streams count the time to the first event.',
        columns: [
          ['Requests/s', `${route(rate(REQUESTS))} > 0`, { decimals: 1 }],
          ['Errors/s', `${route(rate(ERRORS))} or 0 * (${route(rate(REQUESTS))} > 0)`, { decimals: 2, ...red }],
          ['p50', `${median} > 0`, { unit: 's', decimals: 1, ...amber }],
          ['p99', `${slowest} > 0`, { unit: 's', decimals: 1, ...amber }],
        ],
        overrides: [{ matcher: { id: 'byName', options: 'Route' }, properties: [{ id: 'custom.width', value: 320 }] }],
      }),
      lines({
        title: 'Duration by route, p99', w: 12, unit: 's', queries: [query(`${slowest} and on (route) (${seen})`, '{{route}}')],
        description: 'Time from the request head to the response head at the 99th percentile, by method and route. Healthy: under 250 ms. A gap: no requests.',
      }),
    ],
    ['Database and lanes', 8,
      lines({
        title: 'Database connections in use, by pool', w: 8, unit: 'percentunit', max: 1, below: true, steps: [[null, 'transparent'], [0.99, colour.failure]],
        queries: [query(`max by (pool) (${USED} / on (job, instance, pool) ${m('flash_sale_db_pool_connections_max')})`, '{{pool}}')],
        description: 'Share of each pool in use, in the process where it is fullest: write (orders), read, payments. Healthy: peaks only. At 100 % statements wait for a connection: the database is slow, or DATABASE_POOL_MAX is low; FlashSalePoolExhausted fires after two minutes. SQLite has one connection that writes.',
      }),
      lines({
        title: 'Fullest queue of a lane, by process', w: 8, unit: 'percentunit', below: true, steps: [[null, 'transparent'], [0.8, colour.failure]],
        queries: [query(`${m('flash_sale_lane_queue_longest')} / on (job, instance) ${m('flash_sale_lane_queue_max')}`, '{{instance}}')],
        description: 'Commands in the longest queue, over all products, as a share of LANE_QUEUE_MAX. Healthy: back to 0 between batches. A steady rise: the database cannot keep up; at the red line FlashSaleLaneNearlyFull fires, at 100 % buyers get high_demand.',
      }),
      lines({
        title: 'Failures of the database and of events', w: 8, unit: 'ops', below: true,
        queries: [kinds({
          'connections revoked': m('flash_sale_db_connections_revoked_total'), 'commands abandoned': m('flash_sale_abandoned_total'),
          'stock events dropped': m('flash_sale_stock_events_dropped_total'),
        })],
        description: 'Per second: all connections of a pool given up; commands whose caller left before a batch claimed them; stock events not published to other processes, which then rely on their poll. Healthy: none.',
      }),
    ],
    ['Connections and limits', 8,
      lines({
        title: 'Connections and streams in use', w: 8, unit: 'percentunit', max: 1, below: true, steps: [[null, 'transparent'], [0.8, colour.failure]],
        queries: [
          query(`max by (listener) (${m('flash_sale_connections')} / ${m('flash_sale_connections_max')})`, '{{listener}}'),
          query(`max(${m('flash_sale_streams')} / ${m('flash_sale_streams_max')})`, 'event streams'),
        ],
        description: 'Share of CONNECTIONS_MAX and of STREAMS_MAX in use, on the fullest process. Healthy: below the red line at 80 %, where FlashSaleConnectionsNearlyFull and FlashSaleStreamsNearlyFull fire.',
      }),
      lines({
        title: 'Connections closed by the service', w: 8, unit: 'ops', below: true, queries: [query(occurred('reason', m('flash_sale_connections_closed_total')), '{{reason}}')],
        description: 'By reason: silent (no whole request head in time), idle (no further request in time), evicted (waited while all places were taken). Healthy: some idle. Many silent or evicted: a flood of connections.',
      }),
      lines({
        title: 'Refused by limits', w: 8, unit: 'ops', below: true,
        queries: [kinds({
          'orders of one user': m('flash_sale_rate_limited_total'), 'requests of one address': m('flash_sale_address_rate_limited_total'),
          'event streams': m('flash_sale_streams_refused_total'),
        })],
        description: 'Requests per second over RATE_LIMIT_PER_MINUTE, over ADDRESS_RATE_LIMIT_PER_MINUTE, and event streams over their bounds. Healthy: some, from scripts. Many, from all users: a limit is too low.',
      }),
    ],
    ['Versions, schema, checks', 7,
      table({
        title: 'Processes', w: 12, label: 'instance', heading: 'Process', headings: { version: 'Version', revision: 'Revision' }, sortBy: 'Ready',
        description: 'One line for each process: whether it is ready, the version of its program and the commit that it was built from, and the migrations that the database lacked at its start. Healthy: one version, except while it is rolled out; no pending migration.',
        columns: [
          ['Ready', `max by (instance, version, revision) (${m('flash_sale_ready')} * on (job, instance) group_left (version, revision) ${m('flash_sale_build_info')})`, yesNo],
          ['Migrations pending', `sum by (instance) (${m('flash_sale_schema_migrations', 'state="pending"')})`, { decimals: 0, ...amber }],
        ],
      }),
      stat({
        title: 'Broken invariants', w: 4, unit: 'short', decimals: 0, steps: [[null, colour.good], [1, colour.failure]],
        queries: [query(`sum(max by (check) (${m('flash_sale_verify_problems', 'check!="stray_payments"')}))`)],
        description: 'Rows that broke an invariant at the last scheduled check (VERIFY_SECONDS), such as an oversold product. Healthy: 0. The log and flash-sale verify name them.',
      }),
      stat({
        title: 'Last check', w: 4, unit: 's', decimals: 0, steps: [[null, colour.good]],
        queries: [query(`min(time() - (${m('flash_sale_verify_last_run_timestamp_seconds')} > 0)) or min(${m('flash_sale_verify_interval_seconds')})`)],
        description: 'Time since the last complete check of the invariants by any process; before the first one, the time between two. Healthy: below three times VERIFY_SECONDS, where FlashSaleVerifyStale fires.',
      }),
      tile({
        title: 'Redis', w: 4, queries: [query(`min(${m('flash_sale_redis_up')})`)], states: [['Silent', colour.busy], ['Up', colour.good]],
        description: 'Whether every process gets an answer from the Redis of events, rate limits and the cache (REDIS_URL). Silent: each process limits users by itself, and reads come from the database.',
      }),
    ],
    ['Runtimes, cache, processes', 8,
      lines({
        title: 'Runtime busy', w: 8, unit: 'percentunit', max: 1, below: true, steps: [[null, 'transparent'], [0.9, colour.failure]],
        queries: [query(`max by (runtime) (${busyRuntime})`, '{{runtime}}')],
        description: 'How much of their time the threads of the two Tokio runtimes work, in the busiest process: requests (HTTP) and lanes (orders). Healthy: below 70 %. At 100 % for seconds: answers wait for a core.',
      }),
      lines({
        title: 'Tasks that wait for a thread', w: 8, unit: 'short', below: true,
        queries: [query(`max by (runtime) (${m('tokio_global_queue_tasks')})`, '{{runtime}}')],
        description: 'Tasks in the global queue of each runtime, in the process with most: its saturation. Healthy: near 0.',
      }),
      lines({
        title: 'Product reads answered without the database', w: 8, unit: 'percentunit', max: 1, below: true,
        queries: [query(`${sumRate(m('flash_sale_cache_requests_total', 'result="hit"'))} / ${sumRate(m('flash_sale_cache_requests_total'))}`, 'from memory or Redis')],
        description: 'The share of product reads from memory or Redis; a gap: no reads. Healthy: near 1 while many visitors read.',
      }),
    ],
    [null, 8,
      lines({
        title: 'CPU', w: 8, unit: 'short', below: true, queries: [query(`rate(${m('process_cpu_seconds_total')}[1m])`, '{{instance}}')],
        description: 'Cores in use by process, over a minute, because the exported counter has whole seconds. Healthy: below the number of cores of the machine.',
      }),
      lines({
        title: 'Memory', w: 8, unit: 'bytes', below: true, queries: [query(m('process_resident_memory_bytes'), '{{instance}}')],
        description: 'Resident memory by process. Healthy: flat after the drop; about 20 KiB for each open connection.',
      }),
      lines({
        title: 'File descriptors and threads', w: 8, unit: 'short', below: true,
        queries: [query(m('process_open_fds'), 'descriptors, {{instance}}'), query(`max(${m('process_threads')})`, 'threads')],
        description: 'Open file descriptors by process, and the threads of the process that has most. Healthy: descriptors follow the connections; threads are constant.',
      }),
    ],
  ],
});
