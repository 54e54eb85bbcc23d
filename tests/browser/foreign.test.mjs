// Clients that others wrote, against the streams: npm's ws and eventsource, Python's websockets.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { createClient, publish, startServer, until } from './support.mjs';

const SAID = ['hello', 'é ☃ 😀', 'data: x\n\nid: y\r\n\0\ufeff', 'x'.repeat(200_000), 'end'];
const PYTHON = process.env.PYTHON || 'python3';

let server;

before(async () => { server = await startServer({ args: ['--presence', 'off'] }); });
after(async () => { await server?.stop(); });

/** The address of a stream for a new client of this name in a room of its own, and the client's key. */
async function address(path, id) {
  const key = await createClient(server, id, id);
  return `${server.url}${path}?client_id=${encodeURIComponent(`${id}_!!_${key}`)}`;
}

const publishAll = async (channel, texts) => { for (const text of texts) await publish(server, channel, text); };

/** How far the server believes the client to have come. */
const acknowledged = async (id) => (await server.call('client_info', id)).acknowledged;

test('eventsource of npm gets each message, goes on behind the last one when its connection breaks, and is told the end', async () => {
  const line = net.createServer((inner) => {
    const outer = net.connect(server.port, '127.0.0.1');
    for (const socket of [inner, outer]) socket.on('error', () => {}).on('close', () => { inner.destroy(); outer.destroy(); });
    inner.pipe(outer).pipe(inner);
    line.cut = () => inner.destroy();
  }).listen(0, '127.0.0.1');
  await once(line, 'listening');
  const url = new URL(await address('/events', 'eventsource'));
  url.port = line.address().port;
  const source = new EventSource(url), got = [], gone = [];
  source.addEventListener('message', ({ data }) => got.push(JSON.parse(data).data));
  source.addEventListener('gone', ({ data }) => gone.push(JSON.parse(data).error.code));
  await publishAll('eventsource', SAID);
  await until('all have come', () => got.includes('end'));
  line.cut();
  await publishAll('eventsource', ['more']);
  await until('it has come back', () => got.includes('more'));
  assert.deepEqual(got, [...SAID, 'more']);
  await server.call('kill_client', 'eventsource');
  await until('it is told', () => gone.length === 1);
  source.close();
  line.close();
  assert.deepEqual(gone, [404]);
});

test('ws of npm gets each message, acknowledges, answers pings, and is told the end by its code', async () => {
  const socket = new WebSocket((await address('/socket', 'ws')).replace('http', 'ws'), { perMessageDeflate: true });
  const got = [];
  socket.on('message', (data, isBinary) => {
    assert.equal(isBinary, false);
    const { since, messages } = JSON.parse(data);
    got.push(...messages.map((message) => message.data));
    socket.send(JSON.stringify({ ack: since }));
  });
  await once(socket, 'open');
  assert.equal(socket.extensions, '', 'none is spoken');
  await publishAll('ws', SAID);
  await until('all have come', () => got.includes('end'));
  assert.deepEqual(got, SAID);
  const before = await acknowledged('ws');
  await publishAll('ws', ['more']);
  await until('it is acknowledged', async () => await acknowledged('ws') !== before);
  socket.ping('are you there?');
  assert.equal(String(...await once(socket, 'pong')), 'are you there?');
  await server.call('kill_client', 'ws');
  assert.equal((await once(socket, 'close'))[0], 4404);
});

test('ws of npm: an acknowledgement in fragments, and in frames that come byte by byte', async () => {
  const socket = new WebSocket((await address('/socket', 'bytes')).replace('http', 'ws'));
  let since;
  socket.on('message', (data) => { ({ since } = JSON.parse(data)); });
  await once(socket, 'open');
  // What the library writes from here on leaves in packets of one byte.
  const raw = socket._socket, write = raw.write.bind(raw);
  raw.write = (piece, ...rest) => {
    const done = rest.find((argument) => typeof argument === 'function');
    for (const byte of Buffer.from(piece)) write(Buffer.of(byte));
    return write(Buffer.alloc(0), done);
  };
  for (const text of ['one', 'two']) {
    const before = await acknowledged('bytes'), place = since;
    await publish(server, 'bytes', text);
    await until('it has come', () => since !== place);
    const ack = JSON.stringify({ ack: since });
    for (let at = 0; at < ack.length; at += 7) socket.send(ack.slice(at, at + 7), { fin: at + 7 >= ack.length });
    await until('it is acknowledged', async () => await acknowledged('bytes') !== before);
  }
  socket.close(1000, 'enough');
  assert.equal((await once(socket, 'close'))[0], 1000);
});

test('websockets of Python gets each message, acknowledges, and closes in good order', async () => {
  const program = `
import asyncio, json, sys, websockets

async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        got = []
        while "end" not in got:
            answer = json.loads(await socket.recv())
            got += [message["data"] for message in answer["messages"]]
            await socket.send(json.dumps({"ack": answer["since"]}))
        await (await socket.ping())
    print(json.dumps([got, socket.close_code]))

asyncio.run(main())`;
  const url = (await address('/socket', 'python')).replace('http', 'ws');
  const child = spawn(PYTHON, ['-c', program, url], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  await publishAll('python', SAID);
  const [line] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => ['"it said nothing"'])]);
  assert.deepEqual(JSON.parse(line), [SAID, 1000]);
});
