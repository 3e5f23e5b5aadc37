// The tiles at the top and the tables below: answers, locks, nodes, faults.

import { clock, count, h, millis, rate, seconds, setText, short } from './dom.js';

/** Outcomes that are neither a sale nor the buyer's own doing. */
const SEVERE = new Set(['unavailable', 'outcome_unknown', 'internal']);
const GOOD = new Set(['created', 'waitlisted', 'replayed']);

export class Tiles {
  constructor(place) {
    const tile = (name, title) => {
      const value = h('b', {}, '–');
      const note = h('small', {});
      this[name] = { value, note, box: h('div', { className: 'tile' }, h('span', {}, title), value, note) };
      place.append(this[name].box);
    };
    tile('alerts', 'Alerts');
    tile('speed', 'Orders a second');
    tile('sold', 'Units sold');
    tile('time', 'Answer time p95');
    tile('lock', 'Lock');
    tile('nodes', 'Nodes');
    tile('errors', 'Errors a second');
    this.peak = 0;
  }

  show(snapshot) {
    const set = (name, value, note, tone = '') => {
      setText(this[name].value, value);
      setText(this[name].note, note);
      this[name].box.dataset.tone = tone;
    };
    this.showAlerts(set, snapshot);
    this.peak = Math.max(this.peak, snapshot.orders.per_second);
    set('speed', rate(snapshot.orders.per_second), `peak ${rate(this.peak)}`, snapshot.orders.per_second > 0 ? 'good' : '');
    const [sold, total] = snapshot.drops.reduce(([sold, total], drop) => [sold + drop.sold, total + drop.stock_total], [0, 0]);
    set('sold', short(sold), `of ${short(total)}`);
    const { p50, p95, p99 } = snapshot.latency;
    set('time', millis(p95), p95 === null ? 'no order in the last 5 s' : `p50 ${millis(p50)} · p99 ${millis(p99)}`, p95 > 1000 ? 'bad' : p95 > 250 ? 'warn' : '');
    this.showLock(set, snapshot);
    const silent = snapshot.nodes.filter(node => node.silent_seconds !== null).length;
    set('nodes', String(snapshot.nodes.length - silent), silent ? `${silent} silent` : `${count(snapshot.connections)} connections`, silent ? 'bad' : '');
    const errors = snapshot.answers.filter(answer => SEVERE.has(answer.outcome)).reduce((sum, answer) => sum + answer.per_second, 0);
    const database = snapshot.database ? 'database answers' : 'database does not answer';
    set('errors', rate(errors), database, errors > 0 || !snapshot.database ? 'bad' : '');
  }

  /** The peak of what the page was given before its first snapshot. */
  history(points) {
    this.peak = Math.max(this.peak, ...points.map(point => point[1][0]));
  }

  /** Unknown is not none. */
  showAlerts(set, { alerts }) {
    this.alerts.box.hidden = !alerts;
    if (!alerts) return;
    if (alerts.fault) return set('alerts', '?', 'Alertmanager cannot be asked', 'bad');
    if (!alerts.answered_at) return set('alerts', '…', 'asking Alertmanager');
    const severe = alerts.firing.some(alert => alert.severe);
    set('alerts', count(alerts.total), alerts.total ? 'firing' : 'none firing', severe ? 'bad' : alerts.total ? 'warn' : 'good');
  }

  showLock(set, { lock, busy_per_second: busy }) {
    const contention = `${rate(busy)} busy/s`;
    if (lock.nodes === 0) return set('lock', 'In process', contention, 'warn');
    if (lock.degraded) return set('lock', 'Lost', `${lock.healthy} of ${lock.nodes} nodes: the database guards`, 'bad');
    const tone = lock.healthy < lock.nodes ? 'warn' : '';
    return set('lock', `${lock.healthy} of ${lock.nodes}`, contention, tone);
  }
}

/** A table whose cells are changed in place. Columns are [title, text of a row, class]. */
export class Table {
  constructor(place, columns, caption) {
    this.columns = columns;
    this.body = h('tbody', {});
    const heads = columns.map(([title, , kind]) => h('th', { scope: 'col', className: kind ?? '' }, title));
    const table = h('table', {}, h('caption', { className: 'hidden' }, caption), h('thead', {}, h('tr', {}, ...heads)), this.body);
    // A table wider than the screen scrolls by itself, with the keyboard too.
    place.append(h('div', { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': caption }, table));
  }

  show(rows, tone) {
    while (this.body.children.length > rows.length) this.body.lastChild.remove();
    rows.forEach((row, at) => {
      let line = this.body.children[at];
      if (!line) {
        const cells = this.columns.map(([, , kind], cell) => cell === 0 ? h('th', { scope: 'row' }) : h('td', { className: kind ?? '' }));
        this.body.append(line = h('tr', {}, ...cells));
      }
      line.dataset.tone = tone(row);
      this.columns.forEach(([, text], cell) => setText(line.children[cell], text(row)));
    });
  }
}

const NUMBER = 'number';

/** What became of the product's lock in the last second. */
function lockState({ acquired, busy }, { degraded }) {
  if (degraded) return 'none';
  if (busy.per_second > 0) return 'contended';
  return acquired.per_second > 0 ? 'in use' : 'free';
}

export class Tables {
  constructor() {
    const place = name => document.getElementById(name);
    this.answers = new Table(place('answers'), [
      ['Outcome', row => row.outcome.replaceAll('_', ' ')],
      ['Now/s', row => rate(row.per_second), NUMBER],
      ['Total', row => count(row.total), NUMBER],
    ], 'Answers by outcome');
    this.locks = new Table(place('locks'), [
      ['Product', row => row.name],
      ['State', row => lockState(row.lock, this.lock)],
      ['Acquired/s', row => rate(row.lock.acquired.per_second), NUMBER],
      ['Busy/s', row => rate(row.lock.busy.per_second), NUMBER],
      ['Wait p95', row => millis(row.lock.wait_p95), NUMBER],
      ['Batch', row => row.batch_orders === null ? '–' : rate(row.batch_orders), NUMBER],
      ['Queue', row => count(row.queue), NUMBER],
      ['Bypassed', row => count(row.lock.bypassed), NUMBER],
      ['Fenced', row => count(row.lock.fence_rejected), NUMBER],
    ], 'Locks by product');
    this.nodes = new Table(place('nodes'), [
      ['Node', row => row.own ? `${row.name} (this one)` : row.name],
      ['State', row => row.silent_seconds === null ? `up ${seconds(row.uptime_seconds)}` : `silent for ${seconds(row.silent_seconds)}`],
      ['Orders/s', row => rate(row.orders.per_second), NUMBER],
      ['p95', row => millis(row.latency.p95), NUMBER],
      ['In flight', row => count(row.in_flight), NUMBER],
      ['Queue', row => count(row.queue), NUMBER],
      ['Connections', row => count(row.connections), NUMBER],
      ['Lock', row => row.lock.nodes === 0 ? 'in process' : `${row.lock.healthy} of ${row.lock.nodes}`],
      ['Version', row => row.version],
    ], 'Nodes');
    this.faults = new Table(place('faults'), [
      ['Time', row => clock(row.at)],
      ['Line', row => row.text, 'text'],
      ['Node', row => row.node],
    ], 'Warnings and errors');
  }

  show(snapshot, filter) {
    const answers = snapshot.answers.filter(answer => answer.total > 0 || GOOD.has(answer.outcome));
    const rank = answer => answer.outcome === 'created' ? Infinity : answer.total;
    answers.sort((a, b) => rank(b) - rank(a));
    this.answers.show(answers, row => GOOD.has(row.outcome) ? 'good' : SEVERE.has(row.outcome) ? 'bad' : '');
    const drops = snapshot.drops.filter(drop => !filter || drop.sku === filter);
    this.lock = snapshot.lock;
    this.locks.show(drops, row => row.lock.busy.per_second > 0 ? 'warn' : '');
    this.nodes.show(snapshot.nodes, row => row.silent_seconds !== null || row.lock.degraded ? 'bad' : '');
    this.faults.show(snapshot.faults, row => row.severe ? 'bad' : 'warn');
    const none = document.getElementById('faults');
    none.classList.toggle('none', snapshot.faults.length === 0);
  }
}
