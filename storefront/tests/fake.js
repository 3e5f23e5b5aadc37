// A service whose answers a test writes down: each request takes the next one of its route.
import { createServer } from 'node:http';

/** Closes the connection after the request was read: its answer is lost. */
export const LOST = { lost: true };
/** Never answers. */
export const SILENT = { silent: true };

export function problem(status, code, extras = {}, headers = {}) {
  const type = { 'Content-Type': 'application/problem+json', 'X-Request-Id': 'r-1', ...headers };
  return { status, headers: type, body: JSON.stringify({ status, code, detail: `It is ${code}.`, ...extras }) };
}

export function json(status, body, headers = {}) {
  return { status, headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) };
}

/** A stream: its chunks, and what then becomes of it: `end`, `cut`, or it stays open. */
export function stream(chunks, then = 'open') {
  return { stream: chunks, then };
}

/** @param {Record<string, object[]>} routes answers by "METHOD /path"; the last one is repeated */
export async function fake(routes) {
  const requests = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', chunk => { body += chunk; });
    request.on('end', () => {
      const route = `${request.method} ${request.url.split('?')[0]}`;
      requests.push({ route, url: request.url, headers: request.headers, body: body && JSON.parse(body), at: Date.now() });
      const answers = routes[route] ?? [problem(404, 'not_found')];
      answer(response, answers.length > 1 ? answers.shift() : answers[0]);
    });
  });
  await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve); });
  const close = () => { server.closeAllConnections(); server.close(); };
  return { base: `http://127.0.0.1:${server.address().port}`, requests, close };
}

function answer(response, planned) {
  if (planned.silent) return;
  if (planned.lost) return void response.destroy();
  if (planned.stream) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    for (const chunk of planned.stream) response.write(chunk);
    if (planned.then === 'end') response.end();
    // Once the chunks have left.
    if (planned.then === 'cut') setImmediate(() => setTimeout(() => response.destroy(), 20));
    return;
  }
  response.writeHead(planned.status, planned.headers);
  response.end(planned.body);
}
