// Streams: events, new connections, the end, and the service without room.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { FlashSale } from '../flash-sale.js';
import { LOST, fake, json, problem, stream } from './fake.js';

const STOCK = 'GET /products/p1/events';
const TICKET = 'POST /me/events/ticket';

const open = [];
after(() => open.forEach(close => close()));

async function shop(routes) {
  const server = await fake(routes);
  open.push(server.close);
  return { server, api: new FlashSale({ base: server.base, token: 'secret' }) };
}

/** What a stream reported, and a promise of the first moment at which a condition holds. */
function recorder() {
  const [seen, checks] = [[], []];
  const add = value => { seen.push(value); for (const check of checks) check(); };
  const until = condition => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not in time: ${JSON.stringify(seen)}`)), 10_000);
    const check = () => { if (condition(seen)) { clearTimeout(late); resolve(seen); } };
    checks.push(check);
    check();
  });
  return { add, until, seen };
}

const stock = (number, version) => `event: stock\nid: ${version}\ndata: {"stock":${number},"version":${version}}\n\n`;
const states = seen => seen.filter(it => it.state).map(it => it.state);
const stocks = seen => seen.filter(it => it.stock !== undefined).map(it => it.stock);

function watchStock(api, signal) {
  const record = recorder();
  const onState = (state, error) => record.add({ state, code: error?.code });
  open.push(api.watchStock('p1', { onStock: record.add, onState, signal }).close);
  return record;
}

test('events are read however the chunks are cut', async () => {
  const text = `retry: 20\r\n\r\n: comment\n\n${stock(5, 1)}${stock(4, 2).replaceAll('\n', '\r\n')}`;
  const { api } = await shop({ [STOCK]: [stream([...text])] });
  const record = watchStock(api);
  assert.deepEqual(stocks(await record.until(seen => stocks(seen).length === 2)), [5, 4]);
});

test('a stream that ends or breaks is opened again, and nothing is told twice', async () => {
  const { server, api } = await shop({ [STOCK]: [
    stream(['retry: 20\n\n', stock(5, 1)], 'end'),
    stream(['retry: 20\n\n', stock(5, 1), stock(4, 2)], 'cut'),
    LOST,
    stream([stock(3, 3)]),
  ] });
  const record = watchStock(api);
  const seen = await record.until(all => stocks(all).includes(3));
  assert.deepEqual(stocks(seen), [5, 4, 3]);
  assert.equal(server.requests.length, 4);
  assert.deepEqual(states(seen), ['connecting', 'live', 'lost', 'connecting', 'live', 'lost', 'connecting', 'lost',
    'connecting', 'live']);
});

test('without room for a stream the stock is polled, and the stream tried again after Retry-After', async () => {
  const { server, api } = await shop({
    [STOCK]: [problem(503, 'stream_limit', {}, { 'Retry-After': '1' }), stream([stock(6, 9)])],
    'GET /products/p1/availability': [json(200, { stock: 7 })],
  });
  const record = watchStock(api);
  const seen = await record.until(all => stocks(all).includes(6));
  assert.deepEqual(stocks(seen), [7, 6]);
  const tries = server.requests.filter(request => request.route === STOCK);
  assert.ok(tries[1].at - tries[0].at >= 1000);
});

test('a product that is gone ends its stream', async () => {
  const { server, api } = await shop({ [STOCK]: [problem(404, 'product_not_found')] });
  const seen = await watchStock(api).until(all => states(all).includes('ended'));
  assert.equal(seen.at(-1).code, 'product_not_found');
  assert.equal(server.requests.length, 1);
});

test('a stream ends with its signal', async () => {
  const { server, api } = await shop({ [STOCK]: [stream([stock(5, 1)])] });
  const stopper = new AbortController();
  const record = watchStock(api, stopper.signal);
  await record.until(seen => stocks(seen).length === 1);
  const count = record.seen.length;
  stopper.abort();
  watchStock(api, stopper.signal);
  await new Promise(resolve => { setTimeout(resolve, 400); });
  assert.deepEqual([record.seen.length, server.requests.length], [count, 1]);
});

test('orders and places are followed with a new ticket for each connection', async () => {
  const [order, paid] = [{ id: 'o1', status: 'pending' }, { id: 'o1', status: 'confirmed' }];
  const place = { id: 'w1', position: 2 };
  const event = (kind, id, data) => `event: ${kind}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
  const { server, api } = await shop({
    [TICKET]: [json(201, { ticket: 'a/1' }), json(201, { ticket: 'b' })],
    'GET /me/events': [
      stream(['retry: 20\n\n', event('order', 'o1-x', order), event('waitlist', 'w1-x', place)], 'end'),
      stream([event('order', 'o1-x', order), event('order', 'o1-y', paid), event('other', 'z', {})]),
    ],
  });
  const record = recorder();
  const calls = { onOrder: one => record.add({ order: one }), onWaitlist: one => record.add({ place: one }) };
  open.push(api.watchOrders(calls).close);
  const seen = await record.until(all => all.some(it => it.order?.status === 'confirmed'));
  assert.deepEqual(seen, [{ order }, { place }, { order: paid }]);
  const opened = server.requests.filter(request => request.route === 'GET /me/events');
  assert.deepEqual(opened.map(request => request.url), ['/me/events?ticket=a%2F1', '/me/events?ticket=b']);
  assert.deepEqual(opened.map(request => request.headers.authorization), [undefined, undefined]);
});

test('an expired token ends the stream of orders', async () => {
  const { api } = await shop({ [TICKET]: [problem(401, 'unauthenticated')] });
  const record = recorder();
  open.push(api.watchOrders({ onState: (state, error) => record.add({ state, code: error?.code }) }).close);
  const seen = await record.until(all => states(all).includes('ended'));
  assert.equal(seen.at(-1).code, 'unauthenticated');
});
