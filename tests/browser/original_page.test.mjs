// Pages made for the original server, as WIRE section 7 describes what they send and do with the answer. The script
// here is not theirs, but it depends on the same things.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  arrived, createClient, init, launchBrowser, listen, openPage, publish, startPages, startServer, texts, until,
} from './support.mjs';
import { TRANSPORTS, connected, openModule } from './module-support.mjs';

let server, pages, browser;

before(async () => {
  server = await startServer({ args: ['--history', '1000'] });
  pages = await startPages(server);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await pages?.stop();
  await server?.stop();
});

/** An old page. It does not encode its ids, takes `noop(` and `);` away and evaluates the rest, or polls by script. */
function oldPage(base, byScript) {
  return `<!doctype html><title>old</title><script>
    var got = [], answers = 0, failures = 0, clients = [];
    function take(channels) {
      answers++;
      for (var name in channels)
        for (var i = 0; i < channels[name].length; i++)
          got.push({ channelName: name, id: channels[name][i][0], payload_raw: channels[name][i][1],
                     client_id: channels[name][i][2] });
      setTimeout(poll, 1);
    }
    function failed() { failures++; setTimeout(poll, 1000); }
    function poll() {
      var url = "${base}/message_updates?callback=CALLBACK";
      for (var i = 0; i < clients.length; i++) url += "&client_id=" + clients[i];
      (${byScript} ? pollByScript : pollByRequest)(url);
    }
    function pollByRequest(url) {
      var request = new XMLHttpRequest();
      request.open("get", url.replace("CALLBACK", "noop") + "&ts=" + new Date().getTime(), true);
      request.onload = function () {
        take(eval(request.responseText.replace("noop(", "(").replace(/\\);$/, ")")));
      };
      request.onerror = failed;
      request.send();
    }
    function pollByScript(url) {
      var script = document.createElement("script"), answer = null;
      window._jqjsp = function (channels) { answer = channels; };
      script.src = url.replace("CALLBACK", "_jqjsp");
      script.onload = script.onerror = function () {
        document.body.removeChild(script);
        if (answer) take(answer); else failed();
      };
      document.body.appendChild(script);
    }
  </script><body>`;
}

for (const byScript of [false, true]) {
  const name = byScript ? 'by script' : 'by request';

  async function open(...clients) {
    const page = await browser.newPage();
    await page.goto(pages.add(oldPage(server.url, byScript)));
    await page.evaluate((list) => { clients = list; poll(); }, clients);
    return page;
  }

  test(`${name}: messages arrive once, in order, with every letter`, async () => {
    const id = `zoë with spaces ${name}`;
    const page = await open(`${id}_!!_${await createClient(server, id, name)}`);
    const sent = ['plain', '{"a": 1}', 'é ☃ 😀', '\u2028\u2029', '</script>', 'x);', 'noop(1)', ...Array.from({ length: 50 }, (_, i) => `n${i}`)];
    for (const text of sent) await publish(server, name, text);
    await arrived(page, 'n49');
    assert.deepEqual(await texts(page), sent);
    assert.deepEqual((await page.evaluate(() => got))[0],
      { channelName: name, id: 1, payload_raw: '{"type": "subscribe"}', client_id: id });
    await page.close();
  });

  // By script the two would share one callback's name.
  if (!byScript) test('two loops for the same client, as two calls of init made them, get each message once', async () => {
    const id = `double ${name}`;
    const page = await open(`${id}_!!_${await createClient(server, id, id)}`);
    await page.evaluate(() => poll());
    for (let i = 0; i < 20; i++) await publish(server, id, `n${i}`);
    await arrived(page, 'n19');
    assert.deepEqual((await texts(page)).sort(), Array.from({ length: 20 }, (_, i) => `n${i}`).sort());
    await page.close();
  });

  test(`${name}: a 404 is an error to it, so it tries again each second and is well when the client is there`, async () => {
    const id = `early ${name}`;
    const real = await createClient(server, id, id);
    const page = await open(`${id}_!!_${'0'.repeat(32)}`);
    await until('it has failed', () => page.evaluate(() => failures >= 2));
    assert.equal(await page.evaluate(() => answers), 0);
    await page.evaluate((credentials) => { clients = [credentials]; }, `${id}_!!_${real}`);
    await publish(server, id, 'at last');
    await arrived(page, 'at last');
    await page.close();
  });

  test(`${name}: beside pages of today on every transport, and with the script of today, all get all`, async () => {
    const room = `room ${name}`, world = { gate: { url: server.url }, pages };
    const old = await open(`old ${name}_!!_${await createClient(server, `old ${name}`, room)}`);
    const modern = [];
    for (const transport of TRANSPORTS) {
      const id = `${transport} ${name}`;
      const options = { clientId: id, key: await createClient(server, id, room), transports: [transport], shared: false };
      modern.push(await openModule(browser, world, options));
      await connected(modern.at(-1), transport);
    }
    const script = await openPage(browser, pages, server.url);
    await listen(script, room);
    await init(script, `script ${name}`, await createClient(server, `script ${name}`, room));
    const sent = Array.from({ length: 50 }, (_, i) => `n${i}`);
    for (const text of sent) await publish(server, room, text);
    for (const page of [old, script]) {
      await arrived(page, 'n49');
      assert.deepEqual(await texts(page), sent);
      await page.close();
    }
    for (const page of modern) {
      await page.waitForFunction(() => got.includes('n49'));
      assert.deepEqual((await page.evaluate(() => got)).filter((text) => !text.startsWith('{')), sent);
      await page.close();
    }
  });

  test(`${name}: without subscriptions it does not run in circles`, async () => {
    const id = `idle ${name}`;
    const page = await open(`${id}_!!_${await createClient(server, id)}`);
    await server.call('subscribe', id, id);
    await publish(server, id, 'now');
    await arrived(page, 'now');
    assert.ok(await page.evaluate(() => answers) <= 3, 'one answer for each thing that happened');
    await page.close();
  });
}
