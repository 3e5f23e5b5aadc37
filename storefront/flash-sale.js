/**
 * Browser client of flash-sale: one file without dependencies, for any storefront.
 *
 * Every call that changes something can be repeated without doing it twice: an order by its idempotency key, a payment
 * because an order is charged once. So a call whose answer was lost is sent again, until `patience` ends.
 *
 * @typedef {{id: string, reference: string, product_id: string, user_id: string, quantity: number, unit_price: number,
 *   total: number, currency: string, status: 'pending'|'confirming'|'confirmed'|'cancelled'|'expired',
 *   created_at: string, expires_at: ?string, confirmed_at: ?string, payment: ?Payment}} Order
 * @typedef {{id: string, status: string, client_secret?: string}} Payment
 * @typedef {{id: string, product_id: string, quantity: number, position: ?number,
 *   status: 'waiting'|'offered'|'left', order_id: ?string, created_at: string}} WaitlistEntry
 * @typedef {{signal?: AbortSignal, patience?: number, onRetry?: (retry: Retry) => void}} CallOptions
 *   `patience`: milliseconds from the first try in which tries begin. `onRetry` is called before each wait.
 * @typedef {{error: FlashSaleError, tries: number, wait: number}} Retry `wait` in milliseconds
 * @typedef {'connecting'|'live'|'lost'|'ended'} StreamState `ended`: it does not connect again by itself
 * @typedef {{close: () => void}} Stream
 */

/** A refusal of the service, or a call without an answer. Branch on `code`. */
export class FlashSaleError extends Error {
  /** @param {{code: string, status?: number, detail?: string, retryAfter?: ?number, requestId?: ?string,
   *   problem?: object, cause?: unknown}} parts */
  constructor({ code, status = 0, detail = '', retryAfter = null, requestId = null, problem = {}, cause }) {
    super(detail ? `${code}: ${detail}` : code, { cause });
    this.name = 'FlashSaleError';
    /** The problem's code, or one of the client's own: `no_answer`, `timeout`, `unexpected_answer`. */
    this.code = code;
    /** The HTTP status; 0 without an answer. */
    this.status = status;
    this.detail = detail;
    /** Seconds, or null. */
    this.retryAfter = retryAfter;
    this.requestId = requestId;
    /** The whole problem document, with extras such as `available`. */
    this.problem = problem;
    /** True when the call may have been carried out all the same: call again with the same `key`. */
    this.outcomeUnknown = false;
    /** The idempotency key of the order, once `placeOrder` has failed. @type {?string} */
    this.key = null;
  }
}

/** Worth another try as they are; a time-out or a lost answer is only safe to repeat because the calls are idempotent. */
const TRANSIENT = new Set(['high_demand', 'rate_limited', 'request_timeout', 'unavailable', 'outcome_unknown',
  'stream_limit', 'internal', 'no_answer', 'timeout', 'unexpected_answer']);
/** After these the call may have been carried out. `unavailable` says only in its text whether it was. */
const UNKNOWN = new Set(['unavailable', 'outcome_unknown', 'internal', 'no_answer', 'timeout', 'unexpected_answer']);
/** These say nothing about an earlier try of the same order. */
const SILENT = new Set(['high_demand', 'rate_limited', 'request_timeout', 'unauthenticated']);

/** The service's time is read from answers, in whole seconds. */
const CLOCK_ERROR = 2_000;
const FIRST_WAIT = 300;
const LONGEST_WAIT = 8_000;
/** The service sends a comment every 15 seconds; two missed ones mean that the connection is dead. */
const SILENCE = 40_000;
/** Events that are longer than this end the stream, so that a wrong server cannot fill the memory. */
const LONGEST_EVENT = 1_000_000;

/** A new idempotency key: make one per cart, not per click. */
export function newKey() {
  return crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), byte =>
    byte.toString(16).padStart(2, '0')).join('');
}

/** Resolves after `milliseconds`; rejects with the signal's reason. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, milliseconds);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** A mistake in the shop's own code is reported as what it is, and not taken for a lost connection. */
function guarded(callback) {
  return (...values) => {
    try { callback?.(...values); } catch (error) { setTimeout(() => { throw error; }); }
  };
}

/**
 * Milliseconds until a drop that was refused as not on sale opens, if that is about now: the clocks are known to a second
 * at best, and a buyer who pressed the button as the countdown ended is not refused for that. Else null.
 */
function opensIn(error, now) {
  if (error.code !== 'not_on_sale') return null;
  const left = Date.parse(error.problem.starts_at ?? '') - now;
  return Math.abs(left) < CLOCK_ERROR ? Math.max(left, 0) + 50 + Math.random() * 100 : null;
}

/** Milliseconds before the next try: never before `Retry-After`, and never the same for two clients. */
export function backOff(tries, retryAfter, random = Math.random) {
  const grown = Math.min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT);
  return retryAfter === null ? grown * (0.5 + random() / 2) : retryAfter * 1000 + random() * Math.min(grown, 1000);
}

/** The service's clock, from the `Date` of its answers: each one narrows the interval that the difference lies in. */
class Clock {
  low = -Infinity;
  high = Infinity;

  /** @param {number} date of the answer, whole seconds in milliseconds */
  learn(date, sent, received) {
    const [low, high] = [date - received, date + 1000 - sent];
    this.low = Math.max(this.low, low);
    this.high = Math.min(this.high, high);
    // Somebody has set one of the clocks.
    if (this.low > this.high) [this.low, this.high] = [low, high];
  }

  /** What to add to this machine's clock; 0 while no answer had a date, as from another origin. */
  get offset() {
    return Number.isFinite(this.low) ? (this.low + this.high) / 2 : 0;
  }
}

export class FlashSale {
  /**
   * @param {object} [options]
   * @param {string} [options.base] the service's address, without a slash at its end; none for the page's own
   * @param {string|(() => string|Promise<string>)} [options.token] the buyer's token, or what gets it before each call
   * @param {number} [options.patience] milliseconds in which a call is tried again
   * @param {number} [options.timeout] milliseconds for one try; the service answers within 5 s
   */
  constructor({ base = '', token = '', patience = 30_000, timeout = 8_000 } = {}) {
    this.base = base;
    this.token = token;
    this.patience = patience;
    this.timeout = timeout;
    this.clock = new Clock();
  }

  /** The service's time, for countdowns, in milliseconds like `Date.now()`. */
  now() {
    return Date.now() + this.clock.offset;
  }

  // --- Products ---

  /** @returns {Promise<{products: object[], next_cursor: ?string}>} */
  products({ limit, cursor, ...options } = {}) {
    return this.#read('/products', { limit, cursor }, options);
  }

  product(id, options) {
    return this.#read(`/products/${id}`, {}, options);
  }

  availability(id, options) {
    return this.#read(`/products/${id}/availability`, {}, options);
  }

  // --- Orders ---

  /**
   * Takes an order, or with `waitlist` a place when the order does not fit the stock. Every try has the same key: keep
   * yours, for example in `sessionStorage`, until the outcome is known, also over a reload of the page.
   *
   * @param {{productId: string, quantity?: number, waitlist?: boolean, key?: string}} cart
   * @param {CallOptions} [options]
   * @returns {Promise<{order?: Order, waitlist?: WaitlistEntry, replayed: boolean, key: string}>}
   */
  async placeOrder({ productId, quantity = 1, waitlist = false, key = newKey() }, options) {
    const body = { product_id: productId, quantity, waitlist };
    try {
      const answer = await this.#retried('POST', '/orders', { ...options, body, headers: { 'Idempotency-Key': key } });
      const taken = answer.status === 202 ? { waitlist: answer.body.waitlist } : { order: answer.body };
      return { ...taken, replayed: answer.headers.get('Idempotency-Replayed') === 'true', key };
    } catch (error) {
      if (error instanceof FlashSaleError) error.key = key;
      throw error;
    }
  }

  /** @returns {Promise<Order>} */
  order(id, options) {
    return this.#read(`/orders/${id}`, {}, options);
  }

  /** The buyer's own orders, newest first. @returns {Promise<{orders: Order[], next_cursor: ?string}>} */
  orders({ productId, status, limit, cursor, ...options } = {}) {
    return this.#read('/orders', { product_id: productId, status, limit, cursor }, options);
  }

  /**
   * Pays. With `requiresAction`, let the buyer authenticate with the secret and then call `confirm` again.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<{order: Order, requiresAction: boolean, clientSecret: ?string}>}
   */
  async confirm(orderId, paymentMethod, options = {}) {
    const until = Date.now() + (options.patience ?? this.patience);
    const body = { payment_method: paymentMethod };
    for (let tries = 1; ; tries += 1) {
      const left = { ...options, patience: Math.max(until - Date.now(), 0) };
      try {
        const { body: order, status } = await this.#retried('POST', `/orders/${orderId}/confirm`, { ...left, body });
        return { order, requiresAction: status === 202, clientSecret: order.payment?.client_secret ?? null };
      } catch (error) {
        // An earlier try is still being paid: its outcome is what the buyer wants to know.
        const underWay = error.code === 'order_not_pending' && error.problem.order_status === 'confirming';
        const wait = backOff(tries, null);
        if (!underWay || Date.now() + wait > until) throw error;
        await pause(wait, options.signal);
      }
    }
  }

  /** Gives the order's units back. @returns {Promise<Order>} */
  async cancel(orderId, options) {
    try {
      return (await this.#retried('POST', `/orders/${orderId}/cancel`, options)).body;
    } catch (error) {
      if (error.code !== 'order_not_pending' || error.problem.order_status !== 'cancelled') throw error;
      return this.order(orderId, options);
    }
  }

  // --- Waitlist ---

  /** The same as `placeOrder` with `waitlist`: units that came back meanwhile make an order instead of a place. */
  joinWaitlist(cart, options) {
    return this.placeOrder({ ...cart, waitlist: true }, options);
  }

  /** The buyer's place; null when there is none. @returns {Promise<?WaitlistEntry>} */
  async waitlistPlace(productId, options) {
    try {
      return await this.#read(`/products/${productId}/waitlist`, {}, options);
    } catch (error) {
      if (error.code === 'not_waiting') return null;
      throw error;
    }
  }

  /** @returns {Promise<boolean>} whether there was a place to leave */
  async leaveWaitlist(productId, options) {
    try {
      await this.#retried('DELETE', `/products/${productId}/waitlist`, options);
      return true;
    } catch (error) {
      if (error.code === 'not_waiting') return false;
      throw error;
    }
  }

  // --- Streams ---

  /**
   * Follows the units for sale. Where the service has no room for a stream, the stock is polled between two tries.
   *
   * @param {{onStock: (stock: {stock: number, version: ?number}) => void,
   *   onState?: (state: StreamState, error: ?FlashSaleError) => void, signal?: AbortSignal}} options
   * @returns {Stream}
   */
  watchStock(productId, { onStock, onState, signal }) {
    let seen = 0;
    const onEvent = (_, stock) => {
      // Another node can be a moment behind.
      if (stock.version > seen) { seen = stock.version; onStock(stock); }
    };
    const open = signal => this.#open(`/products/${productId}/events`, { signal });
    const onLimit = async signal => {
      const { stock } = await this.availability(productId, { signal, patience: 0 });
      onStock({ stock, version: null });
    };
    return this.#follow({ open, onEvent, onState, onLimit, signal });
  }

  /**
   * Follows the buyer's orders and waitlist places: first as they are, then every change. The token opens a ticket, the
   * ticket the stream, so that no address holds the token.
   *
   * @param {{onOrder?: (order: Order) => void, onWaitlist?: (entry: WaitlistEntry) => void,
   *   onState?: (state: StreamState, error: ?FlashSaleError) => void, signal?: AbortSignal}} options
   * @returns {Stream}
   */
  watchOrders({ onOrder, onWaitlist, onState, signal }) {
    /** The last event of each order and place: a new connection repeats them. */
    const seen = new Map();
    const onEvent = (kind, data, id) => {
      if (id && seen.get(data.id) === id) return;
      seen.set(data.id, id);
      if (seen.size > 1_000) seen.delete(seen.keys().next().value);
      if (kind === 'order') onOrder?.(data);
      if (kind === 'waitlist') onWaitlist?.(data);
    };
    const open = async signal => {
      const { body } = await this.#send('POST', '/me/events/ticket', { signal });
      return this.#open(`/me/events?ticket=${encodeURIComponent(body.ticket)}`, { signal, anonymous: true });
    };
    return this.#follow({ open, onEvent, onState, signal });
  }

  #follow({ open, onEvent, onState, onLimit, signal }) {
    const stopper = new AbortController();
    const stop = () => stopper.abort();
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    const wake = new EventTarget();
    const online = () => wake.dispatchEvent(new Event('wake'));
    globalThis.addEventListener?.('online', online);
    const calls = { onEvent: guarded(onEvent), onState: guarded(onState) };
    this.#connect({ open, ...calls, onLimit, stopper, wake }).finally(() => {
      signal?.removeEventListener('abort', stop);
      globalThis.removeEventListener?.('online', online);
    });
    return { close: stop };
  }

  async #connect({ open, onEvent, onState, onLimit, stopper, wake }) {
    const { signal } = stopper;
    let [tries, retry] = [0, null];
    while (!signal.aborted) {
      onState('connecting', null);
      let error = null;
      try {
        const answer = await open(signal);
        onState('live', null);
        for await (const event of readEvents(answer)) {
          tries = 0;
          if (event.retry !== undefined) retry = event.retry / 1000;
          else onEvent(event.kind, event.data, event.id);
        }
      } catch (thrown) {
        if (signal.aborted) return;
        error = thrown instanceof FlashSaleError ? thrown : new FlashSaleError({ code: 'no_answer', cause: thrown });
        // Such as a product that is gone, or a token that has expired.
        if (!TRANSIENT.has(error.code)) return onState('ended', error);
      }
      tries += 1;
      onState('lost', error);
      if (error?.code === 'stream_limit') await onLimit?.(signal).catch(() => {});
      const wait = backOff(tries, error?.retryAfter ?? (tries === 1 ? retry : null));
      const woken = new AbortController();
      const end = () => woken.abort();
      wake.addEventListener('wake', end, { once: true });
      signal.addEventListener('abort', end, { once: true });
      await pause(wait, woken.signal).catch(() => {});
      wake.removeEventListener('wake', end);
      signal.removeEventListener('abort', end);
    }
  }

  async #open(path, { signal, anonymous = false }) {
    return (await this.#send('GET', path, { signal, anonymous, stream: true })).body;
  }

  // --- Calls ---

  /** Any other call that may be repeated. @param {CallOptions & {body?: object}} [options] */
  async call(method, path, options) {
    return (await this.#retried(method, path, options)).body;
  }

  async #read(path, query, options) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const search = new URLSearchParams(given).toString();
    return (await this.#retried('GET', search ? `${path}?${search}` : path, options)).body;
  }

  async #retried(method, path, { patience = this.patience, onRetry, ...options } = {}) {
    const until = Date.now() + patience;
    let unknown = false;
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#send(method, path, options);
      } catch (error) {
        if (!(error instanceof FlashSaleError)) throw error;
        unknown = UNKNOWN.has(error.code) || (unknown && SILENT.has(error.code));
        error.outcomeUnknown = unknown && method !== 'GET';
        const opens = opensIn(error, this.now());
        const wait = opens ?? backOff(tries, error.retryAfter);
        if ((opens === null && !TRANSIENT.has(error.code)) || Date.now() + wait > until) throw error;
        onRetry?.({ error, tries, wait });
        await pause(wait, options.signal);
      }
    }
  }

  /** One try. @returns {Promise<{status: number, headers: Headers, body: any}>} */
  async #send(method, path, { body, headers = {}, signal, anonymous = false, stream = false }) {
    signal?.throwIfAborted();
    const token = anonymous ? '' : await (typeof this.token === 'function' ? this.token() : this.token);
    const all = { ...headers };
    if (token) all.Authorization = `Bearer ${token}`;
    if (body) all['Content-Type'] = 'application/json';
    const stopper = new AbortController();
    const stop = () => stopper.abort(signal.reason);
    signal?.addEventListener('abort', stop, { once: true });
    const late = new FlashSaleError({ code: 'timeout', detail: 'The service did not answer in time.' });
    const timer = setTimeout(() => stopper.abort(late), this.timeout);
    const sent = Date.now();
    let isOpen = false;
    const release = () => signal?.removeEventListener('abort', stop);
    try {
      const request = { method, headers: all, body: body && JSON.stringify(body), signal: stopper.signal };
      const answer = await fetch(this.base + path, { ...request, cache: 'no-store', credentials: 'omit' });
      const date = Date.parse(answer.headers.get('Date') ?? '');
      if (date) this.clock.learn(date, sent, Date.now());
      if (!answer.ok) throw await refusal(answer);
      const { status, headers } = answer;
      isOpen = stream;
      if (stream) return { status, headers, body: { answer, stopper, release } };
      return { status, headers, body: status === 204 ? null : await answer.json() };
    } catch (error) {
      signal?.throwIfAborted();
      if (stopper.signal.aborted) throw late;
      if (error instanceof FlashSaleError) throw error;
      // A connection that failed or broke, or an answer that was cut off.
      throw new FlashSaleError({ code: 'no_answer', detail: 'The service could not be reached.', cause: error });
    } finally {
      clearTimeout(timer);
      if (!isOpen) release();
    }
  }
}

async function refusal(answer) {
  const text = await answer.text();
  let problem = {};
  try { problem = JSON.parse(text) ?? {}; } catch { /* From a proxy, say. */ }
  const after = Number.parseInt(answer.headers.get('Retry-After') ?? '', 10);
  const known = typeof problem.code === 'string';
  const own = answer.status >= 500 || answer.status === 429 ? 'unexpected_answer' : 'refused';
  return new FlashSaleError({
    code: known ? problem.code : own,
    status: answer.status,
    detail: known ? problem.detail : `The answer was HTTP ${answer.status}.`,
    retryAfter: Number.isNaN(after) ? null : after,
    requestId: answer.headers.get('X-Request-Id'),
    problem: known ? problem : {},
  });
}

/** Reads server-sent events; ends when the service ends the stream, throws when the connection breaks or is silent. */
async function* readEvents({ answer, stopper, release }) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let [rest, event] = ['', { kind: 'message', data: [] }];
  const silent = new FlashSaleError({ code: 'timeout', detail: 'The stream was silent.' });
  try {
    for (;;) {
      const timer = setTimeout(() => stopper.abort(silent), SILENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return;
      // A line break can be split between two chunks: a last carriage return waits for what follows.
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      if (rest.length > LONGEST_EVENT) throw new FlashSaleError({ code: 'unexpected_answer' });
      for (const line of lines) {
        if (line === '') {
          if (event.data.length) yield { kind: event.kind, id: event.id, data: JSON.parse(event.data.join('\n')) };
          event = { kind: 'message', data: [] };
          continue;
        }
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (field === 'event') event.kind = text;
        if (field === 'data') event.data.push(text);
        if (field === 'id') event.id = text;
        if (field === 'retry' && /^\d+$/.test(text)) yield { retry: Number(text) };
      }
    }
  } finally {
    release();
    stopper.abort(silent);
  }
}
