// The list of the buyer's own orders.
import { dateTime, duration, grouped, h, money, setText } from './dom.js';
import { STATUS } from './words.js';

/** Older orders are in the service, and not on this page. */
const SHOWN = 20;

export class OrderList {
  #rows = new Map();

  constructor(shop) {
    this.shop = shop;
    this.list = document.getElementById('orders');
    this.empty = document.getElementById('no-orders');
  }

  /** @param {object[]} orders newest first */
  update(orders) {
    const shown = orders.slice(0, SHOWN);
    this.empty.hidden = shown.length > 0;
    const ids = new Set(shown.map(order => order.id));
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) { row.element.remove(); this.#rows.delete(id); }
    }
    shown.forEach((order, index) => {
      const row = this.#rows.get(order.id) ?? this.#add(order);
      if (this.list.children[index] !== row.element) this.list.insertBefore(row.element, this.list.children[index] ?? null);
      this.#fill(row, order);
    });
  }

  #add(order) {
    const [name, status, facts] = [h('p', { className: 'name' }), h('p', { className: 'status' }), h('p', { className: 'small' })];
    const row = { name, status, facts, element: h('li', {}, name, status, facts) };
    this.#rows.set(order.id, row);
    return row;
  }

  #fill(row, order) {
    const left = Date.parse(order.expires_at ?? '') - this.shop.now();
    const isOver = order.status === 'pending' && left <= 0;
    const status = isOver ? 'expired' : order.status;
    row.element.dataset.status = status;
    setText(row.name, `${order.quantity} × ${this.shop.nameOf(order.product_id)}`);
    setText(row.status, status === 'pending' ? `${STATUS.pending}, ${duration(left)} left` : STATUS[status]);
    setText(row.facts, `${grouped(order.reference)} · ${money(order.total, order.currency)} · ${dateTime(order.created_at)}`);
  }
}
