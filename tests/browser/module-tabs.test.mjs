// The tabs of an origin that have the same client: one connection for all, handed on without loss when its tab closes.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { createClient, launchBrowser, pause, publish, until } from './support.mjs';
import { arrived, begin, connected, openModule, publishAll, told, withGate } from './module-support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

/** So many tabs of one browser, with the same client. */
async function withTabs(count, work, { options = {}, how = {}, args = [] } = {}) {
  await withGate(async (world) => {
    const context = await browser.newContext();
    const client = { clientId: 'bob', key: await createClient(world.server, 'bob', 'room'), ...options };
    const open = (more) => openModule(context, world, { ...client, ...more }, { hurry: true, ...how });
    const tabs = [];
    for (let n = 0; n < count; n++) {
      tabs.push(await open());
      await connected(tabs.at(-1));
    }
    await work({ world, context, client, open, tabs });
    await context.close();
  }, ['--presence', 'off', '--history', '20000', ...args]);
}

const role = (page) => page.evaluate(() => s.status.role);

/** Publishes so many numbered messages, some at a time; what `between` does happens meanwhile. */
async function publishMany(world, count, between = async () => {}) {
  const texts = Array.from({ length: count }, (_, at) => `${at}`);
  const publishing = (async () => {
    for (let at = 0; at < count; at += 20) {
      await publishAll(world.server, 'room', texts.slice(at, at + 20));
      await pause(10);
    }
  })();
  await between();
  await publishing;
  return texts;
}

test('12 tabs are one connection; while messages come the leader is closed, and the next, and nobody misses or repeats one', () =>
  withTabs(12, async ({ world, tabs }) => {
    assert.deepEqual(await Promise.all(tabs.map(role)), ['leader', ...Array(11).fill('follower')]);
    assert.equal(world.gate.open, 1);
    assert.deepEqual(world.gate.counts, { websocket: 1, sse: 0, longpoll: 0, jsonp: 0 });
    const sent = await publishMany(world, 2000, async () => {
      for (let n = 0; n < 2; n++) {
        await arrived(tabs[0], `${500 * (n + 1)}`);
        await tabs.shift().close();
        await until('there is another leader', async () => (await Promise.all(tabs.map(role))).includes('leader'));
      }
    });
    for (const tab of tabs) {
      await arrived(tab, sent.at(-1));
      assert.deepEqual(await told(tab, 'got'), sent);
      assert.deepEqual([await told(tab, 'gaps'), tab.errors], [[], []]);
    }
    assert.equal(world.gate.open, 1);
  }));

test('tabs that come and reload while messages come miss and repeat nothing, though connections are cut', () =>
  withTabs(3, async ({ world, open, client, tabs }) => {
    const later = [];
    const sent = await publishMany(world, 2000, async () => {
      await arrived(tabs[0], '300');
      later.push(await open({ keepPosition: false }));
      world.gate.cut();
      // One that has a position, which the leader has long passed; and then the leader itself.
      for (const at of [1, 0]) {
        await tabs[at].evaluate(() => sessionStorage.setItem('got', JSON.stringify(got)));
        await tabs[at].reload();
        await begin(tabs[at], world.gate.url, client, true);
        await connected(tabs[at]);
        later.push(await open({ keepPosition: false }));
        world.gate.cut();
      }
    });
    for (const tab of [...tabs, ...later]) await arrived(tab, sent.at(-1));
    assert.deepEqual(await told(tabs[2], 'got'), sent);
    for (const tab of later) {
      const got = await told(tab, 'got');
      assert.deepEqual(got, sent.slice(-got.length));
    }
    for (const tab of tabs.slice(0, 2)) {
      const got = await told(tab, 'got'), before = JSON.parse(await tab.evaluate(() => sessionStorage.getItem('got')));
      // What came between the two lines of the test that keep and that leave was taken by the page that went.
      assert.deepEqual(got, sent.slice(-got.length));
      assert.ok(got.length + before.length <= sent.length);
    }
  }, { options: { keepPosition: true } }));

test('a tab that has a position the leader has passed catches up by itself, and nothing comes twice', () =>
  withTabs(1, async ({ world, context, client, tabs: [leader] }) => {
    await publish(world.server, 'room', 'first');
    await arrived(leader, 'first');
    const page = await openModule(context, world, { ...client, keepPosition: true, shared: false }, { hurry: true });
    await publish(world.server, 'room', 'before');
    await arrived(page, 'before');
    await page.evaluate(() => s.close());
    // More than the leader keeps for others.
    for (let n = 0; n < 150; n++) await publish(world.server, 'room', `${n}`);
    await arrived(leader, '149');
    // The leader's line is held up: the other one will know more than it.
    world.gate.fates.websocket = 'buffer';
    await publish(world.server, 'room', 'ahead');
    await begin(page, world.gate.url, { ...client, keepPosition: true }, true);
    await arrived(page, 'ahead');
    assert.equal(await role(page), 'follower');
    await publish(world.server, 'room', 'end');
    world.gate.fates.websocket = 'pass';
    world.gate.cut('websocket'); // and what the leader gets now begins before where the other one is, and ends behind it
    await arrived(page, 'end');
    const sent = [...Array.from({ length: 150 }, (_, n) => `${n}`), 'ahead', 'end'];
    assert.deepEqual(await told(page, 'got'), sent);
    assert.deepEqual((await told(leader, 'got')).slice(2), sent);
  }));

test('a leader that stands still, lock in hand, is replaced by a tab that is looked at, and follows when it goes on', () =>
  withTabs(2, async ({ world, tabs: [leader, other] }) => {
    // It waits, as pages did once, for an answer that this server owes it.
    let goOn;
    const server = http.createServer((request, response) => { goOn = () => response.end(); }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const still = leader.evaluate((port) => {
      const request = new XMLHttpRequest();
      request.open('GET', `http://127.0.0.1:${port}/`, false);
      try { request.send(); } catch {} // it may not read it
    }, server.address().port);
    await until('it stands still', () => goOn);
    await publish(world.server, 'room', '1');
    await other.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await arrived(other, '1');
    assert.equal(await role(other), 'leader');
    goOn();
    await still;
    await leader.waitForFunction(() => s.status.role === 'follower');
    await publish(world.server, 'room', '2');
    for (const tab of [leader, other]) {
      await arrived(tab, '2');
      assert.deepEqual(await told(tab, 'got'), ['1', '2']);
    }
    await until('the old connection is closed', () => world.gate.open === 1);
    server.close();
  }));

test('a leader whose timers stand still is told by a tab that is looked at when it has waited long enough', () =>
  withTabs(2, async ({ world, tabs: [leader, other] }) => {
    await leader.evaluate(() => { window.setTimeout = () => 0; });
    world.gate.cut();
    await connected(other);
    await until('it is the same leader', async () => await role(leader) === 'leader' && world.gate.counts.websocket === 2);
    await publish(world.server, 'room', '1');
    for (const tab of [leader, other]) await arrived(tab, '1');
  }));

test('one tab asks the web application for another client, for all of them', () => {
  let renewals = 0, server;
  const renew = async () => {
    renewals++;
    return { clientId: 'carol', key: await createClient(server, 'carol', 'room') };
  };
  return withTabs(3, async ({ world, tabs }) => {
    ({ server } = world);
    await server.call('kill_client', 'bob');
    await until('it has been asked', () => renewals === 1);
    for (const tab of tabs) {
      await tab.waitForFunction(() => expired.length === 1);
      await connected(tab);
    }
    await publish(server, 'room', '1');
    for (const tab of tabs) {
      await arrived(tab, '1');
      assert.deepEqual(await told(tab, 'got'), ['1']);
    }
    assert.equal(renewals, 1);
    assert.equal(world.gate.open, 1);
  }, { how: { renew } });
});

test('the status of the leader is that of all', () =>
  withTabs(2, async ({ world, tabs: [leader, other] }) => {
    world.gate.fates.websocket = 'refuse';
    world.gate.cut();
    await connected(other, 'sse');
    assert.deepEqual([await role(leader), await role(other)], ['leader', 'follower']);
  }));

test('a frame in a sandbox, which may have neither locks nor storage, has a connection of its own', () =>
  withTabs(1, async ({ world, context, client, tabs: [tab] }) => {
    const frame = world.pages.add(`<!doctype html><title>test</title><script type="module">
      import { Shaveet } from '${world.gate.url}/static/shaveet.mjs';
      const s = new Shaveet(${JSON.stringify({ ...client, keepPosition: true })});
      s.on('status', ({ state, role }) => { document.body.append(state, ' ', role, ' '); });
      s.on('room', ({ data }) => { document.body.append(data); });
    </script><body>`);
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(world.pages.add(`<!doctype html><title>test</title><iframe sandbox="allow-scripts" src="${frame}"></iframe>`));
    await page.frameLocator('iframe').getByText('connected alone').waitFor();
    await publish(world.server, 'room', 'hello');
    await page.frameLocator('iframe').getByText('hello').waitFor();
    await arrived(tab, 'hello');
    assert.deepEqual(errors, []);
  }));

test('tabs that do not share, and those of browsers that cannot, have connections of their own', () =>
  withTabs(2, async ({ world, client, tabs }) => {
    assert.deepEqual(await Promise.all(tabs.map(role)), ['alone', 'alone']);
    assert.equal(world.gate.open, 2);
    const others = [];
    for (const [of, lack] of [['Navigator.prototype', 'locks'], ['window', 'BroadcastChannel']]) {
      const context = await browser.newContext();
      await context.addInitScript(`Object.defineProperty(${of}, '${lack}', { value: undefined })`);
      others.push(context);
      for (let n = 0; n < 2; n++) tabs.push(await openModule(context, world, { ...client, shared: true }));
    }
    await Promise.all(tabs.map((tab) => connected(tab)));
    assert.deepEqual(await Promise.all(tabs.map(role)), Array(6).fill('alone'));
    assert.equal(world.gate.open, 6);
    await publish(world.server, 'room', '1');
    for (const tab of tabs) {
      await arrived(tab, '1');
      assert.deepEqual(tab.errors, []);
    }
    for (const context of others) await context.close();
  }, { options: { shared: false } }));
