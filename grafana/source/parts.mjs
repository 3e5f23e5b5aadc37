// What the dashboards share: variables, links, queries, colours and panels. A colour has one meaning on every panel.

/** Colours by meaning. Products and processes get shades of blue, which mean nothing. */
export const colour = {
  good: 'green',
  soldOut: '#8e8e8e',
  busy: 'orange',
  failure: 'red',
  waitlist: 'purple',
  client: 'super-light-purple',
  neutral: 'blue',
};

/** The colour of a value, by the label that has it. */
const meanings = {
  outcome: [
    ['created|paid|confirmed|acquired|accepted', colour.good],
    ['replayed|refunded|not_charged', 'super-light-green'],
    ['sold_out|insufficient_stock|not_on_sale|expired|cancelled|ignored', colour.soldOut],
    ['high_demand|busy|rate_limited|requires_action|purchase_limit|declined', colour.busy],
    ['unavailable|outcome_unknown|internal|request_timeout|no_quorum|error|unknown|refund_unknown|not_refunded|failed', colour.failure],
    ['waitlisted|offered', colour.waitlist],
    ['invalid_request|malformed_json|unauthenticated|product_not_found|payload_too_large|unsupported_media_type|idempotency_key_reused|refused', colour.client],
  ],
  status: [
    ['2..', colour.good], ['200', 'light-green'], ['202', colour.waitlist], ['3..', 'super-light-green'], ['4..', colour.client],
    ['409', colour.soldOut], ['400|429', colour.busy], ['5..', colour.failure],
  ],
  reason: [['silent|evicted', colour.busy], ['idle', colour.soldOut]],
  state: [['left', colour.failure], ['repeated|stray', colour.busy]],
  kind: [['lost|connections revoked', colour.failure], ['bypassed|fence rejections|commands abandoned|stock events dropped|orders of one user|requests of one address|event streams', colour.busy]],
  other: [
    ['p50|p95', 'light-blue'], ['p99|average', 'blue'],
    // Of a run: what its clients saw, and what the service did.
    ['clients.*', colour.waitlist], ['service.*', 'blue'], ['asked', 'light-blue'],
  ],
};

const byRegexp = (options, properties) => ({ matcher: { id: 'byRegexp', options }, properties });
const coloured = (names, fixedColor) => byRegexp(`/^(.*: )?(${names})$/`, [{ id: 'color', value: { mode: 'fixed', fixedColor } }]);
/** The colours of the lines that these legends name. A later one wins. */
function meaningsOf(queries) {
  const legends = queries.map(({ legendFormat }) => legendFormat);
  const labels = new Set(legends.flatMap((legend) => /\{\{(\w+)\}\}$/.exec(legend)?.[1] ?? []));
  const found = [...labels].flatMap((label) => meanings[label] ?? []);
  const named = [...meanings.outcome, ...meanings.other].filter(([names]) => legends.some((legend) => new RegExp(`^(${names})$`).test(legend)));
  return [...found, ...named, ...(labels.size ? [['none', colour.soldOut]] : [])].map(([names, color]) => coloured(names, color));
}

const SELECTED = 'job=~"$job",instance=~"$instance"';
const datasource = { type: 'prometheus', uid: '${datasource}' };

/** A metric with the selected processes, for example m('flash_sale_stock', 'product=~"$product"'). */
export const m = (name, ...labels) => `${name}{${[SELECTED, ...labels].join(',')}}`;
/** The same with the selected products. */
export const mp = (name, ...labels) => m(name, 'product=~"$product"', ...labels);
export const rate = (metric) => `rate(${metric}[$__rate_interval])`;
export const sumRate = (metric) => `sum(${rate(metric)})`;

const named = (label, value, expr) => `label_replace(${expr}, "${label}", "${value}", "", "")`;
/**
 * Rates by a label, without values that did not occur in the time shown: `moved` is the same at every step, so that
 * lines keep their zeros. When none occurred there is one line "none" at 0, which a metric that is not exported does
 * not have.
 */
const withoutZeros = (label, rates, moved, total) =>
  `((${rates}) and on (${label}) (${moved})) or (${named(label, 'none', total)} unless on () (${moved}))`;
const moved = (label, metric) => `sum by (${label}) (increase(${metric}[$__range] @ end())) > 0`;
export const occurred = (label, metric) =>
  withoutZeros(label, `sum by (${label}) (${rate(metric)})`, moved(label, metric), sumRate(metric));

/** The same for several counters: { name: metric }, with the legend {{kind}}. */
export function kinds(metrics) {
  const each = (value) => Object.entries(metrics).map(([name, metric]) => named('kind', name, value(metric))).join(' or ');
  const increased = each((metric) => `sum(increase(${metric}[$__range] @ end())) > 0`);
  return query(withoutZeros('kind', each(sumRate), increased, sumRate(Object.values(metrics)[0])), '{{kind}}');
}

/** A value by label, for those of which the counter moved in the time shown. */
export const moving = (label, value, metric) => `${value} and on (${label}) (${moved(label, metric)})`;

/** The same for a gauge of which each process reports all: the highest, without label values that stayed at 0. */
export const highest = (label, metric) => {
  const above = `max by (${label}) (max_over_time(${metric}[$__range] @ end())) > 0`;
  return `(max by (${label}) (${metric}) and on (${label}) (${above}))` +
    ` or (label_replace(max(${metric}), "${label}", "none", "", "") unless on () (${above}))`;
};

/** A value by product, for products that were ordered in the time shown, or for all if none was. */
export const ordered = (value) => {
  const active = moved('product', mp('flash_sale_orders_total'));
  return `(${value} and on (product) (${active})) or (${value} unless on () (${active}))`;
};

export const quantile = (q, bucket, by = '') =>
  `histogram_quantile(${q}, sum by (${by}${by && ', '}le) (${rate(bucket)}))`;
export const quantiles = (bucket) => [0.5, 0.95, 0.99].map((q) => query(quantile(q, bucket), `p${q * 100}`));

export const query = (expr, legendFormat = '', more = {}) => ({ expr, legendFormat, range: true, ...more });

/** Steps from good to bad: [[null, 'green'], [0.01, 'red']]. */
const thresholds = (steps) => ({ mode: 'absolute', steps: steps.map(([value, color]) => ({ color, value })) });

function panel(type, { title, description, w, queries, unit, decimals, min, max, noValue, overrides = [], links, ...rest }) {
  const targets = queries.map((target, i) => ({ refId: String.fromCharCode(65 + i), datasource, ...target }));
  return {
    type, title, description, datasource, targets, w, links,
    fieldConfig: {
      defaults: {
        unit, decimals, min, max, noValue, mappings: rest.mappings ?? [],
        color: rest.color, custom: rest.custom, thresholds: thresholds(rest.steps ?? [[null, colour.neutral]]),
      },
      overrides,
    },
    options: rest.options,
    transformations: rest.transformations,
  };
}

/** One figure that is read from two metres: no sparkline, which the figure would cover. */
export const stat = ({ background, ...given }) => panel('stat', {
  noValue: '–', color: { mode: 'thresholds' }, ...given,
  options: {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    colorMode: background ? 'background' : 'value', graphMode: 'none', justifyMode: 'center',
    orientation: 'auto', textMode: given.text ?? 'value', text: { valueSize: background && given.w <= 4 ? 44 : 60 }, wideLayout: true, showPercentChange: false,
    percentChangeColorMode: 'standard',
  },
});

/** A tile that says in words what is the case: states are [text, colour] of 0, 1, 2 and so on. */
export const tile = ({ states, ...given }) => stat({
  background: true, ...given,
  steps: states.map(([, color], i) => [i || null, color]),
  mappings: [{ type: 'value', options: Object.fromEntries(states.map(([text, color], index) => [index, { text, color, index }])) }],
});

/** The lock nodes, as the process sees them that counts the fewest. */
export const lockTile = (w) => tile({
  title: 'Lock nodes', w,
  queries: [query(`max(2 * max(${m('flash_sale_lock_degraded')}) or ${named('part', 'nodes', `clamp_max(max(sum by (instance) (${m('flash_sale_lock_nodes_out')})), 1)`)})`)],
  states: [['All nodes', colour.good], ['Node out', colour.busy], ['Degraded', colour.failure]],
  description: 'All nodes: every configured Redis lock node takes locks. Node out: a majority is left, locking goes on. Degraded: fewer than a majority, so that only the fence orders the writers: slower with several processes, equally correct.',
});

/**
 * Lines over time. `stack` stacks them; `dashed` maps names to the colour of a dashed line, which is a bound; `lines` is
 * the colour of series without a meaning of their own, in shades. A legend is a table on the right, or one line `below`.
 */
export const lines = ({ stack, dashed = {}, lines = 'blue', fill = stack ? 80 : 0, below, ...given }) => panel('timeseries', {
  min: 0, color: { mode: 'shades', fixedColor: lines }, ...given,
  overrides: [
    ...meaningsOf(given.queries),
    ...(given.queries.some(({ legendFormat }) => legendFormat === 'p99') ? [
      byRegexp('/^p99$/', [{ id: 'custom.lineWidth', value: 3 }]),
      byRegexp('/^p50$/', [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [3, 4] } }]),
    ] : []),
    ...(given.overrides ?? []),
    ...Object.entries(dashed).map(([names, color]) => byRegexp(`/^(${names})$/`, [
      { id: 'color', value: { mode: 'fixed', fixedColor: color } },
      { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 6] } },
      { id: 'custom.fillOpacity', value: 0 },
    ])),
  ],
  custom: {
    drawStyle: 'line', lineInterpolation: 'linear',
    // Else the edge of a series that is 0 covers the colour of the one below it.
    lineWidth: stack ? 0 : 2, fillOpacity: fill, gradientMode: 'none',
    showPoints: 'never', pointSize: 5, spanNulls: false, stacking: { mode: stack ? 'normal' : 'none', group: 'A' },
    axisPlacement: 'auto', axisLabel: '', axisColorMode: 'text', axisBorderShow: false,
    // Else the axis of a line that stays at 0 ends at 100.
    axisSoftMax: { s: 0.01, percentunit: undefined, bytes: undefined }[given.unit] ?? 1,
    scaleDistribution: { type: 'linear' }, axisCenteredZero: false, barAlignment: 0,
    thresholdsStyle: { mode: given.steps ? 'dashed' : 'off' }, hideFrom: { tooltip: false, viz: false, legend: false },
    insertNulls: false,
  },
  options: {
    legend: {
      showLegend: true, displayMode: below ? 'list' : 'table', placement: below ? 'bottom' : 'right',
      calcs: below ? ['max'] : ['lastNotNull', 'max'], sortBy: 'Max', sortDesc: true,
    },
    tooltip: { mode: 'multi', sort: 'desc', hideZeros: true },
  },
});

/** How a histogram's observations spread over its buckets. */
export const heatmap = ({ bucket, ...given }) => panel('heatmap', {
  ...given,
  unit: undefined,
  queries: [query(`sum by (le) (increase(${bucket}[$__rate_interval]))`, '{{le}}', { format: 'heatmap' })],
  custom: { scaleDistribution: { type: 'linear' }, hideFrom: { tooltip: false, viz: false, legend: false } },
  options: {
    calculate: false,
    color: {
      mode: 'opacity', fill: colour.neutral, scale: 'exponential', exponent: 0.4, scheme: 'Blues', steps: 64, reverse: false,
    },
    rowsFrame: { layout: 'le' },
    yAxis: { axisPlacement: 'left', unit: given.unit, reverse: false },
    cellGap: 1, cellValues: {}, filterValues: { le: 1e-9 }, showValue: 'never',
    exemplars: { color: 'rgba(255,0,255,0.7)' },
    legend: { show: false }, tooltip: { mode: 'single', yHistogram: false, showColorScale: false },
  },
});

/** A table of one line for each value of a label: columns are [heading, query, field options]. */
export const table = ({ label, heading, headings = {}, columns, sortBy, ...given }) => {
  const letter = (i) => String.fromCharCode(65 + i);
  const names = Object.fromEntries(columns.map(([name], i) => [`Value #${letter(i)}`, name]));
  const property = ([id, value]) => ({ id, value });
  return panel('table', {
    ...given, color: { mode: 'thresholds' },
    queries: columns.map(([, expr]) => ({ expr, format: 'table', instant: true, range: false })),
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, minWidth: 90 },
    overrides: columns.map(([name, , options]) => ({
      matcher: { id: 'byName', options: name }, properties: Object.entries(options).map(property),
    })).concat(given.overrides ?? []),
    transformations: [
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: {
          excludeByName: { Time: true },
          indexByName: Object.fromEntries([label, ...Object.keys(names)].map((name, i) => [name, i])),
          renameByName: { [label]: heading, ...headings, ...names },
        },
      },
    ],
    options: { showHeader: true, cellHeight: 'sm', sortBy: [{ displayName: sortBy, desc: true }] },
  });
};

const variable = (name, label, values, allValue = '.*') => ({
  name, label, type: 'query', datasource, query: { query: values, refId: name }, refresh: 2, sort: 1, hide: 0,
  multi: true, includeAll: true, allValue, regex: '', options: [],
  current: { selected: true, text: ['All'], value: ['$__all'] },
});

/** Service processes that Prometheus is configured to read. The runs of contention come and go. */
export const UP = m('up', 'job!="contention"');

/** Moments that explain a change of the lines, as metrics show them: while the value is there, or `more.useValueForTime`. */
export const annotation = (name, iconColor, expr, titleFormat, more = {}) => ({
  name, iconColor, enable: true, hide: false, datasource, titleFormat, textFormat: '', tagKeys: '',
  target: { refId: 'Anno', datasource, expr, interval: '1s' }, ...more,
});
const annotations = [
  annotation('Sold out', colour.soldOut,
    `(min by (product) (${mp('flash_sale_stock')}) == 0) and on (product) (min by (product) (${mp('flash_sale_stock')} offset 1s) > 0)`,
    '{{product}} is sold out'),
  annotation('No lock', colour.busy, `max(${m('flash_sale_lock_degraded')}) == 1`, 'Orders go on without the lock'),
  annotation('Read-only database', colour.failure, `max(${m('flash_sale_db_only_reads')}) == 1`, 'The database refuses writes'),
  annotation('Process gone', colour.failure, `${UP} == 0`, '{{instance}} does not answer'),
];

/** `rows` are [title or nothing, height, panels…]; panels stand side by side and fill 24 columns. All `products` are chosen first. */
export function dashboard({ uid, title, description, rows, more = [], products = '.*' }) {
  const panels = [];
  let y = 0;
  let id = 1;
  for (const [heading, h, ...side] of rows) {
    if (heading) {
      panels.push({ id: id++, type: 'row', title: heading, collapsed: false, panels: [], gridPos: { x: 0, y, w: 24, h: 1 } });
      y += 1;
    }
    let x = 0;
    for (const { w, ...rest } of side) {
      panels.push({ id: id++, ...rest, gridPos: { x, y, w, h } });
      x += w;
    }
    if (x !== 24) throw new Error(`${title}: a row of "${side[0].title}" has ${x} columns instead of 24`);
    y += h;
  }
  return {
    uid, title, description, tags: ['flash-sale'], timezone: 'browser', editable: true, graphTooltip: 1, schemaVersion: 39,
    refresh: '5s', time: { from: 'now-5m', to: 'now' },
    timepicker: { refresh_intervals: ['1s', '5s', '10s', '30s', '1m'] },
    annotations: { list: [...annotations, ...more] },
    links: [{
      type: 'dashboards', title: 'Flash sale', tags: ['flash-sale'], asDropdown: false, includeVars: true, keepTime: true,
      targetBlank: false, icon: 'external link', tooltip: '', url: '',
    }],
    templating: {
      list: [
        {
          name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1, hide: 0, multi: false,
          includeAll: false, regex: '', options: [],
        },
        variable('job', 'Job', 'label_values(flash_sale_http_in_flight, job)'),
        variable('instance', 'Instance', 'label_values(flash_sale_http_in_flight{job=~"$job"}, instance)'),
        variable('product', 'Product', `label_values(${m('flash_sale_stock', `product=~"${products}"`)}, product)`, products),
      ],
    },
    panels,
  };
}
