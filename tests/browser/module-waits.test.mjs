// When shaveet.mjs tries again: how long it waits, what the server has to say about that, and what ends a wait or a connection
// that cannot be alive any more: a network, somebody who looks, a computer that wakes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, publish, until } from './support.mjs';
import { TRANSPORTS, arrived, begin, client, connected, openModule, told, withGate } from './module-support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

/** A client has so many connections at most. */
const POLLS_MAX = 2;
const CROWDED = ['--presence', 'off', '--max-polls', `${POLLS_MAX}`];

/** From now on the page draws the longest wait that it may, or none. */
const drawLongest = (page) => page.evaluate(() => { Math.random = () => 0.999; });
const drawNone = (page) => page.evaluate(() => { Math.random = () => 0; });

const look = (page) => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));

/** A page of a browser of its own whose clock the test turns, and what turns it until the page is connected. */
async function openWithClock(world, options) {
  const context = await browser.newContext(), page = await context.newPage();
  await page.clock.install();
  await page.goto(world.pages.add('<!doctype html><title>test</title>'));
  await begin(page, world.gate.url, options);
  const turnUntilConnected = (transport) => until(`it is connected by ${transport}`, async () => {
    await page.clock.runFor(1000);
    const { state, transport: used } = await page.evaluate(() => s.status);
    return state === 'connected' && used === transport;
  });
  return { page, turnUntilConnected };
}

test('waits double with each failure, up to half a minute', () =>
  withGate(async (world) => {
    world.gate.fates.websocket = 'refuse';
    const page = await openModule(browser, world, await client(world, 'bob', { transports: ['websocket'] }), { hurry: true });
    await drawLongest(page);
    await page.waitForFunction(() => statuses.filter(({ state }) => state === 'waiting').length > 6);
    const waits = (await told(page, 'statuses')).filter(({ state }) => state === 'waiting').map(({ waitMs }) => waitMs);
    assert.deepEqual(waits.slice(1, 7), [1998, 3996, 7992, 15_984, 29_970, 29_970]);
    await page.close();
  }));

describe('a server that stops', { concurrency: 4 }, () => {
  for (const transport of TRANSPORTS) {
    test(`${transport}: is left alone for as long as it says`, () =>
      withGate(async (world) => {
        const page = await openModule(browser, world, await client(world, 'bob', { transports: [transport] }));
        await connected(page, transport);
        await page.evaluate(() => {
          window.waited = [];
          let began;
          s.on('status', ({ state, waitMs }) => {
            if (began) waited.push({ ...began, ms: performance.now() - began.at });
            began = state === 'waiting' ? { waitMs, at: performance.now() } : null;
          });
        });
        await drawNone(page); // it would be back at once
        // It tells each page when to come back: in 500 to 5000 ms.
        await world.restart('stop');
        await page.waitForFunction(() => waited.length > 0);
        const [{ waitMs, ms }] = await told(page, 'waited');
        assert.ok(waitMs >= 500 && waitMs <= 5000, `${waitMs}`);
        assert.ok(ms > waitMs - 2, `${ms} of ${waitMs}`); // a browser's clocks are a little apart
        await page.close();
      }));
  }
});

test('a page whose place another one took comes back late, by the same transport', () =>
  withGate(async (world) => {
    const options = await client(world, 'bob', { shared: false });
    const [page, ...others] = [await openModule(browser, world, options)];
    await connected(page, 'websocket');
    await drawLongest(page);
    for (let n = 0; n < POLLS_MAX; n++) {
      others.push(await openModule(browser, world, options));
      await connected(others.at(-1), 'websocket');
    }
    await page.waitForFunction(() => s.status.state === 'waiting');
    assert.equal(await page.evaluate(() => s.status.waitMs), 29_970);
    for (const other of others) await other.close();
    await publish(world.server, 'room', '1');
    await look(page);
    await arrived(page, '1');
    assert.deepEqual(world.gate.counts, { websocket: POLLS_MAX + 2, sse: 0, longpoll: 0, jsonp: 0 });
    await page.close();
  }, CROWDED));

test('a page that is to try later does, by the same transport', () =>
  withGate(async (world) => {
    const options = await client(world, 'bob'), poll = new AbortController();
    // Pages of the original's protocol are not sent away for one that comes later.
    const url = `${world.server.url}/message_updates?callback=x&client_id=bob_!!_${options.key}`;
    const parked = Promise.allSettled(Array.from({ length: POLLS_MAX }, () => fetch(url, { signal: poll.signal })));
    await until('they are parked', async () => (await world.server.call('client_info', 'bob')).parked === POLLS_MAX);
    const page = await openModule(browser, world, options, { hurry: true });
    await until('it has tried again', () => world.gate.counts.websocket > 2);
    poll.abort();
    await parked;
    await connected(page, 'websocket');
    const { sse, longpoll, jsonp } = world.gate.counts;
    assert.deepEqual({ sse, longpoll, jsonp }, { sse: 0, longpoll: 0, jsonp: 0 });
    await page.close();
  }, CROWDED));

test('while the browser is offline nothing is tried, and it is connected again as soon as it is not', () =>
  withGate(async (world) => {
    const context = await browser.newContext();
    const page = await openModule(context, world, await client(world, 'bob'));
    await connected(page);
    await context.setOffline(true);
    world.gate.cut();
    await page.waitForFunction(() => s.status.state === 'offline');
    await publish(world.server, 'room', '1');
    const tried = world.gate.counts.websocket;
    await context.setOffline(false);
    await arrived(page, '1');
    assert.equal(world.gate.counts.websocket, tried + 1);
    await context.close();
  }));

test('a page that is seen again does not wait for its next try', () =>
  withGate(async (world) => {
    const page = await openModule(browser, world, await client(world, 'bob', { transports: ['websocket'] }));
    await connected(page);
    world.gate.fates.websocket = 'refuse';
    await drawLongest(page);
    world.gate.cut();
    await page.waitForFunction(() => s.status.waitMs > 3000);
    world.gate.fates.websocket = 'pass';
    await look(page);
    await connected(page);
    assert.ok(!(await told(page, 'statuses')).some(({ waitMs }) => waitMs > 5000));
    await page.close();
  }));

for (const transport of TRANSPORTS) {
  test(`${transport}: a computer that slept is connected again within a second of waking`, () =>
    withGate(async (world) => {
      const { page, turnUntilConnected } = await openWithClock(world, await client(world, 'bob', { transports: [transport] }));
      await turnUntilConnected(transport);
      await page.clock.pauseAt(await page.evaluate(() => Date.now() + 1000));
      // Its connection has died without a word.
      world.gate.silence();
      await publish(world.server, 'room', '1');
      await page.clock.fastForward(30_000); // not so long that the silence alone would tell
      await page.clock.runFor(1000);
      await arrived(page, '1');
      await page.context().close();
    }));
}

test('a long poll of which a proxy lets nothing through is given up after a minute, and JSONP takes its place', () =>
  withGate(async (world) => {
    world.gate.fates.longpoll = 'buffer';
    const options = await client(world, 'bob', { transports: ['longpoll', 'jsonp'] });
    const { page, turnUntilConnected } = await openWithClock(world, options);
    await publish(world.server, 'room', '1');
    await turnUntilConnected('jsonp');
    await arrived(page, '1');
    assert.equal(world.gate.counts.longpoll, 1);
    await page.context().close();
  }));
