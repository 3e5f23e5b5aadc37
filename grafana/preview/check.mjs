// Compares dashboards with the types of Grafana's schema: node check.mjs DASHBOARD.json…
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const typed = {
  timeseries: ['timeseries', 'GraphFieldConfig'], stat: ['stat'], heatmap: ['heatmap'], table: ['table', 'TableFieldOptions'],
};
// TypeScript's enums do not take their own values as text; JSON has only text.
const plain = `type Plain<T> = T extends string ? \`\${T}\` : T extends number ? number : T extends (infer E)[] ? Plain<E>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;`;
// The schema leaves open what a Prometheus query and its annotation have.
const queries = `type Query = {
  refId: string; datasource: { type: 'prometheus'; uid: string }; expr: string; legendFormat?: string; interval?: string;
  range?: boolean; instant?: boolean; format?: 'time_series' | 'table' | 'heatmap';
};
type Annotation = Plain<schema.AnnotationQuery<schema.DataQuery & Query>> & { titleFormat: string; textFormat: string; tagKeys: string; useValueForTime?: boolean };
type Checked = Omit<Plain<schema.Dashboard>, 'annotations'> & { annotations: { list: Annotation[] } };`;

const dir = mkdtempSync(join(here, 'check-'));
try {
  const files = process.argv.slice(2).map((file) => {
    const dashboard = JSON.parse(readFileSync(file));
    const lines = [
      "import type * as schema from '@grafana/schema';",
      ...Object.keys(typed).map((type) =>
        `import type { Options as ${type} } from '@grafana/schema/dist/esm/raw/composable/${type}/panelcfg/x/${typePath(type)}_types.gen';`),
      plain,
      queries,
      `export const dashboard = ${JSON.stringify(dashboard, null, 1)} satisfies Checked;`,
    ];
    for (const [i, { type, options, fieldConfig, title, targets }] of dashboard.panels.entries()) {
      if (type === 'row') continue;
      if (!typed[type]) throw new Error(`${file}: no schema for panels of type ${type}`);
      lines.push(`// ${title}`, `export const options${i} = ${JSON.stringify(options)} satisfies Partial<Plain<${type}>>;`);
      lines.push(`export const targets${i} = ${JSON.stringify(targets)} satisfies Query[];`);
      const custom = typed[type][1];
      if (custom) lines.push(`export const custom${i} = ${JSON.stringify(fieldConfig.defaults.custom)} satisfies Partial<Plain<schema.${custom}>>;`);
    }
    const name = join(dir, `${basename(file, '.json')}.ts`);
    writeFileSync(name, lines.join('\n'));
    return name;
  });
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022'];
  execFileSync(process.execPath, [join(here, 'node_modules/typescript/bin/tsc'), ...flags, ...files], { stdio: 'inherit' });
} catch (e) {
  if (e.status === undefined) throw e;
  process.exitCode = 1;
} finally {
  rmSync(dir, { recursive: true });
}

function typePath(type) {
  return { timeseries: 'TimeSeriesPanelCfg', stat: 'StatPanelCfg', heatmap: 'HeatmapPanelCfg', table: 'TablePanelCfg' }[type];
}
