// Starts the examples the way a reader of their README does: by their `run` command.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Python and Flask on a busy machine. */
const START_MS_MAX = 30_000;

/** Starts an example in front of the Shaveet at `shaveetUrl` (no slash at its end); resolves when it listens. */
export async function startExample(name, shaveetUrl) {
  const child = spawn(`${ROOT}examples/${name}/run`, {
    env: {
      ...process.env,
      PYTHON: process.env.PYTHON ?? `${ROOT}.venv/bin/python`,
      HOST: '127.0.0.1',
      PORT: '0',
      SHAVEET_RPC: `${shaveetUrl}/`,
      SHAVEET_URL: shaveetUrl,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Not before its children have closed what they inherited: a web application that outlives `run` would hang here.
  const closed = new Promise((resolve) => child.once('close', resolve));
  let log = '';
  const url = await new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`${name} does not start: ${log}`)), START_MS_MAX);
    const hear = (text) => {
      log += text;
      // Flask, PHP, Django.
      const running = /(?:Running on |Development Server \(|development server at )(http:[^\s)]+?)\/?[\s)]/.exec(log);
      if (running) resolve(running[1]);
    };
    for (const output of [child.stdout, child.stderr]) output.setEncoding('utf8').on('data', hear);
    child.once('error', reject);
    closed.then((code) => reject(new Error(`${name} ended with ${code}: ${log}`)));
    closed.then(() => clearTimeout(limit));
  });
  return {
    url,
    stop: () => {
      child.kill('SIGTERM');
      return closed;
    },
    post: async (path, body) => {
      const answer = await fetch(url + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return { status: answer.status, ...await answer.json() };
    },
  };
}
