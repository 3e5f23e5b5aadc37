// The demo page: its guest, the drops, and what the guest does with them.
//
// Browsers open six connections to a host over HTTP/1.1, for all tabs together. So a tab has two streams at most, the
// buyer's own and the stock of the drop looked at; the other drops are polled, and a hidden tab follows nothing but
// orders and places that are still open.
import { Card } from './card.js';
import { announce, grouped, setText } from './dom.js';
import { Drop } from './drop.js';
import { FlashSale, FlashSaleError, newKey } from './flash-sale.js';
import { OrderList } from './orders.js';
import { explain, retrying } from './words.js';

const GUEST = 'flash-sale-guest';
const CARTS = 'flash-sale-carts';
const POLL_EVERY = 1_000;
/** How long an order goes on trying. */
const ORDER_PATIENCE = 60_000;
/** A cart that was sent longer ago is not sent again after a reload: its buyer has left. */
const CART_MAX_AGE = 120_000;
/** Shorter gaps, such as a stream that moves to another node, are not worth a word. */
const GAP = 1_500;
const LOOK_AFTER = 200;
const PAGE = 24;
/** The service asks the gateway for a payment at most once a second. */
const SETTLE_EVERY = 1_100;
const SETTLE_TRIES = 6;

const byId = id => document.getElementById(id);
const pause = milliseconds => new Promise(resolve => { setTimeout(resolve, milliseconds); });

function load(name, otherwise) {
  try { return JSON.parse(sessionStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
}

function save(name, value) {
  try { sessionStorage.setItem(name, JSON.stringify(value)); } catch { /* The page works without a memory. */ }
}

class Shop {
  /** In this tab only: each tab is a guest of its own. */
  guest = load(GUEST, null);
  api = new FlashSale({ token: () => this.guest?.token ?? '' });
  /** @type {Map<string, {drop: Drop, card: Card}>} */
  drops = new Map();
  /** The guest's orders by id. */
  orders = new Map();
  list = new OrderList(this);
  limit = PAGE;
  lost = { stream: false, poll: false };

  async start() {
    byId('another').onclick = () => this.signIn();
    byId('more').onclick = () => { this.limit = 100; byId('more').hidden = true; this.refresh(); };
    document.addEventListener('visibilitychange', () => this.followWhatCounts());
    setInterval(() => this.tick(), 250);
    const isKnown = this.guest && Date.parse(this.guest.expires_at) > Date.now();
    await Promise.all([this.refresh(), isKnown ? this.greet() : this.signIn()]);
    this.resume();
    this.poll();
  }

  now() {
    return this.api.now();
  }

  nameOf(productId) {
    return this.drops.get(productId)?.drop.product.name ?? 'A drop of earlier';
  }

  // --- Who buys ---

  /** A new guest: the orders of the one before stay that one's. */
  async signIn() {
    this.mine?.close();
    this.mine = null;
    for (const { drop } of this.drops.values()) {
      this.stop(drop);
      Object.assign(drop, { attempt: null, orders: new Map(), place: null, notice: null, busy: null });
    }
    this.orders.clear();
    save(CARTS, {});
    try {
      const options = { patience: ORDER_PATIENCE, onRetry: () => this.noteLoss('stream', true) };
      this.guest = await this.api.call('POST', '/guest-sessions', options);
      this.noteLoss('stream', false);
      save(GUEST, this.guest);
    } catch (error) {
      setText(byId('who'), 'Not signed in');
      return this.tell(explain(error, 'sign-in').text);
    }
    announce(`Signed in as ${this.guestName()}.`);
    this.greet();
  }

  guestName() {
    return `guest ${this.guest.user_id.slice(-4)}`;
  }

  greet() {
    setText(byId('who'), `You are ${this.guestName()}`);
    setText(byId('another'), 'Be another guest');
    this.followWhatCounts();
    this.update();
  }

  // --- What is followed ---

  followWhatCounts() {
    const isOpen = [...this.orders.values()].some(order => order.status === 'pending' || order.status === 'confirming')
      || [...this.drops.values()].some(({ drop }) => drop.place);
    if (document.hidden && !isOpen) {
      this.mine?.close();
      this.mine = null;
    } else if (!this.mine && this.guest) {
      this.mine = this.api.watchOrders({
        onOrder: order => this.onOrder(order),
        onWaitlist: entry => this.onPlace(entry),
        onState: (state, error) => this.onState(state, error),
      });
    }
    const watched = document.hidden ? null : this.looked;
    if (this.watched === watched) return;
    this.stock?.close();
    this.watched = watched;
    const onStock = ({ stock, version }) => { watched.acceptStock(stock, version); this.update(); };
    this.stock = watched && this.api.watchStock(watched.product.id, { onStock });
  }

  /** After a moment: a pointer that crosses the page opens no stream for each card on its way. */
  look(drop) {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => { this.looked = drop; this.followWhatCounts(); }, LOOK_AFTER);
  }

  async poll() {
    for (;;) {
      await pause(POLL_EVERY);
      if (!document.hidden) await this.refresh();
    }
  }

  async refresh() {
    try {
      const page = await this.api.products({ limit: this.limit, patience: 0 });
      this.noteLoss('poll', false);
      this.show(page);
    } catch (error) {
      if (!(error instanceof FlashSaleError)) throw error;
      this.noteLoss('poll', true);
    }
  }

  show({ products, next_cursor: next }) {
    const isFirst = this.drops.size === 0;
    const added = products.filter(product => !this.drops.has(product.id));
    // What can be bought first, the scarce before the plenty; later ones are put in front, so that nothing moves under the pointer.
    const rank = product => (product.stock > 0 ? 0 : 2) + (Date.parse(product.starts_at ?? '') > this.now() ? 1 : 0);
    if (isFirst) added.sort((a, b) => rank(a) - rank(b) || a.stock_total - b.stock_total);
    for (const product of added) {
      const drop = new Drop(product);
      const card = new Card(drop, this);
      for (const order of this.orders.values()) {
        if (order.product_id === product.id) drop.orders.set(order.id, order);
      }
      this.drops.set(product.id, { drop, card });
      if (isFirst) byId('drops').append(card.element);
      else byId('drops').prepend(card.element);
    }
    for (const product of products) this.drops.get(product.id).drop.accept(product);
    const offered = new Set(products.map(product => product.id));
    for (const [id, { drop, card }] of this.drops) {
      const isGone = !offered.has(id) && !next && !drop.attempt && drop.orders.size === 0;
      if (isGone) { card.element.remove(); this.drops.delete(id); }
    }
    byId('empty').hidden = this.drops.size > 0;
    setText(byId('empty'), 'No drops yet.');
    byId('more').hidden = !next || this.limit === 100;
    this.looked ??= this.drops.values().next().value?.drop ?? null;
    this.followWhatCounts();
    this.update();
  }

  onState(state, error) {
    if (state === 'live') this.noteLoss('stream', false);
    if (state === 'lost') this.noteLoss('stream', true);
    if (state !== 'ended') return;
    this.mine = null;
    if (error?.code !== 'unauthenticated') return;
    this.guest = null;
    setText(byId('who'), 'Your session has ended');
    setText(byId('another'), 'Sign in again');
    announce('Your session has ended. Sign in again to buy.');
  }

  /** The banner appears when a loss lasts, and goes with the last one. */
  noteLoss(what, isLost) {
    this.lost[what] = isLost;
    const any = this.lost.stream || this.lost.poll;
    if (!any) {
      clearTimeout(this.gap);
      this.gap = null;
      if (!byId('banner').hidden) { byId('banner').hidden = true; announce('Connected again.'); }
      document.body.classList.remove('stale');
    } else {
      this.gap ??= setTimeout(() => this.tell('Connection lost. We go on trying; your orders and holds are safe.'), GAP);
    }
  }

  tell(text) {
    setText(byId('banner'), text);
    byId('banner').hidden = false;
    document.body.classList.add('stale');
    announce(text);
  }

  // --- What happened ---

  onOrder(order) {
    const before = this.orders.get(order.id);
    this.orders.set(order.id, order);
    const drop = this.drops.get(order.product_id)?.drop;
    drop?.orders.set(order.id, order);
    if (drop && before && before.status !== order.status && !drop.busy) this.noteChange(drop, before, order);
    // A place that became an order soon after it was taken is told of as an order only.
    if (!before && drop?.place && order.created_at > drop.place.created_at) this.noteOffer(drop);
    this.update();
  }

  noteOffer(drop) {
    drop.place = null;
    this.notify(drop, { text: 'It is your turn: what others gave back is now held for you.', step: 'none', tone: 'good' });
  }

  noteChange(drop, before, order) {
    if (order.status === 'confirmed') this.notify(drop, paid(order));
    if (order.status === 'expired') {
      this.notify(drop, { text: 'Your hold has ended. What you held goes to the next buyer.', step: 'none', tone: 'warn' });
    }
    if (before.status === 'confirming' && order.status === 'pending') {
      this.notify(drop, { text: 'The payment did not succeed. Your hold goes on: try another card.', step: 'none', tone: 'bad' });
    }
  }

  onPlace(entry) {
    const drop = this.drops.get(entry.product_id)?.drop;
    if (!drop) return;
    const had = drop.place;
    if (entry.status === 'offered') return had ? this.noteOffer(drop) : undefined;
    drop.place = entry.status === 'waiting' ? entry : null;
    if (had && drop.place && had.position !== entry.position) {
      announce(`You are number ${entry.position} on the waitlist for ${drop.product.name}.`);
    }
    this.update();
  }

  notify(drop, notice) {
    drop.notice = notice;
    announce(`${drop.product.name}: ${notice.text}`);
    this.update();
  }

  // --- What the guest does ---

  /** The cart's key stays the same until its outcome is known, also over a reload. */
  async buy(drop, { quantity, waitlist = false }) {
    if (drop.attempt) return;
    const { id } = drop.product;
    const carts = load(CARTS, {});
    const kept = carts[id];
    const isSame = kept && kept.quantity === quantity && kept.waitlist === waitlist;
    const cart = { productId: id, quantity, waitlist, key: isSame ? kept.key : newKey() };
    save(CARTS, { ...carts, [id]: { ...cart, at: Date.now() } });
    const stopper = new AbortController();
    const attempt = { stopper, waitlist, retry: null };
    Object.assign(drop, { attempt, notice: null, lastCart: { quantity, waitlist } });
    announce(waitlist ? 'Joining the waitlist.' : 'Ordering.');
    this.update();
    const onRetry = ({ error, wait }) => {
      const text = retrying(error);
      if (attempt.retry?.text !== text) announce(text);
      attempt.retry = { text, at: Date.now() + wait };
      this.update();
    };
    let notice;
    try {
      const taken = await this.api.placeOrder(cart, { signal: stopper.signal, patience: ORDER_PATIENCE, onRetry });
      if (drop.attempt !== attempt) return;
      this.forgetCart(id);
      notice = this.accept(drop, taken);
    } catch (error) {
      // Signed in as somebody else meanwhile.
      if (drop.attempt !== attempt) return;
      if (stopper.signal.aborted) {
        // The key stays, in case the guest looks again, but a reload does not order by itself.
        save(CARTS, { ...load(CARTS, {}), [id]: { ...cart, at: 0 } });
        notice = { text: 'You stopped it. If the order was taken all the same, it appears here.', step: 'look', tone: 'info' };
      } else {
        if (!(error instanceof FlashSaleError)) console.error(error);
        notice = explain(error);
        if (notice.step !== 'look') this.forgetCart(id);
      }
    }
    drop.attempt = null;
    this.notify(drop, notice);
  }

  accept(drop, { order, waitlist: entry }) {
    if (entry) {
      drop.place = entry.status === 'waiting' ? entry : null;
      return { text: drop.place ? 'You are on the waitlist.' : 'Your place has become an order.', step: 'none', tone: 'good' };
    }
    this.orders.set(order.id, order);
    drop.orders.set(order.id, order);
    if (order.status !== 'pending') return paid(order);
    return { text: `Got it! ${order.quantity} held for you. Pay before the time is over.`, step: 'none', tone: 'good' };
  }

  forgetCart(id) {
    const { [id]: _, ...others } = load(CARTS, {});
    save(CARTS, others);
  }

  /** After a reload: learns what became of carts whose answer this page has not seen. */
  resume() {
    for (const [id, { quantity, waitlist, at }] of Object.entries(load(CARTS, {}))) {
      const found = this.drops.get(id);
      if (found && this.guest && Date.now() - at < CART_MAX_AGE) this.buy(found.drop, { quantity, waitlist });
      else this.forgetCart(id);
    }
  }

  stop(drop) {
    drop.attempt?.stopper.abort();
  }

  async pay(drop, order) {
    await this.change(drop, 'pay', async () => {
      const paying = await this.api.confirm(order.id, drop.method);
      this.onOrder(paying.order);
      if (!paying.requiresAction) return paid(paying.order);
      const body = { client_secret: paying.clientSecret, approve: await this.askBank(order) };
      await this.api.call('POST', '/guest-authentications', { body });
      const settled = await this.settled(order, drop.method, paying.clientSecret);
      if (settled) this.onOrder(settled);
      return settled && paid(settled);
    });
  }

  /** The order once its bank's answer has arrived; null while it has not, which the page's stream then tells. */
  async settled(order, method, secret) {
    for (let tries = 1; tries <= SETTLE_TRIES; tries += 1) {
      const paying = await this.api.confirm(order.id, method);
      if (!paying.requiresAction) return paying.order;
      // The rejected payment has ended already, and this call began another one.
      if (paying.clientSecret !== secret) return null;
      await pause(SETTLE_EVERY);
    }
    return null;
  }

  /** The buyer's answer; a dialog that was closed by the Escape key is a no. */
  askBank(order) {
    const dialog = byId('bank');
    const [what, name] = [byId('bank-text'), this.nameOf(order.product_id)];
    setText(what, `Approve the payment for ${order.quantity} × ${name}, order ${grouped(order.reference)}?`);
    dialog.returnValue = '';
    byId('bank-approve').onclick = () => dialog.close('yes');
    byId('bank-reject').onclick = () => dialog.close('no');
    dialog.showModal();
    return new Promise(resolve => { dialog.onclose = () => resolve(dialog.returnValue === 'yes'); });
  }

  async cancel(drop, order) {
    await this.change(drop, 'cancel', async () => {
      this.onOrder(await this.api.cancel(order.id));
      return { text: 'Given back. Somebody else can have it now.', step: 'none', tone: 'info' };
    });
  }

  async leave(drop) {
    await this.change(drop, 'leave', async () => {
      await this.api.leaveWaitlist(drop.product.id);
      drop.place = null;
      return { text: 'You left the waitlist.', step: 'none', tone: 'info' };
    });
  }

  /** Runs one call of the guest at a time; a second click does nothing. */
  async change(drop, what, call) {
    if (drop.busy) return;
    Object.assign(drop, { busy: what, notice: null });
    this.update();
    let notice;
    try {
      notice = await call();
    } catch (error) {
      if (!(error instanceof FlashSaleError)) console.error(error);
      notice = explain(error, what);
      await this.readOrders(drop).catch(() => {});
    }
    drop.busy = null;
    if (notice) this.notify(drop, notice);
    this.update();
  }

  /** After a refusal the page may be behind. */
  async readOrders(drop) {
    const { orders } = await this.api.orders({ productId: drop.product.id, limit: 20, patience: 2_000 });
    for (const order of orders) this.onOrder(order);
  }

  // --- What is shown ---

  update() {
    for (const { card } of this.drops.values()) card.update();
    const newest = [...this.orders.values()].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
    this.list.update(newest);
    const holds = newest.filter(order => order.status === 'pending' && Date.parse(order.expires_at) > this.now());
    const title = holds.length > 0 ? `(${holds.length} to pay) Demo drops · flash-sale` : 'Demo drops · flash-sale';
    if (document.title !== title) document.title = title;
  }

  tick() {
    if (!document.hidden || this.orders.size > 0) this.update();
  }
}

function paid(order) {
  return { text: `It is yours! Order ${grouped(order.reference)}.`, step: 'none', tone: 'good' };
}

new Shop().start();
