// The page: joins the feed with its parts, and keeps its state (product, window, theme) in the address.

import { Alerts } from './alerts.js';
import { Charts } from './charts.js';
import { announce, clock, count, h, seconds, setText } from './dom.js';
import { Drops } from './drops.js';
import { follow } from './feed.js';
import { Tables, Tiles } from './tables.js';

const element = id => document.getElementById(id);
const token = document.querySelector('meta[name=crowd-token]').content;

const state = { product: '', window: '60', theme: '' };
for (const name of Object.keys(state)) state[name] = new URLSearchParams(location.search).get(name) ?? state[name];

const alerts = new Alerts();
const tiles = new Tiles(element('tiles'));
const drops = new Drops(element('drops'), token ? sendCrowd : null);
const tables = new Tables();
let last = null;

applyTheme();
// Empty, they would only delay the first frame.
for (const part of [element('charts'), element('tables')]) part.hidden = false;
const charts = new Charts(element('charts'));

/** A control whose value is part of the state; a value of the address that it does not have is added. */
function control(name, change) {
  const select = element(name);
  if (![...select.options].some(option => option.value === state[name])) {
    if (name === 'product') select.append(h('option', { value: state.product }, state.product));
    else state[name] = select.options[0].value;
  }
  select.value = state[name];
  select.addEventListener('change', () => {
    state[name] = select.value;
    const query = new URLSearchParams(Object.entries(state).filter(([key, value]) => value && !(key === 'window' && value === '60')));
    history.replaceState(null, '', query.size ? `?${query}` : location.pathname);
    change();
  });
  change();
}

function applyTheme() {
  if (['light', 'dark'].includes(state.theme)) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}

control('theme', () => { applyTheme(); charts.recolour(); });
control('window', () => charts.show(Number(state.window)));
control('product', () => { if (last) show(last); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts.recolour());

function show(snapshot) {
  last = snapshot;
  alerts.show(snapshot);
  tiles.show(snapshot);
  drops.show(snapshot, state.product);
  tables.show(snapshot, state.product);
  offerProducts(snapshot.drops);
  showCrowd(snapshot);
  const viewers = `${count(snapshot.viewers)} ${snapshot.viewers === 1 ? 'viewer' : 'viewers'}`;
  setText(element('about'), `flash-sale ${snapshot.version} · ${viewers}`);
  setText(element('link-text'), `Live · ${clock(snapshot.at)}`);
  element('link').dataset.state = 'live';
}

/** Changes the list only when the drops are others: it may be open. */
function offerProducts(drops) {
  const offered = drops.map(({ sku, name }) => [sku, name]).sort((a, b) => a[1].localeCompare(b[1]));
  const { product } = state;
  if (product && !drops.some(({ sku }) => sku === product)) offered.unshift([product, product]);
  const select = element('product');
  const isSame = select.length === offered.length + 1
    && offered.every(([sku, name], at) => select.options[at + 1].value === sku && select.options[at + 1].textContent === name);
  if (isSame) return;
  select.replaceChildren(select.options[0], ...offered.map(([value, name]) => h('option', { value }, name)));
  select.value = product;
}

function showCrowd({ crowd, drops }) {
  element('crowd').hidden = !crowd && !crowdFault;
  if (crowdFault) return setText(element('crowd'), crowdFault);
  if (!crowd) return;
  const name = drops.find(drop => drop.id === crowd.product)?.name ?? 'a drop';
  const did = `${count(crowd.bought)} bought, ${count(crowd.waitlisted)} on the waitlist, ${count(crowd.refused)} refused`;
  // Said by screen readers when it begins and when it ends, not every second.
  element('crowd').setAttribute('aria-live', crowd.running ? 'off' : 'polite');
  setText(element('crowd'), crowd.running ? `${count(crowd.buyers)} buyers want ${name}: ${did}` : `The crowd has left ${name}: ${did}`);
}

/** Says why the figures are not current, and greys them. */
function warn(text) {
  setText(element('banner'), text);
  element('banner').hidden = false;
  document.body.classList.add('stale');
}

/** Why the crowd did not come; shown until one does. */
let crowdFault = '';

async function sendCrowd(product) {
  crowdFault = '';
  announce('The crowd is on its way');
  try {
    const answer = await fetch('/monitor/crowd', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Crowd-Token': token },
      body: JSON.stringify({ product_id: product }),
    });
    if (!answer.ok) crowdFault = answer.status === 409 ? 'A crowd is here already' : 'The crowd could not be sent; load the page again';
  } catch {
    crowdFault = 'The crowd could not be sent: no connection';
  }
  if (last) showCrowd(last);
}

follow('/monitor/events', {
  history: points => { tiles.history(points); charts.history(points); },
  snapshot: snapshot => { charts.add(snapshot.point); show(snapshot); },
  lost: since => {
    warn(`Connection lost at ${clock(since)}. These are old figures; trying again.`);
    element('link').dataset.state = 'lost';
    setText(element('link-text'), 'Connection lost');
  },
  late: age => {
    // The age, which changes with every snapshot, is not said by screen readers.
    warn('The connection is slow, so these are old figures.');
    element('link').dataset.state = 'lost';
    setText(element('link-text'), `${seconds(age)} late`);
  },
  back: () => {
    element('banner').hidden = true;
    document.body.classList.remove('stale');
    announce('Connected again');
  },
});
