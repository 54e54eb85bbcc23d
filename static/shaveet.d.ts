// The types of shaveet.mjs.

/** How messages come, the best first. */
export type Transport = 'websocket' | 'sse' | 'longpoll' | 'jsonp';

/** Who the page is for the server: both from the web application, which has them from `create_client`. */
export interface Client {
  clientId: string;
  key: string;
}

export interface Options extends Client {
  /** The server's address, such as `https://push.example.com` or `/push`; by default where the module was loaded from. */
  url?: string;
  /** Those to choose from, in the order in which they are tried: all four by default. */
  transports?: readonly Transport[];
  /** Asks the web application for a client when the server does not know this one any more. May reject: it is asked again. */
  renew?: (() => Promise<Client>) | null;
  /** The tabs of an origin that have the same client share one connection, where the browser can do that: true by default. */
  shared?: boolean;
  /** After a reload this tab goes on where it was (by sessionStorage): false by default. */
  keepPosition?: boolean;
  /** How long a transport that did not get through is left alone, in milliseconds, half to one and a half times: 300000. */
  upgradeMs?: number;
}

export interface Message {
  channel: string;
  /** Of the channel, rising. Holes mean nothing: what is lost is told as a gap. */
  id: number;
  /** The client, or whatever name the publisher gave. */
  from: string;
  data: string;
  /** What the server says: joins, leaves, new channels. */
  system: boolean;
  /** Of joins and leaves. */
  reason?: 'subscribed' | 'returned' | 'unsubscribed' | 'expired' | 'killed';
}

/** Messages before `next_id` are lost: fetch what you need from the web application. */
export interface Gap {
  channel: string;
  next_id: number;
  /** The limit of the channel's history that was reached, or `restart`: the server does not know where the page was. */
  reason: 'count' | 'bytes' | 'age' | 'memory' | 'restart';
  /** Only joins and leaves are lost. */
  system?: boolean;
}

export interface Status {
  /**
   * `connecting`: the server has not answered yet; `connected`; `waiting`: it does not answer, the next try is in `waitMs`;
   * `offline`: the browser says so; `gone`: it does not know the client; `closed`: by close().
   */
  readonly state: 'connecting' | 'connected' | 'waiting' | 'offline' | 'gone' | 'closed';
  /** The one in use, if connected. */
  readonly transport: Transport | null;
  readonly waitMs: number;
  /** Whether this tab has the connection for others, gets the messages from another tab, or neither. */
  readonly role: 'leader' | 'follower' | 'alone';
}

/** The names that on() takes for events: a channel of such a name is reached by channel(). */
export interface Events {
  gap: Gap;
  status: Status;
  expired: Client;
}

export type Listener<Name extends string> = (value: Name extends keyof Events ? Events[Name] : Message) => void;

/** A loop over it gets what comes from its beginning on, and ends with close(). It throws when it is 10,000 messages behind. */
export interface Channel extends AsyncIterable<Message> {
  on(listener: (message: Message) => void): Shaveet;
  off(listener: (message: Message) => void): Shaveet;
}

export class Shaveet {
  /** Connects when the script that makes it has ended, so that listeners can be added before. */
  constructor(options: Options);
  readonly status: Status;
  /** A channel, or an event; `*` for all channels that nobody listens to by name. */
  on<Name extends string>(name: Name, listener: Listener<Name>): this;
  off<Name extends string>(name: Name, listener: Listener<Name>): this;
  channel(name: string): Channel;
  close(): void;
}
