// The drops as cards: what is left, how fast it goes, and whether it is over.

import { announce, count, h, rate, seconds, setText, short } from './dom.js';

/** @typedef {'hidden'|'soon'|'live'|'idle'|'sold-out'|'over'} Phase */

const WORDS = { hidden: 'Hidden', soon: 'Opens soon', live: 'Selling', idle: 'On sale', 'sold-out': 'Sold out', over: 'Ended' };

/** @returns {Phase} */
export function phase(drop, now) {
  if (!drop.published) return 'hidden';
  if (drop.starts_at && Date.parse(drop.starts_at) > now) return 'soon';
  if (drop.for_sale <= 0) return 'sold-out';
  if (drop.ends_at && Date.parse(drop.ends_at) <= now) return 'over';
  return drop.units.per_second > 0 || drop.sells_out_in !== null ? 'live' : 'idle';
}

/** So many are shown by the service, which leaves out the others. */
const SHOWN_MAX = 50;

/** What sells now comes first, then what can be bought, then what is over; the newest first among equals. */
const RANK = { live: 0, idle: 1, soon: 1, 'sold-out': 2, over: 3, hidden: 4 };

export class Drops {
  /** @param {(id: string) => void} sendCrowd null without the demo */
  constructor(list, sendCrowd) {
    this.list = list;
    this.sendCrowd = sendCrowd;
    this.cards = new Map();
  }

  show(snapshot, filter) {
    const now = Date.parse(snapshot.at);
    const shown = snapshot.drops.filter(drop => !filter || drop.sku === filter);
    const ranked = shown.map((drop, at) => ({ drop, at, phase: phase(drop, now) }));
    // A card moves only when its phase changes, so that nothing jumps under a reader's eyes.
    ranked.sort((a, b) => RANK[a.phase] - RANK[b.phase] || a.at - b.at);
    const ids = new Set(ranked.map(({ drop }) => drop.id));
    for (const [id, card] of this.cards) if (!ids.has(id)) { card.element.remove(); this.cards.delete(id); }
    ranked.forEach(({ drop, phase }, at) => {
      let card = this.cards.get(drop.id);
      if (!card) this.cards.set(drop.id, card = new Card(this.sendCrowd));
      card.show(drop, phase, now, snapshot.crowd);
      const place = this.list.children[at];
      if (place !== card.element) this.list.insertBefore(card.element, place ?? null);
    });
    const empty = document.getElementById('no-drops');
    empty.hidden = ranked.length > 0;
    setText(empty, filter ? 'No drop that is shown has this sku.' : 'There is no drop yet.');
    document.getElementById('drops-note').hidden = snapshot.drops.length < SHOWN_MAX;
  }
}

class Card {
  constructor(sendCrowd) {
    const field = (name, title) => {
      const value = h('dd', {}, '–');
      this[name] = value;
      return h('div', {}, h('dt', {}, title), value);
    };
    this.name = h('h3', {});
    this.badge = h('span', { className: 'badge' });
    this.left = h('b', {});
    this.of = h('span', {});
    this.bar = h('progress', { max: 1 });
    this.speed = h('p', { className: 'speed' });
    this.button = sendCrowd && h('button', { type: 'button', className: 'send', onclick: () => sendCrowd(this.id) }, 'Send the crowd');
    const article = h('article', {},
      h('div', { className: 'head' }, this.name, this.badge),
      h('p', { className: 'left' }, this.left, this.of), this.bar, this.speed,
      h('dl', {}, field('sold', 'Sold'), field('waitlist', 'Waitlist'), field('rate', 'Orders/s'), field('refused', 'Refused/s')),
      this.button);
    this.element = h('li', { className: 'drop' }, article);
  }

  show(drop, phase, now, crowd) {
    if (this.phase === 'live' && phase === 'sold-out') announce(`${drop.name} is sold out`);
    this.id = drop.id;
    this.phase = phase;
    this.element.dataset.phase = phase;
    setText(this.name, drop.name);
    this.name.title = drop.sku;
    setText(this.badge, WORDS[phase]);
    setText(this.left, short(drop.for_sale));
    setText(this.of, ` of ${short(drop.stock_total)} left`);
    this.bar.value = drop.stock_total > 0 ? drop.for_sale / drop.stock_total : 0;
    this.bar.setAttribute('aria-label', `${count(drop.for_sale)} of ${count(drop.stock_total)} left`);
    setText(this.speed, this.sentence(drop, phase, now));
    setText(this.sold, short(drop.sold));
    setText(this.waitlist, short(drop.waitlist));
    setText(this.rate, rate(drop.orders.per_second));
    setText(this.refused, rate(drop.refused.per_second));
    if (this.button) {
      this.button.disabled = Boolean(crowd?.running) || phase === 'hidden';
      this.button.setAttribute('aria-label', `Send the crowd to ${drop.name}`);
    }
  }

  sentence(drop, phase, now) {
    if (phase === 'soon') return `Opens in ${seconds((Date.parse(drop.starts_at) - now) / 1000)}`;
    if (phase === 'sold-out') return drop.sold_out_in === null ? 'Nothing left' : `Sold out within ${seconds(Math.max(Math.round(drop.sold_out_in), 1))}`;
    if (phase === 'live') return drop.sells_out_in === null ? 'Selling' : `Sells out in ${seconds(drop.sells_out_in)}`;
    return phase === 'over' ? 'The sale has ended' : phase === 'hidden' ? 'No buyer sees it' : 'No sale in the last seconds';
  }
}
