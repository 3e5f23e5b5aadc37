// A picture of the live monitor while the demo's crowd is there: node monitor.mjs --url URL --out PICTURE [--chromium PATH]
// The crowd empties two drops, and comes twice to one that lasts, so that the charts have something to show.
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values: opt } = parseArgs({ options: { url: { type: 'string' }, out: { type: 'string' }, chromium: { type: 'string', default: '/usr/bin/chromium' } } });
const browser = await chromium.launch({ executablePath: opt.chromium, args: ['--no-sandbox', '--hide-scrollbars'] });
try {
  const tab = await browser.newPage({ viewport: { width: 1425, height: 1000 }, colorScheme: 'dark' });
  tab.setDefaultTimeout(120_000);
  await tab.goto(`${opt.url}?theme=dark`);
  for (const drop of ['Sneaker', 'Concert ticket', 'Poster']) {
    await tab.click(`.drop:has-text("${drop}") button:enabled`);
    await tab.waitForSelector(`#crowd:has-text("The crowd has left ${drop}")`);
  }
  await tab.click('.drop:has-text("Poster") button:enabled');
  // Of the ten seconds that it stays.
  await tab.waitForTimeout(7_000);
  await tab.mouse.move(0, 0);
  await tab.screenshot({ path: opt.out, fullPage: true });
  console.log(opt.out);
} finally {
  await browser.close();
}
