// The server dies and comes back; clients are forgotten. The page finds out which of the two, and goes on by itself.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  TRANSPORTS, arrived, createClient, init, launchBrowser, listen, openPage, publish, startPages, startServer, texts,
  until,
} from './support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

/** A server and pages of its own for a test that kills it. `world.server` may be replaced. */
async function withWorld(work) {
  const world = { server: await startServer() };
  const target = { get url() { return world.server.url; } };
  world.pages = await startPages(target);
  world.restart = async () => {
    const { port } = world.server;
    await world.server.kill();
    world.server = await startServer({ port });
  };
  try {
    await work(world);
  } finally {
    await world.pages.stop();
    await world.server.stop();
  }
}

/** Notes in the page's `gone` what the callbacks are told. */
function noteGone(page) {
  return page.evaluate(() => {
    window.gone = [];
    Shaveet.onGone = (ids) => gone.push(['onGone', ids]);
    Shaveet.onClientGone((ids) => gone.push(['onClientGone', ids]));
  });
}

for (const { name, flags } of TRANSPORTS) describe(name, () => {
  test('a killed server that comes back empty: the page is told, makes a new client, and messages flow', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await page.exposeFunction('askWebapp', () => createClient(world.server, 'bob', 'room'));
      await page.evaluate(() => {
        window.gone = [];
        Shaveet.onClientGone((ids) => {
          gone.push(ids);
          askWebapp().then((key) => Shaveet.init('bob', key)); // the same id: the new key takes the old one's place
        });
      });
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await publish(world.server, 'room', 'before');
      await arrived(page, 'before');
      await world.restart();
      await page.waitForFunction(() => gone.length > 0);
      await page.waitForFunction(() => got.filter((update) => update.payload).length >= 2); // the new subscription
      await publish(world.server, 'room', 'after');
      await arrived(page, 'after');
      assert.deepEqual(await page.evaluate(() => gone), [['bob']]);
      assert.deepEqual(await texts(page), ['before', 'after']);
      assert.deepEqual(page.errors, []);
      await page.close();
    }));

  test('a server that is down is no reason to call clients gone', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await noteGone(page);
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await arrived(page, '{"type": "subscribe"}');
      await world.server.kill();
      const polls = page.polls.length;
      await until('it has tried three times', () => page.polls.length >= polls + 3);
      assert.deepEqual(await page.evaluate(() => gone), []);
      await page.close();
    }));

  test('one of several clients is killed: the page is told which, and the others go on', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await noteGone(page);
      const keys = {};
      for (const id of ['a', 'b', 'c']) {
        keys[id] = await createClient(world.server, id, `room of ${id}`);
        await listen(page, `room of ${id}`);
      }
      await page.evaluate((keys) => { for (const id in keys) Shaveet.init(id, keys[id]); }, keys);
      await publish(world.server, 'room of b', 'before');
      await arrived(page, 'before');
      await world.server.call('kill_client', 'b');
      await publish(world.server, 'room of a', 'wakes the poll'); // parked for others too it would stay (WIRE P10)
      await page.waitForFunction(() => gone.length > 0);
      assert.deepEqual(await page.evaluate(() => gone), [['onClientGone', ['b']], ['onGone', ['b']]]);
      for (const text of ['1', '2', '3']) {
        await publish(world.server, 'room of a', `a${text}`);
        await publish(world.server, 'room of c', `c${text}`);
        await arrived(page, `a${text}`);
        await arrived(page, `c${text}`);
      }
      assert.deepEqual(await texts(page, 'room of a'), ['wakes the poll', 'a1', 'a2', 'a3']);
      assert.deepEqual(await texts(page, 'room of c'), ['c1', 'c2', 'c3']);
      await page.close();
    }));

  test('all of several are gone: the page is told all', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await noteGone(page);
      for (const id of ['a', '__proto__']) await init(page, id, await createClient(world.server, id, 'room'));
      await world.restart();
      await page.waitForFunction(() => gone.length > 0);
      assert.deepEqual(await page.evaluate(() => gone[0]), ['onClientGone', ['a', '__proto__']]);
      const polls = page.polls.length;
      await until('it polls on', () => page.polls.length > polls);
      assert.equal(await page.evaluate(() => gone.length), 2, 'it is told once');
      await page.close();
    }));

  test('a page that gives up on its client is quiet', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await page.evaluate(() => {
        window.gone = [];
        Shaveet.onGone = (ids) => { ids.forEach(Shaveet.remove); gone.push(ids); };
      });
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await world.restart();
      await page.waitForFunction(() => gone.length > 0);
      const polls = page.polls.length;
      // What would come is due within 3 s (two failures); another page's life of that length is the clock.
      const clock = await openPage(browser, world.pages, world.server.url, { flags });
      await init(clock, 'nobody', 'no key');
      await until('another page has polled in vain four times', () => clock.polls.length >= 4);
      assert.equal(page.polls.length, polls);
      await clock.close();
      await page.close();
    }));
});

test('a page of the same origin reads the 404 itself: no probe, no second try', () =>
  withWorld(async (world) => {
    const page = await openPage(browser, world.pages, '/chat/push');
    await noteGone(page);
    await listen(page, 'room');
    await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
    await arrived(page, '{"type": "subscribe"}');
    await until('it is parked', () => page.polls.length === 2);
    await world.server.call('kill_client', 'bob');
    await page.waitForFunction(() => gone.length > 0);
    assert.deepEqual(await page.evaluate(() => gone[0]), ['onClientGone', ['bob']]);
    assert.deepEqual(page.probes, []);
    assert.equal(page.polls.length, 3);
    await page.close();
  }));

test('a wrong key is a client gone', () =>
  withWorld(async (world) => {
    const page = await openPage(browser, world.pages, world.server.url);
    await noteGone(page);
    await createClient(world.server, 'bob', 'room');
    await init(page, 'bob', '0'.repeat(32));
    await page.waitForFunction(() => gone.length > 0);
    assert.equal(page.probes.length, 2, 'one for each refusal');
    await page.close();
  }));
