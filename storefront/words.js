// What a refusal means in a person's words, and the next step that helps.
import { dateTime } from './dom.js';

/**
 * @typedef {'retry'|'look'|'fewer'|'waitlist'|'orders'|'sign-in'|'reload'|'none'} Step
 *   `retry`: order again; `look`: the same order again, to learn its outcome
 * @typedef {{text: string, step: Step, tone: 'bad'|'warn'|'info'|'good'}} Notice
 */

const warn = (text, step = 'none') => ({ text, step, tone: 'warn' });
const bad = (text, step = 'none') => ({ text, step, tone: 'bad' });

/** A call that the shop does not know: most likely it is newer than this page. */
const outdated = () => bad('This page and the shop do not understand each other. Nothing was changed.', 'reload');
const away = () => bad('The shop cannot be reached at the moment. Nothing was changed.', 'retry');

/** By the service's codes. @type {Record<string, (problem: object, error: object) => Notice>} */
const REFUSALS = {
  high_demand: () => warn('It is very busy, and this did not get through. Nothing was changed.', 'retry'),
  rate_limited: () => warn('You have sent many orders in a short time. Nothing was changed.', 'retry'),
  request_timeout: () => warn('Your connection was too slow. Nothing was changed.', 'retry'),
  unavailable: away,
  outcome_unknown: () => bad('We do not know yet what became of this. Your order list shows it.', 'orders'),
  payload_too_large: outdated,
  unsupported_media_type: outdated,
  malformed_json: outdated,
  not_found: outdated,
  method_not_allowed: outdated,
  sold_out: ({ waitlist }) => (waitlist
    ? warn('Somebody was faster: it is sold out. On the waitlist you get what others give back.', 'waitlist')
    : warn('Somebody was faster: it is sold out.')),
  insufficient_stock: ({ available }) => warn(`Only ${available} left. Take fewer?`, 'fewer'),
  purchase_limit: ({ limit, held }) => warn(
    `Each buyer may have ${limit} of these. You have ${held}, held ones and places on the waitlist included.`, 'orders'),
  not_on_sale: ({ starts_at: starts, ends_at: ends }) => (starts && Date.parse(starts) > Date.now()
    ? warn(`It is not on sale yet. It opens on ${dateTime(starts)}.`)
    : warn(ends ? `The sale ended on ${dateTime(ends)}.` : 'It is not on sale now.')),
  unauthenticated: () => warn('Your session has ended, so we do not know who is ordering.', 'sign-in'),
  forbidden: () => bad('Your session does not allow this.', 'sign-in'),
  product_not_found: () => bad('This drop is not offered any more.'),
  invalid_request: ({ errors = [] }) => bad(
    `The order was not accepted: ${errors.map(({ field, message }) => `${field} ${message}`).join('; ')}.`),
  idempotency_key_reused: () => warn('This order was changed after it was sent. Order again.', 'retry'),
  payment_declined: (_, { detail }) => bad(detail.includes('authentication')
    ? 'Your bank did not approve the payment. Nothing was charged, and your hold goes on: try another card.'
    : 'Your card was declined. Nothing was charged, and your hold goes on: try another card.'),
  order_not_found: () => bad('This order does not exist any more.', 'orders'),
  order_not_pending: ({ order_status: status }) => warn({
    expired: 'The hold has ended before the payment. Nothing was charged.',
    cancelled: 'This order was cancelled before. Nothing was charged.',
    confirming: 'The payment is still under way. Your order list shows how it ends.',
    confirmed: 'This order is paid already.',
  }[status] ?? 'This order cannot be changed any more.', 'orders'),
  payments_disabled: () => bad('This shop takes no payments at the moment. Your hold goes on until its time is over.'),
  internal: (_, { requestId }) => bad(`Something went wrong on our side (number ${requestId}).`, 'retry'),
};

/** The codes that this page has words for. */
export const CODES = Object.keys(REFUSALS);
/** Those of admins' calls and of the gateway's, and those that the client turns into something else. */
export const NOT_FOR_BUYERS = ['sku_taken', 'has_live_orders', 'invalid_signature', 'stream_limit', 'not_waiting'];

/** @returns {Notice} what to say when `action` was refused: `order`, `pay`, `cancel` or `leave` */
export function explain(error, action = 'order') {
  if (error.outcomeUnknown && action === 'order') {
    return bad('The connection was lost, so we do not know yet whether your order was taken. Look again: it cannot be '
      + 'ordered twice.', 'look');
  }
  if (error.outcomeUnknown && action === 'pay') {
    return bad('The connection was lost while you paid. Pay again: an order is charged only once.');
  }
  if (error.code === 'rate_limited' && action === 'pay') {
    return warn('Too many tries to pay. Wait a while, or give the order back.');
  }
  const isAway = error.status === 0 || error.status >= 500;
  const refusal = REFUSALS[error.code] ?? (isAway ? away : (_, { detail }) => bad(`The shop said no: ${detail}`, 'retry'));
  const notice = refusal(error.problem, error);
  // `retry` orders again. What else was refused has its own button, which is still there.
  return notice.step === 'retry' && action !== 'order' ? { ...notice, step: 'none' } : notice;
}

/** What happens while a call is tried again. */
export function retrying({ code }) {
  if (code === 'high_demand') return 'Many people are buying right now. You keep your turn:';
  if (code === 'rate_limited') return 'That was a lot of orders. Slowing down:';
  if (code === 'outcome_unknown') return 'The shop is checking whether your order was taken:';
  return 'The shop does not answer. Your order is not lost:';
}

export const STATUS = {
  pending: 'Held for you',
  confirming: 'Payment under way',
  confirmed: 'Bought',
  cancelled: 'Given back',
  expired: 'Hold ended',
};
