// Pictures of the dashboards without a Grafana server, and a check that every query returns data:
//   node render.mjs --prometheus URL --out DIR [--from T --to T] [--width PX] [--step S] [--themes dark,light] DASHBOARD.json…
// T is now, now-5m or epoch seconds. It fails if a query is refused or returns nothing in the whole time.
import { build } from 'esbuild';
import { createServer } from 'node:http';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const { values: opt, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    out: { type: 'string', default: '.' },
    from: { type: 'string' }, to: { type: 'string' },
    width: { type: 'string', default: '1600' }, scale: { type: 'string', default: '1' },
    step: { type: 'string', default: '1' }, // the data source's timeInterval, in seconds
    themes: { type: 'string', default: 'dark,light' },
  },
});
const modules = join(here, 'node_modules');
const { outputFiles } = await build({
  entryPoints: [join(here, 'app.jsx')],
  bundle: true, minify: true, write: false, outdir: '/', format: 'iife', jsx: 'automatic', logLevel: 'error',
  define: { 'process.env.NODE_ENV': '"production"' }, loader: { '.ttf': 'empty' }, // monaco's icons
});
const { version } = JSON.parse(readFileSync(join(modules, '@grafana/ui/package.json')));
const dashboards = files.map((file) => JSON.parse(readFileSync(file)));
const built = Object.fromEntries(outputFiles.map((f) => [basename(f.path), f.contents]));

// Where @grafana/ui looks for its icons and fonts, and where the packages keep them.
function asset(path) {
  if (path.startsWith('/public/build/img/')) return join(modules, '@grafana/ui/dist/public/img', path.slice(18));
  if (path.startsWith('/public/fonts/inter/')) return join(modules, 'inter-ui/web', basename(path));
  if (path.startsWith('/public/fonts/roboto/'))
    return join(modules, '@fontsource/roboto-mono/files/roboto-mono-latin-400-normal.woff2');
}
const types = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const page = `<!doctype html><meta charset=utf-8><link rel=stylesheet href=/app.css>
<link rel=icon href=data:,><style>body{margin:0}</style>
<script>window.__grafana_public_path__='/public/'</script><body><div id=root></div><script src=/app.js></script>`;
const server = createServer(async (req, res) => {
  const path = decodeURIComponent(new URL(req.url, 'http://x').pathname);
  const send = (body, type) => res.writeHead(200, { 'content-type': type }).end(body);
  if (path === '/') return send(page, 'text/html');
  if (path.startsWith('/api/')) {
    const answer = await fetch(opt.prometheus + req.url).catch((e) => new Response(String(e), { status: 502 }));
    return res.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  }
  if (path.startsWith('/dashboard/')) {
    const dashboard = dashboards[+basename(path)];
    const others = dashboards.map(({ title }) => title.replace(/^Flash sale: /, ''));
    return send(JSON.stringify({ dashboard, others }), 'application/json');
  }
  const name = basename(path);
  if (built[name]) return send(built[name], types[extname(name)]);
  const file = asset(path);
  if (file && existsSync(file)) return send(readFileSync(file), types[extname(file)]);
  console.error('not found:', path);
  res.writeHead(404).end();
}).listen(0, '127.0.0.1');
await new Promise((r) => server.once('listening', r));

const browser = await chromium.launch({ executablePath: opt.chromium, args: ['--no-sandbox', '--hide-scrollbars'] });
let failed = false;
try {
  mkdirSync(opt.out, { recursive: true });
  // One moment for all pictures, so that both themes show the same.
  const now = Date.now() / 1000;
  for (const [i, file] of files.entries()) {
    for (const theme of opt.themes.split(',')) {
      const viewport = { width: +opt.width, height: 1000 };
      const tab = await browser.newPage({ viewport, deviceScaleFactor: +opt.scale });
      const fail = (text) => ((failed = true), console.error(`${file} (${theme}):`, text));
      tab.on('pageerror', (e) => fail(e.stack)).on('console', (m) => m.type() === 'error' && fail(m.text()));
      const { step, from, to } = opt;
      const query = new URLSearchParams({ dashboard: i, theme, now, step, version, ...(from && { from }), ...(to && { to }) });
      await tab.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
      await tab.waitForFunction(() => window.ready, null, { timeout: 60000 });
      const { empty } = await tab.evaluate(() => window.ready);
      // Both themes show the same data.
      if (theme === opt.themes.split(',')[0]) for (const query of empty) fail(`no data: ${query}`);
      await tab.setViewportSize({ ...viewport, height: await tab.evaluate(() => document.body.scrollHeight) });
      await tab.waitForLoadState('networkidle');
      await tab.waitForTimeout(500); // the last layout and uPlot's own frame
      const picture = join(opt.out, `${basename(file, '.json')}-${theme}.png`);
      await tab.screenshot({ path: picture, fullPage: true });
      console.log(picture);
      await tab.close();
    }
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = failed ? 1 : 0;
