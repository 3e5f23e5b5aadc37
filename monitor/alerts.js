// The alerts that fire, before everything else: what is wrong, where, since when, and what to do about it.

import { announce, clock, h, seconds, setText } from './dom.js';

export class Alerts {
  constructor() {
    const element = id => document.getElementById(id);
    this.panel = element('alerts');
    this.fault = element('alerts-fault');
    this.list = element('alerts-list');
    this.more = element('alerts-more');
    this.unset = element('alerts-unset');
    this.shown = '[]';
  }

  /** Without the setting there is no panel; with it, one only while there is something to say. */
  show({ alerts, at }) {
    this.unset.hidden = alerts !== null;
    const { firing = [], total = 0, fault = null, answered_at: answeredAt = null } = alerts ?? {};
    this.panel.hidden = !fault && total === 0;
    this.fault.hidden = !fault;
    const old = answeredAt ? `Its last answer is of ${clock(answeredAt)}` : 'It has not answered yet';
    setText(this.fault, fault ? `Alertmanager cannot be asked, so alerts may fire that are not here. ${old}: ${fault}.` : '');
    this.fill(firing);
    const now = Date.parse(at);
    firing.forEach(({ since }, place) => {
      setText(this.list.children[place].querySelector('time'), `for ${seconds(Math.max(Math.round((now - Date.parse(since)) / 1000), 0))}`);
    });
    this.more.hidden = total <= firing.length;
    setText(this.more, `and ${total - firing.length} more`);
  }

  /** Only when the alerts are others, so that a link keeps its focus. */
  fill(firing) {
    const shown = JSON.stringify(firing);
    if (shown === this.shown) return;
    this.shown = shown;
    this.list.replaceChildren(...firing.map(row));
    announce(firing.length ? `Alerts: ${firing.map(alert => alert.name).join(', ')}` : 'No alert fires any more');
  }
}

function row({ name, severity, severe, summary, since, product, instance, runbook }) {
  const where = [product, instance].filter(Boolean).join(' · ');
  return h('li', { 'data-tone': severe ? 'bad' : 'warn' },
    h('span', { className: 'badge' }, severity || 'alert'),
    h('b', {}, name),
    h('time', { dateTime: since, title: new Date(since).toLocaleString('en-GB') }),
    h('p', {}, summary),
    h('p', { className: 'where' }, where, where && runbook ? ' · ' : '', runbook && guide(runbook)));
}

/** A link, if it is an address of the web: rules come from other people's files. */
function guide(runbook) {
  let url = null;
  try { url = new URL(runbook); } catch { /* A path, say. */ }
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  return isWeb ? h('a', { href: url.href, target: '_blank', rel: 'noreferrer' }, 'Runbook') : `Runbook: ${runbook}`;
}
