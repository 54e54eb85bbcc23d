// What the tests of shaveet.mjs need beside support.mjs: a page with the module, and a proxy that does to each transport
// what proxies do.

import http from 'node:http';
import net from 'node:net';
import { createClient, withWorld } from './support.mjs';

export const TRANSPORTS = ['websocket', 'sse', 'longpoll', 'jsonp'];

/** A world with such a proxy as `world.gate`. */
export function withGate(work, args = ['--presence', 'off']) {
  return withWorld(async (world) => {
    world.gate = await startGate(world);
    try {
      await work(world);
    } finally {
      await world.gate.stop();
    }
  }, args);
}

/**
 * A proxy before `world.server`. `fates` says what becomes of a transport's connections from now on:
 * - `refuse`: an error page instead of an answer;
 * - `buffer`: what begins is said to begin, and then nothing comes;
 * - `cut`: the connection ends with the first thing that it brings;
 * - `end`: the same in good order, as if that were all;
 * - `pass`, as long as nothing is said.
 */
async function startGate(world) {
  const fates = {}, counts = { websocket: 0, sse: 0, longpoll: 0, jsonp: 0 }, open = new Set();

  /** Counts a connection until it is closed; cut() closes it, silence() lets nothing more through. */
  function admit(kind, socket) {
    if (kind) counts[kind]++;
    const entry = { kind, isSilent: false, end: () => socket.destroy() };
    if (kind) open.add(entry);
    socket.on('error', entry.end).on('close', () => open.delete(entry));
    return entry;
  }

  const server = http.createServer((request, response) => {
    const kind = kindOf(request.url);
    if (fates[kind] === 'refuse') return response.writeHead(502, { 'Content-Type': 'text/html' }).end('<h1>Bad Gateway</h1>');
    const entry = admit(kind, response);
    const { port } = world.server;
    const onward = http.request({ port, path: request.url, headers: request.headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      let isCut = false; // what comes behind a cut is not to close the hole
      answer.on('error', () => response.destroy()).on('data', (piece) => {
        if (isCut || entry.isSilent) return;
        if (fates[kind] === 'buffer') {
          entry.isSilent = true; // it holds back the end too
          return response.flushHeaders();
        }
        if (fates[kind] === 'cut') {
          isCut = true;
          return response.write(piece.subarray(0, piece.length / 2), () => response.destroy());
        }
        response.write(piece);
        if (fates[kind] === 'end') response.end();
      }).on('end', () => isCut || entry.isSilent || response.end());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    onward.end();
  });

  server.on('upgrade', (request, inner) => {
    if (fates.websocket === 'refuse') return inner.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
    const entry = admit('websocket', inner), outer = net.connect(world.server.port, '127.0.0.1');
    const lines = request.rawHeaders.flatMap((name, at, all) => (at % 2 ? [] : [`${name}: ${all[at + 1]}`]));
    outer.write([`GET ${request.url} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
    let isBegun = false;
    outer.setNoDelay(true).on('error', () => inner.destroy()).on('close', () => inner.destroy()).on('data', (piece) => {
      if (entry.isSilent) return;
      const end = isBegun ? 0 : piece.indexOf('\r\n\r\n') + 4;
      isBegun = true;
      if (fates.websocket !== 'buffer') inner.write(piece, () => fates.websocket === 'cut' && inner.destroy());
      else if (end) inner.write(piece.subarray(0, end));
    });
    inner.setNoDelay(true).on('data', (piece) => outer.write(piece)).on('close', () => outer.destroy());
  });

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (...kinds) => {
    for (const { kind, end } of open) if (!kinds.length || kinds.includes(kind)) end();
  };
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    fates,
    /** How many connections each transport has made. */
    counts,
    /** How many connections are open. */
    get open() { return open.size; },
    /** Ends all connections, or those of some transports. */
    cut,
    /** Nothing more comes by the connections that are open; nobody is told. */
    silence() { for (const entry of open) entry.isSilent = true; },
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      cut();
      server.closeAllConnections();
    }),
  };
}

function kindOf(url) {
  if (url.startsWith('/events')) return 'sse';
  if (url.startsWith('/message_updates')) return url.includes('callback=') ? 'jsonp' : 'longpoll';
  return null;
}

/** A client that is subscribed to these channels, or to `room`, as options of the module, with more of them. */
export async function client(world, id, more = {}, ...channels) {
  return { clientId: id, key: await createClient(world.server, id, ...channels.length ? channels : ['room']), ...more };
}

/** Opens a page with the module, which keeps in `got` what it gets of all channels, in `gaps`, `statuses` and `expired` what
 * it is told. Pages of one `context` are of one browser. `hurry`: waits are for people; a test would spend minutes in them.
 * `renew` is called here. */
export async function openModule(context, world, options, { hurry = false, renew = null } = {}) {
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  await page.goto(world.pages.add('<!doctype html><title>test</title>'));
  if (renew) await page.exposeFunction('renew', renew);
  await begin(page, world.gate.url, options, hurry);
  return page;
}

export function begin(page, base, options, hurry = false) {
  return page.evaluate(async ([base, options, hurry]) => {
    const { setTimeout } = window;
    if (hurry) window.setTimeout = (work, ms) => setTimeout(work, ms > 200 && ms < 30_000 ? ms / 50 : ms);
    const { Shaveet } = await import(`${base}/static/shaveet.mjs`);
    Object.assign(window, { got: [], gaps: [], statuses: [], expired: [] });
    window.s = new Shaveet({ ...options, renew: window.renew });
    s.on('*', (message) => got.push(message.data));
    s.on('gap', (gap) => gaps.push(gap));
    s.on('status', (status) => statuses.push(status));
    s.on('expired', (client) => expired.push(client));
  }, [base, options, hurry]);
}

export const told = (page, what) => page.evaluate((what) => window[what], what);

export const connected = (page, transport) => page.waitForFunction(
  (transport) => s.status.state === 'connected' && (!transport || s.status.transport === transport), transport);

export const arrived = (page, text) => page.waitForFunction((text) => got.includes(text), text);

/** Publishes many in one call. */
export async function publishAll(server, channel, texts) {
  const calls = texts.map((data, id) => ({ jsonrpc: '2.0', id, method: 'publish', params: { channel, data } }));
  const response = await fetch(server.url, { method: 'POST', body: JSON.stringify(calls) });
  const failed = (await response.json()).find(({ error }) => error);
  if (failed) throw new Error(JSON.stringify(failed));
}
