// Four charts by uPlot, each with a legend of its latest values and a sentence for screen readers.
/* global uPlot */

import { h, millis, rate, setText } from './dom.js';

// The library is a script and not a module, and nothing orders the two.
if (!window.uPlot) {
  const library = document.querySelector('script[src="/monitor/uPlot.js"]');
  await new Promise(resolve => { library.addEventListener('load', resolve); });
}

/** The columns of a point of the service: time, [orders, waitlisted, refused], [p50, p95, p99], [acquired, busy], batch. */
const CHARTS = [
  { title: 'Orders', note: 'answers a second', form: rate, lines: [
    ['bought', '--good', point => point[1][0]], ['waitlisted', '--accent', point => point[1][1]], ['refused', '--soft', point => point[1][2]]] },
  { title: 'Answer time', note: 'of the last 5 s', form: millis, lines: [
    ['p50', '--good', point => point[2][0]], ['p95', '--warn', point => point[2][1]], ['p99', '--bad', point => point[2][2]]] },
  { title: 'Lock', note: 'attempts a second', form: rate, lines: [
    ['acquired', '--good', point => point[3][0]], ['busy', '--bad', point => point[3][1]]] },
  { title: 'Batch', note: 'commands that share a commit', form: number => number === null ? '–' : rate(number), lines: [
    ['mean of 5 s', '--accent', point => point[4]]] },
];

const POINTS_MAX = 900;
/** Steps of the axes: those that the forms do not round. */
const STEPS = [-1, 0, 1, 2, 3, 4, 5, 6].flatMap(power => [1, 2, 5].map(step => step * 10 ** power));
/** Seconds without a point that are shown as a gap. */
const GAP = 4;

export class Charts {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.points = [];
    this.window = 60;
    this.charts = CHARTS.map(chart => new Chart(place, chart));
    // A chart keeps its size in pixels: it follows its panel.
    const observer = new ResizeObserver(() => { this.charts.forEach(chart => chart.fit()); this.draw(); });
    for (const chart of this.charts) observer.observe(chart.box);
  }

  history(points) {
    this.points = points;
    this.draw();
  }

  add(point) {
    if (this.points.at(-1)?.[0] === point[0]) this.points.pop();
    this.points.push(point);
    if (this.points.length > POINTS_MAX) this.points.shift();
    this.draw();
  }

  show(seconds) {
    this.window = seconds;
    this.draw();
  }

  /** The colours are those of the theme, which the charts cannot follow by themselves. */
  recolour() {
    this.charts.forEach(chart => chart.make());
    this.draw();
  }

  draw() {
    const end = this.points.at(-1)?.[0] ?? Date.now() / 1000;
    const begin = end - this.window;
    const shown = [];
    for (const point of this.points) {
      if (point[0] < begin) continue;
      const last = shown.at(-1);
      if (last && point[0] - last[0] > GAP) shown.push([last[0] + 1, [null, null, null], [null, null, null], [null, null], null]);
      shown.push(point);
    }
    this.charts.forEach(chart => chart.draw(shown, [begin, end]));
  }
}

const fontSize = () => Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.75);

class Chart {
  constructor(place, { title, note, form, lines }) {
    this.form = form;
    this.lines = lines;
    this.values = lines.map(() => h('b', {}, '–'));
    const legend = lines.map(([name], at) => h('li', {}, h('i', { className: `key key-${at}`, 'aria-hidden': 'true' }), `${name} `, this.values[at]));
    this.box = h('div', { className: 'plot', role: 'img' });
    this.title = title;
    this.kind = h('div', { className: `panel chart lines-${lines.map(line => line[1].slice(2)).join('-')}` },
      h('h2', {}, title, h('small', {}, note)), h('ul', { className: 'legend', role: 'list' }, ...legend), this.box);
    place.append(this.kind);
    this.make();
  }

  make() {
    this.plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = name => style.getPropertyValue(name).trim();
    const size = this.fontSize = fontSize();
    const font = `${size}px ${style.fontFamily}`;
    const axis = { stroke: colour('--soft'), font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    this.plot = new uPlot({
      ...this.size(),
      padding: [size * 0.5, size * 2.2, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: true, range: () => this.range ?? [0, 60] }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.12] } },
      axes: [
        { ...axis, size: size * 2.2, space: size * 8, values: (_, splits) => splits.map(time => new Date(time * 1000).toLocaleTimeString('en-GB')) },
        { ...axis, size: size * 4.2, gap: 4, space: size * 2.6, incrs: STEPS, values: (_, splits) => splits.map(value => value === 0 ? '0' : this.form(value)) },
      ],
      series: [{}, ...this.lines.map(([, name], at) => ({
        stroke: colour(name), width: 2, spanGaps: false, points: { show: false }, fill: at === 0 ? `${colour(name)}22` : undefined,
      }))],
    }, [[], ...this.lines.map(() => [])], this.box);
  }

  size() {
    return { width: Math.max(this.box.clientWidth, 120), height: Math.max(this.box.clientHeight, 80) };
  }

  fit() {
    // The text grows with the screen, and a chart cannot change the size of its own.
    if (this.fontSize !== fontSize()) return this.make();
    const { width, height } = this.size();
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  draw(points, range) {
    this.range = range;
    const columns = this.lines.map(([, , read]) => points.map(point => read(point) ?? null));
    this.plot.setData([points.map(point => point[0]), ...columns]);
    const last = columns.map(column => column.at(-1) ?? null);
    last.forEach((value, at) => setText(this.values[at], this.form(value ?? (this.form === rate ? 0 : null))));
    const said = this.lines.map(([name], at) => `${name} ${this.values[at].textContent}`);
    this.box.setAttribute('aria-label', `Chart ${this.title}: ${said.join(', ')}`);
  }
}
