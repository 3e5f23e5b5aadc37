// Lock contention: what the product lock costs, and who waits for whom.
import {
  colour, dashboard, heatmap, kinds, lines, lockTile, m, moving, mp, occurred, ordered, quantile, quantiles, query, rate, stat, sumRate,
} from './parts.mjs';

const TRIES = mp('flash_sale_lock_acquire_total');
const BUSY = mp('flash_sale_lock_acquire_total', 'outcome="busy"');
const WAIT = mp('flash_sale_lock_wait_seconds_bucket');
const HOLD = mp('flash_sale_lock_hold_seconds_bucket');
const BATCH = mp('flash_sale_batch_orders_bucket');
const FENCE = mp('flash_sale_fence_rejected_total');
const BATCHES = mp('flash_sale_batch_orders_count');
const LOST = m('flash_sale_lock_lost_total');
const BYPASSED = mp('flash_sale_lock_bypassed_total');
const out = (by) => `sum by (${by}) (${m('flash_sale_lock_nodes_out')})`;
const configured = `max(${m('flash_sale_lock_nodes_healthy')} + on (instance) ${out('instance')})`;

export default dashboard({
  uid: 'flash-sale-contention',
  title: 'Flash sale: lock contention',
  description: 'What the product lock costs during a sale, who waits for whom, and what buyers notice of it.',
  rows: [
    [null, 5,
      stat({
        title: 'Busy attempts', w: 5, unit: 'percentunit', decimals: 0, queries: [query(`${sumRate(BUSY)} / clamp_min(${sumRate(TRIES)}, 1e-9)`)],
        steps: [[null, colour.good], [0.5, colour.busy], [0.9, colour.failure]],
        description: 'The share of attempts to take a product\'s lock that met another holder. Healthy: near 0 with one process, under half with several. Near 1 the processes mostly wait for each other.',
      }),
      stat({
        title: 'Lock wait, p99', w: 5, unit: 's', decimals: 1, queries: [query(quantile(0.99, WAIT))],
        steps: [[null, colour.good], [0.15, colour.busy], [0.25, colour.failure]],
        description: 'The slowest one of a hundred batches waits at least this long for its lock. Healthy: a few ms with one process, under 150 ms with several. At LOCK_PATIENCE_MS, 250 by default, buyers get high_demand.',
      }),
      stat({
        title: 'Orders per batch', w: 4, unit: 'short', decimals: 1, steps: [[null, colour.neutral]],
        queries: [query(`${sumRate(mp('flash_sale_batch_orders_sum'))} / clamp_min(${sumRate(BATCHES)}, 1e-9)`)],
        description: 'How many orders share one lock and one transaction. Healthy: grows with the load by itself, from 1 to a large part of the open connections.',
      }),
      stat({
        title: 'Batches rejected by the fence', w: 5, unit: 'percentunit', decimals: 1, steps: [[null, colour.good], [0.05, colour.busy], [0.1, colour.failure]],
        queries: [query(`${sumRate(FENCE)} / clamp_min(${sumRate(BATCHES)}, 0.1)`)],
        description: 'The share of batches that the fence rejected, because another process had written the product first. Healthy: 0 with one process, rare with several; above a tenth the alert FlashSaleFenceRejectionsRising fires. It is work done twice, never a unit sold twice.',
      }),
      lockTile(5),
    ],
    ['Attempts', 9,
      lines({
        title: 'Attempts to take the lock', w: 12, unit: 'ops', stack: true, queries: [query(occurred('outcome', TRIES), '{{outcome}}')],
        description: 'Attempts per second, by outcome. Healthy: mostly acquired (green), each of which serves a whole batch, so far fewer than there are orders; busy (amber) below acquired; no_quorum and error (red) do not occur.',
      }),
      lines({
        title: 'Busy ratio per product', w: 12, unit: 'percentunit', max: 1,
        queries: [query(ordered(`sum by (product) (${rate(BUSY)}) / (sum by (product) (${rate(TRIES)}) > 0)`), '{{product}}')],
        description: 'The share of attempts that met another holder: the contention itself. Healthy: near 0 with one process, which tries once a batch; under a half with several. It shows how much the processes wait for each other, at any load. A gap: no attempts.',
      }),
    ],
    ['Lock wait: from a batch\'s first attempt to its lock', 9,
      lines({
        title: 'Lock wait', w: 9, unit: 's', queries: quantiles(WAIT),
        description: 'Healthy: 1 to 2 ms with one process; p99 under 150 ms with several. At LOCK_PATIENCE_MS, 250 by default, the buyers get high_demand.',
      }),
      heatmap({
        title: 'Lock wait, spread', w: 9, unit: 's', bucket: WAIT,
        description: 'How many batches waited how long: the stronger the colour, the more. Two bands are usual with several processes: the one that just released, and the others.',
      }),
      lines({
        title: 'Lock wait by process, p99', w: 6, unit: 's', below: true,
        queries: [query(moving('instance', quantile(0.99, WAIT, 'instance'), mp('flash_sale_lock_wait_seconds_count')), '{{instance}}')],
        description: 'Hand-over: whether the lock goes round. Healthy: the processes are close together. One that waits much longer than the others is starved.',
      }),
    ],
    ['Lock hold: from its lock to its release', 9,
      lines({
        title: 'Lock hold', w: 9, unit: 's', queries: quantiles(HOLD),
        description: 'In effect one transaction with its durable commit. Healthy: a few times the disk\'s fsync, p99 under 100 ms. Near LOCK_TTL_MS, 2 s by default, the lock is lost before the commit.',
      }),
      heatmap({
        title: 'Lock hold, spread', w: 9, unit: 's', bucket: HOLD,
        description: 'How many batches held the lock how long: the stronger the colour, the more. A band that climbs: the database\'s commits become slower, or the batches larger.',
      }),
      lines({
        title: 'Locks taken by process', w: 6, unit: 'ops', below: true,
        queries: [query(occurred('instance', mp('flash_sale_lock_acquire_total', 'outcome="acquired"')), '{{instance}}')],
        description: 'Hand-over: how many locks each process gets. Healthy: in proportion to its buyers. A process with buyers and without locks is starved.',
      }),
    ],
    ['Batches and lanes', 9,
      lines({
        title: 'Orders per batch', w: 9, unit: 'short',
        queries: [
          query(`${sumRate(mp('flash_sale_batch_orders_sum'))} / ${sumRate(BATCHES)}`, 'average'),
          query(quantile(0.95, BATCH), 'p95'),
        ],
        description: 'How many commands one lock and one transaction served. Healthy: grows with the load by itself. At ORDER_BATCH_MAX, 1,024 by default, the lane is saturated. Always 1 under load: ORDER_BATCH_MAX is 1.',
      }),
      heatmap({
        title: 'Orders per batch, spread', w: 9, unit: 'short', bucket: BATCH,
        description: 'How many batches had which size: the stronger the colour, the more. Healthy: moves up with the load.',
      }),
      lines({
        title: 'Waiting in lanes', w: 6, unit: 'short', below: true,
        queries: [query(`sum by (instance) (${mp('flash_sale_lane_queue')})`, '{{instance}}')],
        description: 'Commands in the queues of the chosen products, by process. Healthy: up to the number of concurrent buyers, and back to 0 between batches. At LANE_QUEUE_MAX in one process, 16,384 by default, the next buyer gets high_demand.',
      }),
    ],
    ['Fence and lock nodes', 8,
      lines({
        title: 'Fence rejections by process', w: 8, unit: 'ops', below: true, queries: [query(occurred('instance', FENCE), '{{instance}}')],
        description: 'Batches per second that met a newer version of their product and were decided again. Healthy: none, or a small part of the batches when several processes sell. A rise: writers do without the lock.',
      }),
      lines({
        title: 'Locks lost and bypassed', w: 8, unit: 'ops', below: true,
        queries: [kinds({ lost: LOST, bypassed: BYPASSED })],
        description: 'Lost: locks whose validity ended before the batch was written, because of a paused process or a slow commit. Bypassed: batches that a process wrote without the lock, because its holder showed no sign of life for 150 ms. Healthy: 0. The fence decides such batches, so nothing is oversold.',
      }),
      lines({
        title: 'Lock nodes in use', w: 8, unit: 'short', decimals: 0, below: true, dashed: { majority: colour.failure, configured: colour.soldOut },
        queries: [
          query(`min by (instance) (${m('flash_sale_lock_nodes_healthy')})`, '{{instance}}'),
          query(`floor(${configured} / 2) + 1`, 'majority'),
          query(configured, 'configured'),
        ],
        description: 'Redis lock nodes that take locks, as each process counts them. Healthy: at the dashed grey line, which is what is configured. Below the dashed red line orders go on without the lock. If processes differ, the network between one of them and a node has a failure.',
      }),
    ],
  ],
});
