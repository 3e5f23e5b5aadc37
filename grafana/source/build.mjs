// Writes grafana/dashboards/*.json, or compares them with --check: node grafana/source/build.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import cluster from './cluster.mjs';
import contention from './contention.mjs';
import drop from './drop.mjs';
import lab from './lab.mjs';
import life from './life.mjs';
import service from './service.mjs';

for (const [name, dashboard] of Object.entries({ cluster, contention, drop, lab, life, service })) {
  const file = fileURLToPath(new URL(`../dashboards/${name}.json`, import.meta.url));
  const text = JSON.stringify(dashboard, null, 2) + '\n';
  if (!process.argv.includes('--check')) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    console.error(`${file} is not what grafana/source makes: run node grafana/source/build.mjs`);
    process.exitCode = 1;
  }
}
