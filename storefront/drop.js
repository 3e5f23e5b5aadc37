// The state of one drop as its buyer sees it: which of the product, an order, a place and a running call counts.

/** @typedef {'ordering'|'held'|'paying'|'waiting'|'soon'|'over'|'sold-out'|'buy'} Phase */

export class Drop {
  product;
  /** Units for sale. */
  stock = 0;
  /** The version that `stock` belongs to. */
  version = 0;
  /** The call that places an order: its cart, what it waits for, how to stop it. */
  attempt = null;
  /** What the buyer was told last. @type {?import('./words.js').Notice} */
  notice = null;
  /** The buyer's orders of this product. @type {Map<string, object>} */
  orders = new Map();
  place = null;
  quantity = 1;
  method = 'pm_card_visa';
  /** What a running call does: `pay`, `cancel` or `leave`. */
  busy = null;

  constructor(product) {
    this.accept(product);
  }

  accept(product) {
    const isOlder = this.product && product.version < this.product.version;
    if (isOlder) return;
    this.product = product;
    if (product.version >= this.version) this.acceptStock(product.stock - product.stock_reserved, product.version);
  }

  acceptStock(stock, version) {
    // A poll for want of a stream has no version.
    if (version !== null && version < this.version) return;
    this.stock = stock;
    this.version = version ?? this.version;
  }

  /** The held order whose time is over first. */
  held(now) {
    const held = [...this.orders.values()].filter(order => order.status === 'pending' && Date.parse(order.expires_at) > now);
    held.sort((a, b) => Date.parse(a.expires_at) - Date.parse(b.expires_at));
    return held[0] ?? null;
  }

  paying() {
    return [...this.orders.values()].find(order => order.status === 'confirming') ?? null;
  }

  /** @returns {Phase} */
  phase(now) {
    const { product } = this;
    if (this.attempt) return 'ordering';
    if (this.paying()) return 'paying';
    if (this.held(now)) return 'held';
    if (this.place) return 'waiting';
    if (product.starts_at && Date.parse(product.starts_at) > now) return 'soon';
    if (product.ends_at && Date.parse(product.ends_at) <= now) return 'over';
    return this.stock > 0 ? 'buy' : 'sold-out';
  }
}
