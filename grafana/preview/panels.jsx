// The panel types that the dashboards use, on components of @grafana/ui.
import { useMemo } from 'react';
import {
  AxisPlacement, ScaleDirection, ScaleOrientation,
} from '@grafana/schema';
import { colorManipulator, getDisplayValueAlignmentFactors, getFieldDisplayValues, getValueFormat } from '@grafana/data';
import { BigValue, BigValueTextMode, TimeSeries, UPlotChart, UPlotConfigBuilder, VizRepeater } from '@grafana/ui';
// What Grafana's own table panel uses; the table that @grafana/ui exports to others does not draw with React 19.
import { TableNG } from '@grafana/ui/unstable';

function Stat({ panel, frames, width, height, context }) {
  const { theme, timeZone, timeRange } = context;
  const { options, fieldConfig } = panel;
  const getValues = () => getFieldDisplayValues({ fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: (v) => v,
    theme, timeZone, data: frames, sparkline: options.graphMode !== 'none' });
  const textMode = options.textMode === 'auto' && (fieldConfig.defaults.displayName || !panel.title)
    ? BigValueTextMode.ValueAndName : options.textMode;
  return (
    <VizRepeater getValues={getValues} getAlignmentFactors={getDisplayValueAlignmentFactors} source={frames} width={width} height={height}
      itemSpacing={3} autoGrid orientation={options.orientation} renderValue={({ value, ...rest }) => (
        <BigValue value={value.display} {...rest} theme={theme}
          sparkline={value.sparkline && { ...value.sparkline, timeRange }} colorMode={options.colorMode} graphMode={options.graphMode}
          justifyMode={options.justifyMode} textMode={textMode} text={options.text} disableWideLayout={options.wideLayout === false} />
      )} />
  );
}

/** Grafana draws annotations with a plug-in of its server; these are as there: a dashed line, or an area. */
function mark(u, { marks }) {
  const { ctx, bbox: { left, top, width, height } } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.lineWidth = devicePixelRatio;
  for (const { color, from, to } of marks) {
    const a = u.valToPos(from * 1000, 'x', true);
    const b = u.valToPos(to * 1000, 'x', true);
    ctx.fillStyle = colorManipulator.alpha(color, 0.1);
    ctx.fillRect(a, top, b - a, height);
    ctx.strokeStyle = color;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const x of to > from ? [a, b] : [a]) {
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
    }
  }
  ctx.restore();
}

function Lines({ panel, frames, width, height, context }) {
  const { timeRange, timeZone } = context;
  return (
    <TimeSeries {...{ frames, width, height, timeRange, timeZone }} legend={panel.options.legend} options={panel.options}>
      {(builder) => {
        if (!builder.marked) builder.addHook('draw', (u) => mark(u, context));
        builder.marked = true;
        return null;
      }}
    </TimeSeries>
  );
}

/** @grafana/ui exports no heatmap: axes and plot are its own, the cells are drawn here. */
function Heatmap({ panel, frames, width, height, context }) {
  const { theme, timeRange, timeZone } = context;
  const { color, yAxis, cellGap } = panel.options;
  const { builder, data } = useMemo(() => {
    const bounds = frames.map((frame) => frame.fields[1].labels.le);
    const order = [...bounds.keys()].sort((a, b) => bound(bounds[a]) - bound(bounds[b]));
    const stamps = [...new Set(frames.flatMap((frame) => frame.fields[0].values))].sort((a, b) => a - b);
    const cumulative = order.map((i) => {
      const at = new Map(frames[i].fields[0].values.map((time, j) => [time, frames[i].fields[1].values[j] ?? 0]));
      return stamps.map((time) => at.get(time) ?? 0);
    });
    const cells = cumulative.map((row, i) => row.map((value, j) => Math.max(0, value - (cumulative[i - 1]?.[j] ?? 0))));
    const most = Math.max(...cells.flat(), 1e-9);
    const format = getValueFormat(yAxis.unit);
    const text = (le) => {
      if (le === '+Inf') return 'Inf';
      const { prefix = '', text, suffix = '' } = format(+le);
      return `${prefix}${text}${suffix}`.trim();
    };
    const builder = new UPlotConfigBuilder(timeZone);
    builder.addScale({ scaleKey: 'x', isTime: true, orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right,
      range: () => [timeRange.from.valueOf(), timeRange.to.valueOf()] });
    builder.addScale({ scaleKey: 'y', isTime: false, orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up,
      range: () => [0, order.length] });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone });
    // A bound is the upper edge of its row; every second one is named.
    const edges = order.map((_, i) => i + 1).filter((edge) => edge % 2 === 0 || order.length < 8);
    builder.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, theme, splits: edges,
      values: edges.map((edge) => text(bounds[order[edge - 1]])), grid: { show: false } });
    builder.addSeries({ scaleKey: 'y', pathBuilder: () => null, lineColor: 'transparent', theme });
    const step = frames[0].fields[0].config.interval;
    builder.addHook('drawClear', (u) => {
      const fill = theme.visualization.getColorByName(color.fill);
      for (const [i, row] of cells.entries()) {
        const top = u.valToPos(i + 1, 'y', true);
        const bottom = u.valToPos(i, 'y', true);
        for (const [j, count] of row.entries()) {
          if (count <= 1e-9) continue;
          const left = u.valToPos(stamps[j] - step, 'x', true);
          const right = u.valToPos(stamps[j], 'x', true);
          u.ctx.fillStyle = colorManipulator.alpha(fill, Math.max(0.05, (count / most) ** color.exponent));
          u.ctx.fillRect(left, top, Math.max(1, right - left - cellGap), bottom - top - cellGap);
        }
      }
    });
    return { builder, data: [stamps, stamps.map(() => null)] };
  }, [frames, width, height]);
  return <UPlotChart config={builder} data={data} width={width} height={height} />;
}
const bound = (le) => (le === '+Inf' ? Infinity : +le);

function Rows({ panel, frames, width, height, context }) {
  const { options, fieldConfig } = panel;
  return <TableNG {...{ width, height, fieldConfig }} data={frames[0]} sortBy={options.sortBy} cellHeight={options.cellHeight}
    timeRange={context.timeRange} enableVirtualization={false} getActions={() => []} transparent={false} />;
}

const types = { stat: Stat, timeseries: Lines, heatmap: Heatmap, table: Rows };

export function Visual(props) {
  const { panel, frames, height } = props;
  const Type = types[panel.type];
  if (!Type) throw new Error(`no way to draw a panel of type ${panel.type}`);
  if (!frames.length && panel.type !== 'stat') {
    return <div style={{ height, display: 'grid', placeItems: 'center' }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
  }
  return <Type {...props} />;
}
