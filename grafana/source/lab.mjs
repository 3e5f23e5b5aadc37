// Contention lab: a run of `contention` as its clients see it, beside what the service sees.
import {
  annotation, colour, dashboard, heatmap, highest, kinds, lines, m, moving, mp, occurred, quantile, query, stat, sumRate, table, tile,
} from './parts.mjs';

// `contention` puts the name of the scenario and of the run into the sku of each product that it makes.
const ORDERS = mp('flash_sale_orders_total');
const outcome = (names) => mp('flash_sale_orders_total', `outcome=~"${names}"`);
const TRIES = mp('flash_sale_lock_acquire_total');
const DURATION = m('flash_sale_order_duration_seconds_bucket');
const of = (name, ...labels) => `sum by (product) (${mp(name, ...labels)})`;
const left = `min by (product) (${mp('flash_sale_stock')})`;
const FAILED = 'unavailable|outcome_unknown|internal|request_timeout';
const text = (color) => ({ thresholds: { mode: 'absolute', steps: [{ color: 'text', value: null }, { color, value: 0.5 }] }, 'custom.cellOptions': { type: 'color-text' } });

// What a run with --metrics-addr says of itself. A run ends before the time shown does, hence its last values.
const buys = (name, ...labels) => `${name}{${['request="buy"', ...labels].join(',')}}`;
const ASKED = buys('contention_requests_total');
const ANSWERS = buys('contention_answers_total');
const LATENCY = buys('contention_latency_seconds_bucket');
const ofRun = (metric) => `sum by (run) (last_over_time(${metric}[$__range]))`;
/** A counter of the service by run, whose name its products' skus begin with. */
const service = (name, ...labels) =>
  `sum by (run) (label_replace(${mp(name, ...labels)}, "run", "$1", "product", "(contention-.*-[0-9a-f]{8})-.*"))`;
const event = (kind) => `contention_event_timestamp_seconds{event="${kind}"} * 1000`;
const mark = (name, color, kind) => annotation(name, color, event(kind), '{{scenario}}: {{what}}', { useValueForTime: true });

export default dashboard({
  uid: 'flash-sale-lab',
  products: 'contention-.*',
  title: 'Flash sale: contention lab',
  description: 'Runs of contention as their clients and as the service see them: what each scenario got, and what its faults did. Start them with --metrics-addr.',
  more: [
    mark('Load begins', colour.neutral, 'start'),
    mark('Fault', colour.failure, 'fault'),
    mark('Load ends', colour.soldOut, 'end'),
  ],
  rows: [
    [null, 5,
      tile({
        title: 'Promises', w: 5, noValue: '–', states: [['All held', colour.good], ['1 broken', colour.failure], ['2 broken', colour.failure]],
        queries: [query('sum(last_over_time(contention_checks{result="broken"}[$__range]))')],
        description: 'Checks of the runs that ended in the time shown: each promise of the service is checked against all answers and the database. Empty until a run ends; a number above 2 is shown as it is. The report of contention names each breach.',
      }),
      stat({
        title: 'Asked per second', w: 4, unit: 'short', decimals: 0, steps: [[null, colour.neutral]], queries: [query(sumRate(ASKED))],
        description: 'Orders that the clients of contention send per second.',
      }),
      stat({
        title: 'Created per second', w: 4, unit: 'short', decimals: 0, steps: [[null, colour.good]], queries: [query(sumRate(outcome('created')))],
        description: 'Orders of the runs that got their units, per second, as the service counts them.',
      }),
      stat({
        title: 'Latency, p99, clients', w: 4, unit: 's', decimals: 0, steps: [[null, colour.good], [1, colour.busy], [5, colour.failure]], queries: [query(quantile(0.99, LATENCY))],
        description: 'From the moment at which a client wanted to order to its answer: with the queue of the load driver, the network, and requests that a slow service delays.',
      }),
      stat({
        title: 'Latency, p99, service', w: 4, unit: 's', decimals: 0, steps: [[null, colour.good], [1, colour.busy], [5, colour.failure]], queries: [query(quantile(0.99, DURATION))],
        description: 'From the head of an order request to its outcome, of all orders. Far below what the clients see: the load driver or the connections are the limit.',
      }),
      stat({
        title: 'Undecided', w: 3, unit: 'short', decimals: 0, steps: [[null, colour.good], [1, colour.failure]],
        queries: [query(`sum(increase(${outcome(FAILED)}[$__range]))`)],
        description: 'Orders of the runs in the time shown that ended as unavailable, outcome_unknown, internal or request_timeout. Healthy: 0, but for scenarios that stop the database.',
      }),
    ],
    ['Clients and service', 9,
      lines({
        title: 'Answers, clients', w: 12, unit: 'ops', stack: true, queries: [query(occurred('outcome', ANSWERS), '{{outcome}}')],
        description: 'Answers to orders per second as the clients of contention got them; no_answer: the connection failed. Vertical lines: a load begins (blue), a fault begins or ends (red), a load has ended or a product is sold out (grey), orders go on without the lock (amber).',
      }),
      lines({
        title: 'Answers, service', w: 12, unit: 'ops', stack: true, queries: [query(occurred('outcome', ORDERS), '{{outcome}}')],
        description: 'Order requests per second by outcome, for products that contention made. Healthy: what the clients got. Less: requests did not reach the service, or their answers did not reach the clients.',
      }),
    ],
    [null, 9,
      lines({
        title: 'Asked and sold', w: 12, unit: 'ops',
        queries: [query(sumRate(ASKED), 'asked'), query(sumRate(buys('contention_answers_total', 'outcome="created"')), 'created, clients'), query(sumRate(outcome('created')), 'created, service')],
        overrides: [
          { matcher: { id: 'byName', options: 'created, clients' }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: colour.good } }] },
          { matcher: { id: 'byName', options: 'created, service' }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: 'super-light-green' } }, { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 6] } }] },
        ],
        description: 'Orders that clients sent, and those that got units, as clients and as the service count them. The two lines lie on each other, but for the burst that begins a product: its counters in the service begin with its first batch.',
      }),
      lines({
        title: 'Latency of orders, clients and service', w: 12, unit: 's',
        queries: ['clients', 'service'].flatMap((who) => [0.99, 0.5].map((q) => query(quantile(q, who === 'clients' ? LATENCY : DURATION), `${who}, p${q * 100}`))),
        overrides: [{ matcher: { id: 'byRegexp', options: '/p50$/' }, properties: [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [3, 4] } }] }],
        description: 'As clients see it (purple), from the moment at which they wanted to order, and as the service does (blue). A distance is the queue of the load driver, the network, or requests that wait for a connection.',
      }),
    ],
    ['Runs', 7,
      table({
        title: 'Sold and asked', w: 24, label: 'run', heading: 'Run', sortBy: 'Asked',
        description: 'One line for each run with --metrics-addr: orders as its clients sent them and saw them answered, and as the service counted them since its start. Retries are orders sent again. Broken: promises that did not hold, once the run has ended.',
        columns: [
          ['Asked', ofRun(ASKED), { unit: 'locale', decimals: 0 }],
          ['Answered', ofRun(ANSWERS), { unit: 'locale', decimals: 0 }],
          ['Created, clients', ofRun(buys('contention_answers_total', 'outcome="created"')), { unit: 'locale', decimals: 0, ...text(colour.good) }],
          ['Created, service', service('flash_sale_orders_total', 'outcome="created"'), { unit: 'locale', decimals: 0, ...text(colour.good) }],
          ['Units sold', service('flash_sale_order_units_total'), { unit: 'locale', decimals: 0 }],
          ['No answer', ofRun(buys('contention_answers_total', 'outcome="no_answer"')), { unit: 'locale', decimals: 0, ...text(colour.failure) }],
          ['Held', ofRun('contention_checks{result="held"}'), { unit: 'locale', decimals: 0 }],
          ['Broken', ofRun('contention_checks{result="broken"}'), { unit: 'locale', decimals: 0, ...text(colour.failure) }],
        ],
        overrides: [{ matcher: { id: 'byName', options: 'Run' }, properties: [{ id: 'custom.width', value: 300 }] }],
      }),
    ],
    [null, 9,
      table({
        title: 'Products', w: 24, label: 'product', heading: 'Product of the run', sortBy: 'Created',
        description: 'One line for each product of each run; its sku names the scenario and the run. Answers and units since the processes started. Compare them with the report of contention. Units of holds that expired count as sold each time.',
        columns: [
          ['Created', of('flash_sale_orders_total', 'outcome="created"'), { unit: 'locale', decimals: 0, ...text(colour.good) }],
          ['Units sold', of('flash_sale_order_units_total'), { unit: 'locale', decimals: 0 }],
          ['Units left', left, { unit: 'locale', decimals: 0 }],
          ['Sold out', of('flash_sale_orders_total', 'outcome=~"sold_out|insufficient_stock"'), { unit: 'locale', decimals: 0, ...text(colour.soldOut) }],
          ['Waitlisted', of('flash_sale_orders_total', 'outcome="waitlisted"'), { unit: 'locale', decimals: 0, ...text(colour.waitlist) }],
          ['Busy or limited', of('flash_sale_orders_total', 'outcome=~"high_demand|rate_limited|purchase_limit"'), { unit: 'locale', decimals: 0, ...text(colour.busy) }],
          ['Undecided', of('flash_sale_orders_total', `outcome=~"${FAILED}"`), { unit: 'locale', decimals: 0, ...text(colour.failure) }],
          ['Batches', of('flash_sale_batch_orders_count'), { unit: 'locale', decimals: 0 }],
          ['Busy attempts', of('flash_sale_lock_acquire_total', 'outcome="busy"'), { unit: 'locale', decimals: 0 }],
          ['Fence', of('flash_sale_fence_rejected_total'), { unit: 'locale', decimals: 0 }],
          ['Bypassed', of('flash_sale_lock_bypassed_total'), { unit: 'locale', decimals: 0, ...text(colour.busy) }],
        ],
        overrides: [{ matcher: { id: 'byName', options: 'Product of the run' }, properties: [{ id: 'custom.width', value: 260 }] }],
      }),
    ],
    ['What it cost', 9,
      lines({
        title: 'Order latency by outcome, p99', w: 6, unit: 's', below: true,
        queries: [query(moving('outcome', quantile(0.99, DURATION, 'outcome'), m('flash_sale_order_duration_seconds_count')), '{{outcome}}')],
        description: 'The service\'s time from request to outcome, at the 99th percentile. Healthy: sold_out is faster than created, and nothing is near the 5 s by which every request is answered. A gap: this outcome did not occur.',
      }),
      lines({
        title: 'Attempts to take the lock', w: 6, unit: 'ops', stack: true, below: true, queries: [query(occurred('outcome', TRIES), '{{outcome}}')],
        description: 'Attempts per second for the products of the runs. With several processes, busy (amber) is the contention.',
      }),
      heatmap({
        title: 'Lock wait, spread', w: 6, unit: 's', bucket: mp('flash_sale_lock_wait_seconds_bucket'),
        description: 'How many batches waited how long for their lock: the stronger the colour, the more.',
      }),
      heatmap({
        title: 'Orders per batch, spread', w: 6, unit: 'short', bucket: mp('flash_sale_batch_orders_bucket'),
        description: 'How many batches had which size: the stronger the colour, the more.',
      }),
    ],
    ['Faults', 8,
      lines({
        title: 'Lock nodes out', w: 8, unit: 'short', decimals: 0, below: true, lines: 'orange',
        queries: [query(highest('reason', m('flash_sale_lock_nodes_out')), '{{reason}}')],
        description: 'Redis lock nodes that take no locks, by reason, in the process that counts most. The scenarios redis-down and lock-refuses raise it.',
      }),
      lines({
        title: 'Work done without the lock', w: 8, unit: 'ops', below: true,
        queries: [kinds({
          'fence rejections': mp('flash_sale_fence_rejected_total'), bypassed: mp('flash_sale_lock_bypassed_total'),
          lost: m('flash_sale_lock_lost_total'),
        })],
        description: 'Batches per second that the fence rejected, batches written without the lock of a silent holder, and locks that ended before their batch was written. The scenario paused-holder raises all three. Nothing is oversold.',
      }),
      lines({
        title: 'Database connections in use', w: 8, unit: 'short', below: true,
        queries: [query(`sum by (instance) (${m('flash_sale_db_pool_connections', 'state="used"')})`, '{{instance}}')],
        description: 'By process. The scenarios database-down and read-only empty or fill it.',
      }),
    ],
  ],
});
