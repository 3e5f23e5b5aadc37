// Draws one dashboard file as Grafana lays it out: title, variables, links, rows, panels.
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { createTheme, rangeUtil, ThemeContext } from '@grafana/data';
import { GlobalStyles, Icon, PanelChrome } from '@grafana/ui';
import 'uplot/dist/uPlot.min.css';
import { load, marks, times, variables } from './data.js';
import { Visual } from './panels.jsx';

const given = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: given.get('theme') ?? 'dark' } });
const CELL = 30, GAP = 8, COLUMNS = 24, PADDING = 16;
const timeZone = 'utc';

function moment(text) {
  const now = Number(given.get('now')) || Date.now() / 1000;
  const ago = /^now(?:-(\w+))?$/.exec(text);
  return ago ? now - (ago[1] ? rangeUtil.intervalToSeconds(ago[1]) : 0) : Number(text);
}

function Head({ dashboard, timeRange, shown, others }) {
  const chip = { border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '2px 8px', background: theme.colors.background.primary };
  const quiet = { color: theme.colors.text.secondary };
  return (
    <>
      <div style={{ display: 'flex', alignItems: 'baseline', gap: 16 }}>
        <h1 style={{ ...theme.typography.h3, margin: 0 }}>{dashboard.title}</h1>
        <span style={quiet}>
          {timeRange.from.utc().format('YYYY-MM-DD HH:mm:ss')} to {timeRange.to.utc().format('HH:mm:ss')} UTC. Drawn with
          @grafana/ui {given.get('version')}, without a Grafana server
        </span>
      </div>
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, margin: '8px 0 12px' }}>
        {shown.map(([label, value]) => <span key={label} style={chip}><span style={quiet}>{label}</span> {value}</span>)}
        <span style={{ flex: 1 }} />
        {others.map((title) => <span key={title} style={{ ...chip, color: theme.colors.text.link }}><Icon name="apps" size="sm" /> {title}</span>)}
      </div>
    </>
  );
}

function Dashboard({ dashboard, panels, width, context, shown, others }) {
  const column = (width - 2 * PADDING - (COLUMNS - 1) * GAP) / COLUMNS;
  const size = (n, cell) => n * cell + (n - 1) * GAP;
  const bottom = Math.max(...panels.map(({ panel: { gridPos: g } }) => g.y + g.h));
  return (
    <div style={{ padding: PADDING, background: theme.colors.background.canvas }}>
      <Head {...{ dashboard, shown, others }} timeRange={context.timeRange} />
      <div style={{ position: 'relative', height: size(bottom, CELL) }}>
        {panels.map(({ panel, frames, error }) => {
          const { x, y, w, h } = panel.gridPos;
          const box = { width: size(w, column), height: size(h, CELL) };
          const place = { position: 'absolute', left: x * (column + GAP), top: y * (CELL + GAP), ...box };
          const row = { ...place, ...theme.typography.h5, display: 'flex', alignItems: 'center', gap: 8 };
          if (panel.type === 'row') return <div key={panel.id} style={row}><Icon name="angle-down" />{panel.title}</div>;
          return (
            <div key={panel.id} style={place}>
              <PanelChrome {...box} title={panel.title} description={panel.description} statusMessage={error}>
                {(width, height) => <Visual {...{ panel, frames, width, height, context }} />}
              </PanelChrome>
            </div>
          );
        })}
      </div>
    </div>
  );
}

async function main() {
  const { dashboard, others } = await (await fetch(`/dashboard/${given.get('dashboard')}`)).json();
  const range = { from: moment(given.get('from') ?? dashboard.time.from), to: moment(given.get('to') ?? dashboard.time.to) };
  const { values, shown } = variables(dashboard);
  const context = { range, values, theme, timeZone, scrape: Number(given.get('step')) || 15, timeRange: times(range) };
  const width = document.documentElement.clientWidth;
  context.marks = await marks(dashboard, context);
  const empty = [];
  const panels = await Promise.all(dashboard.panels.map(async (panel) => {
    if (panel.type === 'row') return { panel };
    try {
      const loaded = await load(panel, (panel.gridPos.w / COLUMNS) * width, context);
      empty.push(...loaded.empty.map((expr) => `${panel.title}: ${expr}`));
      return { panel, frames: loaded.frames };
    } catch (e) {
      console.error(panel.title, e.message);
      return { panel, frames: [], error: e.message };
    }
  }));
  const root = createRoot(document.getElementById('root'));
  const draw = (what) => flushSync(() =>
    root.render(<ThemeContext.Provider value={theme}><GlobalStyles />{what}</ThemeContext.Provider>));
  // GlobalStyles names the fonts. Only then can they load, and canvas text that is drawn before stays in another font.
  draw(null);
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
  draw(<Dashboard {...{ dashboard, panels, width, context, shown, others }} />);
  window.ready = { empty };
}
void main();
