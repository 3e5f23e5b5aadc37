// The client against a running `flash-sale serve --demo`: FLASH_SALE_URL, and FLASH_SALE_ADMIN, a token of an admin.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlashSale } from '../flash-sale.js';

const base = process.env.FLASH_SALE_URL;
const options = { skip: base ? false : 'FLASH_SALE_URL is not set' };

async function buyer() {
  const api = new FlashSale({ base });
  api.token = (await api.call('POST', '/guest-sessions')).token;
  return api;
}

let number = 0;
async function product(body) {
  const shop = new FlashSale({ base, token: process.env.FLASH_SALE_ADMIN });
  const sku = `client-${process.pid}-${number += 1}`;
  const one = { sku, name: 'Seat', price: 900, currency: 'EUR', stock: 1, hold_seconds: 60, waitlist: true, ...body };
  const { id } = await shop.call('POST', '/products', { body: one });
  return { id, shop };
}

/** The first value that a stream gives which fits. */
function first(watch, fits) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('not in time')), 10_000);
    const stream = watch(value => {
      if (!fits(value)) return;
      clearTimeout(late);
      // The stream can tell before it is returned.
      setTimeout(() => stream.close());
      resolve(value);
    });
  });
}

test('a unit is bought, waited for, given back, offered and paid', options, async () => {
  const [{ id }, ann, bob] = [await product({}), await buyer(), await buyer()];
  const mine = await ann.placeOrder({ productId: id, key: 'cart-1' });
  assert.equal(mine.order.status, 'pending');
  const again = await ann.placeOrder({ productId: id, key: 'cart-1' });
  assert.deepEqual([again.order.id, again.replayed], [mine.order.id, true]);

  const refused = await bob.placeOrder({ productId: id }).catch(error => error);
  assert.deepEqual([refused.code, refused.problem.waitlist], ['sold_out', true]);
  const { waitlist: place } = await bob.joinWaitlist({ productId: id });
  assert.deepEqual([place.position, (await bob.waitlistPlace(id)).id], [1, place.id]);
  assert.deepEqual([await bob.leaveWaitlist(id), await bob.leaveWaitlist(id)], [true, false]);
  assert.equal(await bob.waitlistPlace(id), null);

  await bob.joinWaitlist({ productId: id });
  const offered = first(onOrder => bob.watchOrders({ onOrder }), order => order.status === 'pending');
  assert.equal((await ann.cancel(mine.order.id)).status, 'cancelled');
  assert.equal((await ann.cancel(mine.order.id)).status, 'cancelled');
  const { id: offer } = await offered;
  const declined = await bob.confirm(offer, 'pm_card_chargeDeclined').catch(error => error);
  assert.deepEqual([declined.code, declined.status], ['payment_declined', 402]);
  assert.equal((await bob.confirm(offer, 'pm_card_visa')).order.status, 'confirmed');
  const late = await bob.cancel(offer).catch(error => error);
  assert.deepEqual([late.code, late.problem.order_status], ['order_not_pending', 'confirmed']);
  const { orders } = await bob.orders({ productId: id });
  assert.deepEqual(orders.map(order => [order.id, order.status]), [[offer, 'confirmed']]);
  assert.equal((await bob.order(offer)).reference, orders[0].reference);
});

for (const [approve, outcome] of [[true, 'confirmed'], [false, 'payment_declined']]) {
  test(`a payment that the buyer ${approve ? 'approves' : 'rejects'} at the bank ends as ${outcome}`, options, async () => {
    const [{ id }, ann] = [await product({}), await buyer()];
    const { order } = await ann.placeOrder({ productId: id });
    const asked = await ann.confirm(order.id, 'pm_card_authenticationRequired');
    assert.deepEqual([asked.requiresAction, asked.order.status], [true, 'confirming']);
    const body = { client_secret: asked.clientSecret, approve };
    await ann.call('POST', '/guest-authentications', { body });
    let ended = asked;
    while (ended.requiresAction) {
      await new Promise(resolve => { setTimeout(resolve, 200); });
      const paid = await ann.confirm(order.id, 'pm_card_authenticationRequired').catch(error => error);
      ended = paid.order ? paid : { code: paid.code };
    }
    assert.equal(ended.code ?? ended.order.status, outcome);
  });
}

test('the stock is followed', options, async () => {
  const [{ id, shop }, ann] = [await product({ stock: 3 }), await buyer()];
  const bought = first(onStock => ann.watchStock(id, { onStock }), ({ stock }) => stock === 2);
  const restocked = first(onStock => ann.watchStock(id, { onStock }), ({ stock }) => stock === 7);
  await ann.placeOrder({ productId: id });
  await bought;
  await shop.call('POST', `/products/${id}/restock`, { body: { quantity: 5 } });
  await restocked;
  assert.equal((await ann.availability(id)).stock, 7);
  assert.ok(Math.abs(ann.clock.offset) < 1_500);
});

test('refusals carry their extras', options, async () => {
  const ann = await buyer();
  const starts_at = new Date(Date.now() + 3_600_000).toISOString();
  const refusal = async (given, cart) => {
    const { id } = await product(given);
    return ann.placeOrder({ productId: id, ...cart }).catch(error => error);
  };
  const later = await refusal({ starts_at });
  assert.deepEqual([later.code, Date.parse(later.problem.starts_at)], ['not_on_sale', Date.parse(starts_at)]);
  const fewer = await refusal({ stock: 2 }, { quantity: 3 });
  assert.deepEqual([fewer.code, fewer.problem.available], ['insufficient_stock', 2]);
  const limit = await refusal({ stock: 9, max_per_user: 2 }, { quantity: 3 });
  assert.deepEqual([limit.code, limit.problem.limit, limit.problem.held], ['purchase_limit', 2, 0]);
  const stranger = new FlashSale({ base, token: 'nobody' });
  const unknown = await stranger.orders().catch(error => error);
  assert.deepEqual([unknown.code, unknown.status], ['unauthenticated', 401]);
  assert.ok(unknown.requestId);
});
