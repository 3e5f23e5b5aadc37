// Playwright for the tests, which are in Rust: reads a command a line from standard input, and answers with a line each.
//
//   node bridge.mjs MODULES CHROMIUM ERRORS
//
// It ends with its input, and Playwright ends Chromium with it: so neither outlives a test, however that ends. The errors
// of the pages that no command has asked for are then in the file ERRORS.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const [modules, executablePath, errorsFile] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require('playwright-core');

/** Milliseconds in which what a test waits for happens, also on a busy machine. */
const SOON = 30_000;
/** Playwright cannot poll an expression where a page forbids `eval`. */
const POLL_EVERY = 25;
/** An end that waits longer than this for what a page has still to say goes on without it. */
const LAST_WORDS = 5_000;

const options = ['--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-proxy-server'];
const [pages, requests, messages] = [[], [], []];
let errors = [];
const start = launch();
// Each command that needs it says so.
start.catch(() => {});

async function launch() {
  const browser = await chromium.launch({ executablePath, chromiumSandbox: false, args: options });
  // One for all tabs, which share the connections to a host as a person's do.
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(SOON);
  context.on('request', request => { if (/^https?:/.test(request.url())) requests.push(request.url()); });
  return context;
}

/** Refusals, which Chromium lists as errors too, are none: they have no arguments, what a script prints has. */
const isRefusal = message => message.args().length === 0 && message.text().startsWith('Failed to load resource: ');

function watch(page) {
  page.on('console', message => {
    messages.push(`${message.type()}: ${message.text()}`);
    if (message.type() === 'error' && !isRefusal(message)) errors.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', error => errors.push(`${page.url()}: ${error.stack ?? error}`));
  page.on('crash', () => errors.push(`${page.url()} crashed`));
  // Nobody would answer it.
  page.on('dialog', dialog => { errors.push(`${page.url()} asks ${dialog.message()}`); dialog.dismiss(); });
}

const visible = (page, selector) => page.locator(selector).filter({ visible: true }).first();
/** What happened before an answer has been told before it. */
const settle = () => Promise.all(pages.map(page => page.evaluate('0').catch(() => {})));

const commands = {
  async open({ url }) {
    const page = await (await start).newPage();
    watch(page);
    await page.goto(url);
    return pages.push(page) - 1;
  },
  async reload({ page }) { await page.reload(); },
  run: ({ page, expression }) => page.evaluate(expression),
  async until({ page, expression }) {
    const deadline = Date.now() + SOON;
    for (;;) {
      // In a navigation, and while a part of the page is missing, it throws.
      if (await page.evaluate(expression).catch(() => false)) return;
      if (Date.now() > deadline) throw new Error(`not in time: ${expression}`);
      await new Promise(resolve => { setTimeout(resolve, POLL_EVERY); });
    }
  },
  sees: ({ page, selector }) => visible(page, selector).waitFor(),
  misses: ({ page, selector }) => visible(page, selector).waitFor({ state: 'detached' }),
  click: ({ page, selector }) => page.locator(selector).click(),
  async choose({ page, selector, option }) { await page.locator(selector).selectOption(option); },
  press: ({ page, key }) => page.keyboard.press(key),
  /** Clicks, and breaks the connection of the next request to the address after the service has answered it. */
  async loseAnswer({ page, selector, address }) {
    const lost = page.waitForEvent('requestfailed');
    await page.route(address, async route => { await route.fetch(); await route.abort('connectionreset'); }, { times: 1 });
    await page.locator(selector).click();
    await lost;
  },
  setTheme: ({ page, theme }) => page.emulateMedia({ colorScheme: theme }),
  setWidth: ({ page, width }) => page.setViewportSize({ width, height: 900 }),
  async setOffline({ offline }) { await (await start).setOffline(offline); },
  /** The rules of axe-core that the page breaks in a way that keeps people from using it. */
  async violations({ page }) {
    // The value of the script would be sent back.
    await page.evaluate(`${readFileSync(require.resolve('axe-core/axe.min.js'))};0`);
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    return serious.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(' ')}`);
  },
  async errors() {
    await settle();
    const found = errors;
    errors = [];
    return found;
  },
  messages: async () => { await settle(); return messages; },
  requests: async () => { await settle(); return requests; },
};

async function answer([id, { call, tab, with: parameters }]) {
  const page = pages[tab];
  try {
    const value = await commands[call]({ page, ...parameters });
    return { id, value: value ?? null };
  } catch (error) {
    const text = await page?.evaluate('document.body.innerText').catch(() => '') ?? '';
    return { id, error: `${error.message}\n${text}` };
  }
}

async function end() {
  const late = new Promise(resolve => { setTimeout(resolve, LAST_WORDS); });
  await Promise.race([settle(), late]);
  writeFileSync(errorsFile, errors.join('\n'));
  process.exit();
}

let last = Promise.resolve();
const input = createInterface({ input: process.stdin });
input.on('line', line => {
  last = last.then(() => answer(JSON.parse(line))).then(said => { process.stdout.write(`${JSON.stringify(said)}\n`); });
});
input.on('close', end);
