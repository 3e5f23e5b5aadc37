// Every code of the service has words for the buyer, or is known not to reach one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODES, NOT_FOR_BUYERS, explain } from '../words.js';

test('each code of the service has words or is not for buyers, and there is no other', { skip: !process.env.FLASH_SALE_CODES }, () => {
  const known = [...CODES, ...NOT_FOR_BUYERS].sort();
  assert.deepEqual(known, process.env.FLASH_SALE_CODES.split(',').sort());
});

test('words are sentences, and name a step that the card has', () => {
  const steps = ['retry', 'look', 'fewer', 'waitlist', 'orders', 'sign-in', 'reload', 'none'];
  const problem = { available: 1, limit: 2, held: 1, errors: [{ field: 'quantity', message: 'is too large' }] };
  for (const code of CODES) {
    for (const action of ['order', 'pay', 'cancel', 'leave', 'sign-in']) {
      const error = { code, status: 409, detail: 'A detail.', requestId: 'r-1', problem, outcomeUnknown: code === 'outcome_unknown' };
      const { text, step, tone } = explain(error, action);
      assert.match(text, /^[A-Z].*[.?]$/, `${code}: ${text}`);
      assert.ok(!/undefined|null|NaN|The shop said/.test(text), `${code}: ${text}`);
      assert.ok(steps.includes(step) && ['bad', 'warn', 'info', 'good'].includes(tone), `${code}: ${step} ${tone}`);
      // The step orders again, which is no answer to a payment or a cancellation that failed.
      assert.ok(step !== 'retry' || action === 'order', `${action} ${code}: ${step}`);
    }
  }
});
