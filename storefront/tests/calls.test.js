// Orders, payments, places: which answers are tried again, with what, and how they end.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { FlashSale, FlashSaleError, backOff } from '../flash-sale.js';
import { LOST, SILENT, fake, json, problem } from './fake.js';

const ORDER = { id: 'o1', status: 'pending', reference: 'FS-1', payment: null };
const PLACE = { id: 'w1', status: 'waiting', position: 3, product_id: 'p1' };
const CART = { productId: 'p1', quantity: 2 };

const open = [];
after(() => open.forEach(server => server.close()));

async function shop(routes, options = {}) {
  const server = await fake(routes);
  open.push(server);
  return { server, api: new FlashSale({ base: server.base, token: 'secret', ...options }) };
}

async function refusal(promise) {
  const error = await promise.then(value => assert.fail(`succeeded: ${JSON.stringify(value)}`), thrown => thrown);
  assert.ok(error instanceof FlashSaleError, String(error));
  return error;
}

const keys = server => new Set(server.requests.map(request => request.headers['idempotency-key']));

test('an order is sent with its token, its key and its cart', async () => {
  const { server, api } = await shop({ 'POST /orders': [json(201, ORDER)] });
  const taken = await api.placeOrder({ ...CART, key: 'cart-1' });
  assert.deepEqual(taken, { order: ORDER, replayed: false, key: 'cart-1' });
  const [request] = server.requests;
  assert.equal(request.headers.authorization, 'Bearer secret');
  assert.equal(request.headers['idempotency-key'], 'cart-1');
  assert.deepEqual(request.body, { product_id: 'p1', quantity: 2, waitlist: false });
});

for (const [name, answer, least] of [
  ['a lost answer', LOST, 0],
  ['a time-out', SILENT, 0],
  ['high_demand', problem(400, 'high_demand', {}, { 'Retry-After': '1' }), 1000],
  ['rate_limited', problem(429, 'rate_limited', { limit: 9 }, { 'Retry-After': '1' }), 1000],
  ['unavailable', problem(503, 'unavailable', {}, { 'Retry-After': '1' }), 1000],
  ['outcome_unknown', problem(503, 'outcome_unknown', { order_id: 'o1' }, { 'Retry-After': '1' }), 1000],
  ['request_timeout', problem(408, 'request_timeout'), 0],
  ['a proxy without a service', { status: 502, headers: {}, body: '<h1>Bad gateway</h1>' }, 0],
  ['an answer that is cut off', { status: 201, headers: { 'Content-Type': 'application/json' }, body: '{"id":' }, 0],
]) {
  test(`${name} is followed by another try with the same key, not before Retry-After`, async () => {
    const replay = json(201, ORDER, { 'Idempotency-Replayed': 'true' });
    const { server, api } = await shop({ 'POST /orders': [answer, replay] }, { timeout: 300 });
    const retries = [];
    const taken = await api.placeOrder(CART, { onRetry: retry => retries.push(retry) });
    assert.deepEqual([taken.order, taken.replayed], [ORDER, true]);
    assert.equal(server.requests.length, 2);
    assert.deepEqual([...keys(server)], [taken.key]);
    assert.ok(server.requests[1].at - server.requests[0].at >= least);
    assert.deepEqual(retries.map(retry => retry.tries), [1]);
    assert.ok(retries[0].wait >= least && retries[0].error instanceof FlashSaleError);
  });
}

for (const [status, code, extras] of [
  [409, 'sold_out', { waitlist: true }],
  [409, 'insufficient_stock', { available: 1 }],
  [409, 'purchase_limit', { limit: 2, held: 2 }],
  [409, 'not_on_sale', { starts_at: '2030-01-01T00:00:00Z', ends_at: null }],
  [404, 'product_not_found', {}],
  [401, 'unauthenticated', {}],
  [422, 'invalid_request', { errors: [{ field: 'quantity', message: 'too many' }] }],
  [422, 'idempotency_key_reused', {}],
]) {
  test(`${code} is thrown at once, with its extras`, async () => {
    const { server, api } = await shop({ 'POST /orders': [problem(status, code, extras)] });
    const error = await refusal(api.placeOrder(CART));
    assert.deepEqual([error.code, error.status, error.detail], [code, status, `It is ${code}.`]);
    assert.deepEqual([error.retryAfter, error.requestId, error.outcomeUnknown], [null, 'r-1', false]);
    for (const [name, value] of Object.entries(extras)) assert.deepEqual(error.problem[name], value);
    assert.equal(server.requests.length, 1);
    assert.equal(error.key, server.requests[0].headers['idempotency-key']);
  });
}

test('when patience ends, the error says that the order may have been taken', async () => {
  const { server, api } = await shop({ 'POST /orders': [LOST] }, { patience: 1500 });
  const error = await refusal(api.placeOrder(CART));
  assert.deepEqual([error.code, error.status, error.outcomeUnknown], ['no_answer', 0, true]);
  assert.ok(server.requests.length > 1);
  assert.deepEqual([...keys(server)], [error.key]);
});

test('a refusal after a lost answer settles it, a busy service does not', async () => {
  const settled = await shop({ 'POST /orders': [LOST, problem(409, 'sold_out', { waitlist: true })] });
  assert.equal((await refusal(settled.api.placeOrder(CART))).outcomeUnknown, false);
  const busy = await shop({ 'POST /orders': [LOST, problem(401, 'unauthenticated')] });
  assert.equal((await refusal(busy.api.placeOrder(CART))).outcomeUnknown, true);
});

test('a Retry-After that is longer than the patience is not waited for', async () => {
  const answer = problem(429, 'rate_limited', { limit: 10 }, { 'Retry-After': '300' });
  const { api } = await shop({ 'POST /orders/o1/confirm': [answer] });
  const error = await refusal(api.confirm('o1', 'pm_card_visa'));
  assert.deepEqual([error.code, error.retryAfter], ['rate_limited', 300]);
});

test('an order at the moment when the drop opens is sent again, an earlier one is refused', async () => {
  const opens = milliseconds => problem(409, 'not_on_sale', { starts_at: new Date(Date.now() + milliseconds).toISOString() });
  const soon = await shop({ 'POST /orders': [opens(300), json(201, ORDER)] });
  assert.deepEqual((await soon.api.placeOrder(CART)).order, ORDER);
  assert.deepEqual([soon.server.requests.length, keys(soon.server).size], [2, 1]);
  const later = await shop({ 'POST /orders': [opens(60_000)] });
  assert.equal((await refusal(later.api.placeOrder(CART))).code, 'not_on_sale');
  assert.equal(later.server.requests.length, 1);
});

test('an aborted call throws the reason of its signal, also while it waits', async () => {
  const silent = await shop({ 'POST /orders': [SILENT] });
  const busy = await shop({ 'POST /orders': [problem(400, 'high_demand', {}, { 'Retry-After': '9' })] });
  for (const { api } of [silent, busy]) {
    const stopper = new AbortController();
    const call = api.placeOrder(CART, { signal: stopper.signal });
    setTimeout(() => stopper.abort(new Error('the buyer left')), 150);
    await assert.rejects(call, /the buyer left/);
    await assert.rejects(api.placeOrder(CART, { signal: stopper.signal }), /the buyer left/);
  }
});

test('waits grow, never fall below Retry-After, and differ between clients', () => {
  assert.deepEqual([1, 2, 3].map(tries => backOff(tries, null, () => 1)), [300, 600, 1200]);
  assert.equal(backOff(30, null, () => 1), 8000);
  assert.equal(backOff(1, null, () => 0), 150);
  assert.deepEqual([backOff(1, 2, () => 0), backOff(1, 2, () => 1)], [2000, 2300]);
  assert.equal(backOff(9, 2, () => 1), 3000);
});

test('the token is asked for before each try', async () => {
  let number = 0;
  const token = async () => `token-${number += 1}`;
  const { server, api } = await shop({ 'POST /orders': [LOST, json(201, ORDER)] }, { token });
  await api.placeOrder(CART);
  const sent = server.requests.map(request => request.headers.authorization);
  assert.deepEqual(sent, ['Bearer token-1', 'Bearer token-2']);
});

test('the waitlist is joined, read and left', async () => {
  const { server, api } = await shop({
    'POST /orders': [json(202, { waitlist: PLACE })],
    'GET /products/p1/waitlist': [json(200, PLACE), problem(404, 'not_waiting')],
    'DELETE /products/p1/waitlist': [LOST, problem(404, 'not_waiting'), { status: 204, headers: {}, body: '' }],
  });
  const joined = await api.joinWaitlist(CART);
  assert.deepEqual([joined.waitlist, joined.order], [PLACE, undefined]);
  assert.equal(server.requests[0].body.waitlist, true);
  assert.deepEqual(await api.waitlistPlace('p1'), PLACE);
  assert.equal(await api.waitlistPlace('p1'), null);
  // The answer to the first try was lost; there is no place any more.
  assert.equal(await api.leaveWaitlist('p1'), false);
  assert.equal(await api.leaveWaitlist('p1'), true);
});

test('a payment is confirmed, declined, or asks the buyer to authenticate', async () => {
  const asks = { ...ORDER, status: 'confirming', payment: { id: 'pi', status: 'requires_action', client_secret: 's' } };
  const paid = { ...ORDER, status: 'confirmed' };
  const declined = problem(402, 'payment_declined');
  const { server, api } = await shop({ 'POST /orders/o1/confirm': [declined, json(202, asks), json(200, paid)] });
  assert.equal((await refusal(api.confirm('o1', 'pm_bad'))).code, 'payment_declined');
  const second = await api.confirm('o1', 'pm_3ds');
  assert.deepEqual([second.requiresAction, second.clientSecret, second.order.status], [true, 's', 'confirming']);
  const third = await api.confirm('o1', 'pm_3ds');
  assert.deepEqual([third.requiresAction, third.clientSecret, third.order], [false, null, paid]);
  assert.deepEqual(server.requests[0].body, { payment_method: 'pm_bad' });
});

test('a payment whose answer was lost is followed until it has ended', async () => {
  const underWay = problem(409, 'order_not_pending', { order_status: 'confirming' });
  const paid = json(200, { ...ORDER, status: 'confirmed' });
  const { server, api } = await shop({ 'POST /orders/o1/confirm': [LOST, underWay, underWay, paid] });
  assert.equal((await api.confirm('o1', 'pm_card_visa')).order.status, 'confirmed');
  assert.equal(server.requests.length, 4);
  const expired = problem(409, 'order_not_pending', { order_status: 'expired' });
  const late = await shop({ 'POST /orders/o1/confirm': [expired] });
  assert.equal((await refusal(late.api.confirm('o1', 'pm_card_visa'))).problem.order_status, 'expired');
});

test('an order that is cancelled already is a success of cancelling it', async () => {
  const cancelled = { ...ORDER, status: 'cancelled' };
  const { api } = await shop({
    'POST /orders/o1/cancel': [LOST, problem(409, 'order_not_pending', { order_status: 'cancelled' })],
    'GET /orders/o1': [json(200, cancelled)],
    'POST /orders/o2/cancel': [problem(409, 'order_not_pending', { order_status: 'confirmed' })],
  });
  assert.deepEqual(await api.cancel('o1'), cancelled);
  assert.equal((await refusal(api.cancel('o2'))).code, 'order_not_pending');
});

test('lists send only the parameters that were given', async () => {
  const { server, api } = await shop({
    'GET /orders': [json(200, { orders: [], next_cursor: null })],
    'GET /products': [json(200, { products: [], next_cursor: null })],
  });
  await api.orders({ status: 'pending', limit: 5 });
  await api.products();
  assert.deepEqual(server.requests.map(request => request.url), ['/orders?status=pending&limit=5', '/products']);
});

test("the service's clock is learned from its answers", async () => {
  const ahead = () => json(200, {}, { Date: new Date(Date.now() + 60_000).toUTCString() });
  const { api } = await shop({ 'GET /products/p1': [ahead()] });
  assert.equal(api.clock.offset, 0);
  await api.product('p1');
  assert.ok(Math.abs(api.now() - Date.now() - 60_000) < 1_500, `${api.clock.offset}`);
  // Seconds are cut off: two answers on both sides of a full second give the clock to the tenth.
  const { clock } = new FlashSale();
  clock.learn(70_000, 10_900, 10_950);
  clock.learn(71_000, 11_000, 11_050);
  assert.ok(Math.abs(clock.offset - 60_000) <= 100, `${clock.offset}`);
  // After one of the clocks was set, the newest answer counts.
  clock.learn(500_000, 12_000, 12_010);
  assert.ok(Math.abs(clock.offset - 488_500) <= 600, `${clock.offset}`);
});
