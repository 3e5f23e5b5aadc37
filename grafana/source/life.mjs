// The life of an order: held, paid, expired, or offered to a buyer on the waitlist.
import { colour, dashboard, highest, lines, m, mp, occurred, query, stat, sumRate } from './parts.mjs';

const PAYMENTS = m('flash_sale_payments_total');
const payments = (names) => m('flash_sale_payments_total', `outcome=~"${names}"`);
const OFFERS = m('flash_sale_waitlist_offers_total');
const offers = (name) => m('flash_sale_waitlist_offers_total', `outcome="${name}"`);
// Every process reports the payments of the whole shop.
const open = (states) => `max(${m('flash_sale_payments_open', `state=~"${states}"`)})`;
const named = (options, fixedColor) => ({ matcher: { id: 'byName', options }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor } }] });

export default dashboard({
  uid: 'flash-sale-life',
  title: 'Flash sale: the life of an order',
  description: 'Orders after they got their units: paid, expired, cancelled, refunded, or offered to waiting buyers.',
  rows: [
    [null, 5,
      stat({
        title: 'Orders paid per second', w: 5, unit: 'short', decimals: 1, steps: [[null, colour.good]], queries: [query(sumRate(payments('paid')))],
        description: 'Payments that succeeded, per second, of all processes. Healthy: follows the buyers\' confirmations.',
      }),
      stat({
        title: 'Payments declined', w: 5, unit: 'percentunit', decimals: 1, steps: [[null, colour.good], [0.2, colour.busy], [0.5, colour.failure]],
        queries: [query(`${sumRate(payments('declined'))} / clamp_min(${sumRate(payments('paid|declined|requires_action'))}, 1)`)],
        description: 'The share of payment calls that the gateway declined. Healthy: what is usual for the shop\'s cards, often under 10 %. A jump: the gateway or an attack with stolen cards.',
      }),
      stat({
        title: 'Unknown payment outcomes', w: 5, unit: 'short', decimals: 1, steps: [[null, colour.good], [0.01, colour.failure]],
        queries: [query(sumRate(payments('unknown|refund_unknown')))],
        description: 'Gateway calls per second without a clear answer; each is repeated. Healthy: 0. Look at the gateway, and at the orders that stay confirming.',
      }),
      stat({
        title: 'Payments to resolve', w: 4, unit: 'short', decimals: 0, steps: [[null, colour.good], [1, colour.failure]], queries: [query(open('left|stray'))],
        description: 'Payments and refunds that the service cannot end by itself. Healthy: 0; else the alert FlashSalePaymentsLeft fires. flash-sale verify lists them; POST /orders/{id}/resolve ends them.',
      }),
      stat({
        title: 'Waiting buyers', w: 5, unit: 'locale', decimals: 0, steps: [[null, colour.waitlist]],
        queries: [query(`sum(max by (product) (${mp('flash_sale_waitlist')}))`)],
        description: 'Waitlist entries of the chosen products, by the last values of the processes. Falls when units come back.',
      }),
    ],
    ['Holds and payments', 9,
      lines({
        title: 'Payments by outcome', w: 12, unit: 'ops', queries: [query(occurred('outcome', PAYMENTS), '{{outcome}}')], stack: true,
        description: 'Calls of the payment gateway per second. Healthy: paid (green), some declined or requires_action (amber). Unknown (red) is repeated until the gateway answers; not_charged ends it.',
      }),
      lines({
        title: 'Holds created, paid and expired', w: 12, unit: 'ops',
        queries: [
          query(sumRate(mp('flash_sale_orders_total', 'outcome="created"')), 'created'),
          query(sumRate(payments('paid')), 'paid'),
          query(sumRate(m('flash_sale_holds_expired_total')), 'expired'),
        ],
        overrides: [named('paid', 'blue')],
        description: 'Orders per second: created, paid, and expired unpaid, whose units go to waiting buyers first. Healthy: paid follows created; expired is the small rest, hold_seconds later. Paid and expired are of all products.',
      }),
    ],
    [null, 9,
      lines({
        title: 'Open payments', w: 8, unit: 'short', below: true,
        queries: [query(highest('state', m('flash_sale_payments_open')), '{{state}}')],
        description: 'Payments and refunds that are open for more than a minute, of the whole shop. Repeated: the gateway\'s call is sent again. Left: a person has to resolve it. Stray: to be refunded, because its order had ended. Healthy: 0.',
      }),
      lines({
        title: 'Age of the oldest open payment', w: 8, unit: 's', below: true, queries: [query(highest('state', m('flash_sale_payments_open_age_seconds')), '{{state}}')],
        description: 'Counted for payments that are open for more than a minute, by state. Healthy: 0. A line that rises steadily: nothing ends that payment.',
      }),
      lines({
        title: 'Webhooks and refused confirmations', w: 8, unit: 'ops', below: true,
        queries: [
          query(occurred('outcome', m('flash_sale_webhooks_total')), 'webhook: {{outcome}}'),
          query(occurred('bound', m('flash_sale_confirmations_refused_total')), 'confirmation refused: {{bound}}'),
        ],
        description: 'Calls of the gateway\'s webhook by outcome, and confirmations over a bound (user: calls a minute; order: declined payments). Healthy: accepted follows the payments. Refused: a forged call or a wrong STRIPE_WEBHOOK_SECRET. Failed: the gateway sends it again.',
      }),
    ],
    ['Waitlist', 9,
      lines({
        title: 'Waiting buyers', w: 12, unit: 'short', lines: colour.waitlist,
        queries: [query(highest('product', mp('flash_sale_waitlist')), '{{product}}')],
        description: 'Waitlist entries by product, by the last values of the processes; products without any are left out. Healthy: falls when holds expire or stock is added.',
      }),
      lines({
        title: 'Offers to waiting buyers', w: 6, unit: 'ops', below: true, queries: [query(occurred('outcome', OFFERS), '{{outcome}}')],
        overrides: [named('confirmed', colour.good)],
        description: 'Orders made for waitlist entries, per second: offered, then confirmed, expired or cancelled. Healthy: confirmed follows offered. Mostly expired: hold_seconds is short, or the buyers have left.',
      }),
      lines({
        title: 'Share of offers paid', w: 6, unit: 'percentunit', max: 1, below: true,
        queries: [query(`sum(${offers('confirmed')}) / clamp_min(sum(${offers('offered')}), 1)`, 'confirmed')],
        description: 'Of all offers since the processes started, how many were confirmed. Healthy: rises to a steady level some hold_seconds after the drop.',
      }),
    ],
  ],
});
