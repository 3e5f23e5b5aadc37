// What Grafana's Prometheus data source does: variables, intervals, queries, frames.
import {
  applyFieldOverrides, cacheFieldDisplayNames, createDataFrame, dateTime, FieldConfigOptionsRegistry, FieldType, identityOverrideProcessor, rangeUtil,
  standardTransformers, standardTransformersRegistry, transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

// Grafana registers both with their editors, which pictures do not need.
const option = (id, isCustom) =>
  ({ id: isCustom ? `custom.${id}` : id, path: id, isCustom, name: id, shouldApply: () => true, process: identityOverrideProcessor });
const standard = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'color', 'thresholds', 'mappings', 'fieldMinMax', 'links'];
const custom = ['drawStyle', 'lineInterpolation', 'lineWidth', 'lineStyle', 'fillOpacity', 'fillBelowTo', 'gradientMode', 'showPoints',
  'pointSize', 'spanNulls', 'insertNulls', 'stacking', 'barAlignment', 'axisPlacement', 'axisLabel', 'axisWidth', 'axisSoftMin',
  'axisSoftMax', 'axisColorMode', 'axisBorderShow', 'axisGridShow', 'axisCenteredZero', 'scaleDistribution', 'thresholdsStyle',
  'transform', 'hideFrom', 'cellOptions', 'align', 'width', 'minWidth', 'inspect', 'filterable', 'hidden'];
const fieldConfigRegistry = new FieldConfigOptionsRegistry(() =>
  [...standard.map((id) => option(id, false)), ...custom.map((id) => option(id, true))]);
// Some are exported under two names.
standardTransformersRegistry.setInit(() => [...new Set(Object.values(standardTransformers))].map((transformation) =>
  ({ id: transformation.id, name: transformation.name, transformation: async () => transformation })));

async function prometheus(path, params) {
  const body = await (await fetch(`/api/v1/${path}?${new URLSearchParams(params)}`)).json();
  if (body.status !== 'success') throw new Error(`${body.error} in ${params.query ?? path}`);
  return body.data.result ?? body.data;
}

/** The values of the dashboard's variables, as text for queries and for people. */
export function variables(dashboard) {
  const values = {};
  const shown = [];
  for (const { name, label, type, current, allValue } of dashboard.templating.list) {
    const chosen = [current?.value ?? []].flat();
    const all = chosen.includes('$__all');
    values[name] = all ? (allValue ?? '.*') : chosen.length > 1 ? `(${chosen.join('|')})` : (chosen[0] ?? '');
    shown.push([label, type === 'datasource' ? 'Prometheus' : all ? 'All' : chosen.join(' + ')]);
  }
  return { values, shown };
}

function interpolate(text, values, range, step, scrape) {
  const interval = Math.max(step + scrape, 4 * scrape);
  const all = { ...values, __interval: `${step}s`, __rate_interval: `${interval}s`, __range: `${Math.round(range.to - range.from)}s` };
  return text.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (found, a, b) => all[a ?? b] ?? found);
}

export function times(range) {
  const raw = { from: dateTime(range.from * 1000), to: dateTime(range.to * 1000) };
  return { ...raw, raw };
}

function stepOf(range, width, scrape) {
  return rangeUtil.calculateInterval(times(range), Math.max(100, Math.floor(width)), `${scrape}s`).intervalMs / 1000;
}

function span(expr, range, step, values, scrape) {
  return prometheus('query_range', {
    query: interpolate(expr, values, range, step, scrape),
    start: Math.floor(range.from / step) * step, end: Math.floor(range.to / step) * step, step,
  });
}

const number = (text) => (Number.isFinite(+text) ? +text : null);

/** Frames of one panel, and the queries that found nothing. */
export async function load(panel, width, context) {
  const { range, values, scrape, theme, timeZone } = context;
  const step = stepOf(range, width, scrape);
  let frames = [];
  const empty = [];
  for (const target of panel.targets ?? []) {
    const { expr, refId } = target;
    const results = target.instant
      ? await prometheus('query', { query: interpolate(expr, values, range, step, scrape), time: range.to })
      : await span(expr, range, step, values, scrape);
    const real = (value) => Number.isFinite(+value) || value === '+Inf';
    // A table's value may have been there earlier in the time shown.
    const history = target.instant ? await span(expr, range, step, values, scrape) : results;
    if (!history.some((result) => result.values.some(([, value]) => number(value) !== null))) empty.push(expr);
    if (target.format === 'table') frames.push(rows(results, refId, panel.targets.length));
    else for (const result of results) frames.push(series(result, target, step));
  }
  if (panel.transformations) frames = await firstValueFrom(transformDataFrame(panel.transformations, frames));
  const { fieldConfig } = panel;
  frames = applyFieldOverrides({ data: frames, fieldConfig, fieldConfigRegistry, replaceVariables: (v) => v, theme, timeZone });
  cacheFieldDisplayNames(frames); // the table's headings
  return { frames, empty };
}

function series({ metric, values }, { refId, expr, legendFormat }, step) {
  const { __name__: name = '', ...labels } = metric;
  const text = Object.entries(labels).map(([k, v]) => `${k}="${v}"`).join(', ');
  const legend = legendFormat
    ? legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '')
    : text || name ? `${name}{${text}}` : expr;
  return createDataFrame({ refId, fields: [
    { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: values.map(([t]) => t * 1000) },
    { name: 'Value', type: FieldType.number, labels, config: { displayNameFromDS: legend }, values: values.map(([, v]) => number(v)) },
  ] });
}

function rows(results, refId, targets) {
  const labels = [...new Set(results.flatMap(({ metric }) => Object.keys(metric)))].filter((label) => label !== '__name__');
  return createDataFrame({ refId, fields: [
    { name: 'Time', type: FieldType.time, config: {}, values: results.map(({ value }) => value[0] * 1000) },
    ...labels.map((label) => ({ name: label, type: FieldType.string, config: {}, values: results.map(({ metric }) => metric[label] ?? '') })),
    { name: targets > 1 ? `Value #${refId}` : 'Value', type: FieldType.number, config: {}, values: results.map(({ value }) => number(value[1])) },
  ] });
}

/** Moments to mark: [{ name, color, from, to }], from the dashboard's annotation queries. */
export async function marks(dashboard, context) {
  const { range, values, scrape, theme } = context;
  const found = [];
  for (const { name, enable, iconColor, target, useValueForTime } of dashboard.annotations.list) {
    if (!enable) continue;
    for (const { values: points } of await span(target.expr, range, scrape, values, scrape)) {
      const color = theme.visualization.getColorByName(iconColor);
      if (useValueForTime) {
        const moments = new Set(points.map(([, value]) => value / 1000).filter((time) => time >= range.from && time <= range.to));
        for (const time of moments) found.push({ name, color, points, from: time, to: time });
        continue;
      }
      for (const [time] of points) {
        const last = found.at(-1);
        if (last?.points === points && time - last.to <= scrape) last.to = time;
        else found.push({ name, color, points, from: time, to: time });
      }
    }
  }
  return found;
}
