// Contention lab: a run of `contention`, as the service sees it.
import {
  annotation, colour, dashboard, heatmap, highest, kinds, lines, m, moving, mp, occurred, quantile, query, stat, sumRate, table,
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

export default dashboard({
  uid: 'flash-sale-lab',
  products: 'contention-.*',
  title: 'Flash sale: contention lab',
  description: 'Runs of contention, as the service sees them: what each scenario got, and what its faults did. The expectations are in the report of contention.',
  more: [
    annotation('Run', colour.neutral,
      `sum by (product) (rate(${ORDERS}[2s])) > 0 unless sum by (product) (rate(${ORDERS}[2s] offset 1s)) > 0`, '{{product}} is ordered'),
  ],
  rows: [
    [null, 5,
      stat({
        title: 'Orders per second', w: 6, unit: 'short', decimals: 0, steps: [[null, colour.neutral]], queries: [query(sumRate(ORDERS))],
        description: 'Order requests per second for products that contention made, of all outcomes.',
      }),
      stat({
        title: 'Created per second', w: 6, unit: 'short', decimals: 0, steps: [[null, colour.good]], queries: [query(sumRate(outcome('created')))],
        description: 'Orders of the runs that got their units, per second.',
      }),
      stat({
        title: 'Order latency, p99', w: 6, unit: 's', decimals: 0, steps: [[null, colour.good], [1, colour.busy], [5, colour.failure]], queries: [query(quantile(0.99, DURATION))],
        description: 'As the service measures it, of all orders. contention measures from the intended start of a request and includes its own queue and the network: a difference is where the load driver or the connections were the limit.',
      }),
      stat({
        title: 'Undecided', w: 6, unit: 'short', decimals: 0, steps: [[null, colour.good], [1, colour.failure]],
        queries: [query(`sum(increase(${outcome(FAILED)}[$__range]))`)],
        description: 'Orders of the runs in the time shown that ended as unavailable, outcome_unknown, internal or request_timeout. Healthy: 0, but for scenarios that stop the database.',
      }),
    ],
    ['Runs', 9,
      table({
        title: 'Runs', w: 24, label: 'product', heading: 'Product of the run', sortBy: 'Created',
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
    ['What buyers got', 9,
      lines({
        title: 'Answers of the runs', w: 12, unit: 'ops', stack: true, queries: [query(occurred('outcome', ORDERS), '{{outcome}}')],
        description: 'Order requests per second by outcome. Vertical lines: the orders for a product begin (blue), a product is sold out (grey), orders go on without the lock (amber), the database refuses writes or a process does not answer (red).',
      }),
      lines({
        title: 'Order latency by outcome, p99', w: 12, unit: 's',
        queries: [query(moving('outcome', quantile(0.99, DURATION, 'outcome'), m('flash_sale_order_duration_seconds_count')), '{{outcome}}')],
        description: 'The service\'s time from request to outcome, at the 99th percentile. Healthy: sold_out is faster than created, and nothing is near the 5 s by which every request is answered. A gap: this outcome did not occur.',
      }),
    ],
    ['What it cost', 9,
      lines({
        title: 'Attempts to take the lock', w: 8, unit: 'ops', stack: true, below: true, queries: [query(occurred('outcome', TRIES), '{{outcome}}')],
        description: 'Attempts per second for the products of the runs. With several processes, busy (amber) is the contention.',
      }),
      heatmap({
        title: 'Lock wait, spread', w: 8, unit: 's', bucket: mp('flash_sale_lock_wait_seconds_bucket'),
        description: 'How many batches waited how long for their lock: the stronger the colour, the more.',
      }),
      heatmap({
        title: 'Orders per batch, spread', w: 8, unit: 'short', bucket: mp('flash_sale_batch_orders_bucket'),
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
