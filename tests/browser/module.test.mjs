// shaveet.mjs: what its API promises, on each transport, with the server going and coming.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, publish, until } from './support.mjs';
import { TRANSPORTS, arrived, begin, client, connected, openModule, publishAll, told, withGate } from './module-support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

for (const transport of TRANSPORTS) describe(transport, { concurrency: 3 }, () => {
  test(`${transport}: messages of any letters arrive whole, once and in order`, () =>
    withGate(async (world) => {
      const page = await openModule(browser, world, await client(world, 'zoë & co', { transports: [transport] }));
      await connected(page, transport);
      const sent = ['plain', '{"a": 1}', 'é ☃ 😀', '\u2028\r\n\0\ufeff', 'data: x\n\nid: y', '</script>', '', 'x'.repeat(300_000), 'end'];
      for (const text of sent) await publish(world.server, 'room', text);
      await arrived(page, 'end');
      assert.deepEqual(await told(page, 'got'), sent);
      assert.equal(await page.evaluate(() => s.status.state), 'connected');
      assert.deepEqual(page.errors, []);
      await page.close();
    }));

  test(`${transport}: the server stops and starts again: a gap is told, the page gets another client and goes on`, () =>
    withGate(async (world) => {
      let renewals = 0;
      const renew = async () => {
        if (++renewals === 1) throw new Error('the application is not there yet');
        const { clientId, key } = await client(world, 'bob');
        return { clientId, key };
      };
      const page = await openModule(browser, world, await client(world, 'bob', { transports: [transport] }), { renew });
      await publish(world.server, 'room', 'before');
      await arrived(page, 'before');
      await world.restart('stop');
      await until('the client has been renewed', () => renewals === 2);
      await connected(page, transport);
      await publish(world.server, 'room', 'behind');
      await arrived(page, 'behind');
      assert.deepEqual(await told(page, 'got'), ['before', 'behind']);
      assert.deepEqual((await told(page, 'expired')).map(({ clientId }) => clientId), ['bob']);
      assert.deepEqual((await told(page, 'gaps')).map(({ channel, reason }) => [channel, reason]), [['room', 'restart']]);
      assert.deepEqual(page.errors, ['the application is not there yet']);
      await page.close();
    }));

  test(`${transport}: a gap is told before what follows it, and once`, () =>
    withGate(async (world) => {
      const page = await openModule(browser, world, await client(world, 'bob', { transports: [transport] }));
      await page.evaluate(() => s.on('gap', ({ next_id }) => got.push(`gap before ${next_id}`)));
      await publish(world.server, 'room', '1');
      await arrived(page, '1');
      world.gate.fates[transport] = 'refuse';
      world.gate.cut();
      for (let n = 2; n <= 20; n++) await publish(world.server, 'room', `${n}`);
      world.gate.fates[transport] = 'pass';
      await arrived(page, '20');
      assert.deepEqual(await told(page, 'got'), ['1', 'gap before 16', '16', '17', '18', '19', '20']);
      await page.close();
    }, ['--presence', 'off', '--history', '5']));
});

test('listeners are called until they are taken away; one that throws harms nobody; * gets what nobody else does', () =>
  withGate(async (world) => {
    const page = await openModule(browser, world, await client(world, 'bob', {}, 'room', 'other', 'status'));
    await page.evaluate(() => {
      window.heard = [];
      window.twice = (message) => heard.push(`twice ${message.data}`);
      s.on('room', () => { throw new Error('a mistake of the page'); })
        .on('room', twice)
        .on('room', ({ channel, id, from, data, system }) => heard.push([channel, id, from, data, system].join()));
      s.channel('status').on(({ data }) => heard.push(`channel status: ${data}`));
    });
    await connected(page);
    await publish(world.server, 'room', '1');
    await publish(world.server, 'status', '2');
    await publish(world.server, 'other', '3');
    await arrived(page, '3');
    await page.evaluate(() => s.off('room', twice));
    await publish(world.server, 'room', '4');
    await page.waitForFunction(() => heard.length === 4);
    assert.deepEqual(await told(page, 'heard'),
      ['twice 1', 'room,1,webapp,1,false', 'channel status: 2', 'room,2,webapp,4,false']);
    assert.deepEqual(await told(page, 'got'), ['3']);
    assert.deepEqual(page.errors, ['a mistake of the page', 'a mistake of the page']);
    await page.close();
  }));

test('loops over a channel get each message, end with break and with close(), and say when they are too slow', () =>
  withGate(async (world) => {
    const page = await openModule(browser, world, await client(world, 'bob'));
    await page.evaluate(() => {
      window.seen = [];
      window.ends = [];
      const loop = async (name, work) => {
        try {
          for await (const message of s.channel('room')) if (await work(message)) break;
          ends.push(name);
        } catch (error) {
          ends.push(error.message);
        }
      };
      loop('all', ({ data }) => { seen.push(data); });
      loop('break', ({ data }) => data === '2');
      const held = new Promise((resolve) => { window.release = resolve; });
      loop('slow', () => held.then(() => false));
    });
    await connected(page);
    for (const text of ['1', '2', '3']) await publish(world.server, 'room', text);
    await page.waitForFunction(() => seen.length === 3);
    await page.waitForFunction(() => ends.length === 1);
    for (let n = 0; n < 11; n++) await publishAll(world.server, 'room', Array(1000).fill('many'));
    await page.waitForFunction(() => seen.length === 11_003);
    await page.evaluate(() => s.close());
    await page.waitForFunction(() => ends.length === 2);
    assert.equal(await page.evaluate(() => s.status.state), 'closed');
    // It has what it was behind by, and then the error.
    await page.evaluate(() => release());
    await page.waitForFunction(() => ends.length === 3);
    assert.deepEqual(await told(page, 'ends'), ['break', 'all', 'Shaveet: a loop over room is more than 10000 messages behind']);
    await until('the connection is closed', () => world.gate.open === 0);
    await page.close();
  }, ['--presence', 'off', '--history', '20000']));

test('behind close() nothing is heard any more, be it in hand already', () =>
  withGate(async (world) => {
    for (const transport of TRANSPORTS) {
      const page = await openModule(browser, world, await client(world, transport, { transports: [transport] }, transport));
      await connected(page);
      await page.evaluate((channel) => {
        s.on(channel, (message) => { got.push(message.data); s.close(); });
        s.on(channel, (message) => got.push(`again ${message.data}`));
      }, transport);
      await publishAll(world.server, transport, ['1', '2', '3']);
      await arrived(page, '1');
      // A script that was asked for cannot be called back.
      if (transport !== 'jsonp') await until('the connection is closed', () => world.gate.open === 0);
      assert.deepEqual(await told(page, 'got'), ['1']);
      assert.equal((await told(page, 'statuses')).at(-1).state, 'closed');
      await page.close();
    }
  }));

test('a client that was killed is told; without renew the page tries again slowly', () =>
  withGate(async (world) => {
    const page = await openModule(browser, world, await client(world, 'bob'));
    await connected(page);
    await world.server.call('kill_client', 'bob');
    await page.waitForFunction(() => s.status.state === 'gone');
    await until('it has tried again', () => world.gate.counts.websocket >= 3);
    assert.deepEqual((await told(page, 'expired')).map(({ clientId }) => clientId), ['bob']);
    assert.equal(await page.evaluate(() => s.status.state), 'gone');
    await page.close();
  }));

test('a reload goes on where the page was, if it is to', () =>
  withGate(async (world) => {
    const options = await client(world, 'bob', { keepPosition: true });
    const page = await openModule(browser, world, options);
    await publish(world.server, 'room', '1');
    await arrived(page, '1');
    await page.reload();
    await publish(world.server, 'room', '2');
    // Another tab of the client acknowledges it meanwhile.
    const other = await openModule(browser, world, { ...options, keepPosition: false });
    await arrived(other, '2');
    await other.close();
    await begin(page, world.gate.url, options);
    await publish(world.server, 'room', '3');
    await arrived(page, '3');
    assert.deepEqual(await told(page, 'got'), ['2', '3']);
    await page.close();
  }));

test('options that mean nothing are refused', () =>
  withGate(async (world) => {
    const page = await openModule(browser, world, await client(world, 'bob'));
    const refusal = (options) => page.evaluate(async ([url, options]) => {
      const { Shaveet } = await import(`${url}/static/shaveet.mjs`);
      try { new Shaveet(options); } catch (error) { return `${error}`; }
    }, [world.gate.url, options]);
    assert.match(await refusal({}), /TypeError: Shaveet: the options clientId and key are missing/);
    assert.match(await refusal({ clientId: 'bob', key: 'x', transports: ['carrier pigeon'] }),
      /TypeError: .*websocket,sse,longpoll,jsonp.*\[carrier pigeon\]/);
    assert.match(await refusal({ clientId: 'bob', key: 'x', transports: [] }), /TypeError: .*transports/);
    await page.close();
  }));
