// Drop overview: is the drop going well?
import {
  colour, dashboard, highest, lines, lockTile, m, moving, mp, occurred, ordered, quantile, quantiles, query, rate, stat, sumRate, table, tile, UP,
} from './parts.mjs';

const ORDERS = mp('flash_sale_orders_total');
const DURATION = m('flash_sale_order_duration_seconds_bucket');
const outcome = (names) => mp('flash_sale_orders_total', `outcome=~"${names}"`);
// The line `unknown` has requests that named no product.
const known = (names) => mp('flash_sale_orders_total', 'product!="unknown"', `outcome=~"${names}"`);
const FAILED = 'unavailable|outcome_unknown|internal|request_timeout';
// Below one request a second the divisor is 1, so that a single failure at low load does not look like an outage.
const ratio = (names) => `${sumRate(outcome(names))} / clamp_min(${sumRate(ORDERS)}, 1)`;
const stock = `min by (product) (${mp('flash_sale_stock')})`;
const units = `sum by (product) (${rate(mp('flash_sale_order_units_total'))})`;
const most = `max by (product) (max_over_time(${mp('flash_sale_stock')}[$__range] @ end()))`;
const sellsOut = `(${stock} > 0) / (${units} > 0)`;
// Lanes in which orders wait and none is served.
const stuck = `min_over_time(${mp('flash_sale_lane_queue')}[15s]) > 0 and on (instance, product) ` +
  `sum by (instance, product) (rate(${mp('flash_sale_batch_orders_count')}[15s])) == 0`;

const named = (name, value) => `label_replace(${value}, "state", "${name}", "", "")`;
const state = `max(${[
  named('orders', `(${sumRate(ORDERS)} > bool 0)`),
  named('created', `2 * (${sumRate(outcome('created'))} > bool 0)`),
  named('busy', `3 * (${ratio('high_demand')} > bool 0.05)`),
  named('slow', `3 * (${quantile(0.99, DURATION)} > bool 1)`),
  named('degraded', `3 * max(${m('flash_sale_lock_degraded')})`),
  named('failing', `4 * (${ratio(FAILED)} > bool 0.01)`),
  named('read-only', `4 * max(${m('flash_sale_db_only_reads')})`),
  named('stuck', `4 * clamp_max(count(${stuck}), 1)`),
  named('down', `4 * max(${UP} == bool 0)`),
].join(' or ')})`;
const states = [
  ['No orders', 'blue'], ['Sold out', colour.soldOut], ['Going well', colour.good], ['Attention', colour.busy], ['Failing', colour.failure],
];

export default dashboard({
  uid: 'flash-sale-drop',
  title: 'Flash sale: drop overview',
  description: 'Is the drop going well? Stock, sales, waiting times and what buyers are told.',
  rows: [
    [null, 6,
      tile({
        title: 'State of the drop', w: 6, states, queries: [query(state)],
        description: 'Going well: orders are created. Sold out: orders arrive and none is created. Attention: over 5 % of the orders are answered high_demand, one of a hundred waits longer than a second, or the lock is degraded. Failing: over 1 % of the orders end undecided, a lane is stuck, the database only reads, or a process does not answer. The row Service and the dashboards Lock contention and Service show which.',
      }),
      stat({
        title: 'Orders created per second', w: 4, unit: 'short', decimals: 0, queries: [query(sumRate(outcome('created')))], steps: [[null, colour.good]],
        description: 'Orders that got their units, per second, of all processes. Healthy: follows the demand while there is stock, and 0 afterwards.',
      }),
      stat({
        title: 'Next product sells out in', w: 4, unit: 's', decimals: 0, queries: [query(`min(${sellsOut})`)],
        description: 'Time until the first of the selling products has no units left, at the present rate. Healthy: any value; it is when the waitlist and the refusals begin.',
      }),
      stat({
        title: 'Order latency, p99', w: 4, unit: 's', decimals: 0, queries: [query(quantile(0.99, DURATION))],
        steps: [[null, colour.good], [1, colour.busy], [5, colour.failure]],
        description: 'The slowest one of a hundred order requests, of all outcomes, takes at least this long. Healthy: below 1 s, where the alert FlashSaleOrdersSlow begins; every request is answered within REQUEST_TIMEOUT_MS, 5 s by default.',
      }),
      stat({
        title: 'High demand', w: 3, unit: 'percentunit', decimals: 1, queries: [query(ratio('high_demand'))],
        steps: [[null, colour.good], [0.01, colour.busy], [0.2, colour.failure]],
        description: 'The share of order requests answered high_demand: the buyer has to try again. Healthy: 0; above 5 % the alert FlashSaleHighDemand fires.',
      }),
      stat({
        title: 'Undecided', w: 3, unit: 'percentunit', decimals: 1, queries: [query(ratio(FAILED))],
        steps: [[null, colour.good], [0.001, colour.busy], [0.01, colour.failure]],
        description: 'The share of order requests that ended as unavailable, outcome_unknown, internal or request_timeout. Healthy: 0. It is almost always the database.',
      }),
    ],
    ['Orders', 10,
      lines({
        title: 'Orders by outcome', w: 14, unit: 'ops', stack: true, queries: [query(occurred('outcome', ORDERS), '{{outcome}}')],
        description: 'Answers to order requests per second; outcomes that did not occur are left out. Healthy: created (green) while there is stock, then sold_out (grey). Amber: buyers are told to try again or to slow down. Red: orders end undecided. Requests that named no known product count as product unknown.',
      }),
      lines({
        title: 'Order latency', w: 10, unit: 's', queries: quantiles(DURATION),
        description: 'Time from an order request to its answer, of all products and outcomes. Healthy: p99 under 150 ms, and never near the 5 s by which every request is answered. A gap: no orders.',
      }),
    ],
    ['Products', 9,
      table({
        title: 'Products', w: 24, label: 'product', heading: 'Product', sortBy: 'Created/s',
        description: 'One line for each product that was ordered in the time shown; all products if none was. Left: share of its highest stock in that time. Sold: units since the processes started. Sold out after: from the start of the sale until the last unit was sold. A product leads to its lock contention.',
        columns: [
          ['Left', ordered(`${stock} / (${most} > 0)`), {
            unit: 'percentunit', min: 0, max: 1, decimals: 0, 'custom.cellOptions': { type: 'gauge', mode: 'basic', valueDisplayMode: 'text' },
            'custom.width': 220, color: fixedBlue(),
          }],
          ['Units left', ordered(stock), { unit: 'locale', decimals: 0, thresholds: soldOutAt(1) }],
          ['Sold', ordered(`sum by (product) (${mp('flash_sale_order_units_total')})`), { unit: 'locale', decimals: 0 }],
          ['Created/s', ordered(`sum by (product) (${rate(known('created'))})`), { decimals: 0, ...coloured(colour.good) }],
          ['Sold out/s', ordered(`sum by (product) (${rate(known('sold_out|insufficient_stock'))})`), { decimals: 0, ...coloured(colour.soldOut) }],
          ['Busy/s', ordered(`sum by (product) (${rate(known('high_demand'))})`), { decimals: 0, ...coloured(colour.busy) }],
          ['Undecided/s', ordered(`sum by (product) (${rate(known(FAILED))})`), { decimals: 0, ...coloured(colour.failure) }],
          ['Sells out in', sellsOut, { unit: 's', decimals: 0, noValue: '–' }],
          ['Sold out after', `max by (product) (${mp('flash_sale_sold_out_seconds')})`, { unit: 's', decimals: 0, noValue: '–' }],
          ['Waiting', ordered(`max by (product) (${mp('flash_sale_waitlist')})`), { unit: 'locale', decimals: 0, ...coloured(colour.waitlist) }],
        ],
        overrides: [{
          matcher: { id: 'byName', options: 'Product' },
          properties: [
            { id: 'custom.width', value: 300 },
            { id: 'links', value: [{ title: 'Lock contention of this product', url: '/d/flash-sale-contention?var-datasource=${datasource}&var-product=${__value.raw}&${__url_time_range}' }] },
          ],
        }],
      }),
    ],
    [null, 9,
      lines({
        title: 'Stock left', w: 12, unit: 'percentunit', max: 1, queries: [query(ordered(`${stock} / (${most} > 0)`), '{{product}}')],
        description: 'Units in no order, as the share of the highest stock in the time shown, so that small and large drops can be compared. Healthy: falls steadily while orders are created; never constant above 0 while buyers wait.',
      }),
      lines({
        title: 'Units sold per second', w: 12, unit: 'short', queries: [query(occurred('product', mp('flash_sale_order_units_total')), '{{product}}')],
        description: 'Units that got into orders. Healthy: follows the demand until the stock is 0.',
      }),
    ],
    [null, 9,
      lines({
        title: 'Waiting buyers', w: 12, unit: 'short', lines: colour.waitlist, queries: [query(highest('product', mp('flash_sale_waitlist')), '{{product}}')],
        description: 'Waitlist entries of products that have any. Healthy: rises after the sale and falls when units come back.',
      }),
      lines({
        title: 'Order latency by outcome, p99', w: 12, unit: 's',
        queries: [query(moving('outcome', quantile(0.99, DURATION, 'outcome'), m('flash_sale_order_duration_seconds_count')), '{{outcome}}')],
        description: 'Time from an order request to its answer at the 99th percentile, of all products. Healthy: sold_out is faster than created. A gap: this outcome did not occur.',
      }),
    ],
    ['Service', 5,
      tile({
        title: 'Processes', w: 6, states: [['All answer', colour.good], ['1 is gone', colour.failure], ['2 are gone', colour.failure]],
        queries: [query(`sum(${UP} == bool 0)`)],
        description: 'Service processes that Prometheus is configured to read and cannot; a number above 2 is shown as it is. Healthy: all answer. The alert FlashSaleDown names the process.',
      }),
      lockTile(6),
      stat({
        title: 'Fullest listener', w: 6, unit: 'percentunit', decimals: 0, steps: [[null, colour.good], [0.5, colour.busy], [0.8, colour.failure]],
        queries: [query(`max(${m('flash_sale_connections')} / ${m('flash_sale_connections_max')})`)],
        description: 'Share of CONNECTIONS_MAX in use on the fullest listener of any process. Healthy: below 80 %, where the alert FlashSaleConnectionsNearlyFull begins.',
      }),
      stat({
        title: 'Database connections in use', w: 6, unit: 'percentunit', decimals: 0, steps: [[null, colour.good], [0.7, colour.busy], [0.95, colour.failure]],
        queries: [query(`max(${m('flash_sale_db_pool_connections', 'state="used"')} / on (job, instance, pool) (${m('flash_sale_db_pool_connections_max')} > 1))`)],
        description: 'Share of the database connections in use, in the fullest pool of any process; a pool of one connection, as of SQLite, is not counted. Healthy: below 70 %.',
      }),
    ],
  ],
});

function coloured(color) {
  return { thresholds: { mode: 'absolute', steps: [{ color: 'text', value: null }, { color, value: 0.5 }] }, 'custom.cellOptions': { type: 'color-text' } };
}
function soldOutAt(units) {
  return { mode: 'absolute', steps: [{ color: colour.soldOut, value: null }, { color: 'text', value: units }] };
}
function fixedBlue() {
  return { mode: 'fixed', fixedColor: colour.neutral };
}
