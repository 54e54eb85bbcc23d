// The server dies and comes back; clients are forgotten. The page finds out which of the two, and goes on by itself.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  TRANSPORTS, arrived, createClient, init, launchBrowser, listen, openPage, publish, texts, until, withWorld,
} from './support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

for (const { name, flags } of TRANSPORTS) describe(name, { concurrency: 3 }, () => {
  test('a killed server that comes back empty: the page is told, makes a new client, and messages flow', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await page.exposeFunction('askWebapp', () => createClient(world.server, 'bob', 'room'));
      await page.evaluate(() => {
        // The same id: the new key takes the old one's place.
        Shaveet.onClientGone(() => { askWebapp().then((key) => Shaveet.init('bob', key)); });
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
      // Under the same name it goes on from where it was, which the new server knows nothing of: it says so.
      assert.deepEqual(await page.evaluate(() => gaps), [
        { channelName: 'room', next_id: 1, reason: 'restart', system: false },
      ]);
      assert.deepEqual(page.errors, []);
      await page.close();
    }));

  test('a server that is down is no reason to call clients gone', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
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
      await page.evaluate(() => { Shaveet.onGone = (ids) => gone.push(`onGone ${ids}`); });
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
      assert.deepEqual(await page.evaluate(() => gone), [['b'], 'onGone b']);
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
      for (const id of ['a', '__proto__']) await init(page, id, await createClient(world.server, id, 'room'));
      await until('one poll asks for both', () => page.polls.some((url) => url.split('client_id=').length === 3));
      await world.restart();
      await page.waitForFunction(() => gone.length > 0);
      assert.deepEqual(await page.evaluate(() => gone[0]), ['a', '__proto__']);
      const polls = page.polls.length;
      await until('it polls on', () => page.polls.length > polls);
      assert.equal(await page.evaluate(() => gone.length), 1, 'it is told once');
      await page.close();
    }));

  test('a page that gives up on its client is quiet', () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, world.server.url, { flags });
      await page.evaluate(() => {
        Shaveet.onGone = (ids) => { ids.forEach(Shaveet.remove); };
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

for (const { name, flags } of TRANSPORTS) for (const base of ['another origin', '/chat/push'])
  test(`${name}, ${base}: who is killed is gone at once, while its poll is parked`, () =>
    withWorld(async (world) => {
      const page = await openPage(browser, world.pages, base === '/chat/push' ? base : world.server.url, { flags });
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await arrived(page, '{"type": "subscribe"}');
      await until('it is parked', () => page.polls.length === 2);
      await world.server.call('kill_client', 'bob');
      await page.waitForFunction(() => gone.length > 0);
      assert.deepEqual(await page.evaluate(() => gone), [['bob']]);
      assert.deepEqual((await page.evaluate(() => statuses)).at(-1).state, 'gone');
      assert.equal(page.polls.length, 2, 'it has not asked again');
      await page.close();
    }));

test('a wrong key is a client gone', () =>
  withWorld(async (world) => {
    const page = await openPage(browser, world.pages, world.server.url);
    await createClient(world.server, 'bob', 'room');
    await init(page, 'bob', '0'.repeat(32));
    await page.waitForFunction(() => gone.length > 0);
    assert.equal(page.polls.length, 1);
    await page.close();
  }));

test('a proxy that says 404 by itself does not know who is gone', () =>
  withWorld(async (world) => {
    const page = await openPage(browser, world.pages, world.server.url);
    let polls = 0;
    await page.route('**/message_updates?*', (route) => {
      const headers = { 'Access-Control-Allow-Origin': '*' };
      if (polls++ < 2) return route.fulfill({ status: 404, headers, body: '<h1>404 Not Found</h1>' });
      return route.continue();
    });
    await listen(page, 'room');
    await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
    await arrived(page, '{"type": "subscribe"}');
    assert.deepEqual(await page.evaluate(() => gone), []);
    await page.close();
  }));
