// One drop on the page. The card is made once; only its action changes with the phase, so that focus and pointer stay.
import { announce, button, clock, count, duration, h, money, picture, setText } from './dom.js';

const BADGES = { soon: 'Opens soon', over: 'Ended', 'sold-out': 'Sold out', buy: 'On sale', ordering: 'Ordering',
  held: 'Held for you', paying: 'Paying', waiting: 'On the waitlist' };
/** The simulated gateway's cards. */
const CARDS = [
  ['pm_card_visa', 'Card ••42', 'works'],
  ['pm_card_chargeDeclined', 'Card ••02', 'is declined'],
  ['pm_card_authenticationRequired', 'Card ••55', 'asks your bank'],
];
const UNITS_MAX = 10;
/** Seconds before the end of a hold at which screen readers are told. */
const WARNINGS = [60, 20];

const artOf = sku => /sneaker|ticket|poster|record/.exec(sku)?.[0] ?? 'box';
const hueOf = text => [...text].reduce((hue, letter) => (hue * 31 + letter.codePointAt(0)) % 360, 7);

export class Card {
  constructor(drop, shop) {
    this.drop = drop;
    this.shop = shop;
    const id = `drop-${drop.product.id}`;
    this.badge = h('p', { className: 'badge' });
    this.name = h('h2', { id, tabIndex: -1 });
    this.price = h('p', { className: 'price' });
    this.description = h('p', { className: 'description' });
    this.bar = h('progress', { 'aria-hidden': 'true' });
    this.left = h('p', { className: 'left' });
    this.notice = h('div', { className: 'notice', hidden: true });
    this.action = h('div', { className: 'action' });
    const art = h('div', { className: 'art', 'aria-hidden': 'true' }, picture(artOf(drop.product.sku)));
    art.style.setProperty('--hue', hueOf(drop.product.sku));
    this.article = h('article', { 'aria-labelledby': id }, art, h('div', { className: 'body' }, this.badge, this.name,
      this.price, this.description, h('div', { className: 'stock' }, this.bar, this.left), this.notice, this.action));
    this.element = h('li', { className: 'card' }, this.article);
    // The drop that the buyer looks at is followed live, the others are polled.
    for (const kind of ['pointerenter', 'focusin']) this.element.addEventListener(kind, () => shop.look(drop));
    this.update();
  }

  update() {
    const { drop } = this;
    const { product } = drop;
    const now = this.shop.now();
    const phase = drop.phase(now);
    const hadFocus = this.notice.contains(document.activeElement) || this.action.contains(document.activeElement);
    setText(this.name, product.name);
    setText(this.price, money(product.price, product.currency));
    setText(this.description, product.description ?? '');
    this.description.hidden = !product.description;
    setText(this.badge, BADGES[phase]);
    this.bar.max = Math.max(product.stock_total, 1);
    this.bar.value = drop.stock;
    setText(this.left, drop.stock > 0 ? `${count(drop.stock)} of ${count(product.stock_total)} left` : 'None left');
    if (this.phase !== phase) this.announcePhase(phase);
    this.phase = phase;
    this.element.dataset.phase = phase;
    this.showNotice();
    this.showAction(phase, now);
    this.tick?.(now);
    // What had the focus is gone: the next thing to do gets it, so that a keyboard does not start over.
    if (hadFocus && document.activeElement === document.body) {
      (this.article.querySelector('[data-first]') ?? this.name).focus();
    }
  }

  /** Changes that the buyer did not cause. */
  announcePhase(phase) {
    const { name } = this.drop.product;
    if (this.phase === 'soon' && phase === 'buy') announce(`${name} is on sale now.`);
    if (this.phase === 'buy' && phase === 'sold-out') announce(`${name} is sold out.`);
    if (this.phase === 'held' && (phase === 'buy' || phase === 'sold-out') && !this.drop.notice) {
      this.drop.notice = { text: 'Your hold has ended, and somebody else may buy it now.', step: 'none', tone: 'warn' };
      announce(`Your hold of ${name} has ended.`);
    }
  }

  showNotice() {
    const { notice } = this.drop;
    if (notice === this.shown) return;
    this.shown = notice;
    this.notice.hidden = !notice;
    this.notice.replaceChildren();
    if (!notice) return;
    this.notice.dataset.tone = notice.tone;
    this.notice.append(h('p', {}, notice.text), ...this.nextStep(notice));
    const step = this.notice.querySelector('button');
    if (step) step.dataset.first = '';
    this.nameButtons(this.notice);
  }

  nextStep({ step }) {
    const { drop, shop } = this;
    const again = { quantity: drop.lastCart?.quantity ?? 1, waitlist: drop.lastCart?.waitlist ?? false };
    const steps = {
      retry: () => button('Try again', 'primary', () => shop.buy(drop, again)),
      look: () => button('Look again', 'primary', () => shop.buy(drop, again)),
      fewer: () => button('Take what is left', 'primary', () => shop.buy(drop, { quantity: Math.min(drop.stock || 1, drop.quantity) })),
      waitlist: () => button('Join the waitlist', 'primary', () => shop.buy(drop, { ...again, waitlist: true })),
      orders: () => button('See your orders', 'quiet', () => document.getElementById('orders-title').focus()),
      'sign-in': () => button('Sign in again', 'primary', () => shop.signIn()),
      reload: () => button('Load the page again', 'primary', () => location.reload()),
    };
    return steps[step] ? [steps[step]()] : [];
  }

  /** Rebuilds the action when something other than a countdown has changed. */
  showAction(phase, now) {
    const { drop } = this;
    const offersWaitlist = drop.notice?.step === 'waitlist';
    const order = drop.paying() ?? drop.held(now);
    const facts = [phase, drop.busy, order?.id, order?.payment?.status, drop.place?.quantity, offersWaitlist];
    if (phase === 'buy') facts.push(drop.product.max_per_order);
    const key = JSON.stringify(facts);
    if (key === this.actionKey) return;
    this.actionKey = key;
    this.tick = null;
    const actions = { buy: 'buy', soon: 'soon', over: 'over', 'sold-out': 'soldOut', ordering: 'ordering', held: 'held',
      paying: 'paying', waiting: 'waiting' };
    this.action.replaceChildren(...this[actions[phase]](order));
    this.nameButtons(this.action);
  }

  /** A list of buttons is of no use where each one is called the same. */
  nameButtons(place) {
    for (const one of place.querySelectorAll('button')) {
      one.setAttribute('aria-label', `${one.textContent}: ${this.drop.product.name}`);
    }
  }

  buy() {
    const { drop, shop } = this;
    // Not what is left: a list that changes while it is open cannot be used.
    const most = Math.min(drop.product.max_per_order, UNITS_MAX);
    drop.quantity = Math.min(drop.quantity, most);
    const buy = button('Buy', 'primary', () => shop.buy(drop, { quantity: drop.quantity }));
    buy.dataset.first = '';
    if (most === 1) return [buy];
    const id = `quantity-${drop.product.id}`;
    const options = Array.from({ length: most }, (_, index) => h('option', { value: index + 1 }, String(index + 1)));
    const select = h('select', { id }, ...options);
    select.value = String(drop.quantity);
    select.onchange = () => { drop.quantity = Number(select.value); };
    return [h('p', { className: 'row' }, h('label', { for: id }, 'Units'), select, buy)];
  }

  soon() {
    const opens = Date.parse(this.drop.product.starts_at);
    const timer = h('span', { role: 'timer' });
    this.tick = now => setText(timer, duration(opens - now));
    const wait = button('Buy', 'primary', () => announce(`It opens in ${duration(opens - this.shop.now())}.`));
    wait.setAttribute('aria-disabled', 'true');
    wait.dataset.first = '';
    return [h('p', { className: 'clock' }, 'Opens in ', timer), wait];
  }

  over() {
    return [h('p', { className: 'small' }, 'The sale has ended.')];
  }

  soldOut() {
    const { drop, shop } = this;
    if (!drop.product.waitlist) return [h('p', { className: 'small' }, 'Units that others give back appear here.')];
    if (drop.notice?.step === 'waitlist') return [];
    const join = button('Join the waitlist', 'primary', () => shop.buy(drop, { quantity: 1, waitlist: true }));
    join.dataset.first = '';
    return [h('p', { className: 'small' }, 'Units that others give back go to the waitlist first.'), join];
  }

  ordering() {
    const { drop, shop } = this;
    const text = h('p', {});
    this.tick = () => {
      const { retry, waitlist } = drop.attempt ?? {};
      const first = waitlist ? 'Joining the waitlist …' : 'Ordering …';
      const seconds = retry ? Math.max(Math.ceil((retry.at - Date.now()) / 1000), 0) : 0;
      setText(text, retry ? `${retry.text} ${seconds ? `next try in ${seconds} s.` : 'trying now.'}` : first);
    };
    const stop = button('Stop trying', 'quiet', () => shop.stop(drop));
    stop.dataset.first = '';
    return [h('div', { className: 'working' }, text), stop];
  }

  held(order) {
    const { drop, shop } = this;
    const timer = h('span', { role: 'timer' });
    const ends = Date.parse(order.expires_at);
    this.tick = now => {
      setText(timer, duration(ends - now));
      const left = Math.ceil((ends - now) / 1000);
      if (left !== this.warned && WARNINGS.includes(left)) {
        this.warned = left;
        announce(`Your hold of ${drop.product.name} ends in ${left} seconds.`);
      }
    };
    const choices = CARDS.map(([method, name, effect]) => {
      const input = h('input', { type: 'radio', name: `card-${order.id}`, value: method, checked: method === drop.method });
      input.onchange = () => { drop.method = method; };
      return h('label', { className: 'choice' }, input, h('span', {}, name, h('small', {}, effect)));
    });
    const pay = button(drop.busy === 'pay' ? 'Paying …' : `Pay ${money(order.total, order.currency)}`, 'primary',
      () => shop.pay(drop, order));
    pay.dataset.first = '';
    const back = button(drop.busy === 'cancel' ? 'Giving back …' : 'Give it back', 'quiet', () => shop.cancel(drop, order));
    if (drop.busy) for (const one of [pay, back]) one.setAttribute('aria-disabled', 'true');
    return [
      h('p', { className: 'clock' }, `${order.quantity} held for you, `, timer, ' left'),
      h('fieldset', { className: 'cards' }, h('legend', {}, 'Pay with'), ...choices),
      h('p', { className: 'row' }, pay, back),
    ];
  }

  paying(order) {
    const { drop, shop } = this;
    if (order.payment?.status !== 'requires_action' || drop.busy) {
      return [h('p', { className: 'working', tabIndex: -1, 'data-first': '' }, 'The payment is under way …')];
    }
    const go = button('Continue at your bank', 'primary', () => shop.pay(drop, order));
    go.dataset.first = '';
    return [h('p', {}, 'Your bank wants to know that it is you.'), go];
  }

  waiting() {
    const { drop, shop } = this;
    const text = h('p', { className: 'clock' });
    this.tick = () => setText(text, drop.place?.position ? `You are number ${count(drop.place.position)} on the waitlist` : '');
    const leave = button(drop.busy === 'leave' ? 'Leaving …' : 'Leave the waitlist', 'quiet', () => shop.leave(drop));
    leave.dataset.first = '';
    if (drop.busy) leave.setAttribute('aria-disabled', 'true');
    const since = clock(drop.place.created_at);
    return [text, h('p', { className: 'small' }, `Since ${since}. When it is your turn, a unit is held for you here.`), leave];
  }
}
