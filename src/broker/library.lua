#!lua name=shaveet1
-- The model of several nodes, in Redis: who is subscribed to what, what was said, and what is owed to whom.
--
-- It is the model of src/hub, with the same names, in functions that Redis runs one after the other: what one of them does
-- is done whole or not at all, and all nodes hear of it in one order. Nothing here waits for anybody. A node asks by
-- FCALL, and is told by PUBLISH what others have done.
--
-- Each function has one key, `{shaveet}:hub`; all others begin as it does, so all are in one slot:
--
--   hub                the format, the epoch, the newest seq, whose Redis it is, the limits, when a client was last made again
--   client:ID          a hash: key, position, when it was made
--   subscriptions:ID   a hash: channel -> "MADE BEGIN"
--   ended:ID           a hash: number -> "MADE BEGIN UNTIL NEWEST0 NEWEST1 STALE CHANNEL", while something is to be read
--   channel:NAME       a hash: its newest id and seqs, what fell out, how much it holds
--   messages:NAME      a stream: what it holds, SEQ-0 -> i(d) a(t) k(ind) f(rom) t(ext), and if need be x (expires), e(xcluded)
--   notices:NAME       a stream: the server's own messages, if they have a ring of their own
--   members:NAME       a set: the subscribed clients that are here
--   clients, channels  sorted sets: who is here, what there is, by a number that grows
--   seen               a sorted set: the same clients, by when they were last seen, or will be said to be at the latest
--   departed           a sorted set: who may come back, by until when
--   due                a sorted set: channels that are to be looked at, by when
--   once:KEY           what was published with a key to publish by only once, "ID SEQ"
--   nodes              a sorted set: which nodes there are, by when they last said so
--   awaited            a set: the nodes that may still put back what a failover has lost
--   healing            a sorted set: the channels of which something is put back, heal:NAME, a hash: seq -> the message
--
-- Times are in milliseconds, by Redis's clock. Numbers are kept and given as decimal text. A seq counts over everything, an
-- id within its channel. By kind, 0 is the web application's and 1 the server's. docs/redis.md is for who looks from outside.

-- What is in Redis is of this format; another one is not touched.
local FORMAT = '1'

-- Of these functions: a node that knows a newer one loads its own.
local REVISION = 7

-- A failover may have lost what somebody has seen. Numbers skip so far ahead that none of them is given twice.
local SEQS_SKIPPED = 1000000
local IDS_SKIPPED = 1000

-- After a failover nodes have so long to put back what it has lost; nothing is published meanwhile. One that has come and says each
-- second that it is there has longer. Nodes that were last heard of so long before others are not waited for.
local HEALING_MS = 4000
local HEALING_MOST_MS = 30000
local SILENT_MS = 5000
local FORGOTTEN_MS = 60 * 1000

-- When all was lost the nodes make the clients again that they have. Who is not here is to come yet, until so long after the last of them.
local RESTORING_MS = 3000

-- How long it is remembered what was published with a key: longer than anybody retries one call.
local ONCE_MS = 5 * 60 * 1000

-- How long a channel that was freed is remembered, so that its ids go on.
local DAY_MS = 24 * 60 * 60 * 1000

-- Messages that one call gives up, and those that it reads at a time: some 1 ms.
local LOST_MAX = 1000
local READ_MAX = 100

-- A ring may hold more than it is to keep by one in so many, if it keeps as many.
local SLACK = 8

-- The largest whole number that a double has a place for: never.
local NEVER = 9007199254740991

local ADMIN_CHANNEL = 'admin'

-- What a channel is told when a client subscribes (WIRE S1), when it is unsubscribed, and when it is gone (WIRE S2), in JSON.
local JOINED = '"{\\"type\\": \\"subscribe\\"}"'
local LEFT = '"{\\"type\\": \\"unsubscribe\\", \\"gc\\": false}"'
local GONE = '"{\\"type\\": \\"unsubscribe\\", \\"gc\\": true}"'
local TEXT_OF = { subscribed = JOINED, returned = JOINED, unsubscribed = LEFT, expired = GONE, killed = GONE }

local UNKNOWN_CLIENT = { err = 'UNKNOWNCLIENT no client of that name is here' }
local UNKNOWN_CHANNEL = { err = 'UNKNOWNCHANNEL there is no channel of that name' }
local OK = { ok = 'OK' }
local HEALING = { err = 'HEALING another Redis has the data now, and nodes put back what it may have lost' }
local RESTORING = { err = 'RESTORING all was lost, and clients are being made again' }
local NO_HUB = { err = 'NOHUB nothing is here: say hello first' }
local ANOTHER_HUB = { err = 'NOHUB all was lost, and another epoch has begun: say hello first' }

-- The fields of a channel by kind, and by ring: the first is for the application's messages, or for all.
local NEWEST = { [0] = 'newest0', 'newest1' }
local LOST = { [0] = 'lost0', 'lost1' }
local COUNT = { [0] = 'count0', 'count1' }
local BYTES = { [0] = 'bytes0', 'bytes1' }
local STREAM = { [0] = 'messages:', 'notices:' }

-- Small things

local function call(...)
  return redis.call(...)
end

-- Decimal digits. Lua itself writes 1e+15.
local function text(number)
  return string.format('%d', number)
end

-- The number of a field; 0 if it is not there.
local function number(field)
  return tonumber(field) or 0
end

-- A time from now on.
local function later(time, span)
  return math.min(time + span, NEVER)
end

local SHORT = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\b'] = '\\b', ['\f'] = '\\f' }

local function escape_ascii(char)
  return SHORT[char] or string.format('\\u%04x', char:byte())
end

local function escape_utf8(char)
  local a, b, c, d = char:byte(1, 4)
  if not b then
    return '\\ufffd'
  end
  local code
  if d then
    code = ((a % 8 * 64 + b % 64) * 64 + c % 64) * 64 + d % 64 - 0x10000
    return string.format('\\u%04x\\u%04x', 0xd800 + math.floor(code / 0x400), 0xdc00 + code % 0x400)
  elseif c then
    code = (a % 16 * 64 + b % 64) * 64 + c % 64
  else
    code = a % 32 * 64 + b % 64
  end
  return string.format('\\u%04x', code)
end

-- A JSON string in pure ASCII, as src/json.rs writes it.
local function json_string(name)
  if name:find('[%c"\\<\128-\255]') then
    name = name:gsub('[%c"\\<]', escape_ascii):gsub('[\128-\255][\128-\191]*', escape_utf8)
  end
  return '"' .. name .. '"'
end

-- The hub

-- The limits of the text with this digest: they are decoded when they change.
local limits_known, limits_digest

-- Which life of the data this is: it is lost with the process that has it, as a failover and a restart are to be noticed, and
-- INFO is not for every user. Who replaces these functions writes here what those of before say.
local incarnation

-- The limits that were sent by hello, by hub: for when somebody wipes everything.
local limits_sent = {}

local function decode_limits(json)
  local limits = cjson.decode(json)
  -- Of several prefixes that fit the longest counts: the first in this order.
  table.sort(limits.policies, function(a, b)
    return #a.prefix > #b.prefix
  end)
  assert(limits.policies[#limits.policies].prefix == '', 'one policy is for all names')
  return limits
end

-- Begins where there is nothing.
local function begin_hub(key, epoch, server, limits)
  call('HSET', key, 'format', FORMAT, 'epoch', epoch, 'seq', 0, 'generation', 0, 'made', 0, 'server', server, 'limits', limits,
    'digest', redis.sha1hex(limits))
  local time = call('TIME')
  call('HSET', key, 'began', text(time[1] * 1000))
end

-- What every function knows. Nil and the error if hello was never said, or the data is another version's.
local open_hub
open_hub = function(key, is_reading)
  local found = call('HMGET', key, 'format', 'epoch', 'generation', 'digest', 'clock', 'healing')
  local format, epoch, generation, digest, clock, healing = unpack(found)
  if format and format ~= FORMAT then
    return nil, { err = 'FORMAT ' .. format }
  elseif not epoch then
    if is_reading or not limits_sent[key] then
      return nil, NO_HUB
    end
    begin_hub(key, redis.sha1hex(table.concat(call('TIME'), ' ') .. key):sub(1, 16), incarnation or '', limits_sent[key])
    local hub = open_hub(key)
    call('HSET', key, 'wiped', text(hub.now))
    return hub
  end
  if digest ~= limits_digest then
    limits_known, limits_digest = decode_limits(call('HGET', key, 'limits')), digest
  end
  local now
  if clock then
    -- For tests only: a clock that they turn.
    now = tonumber(clock)
  else
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return {
    key = key,
    prefix = key:sub(1, -4),
    epoch = epoch,
    generation = number(generation),
    -- Until when something may be put back; nil if there is nothing to heal.
    healing = tonumber(healing),
    now = now,
    limits = limits_known,
  }
end

-- The name of a node without what it adds to it each time that it says hello.
local function host_of(node)
  return node:match('^(.*)#') or node
end

-- The seq of the newest message of all.
local function position_of(hub)
  return number(call('HGET', hub.key, 'seq'))
end

-- The next number of the lists.
local function next_made(hub)
  return call('HINCRBY', hub.key, 'made', 1)
end

local function tell(hub, id, ...)
  call('PUBLISH', hub.prefix .. 'tells:' .. id, table.concat({ ... }, ' '))
end

local function full(limit, most)
  return { err = 'FULL ' .. limit .. ' ' .. text(most) }
end

-- Has a channel looked at by this time, if it is not earlier already.
local function remind(hub, name, at)
  call('ZADD', hub.prefix .. 'due', 'LT', at, name)
end

-- Channels: what they hold, and what falls out

local function policy_of(hub, name)
  for _, policy in ipairs(hub.limits.policies) do
    if name:sub(1, #policy.prefix) == policy.prefix then
      return policy
    end
  end
end

-- The channel of that name, if there is one.
local function channel_named(hub, name)
  local hash = hub.prefix .. 'channel:' .. name
  local found = call(
    'HMGET', hash, 'made', 'id', 'newest0', 'newest1', 'count0', 'count1', 'bytes0', 'bytes1', 'generation', 'lost0', 'lost1'
  )
  if not found[1] then
    return nil
  end
  local id, generation = number(found[2]), number(found[9])
  if generation ~= hub.generation and not hub.healing then
    -- Past those that other lives of the data may have given: a generation is seconds, and nobody publishes a thousand messages
    -- a second in one channel for long.
    id = math.max(id + IDS_SKIPPED, IDS_SKIPPED * hub.generation)
  end
  return {
    name = name,
    hash = hash,
    policy = policy_of(hub, name),
    id = id,
    newest0 = number(found[3]),
    newest1 = number(found[4]),
    count0 = number(found[5]),
    count1 = number(found[6]),
    bytes0 = number(found[7]),
    bytes1 = number(found[8]),
    generation = generation,
    lost0 = found[10] or '',
    lost1 = found[11] or '',
    -- Fields and values that are to be written.
    changes = {},
  }
end

local function set(channel, field, value)
  channel[field] = value
  local changes = channel.changes
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end

-- Writes what was set, and these fields and values too.
local function save(channel, ...)
  if #channel.changes > 0 then
    call('HSET', channel.hash, unpack(channel.changes))
    channel.changes = {}
  end
  if ... then
    call('HSET', channel.hash, ...)
  end
end

-- Notes what is lost of a kind, unless something newer is: after a failover that may be what no node has any more.
local function note_lost(channel, kind, seq, id, reason)
  if seq > number(channel[LOST[kind]]:match('^%d+')) then
    set(channel, LOST[kind], text(seq) .. ' ' .. id .. ' ' .. reason)
  end
end

local function last_seq(channel)
  return math.max(channel.newest0, channel.newest1)
end

local function kind_of(word)
  return word == 'app' and 0 or 1
end

-- A message as it stands in a stream.
local function message_of(entry)
  local fields = entry[2]
  local message = {
    seq = tonumber(entry[1]:match('^%d+')),
    id = fields[2],
    at = tonumber(fields[4]),
    word = fields[6],
    from = fields[8],
    text = fields[10],
  }
  for at = 11, #fields, 2 do
    if fields[at] == 'x' then
      message.expires = tonumber(fields[at + 1])
    else
      message.excluded = fields[at + 1]
    end
  end
  return message
end

-- What a message counts for: `[id,text,from]`.
local function size_of(id, from, words)
  return #id + #from + #words + 4
end

local function stream_of(hub, channel, ring)
  return hub.prefix .. STREAM[ring] .. channel.name
end

-- Its oldest messages, so many, after a seq.
local function oldest_of(hub, channel, ring, most, after)
  local from = after and '(' .. text(after) .. '-0' or '-'
  local entries = call('XRANGE', stream_of(hub, channel, ring), from, '+', 'COUNT', most)
  for at, entry in ipairs(entries) do
    entries[at] = message_of(entry)
  end
  return entries
end

-- Gives up the oldest messages of a ring, as long as `why` gives a reason: it is asked with how many there are, how many bytes
-- they are, and when the oldest was published, if that has been read. One whose time was over is nobody's loss.
local function lose(hub, channel, ring, batch, why)
  local count, bytes = channel[COUNT[ring]], channel[BYTES[ring]]
  local left, last, lost = LOST_MAX, nil, {}
  local is_done = false
  while not is_done and left > 0 and why(count, bytes) do
    local messages = oldest_of(hub, channel, ring, math.min(batch, READ_MAX, left), last)
    batch = batch * 2
    if #messages == 0 then
      -- Somebody has taken them away by hand.
      count, bytes, is_done = 0, 0, true
      set(channel, COUNT[ring], 0)
      set(channel, BYTES[ring], 0)
    end
    for _, message in ipairs(messages) do
      local reason = why(count, bytes, message.at)
      if not reason then
        is_done = true
        break
      end
      count, bytes = count - 1, bytes - size_of(message.id, message.from, message.text)
      left, last = left - 1, message.seq
      if not message.expires or message.expires > hub.now then
        lost[kind_of(message.word)] = { message.seq, message.id, reason }
      end
    end
  end
  if last then
    call('XTRIM', stream_of(hub, channel, ring), 'MINID', last + 1)
    set(channel, COUNT[ring], count)
    set(channel, BYTES[ring], bytes)
    for kind, what in pairs(lost) do
      note_lost(channel, kind, unpack(what))
    end
  end
end

-- Makes room for one more message of this size. Where many are kept some more may be, so that not every message has to look
-- for the oldest in its stream, which costs Redis more than all else of it.
local function make_room(hub, channel, ring, most, size)
  local count, most_bytes = channel[COUNT[ring]], channel.policy.bytes
  most = math.max(most, 1)
  if count < most + math.floor(most / SLACK) then
    if channel[BYTES[ring]] + size <= most_bytes or count == 0 then
      return
    end
    most = NEVER
  end
  lose(hub, channel, ring, math.max(count - most + 1, 1), function(left, bytes)
    return left >= most and 'count' or left > 0 and bytes + size > most_bytes and 'bytes'
  end)
end

-- Lets go of what is older than the policy says, but for the newest.
local function lose_old(hub, channel)
  local time = hub.now - channel.policy.age
  for ring = 0, 1 do
    lose(hub, channel, ring, READ_MAX, function(count, _, at)
      return count > 1 and (not at or at < time) and 'age'
    end)
  end
end

-- When the oldest message of a ring becomes too old; nil if it is the newest too.
local function ages_at(hub, channel, ring)
  local oldest = channel[COUNT[ring]] > 1 and oldest_of(hub, channel, ring, 1)[1]
  return oldest and later(oldest.at, channel.policy.age + 1)
end

-- When it may be idle; nil while somebody is subscribed, or may still want something.
local function idle_at(hub, channel)
  local held, ended, used = unpack(call('HMGET', channel.hash, 'held', 'ended', 'used'))
  if number(held) + number(ended) > 0 or call('SCARD', hub.prefix .. 'members:' .. channel.name) > 0 then
    return nil
  end
  return later(number(used), hub.limits.channel_idle)
end

-- Has a channel looked at when it may be idle, or some of its messages too old.
local function remind_channel(hub, channel)
  local at = idle_at(hub, channel)
  for ring = 0, 1 do
    local ages = ages_at(hub, channel, ring)
    at = ages and at and math.min(ages, at) or ages or at
  end
  if at then
    remind(hub, channel.name, at)
  end
end

-- Puts a message that has its place (`seq`, `id`, `at`, as texts) into its channel, and says it to all nodes that follow. `once` is
-- the key that it was published with by only once, in JSON: who may have to put it back has to know.
local function put(hub, channel, message)
  local word, seq, id, at = message.word, message.seq, message.id, message.at
  local kind, policy = kind_of(word), channel.policy
  local ring, most = 0, policy.history
  if kind == 1 and policy.system ~= 'shared' then
    ring, most = 1, policy.system
  end
  local before, size = last_seq(channel), size_of(id, message.from, message.text)
  make_room(hub, channel, ring, most, size)
  local entry = { 'i', id, 'a', at, 'k', word, 'f', message.from, 't', message.text }
  if message.expires then
    entry[11], entry[12] = 'x', message.expires
  end
  if message.excluded then
    entry[#entry + 1], entry[#entry + 2] = 'e', message.excluded
  end
  call('XADD', stream_of(hub, channel, ring), seq .. '-0', unpack(entry))
  local count, bytes = channel[COUNT[ring]] + 1, channel[BYTES[ring]] + size
  channel[NEWEST[kind]], channel[COUNT[ring]], channel[BYTES[ring]] = tonumber(seq), count, bytes
  save(channel, 'id', id, NEWEST[kind], seq, 'used', at, COUNT[ring], text(count), BYTES[ring], text(bytes))
  if count == 2 then
    -- The older one can become too old now.
    remind(hub, channel.name, ages_at(hub, channel, ring))
  end
  local says = {
    hub.epoch, seq, id, text(before), at, word, message.expires or '0', message.excluded or '', message.once or '', message.from,
    message.text,
  }
  call('PUBLISH', hub.prefix .. 'says:' .. channel.name, table.concat(says, '\n'))
end

-- Gives a message its place.
local function append(hub, channel, word, from, words, expires, excluded, once)
  local seq, id = text(call('HINCRBY', hub.key, 'seq', 1)), text(channel.id + 1)
  channel.id = channel.id + 1
  if channel.generation ~= hub.generation then
    set(channel, 'generation', hub.generation)
  end
  put(hub, channel, {
    word = word, seq = seq, id = id, at = text(hub.now), from = from, text = words, expires = expires and text(expires),
    excluded = excluded, once = once,
  })
  return id, seq
end

-- Publishes what the server itself says about a client, from that client (WIRE S1, S2), if the channel wants it.
local function say(hub, client, channel, reason)
  if channel.policy.presence then
    append(hub, channel, reason, json_string(client.id), TEXT_OF[reason])
  end
end

-- Channels: how they come and go

local function announce(hub, admin, name)
  local words = '{"type": "new_channel", "name": ' .. json_string(name) .. '}'
  append(hub, admin, 'new', '"system"', json_string(words))
end

-- The newest seq of those channels that were freed before today: of them nothing may be remembered any more. A channel
-- that is new may have had messages up to there.
local function forgotten_seq(hub)
  local day, newest, before = unpack(call('HMGET', hub.key, 'freed_day', 'freed', 'freed_before'))
  return math.floor(hub.now / DAY_MS) > number(day) and number(newest) or number(before)
end

local function note_freed(hub, seq)
  local day, newest, before = unpack(call('HMGET', hub.key, 'freed_day', 'freed', 'freed_before'))
  local today = math.floor(hub.now / DAY_MS)
  before = today > number(day) and number(newest) or number(before)
  call('HSET', hub.key, 'freed_day', today, 'freed', math.max(number(newest), seq), 'freed_before', before)
end

local function make_channel(hub, name)
  local made, hash = next_made(hub), hub.prefix .. 'channel:' .. name
  call('ZADD', hub.prefix .. 'channels', made, name)
  call('HSET', hash, 'made', made, 'used', hub.now)
  if call('PERSIST', hash) == 0 then
    -- What was lost may have had a channel of this name: its ids are not given again.
    call('HSET', hash, 'generation', 0)
    local seq = forgotten_seq(hub)
    if seq > 0 then
      call('HSET', hash, 'newest0', seq, 'lost0', text(seq) .. ' 0 age')
    end
  end
  remind(hub, name, later(hub.now, hub.limits.channel_idle))
  return channel_named(hub, name)
end

-- The channel of that name, made and announced if it is new (WIRE A1; `admin` is its own first message). Nil and the error if
-- there are too many.
local function open_channel(hub, name)
  local channel = channel_named(hub, name)
  if channel then
    return channel
  end
  -- The channel of announcements has its place in any case.
  if name ~= ADMIN_CHANNEL and call('ZCARD', hub.prefix .. 'channels') >= hub.limits.channels_max then
    return nil, full('channels', hub.limits.channels_max)
  end
  channel = make_channel(hub, name)
  local admin = channel
  if name ~= ADMIN_CHANNEL then
    admin = channel_named(hub, ADMIN_CHANNEL)
    if not admin then
      admin = make_channel(hub, ADMIN_CHANNEL)
      announce(hub, admin, ADMIN_CHANNEL)
    end
  end
  announce(hub, admin, name)
  return channel
end

-- The channel of a subscription, which is there as long as that is; unless somebody has deleted it by hand.
local function channel_of(hub, name)
  return channel_named(hub, name) or make_channel(hub, name)
end

-- What a reader of a kind has lost when all messages go: the newest whose time is not over. Where many are over, or are of
-- the other kind, it is told of one too many rather than read all.
local function lose_all(hub, channel, kind)
  local lost = number((call('HGET', channel.hash, LOST[kind]) or ''):match('^%d+'))
  for ring = 0, 1 do
    local entries = call('XREVRANGE', stream_of(hub, channel, ring), '+', '-', 'COUNT', READ_MAX)
    for _, entry in ipairs(entries) do
      local message = message_of(entry)
      if kind_of(message.word) == kind and (not message.expires or message.expires > hub.now) then
        lost = math.max(lost, message.seq)
        break
      end
    end
    if #entries == READ_MAX then
      lost = channel[NEWEST[kind]]
    end
  end
  return lost
end

-- Nobody uses it any more. What is left of it is a trace, so that its ids go on when the name is used again.
local function free(hub, channel)
  call('ZREM', hub.prefix .. 'channels', channel.name)
  local lost = { lose_all(hub, channel, 0), lose_all(hub, channel, 1) }
  call('DEL', stream_of(hub, channel, 0), stream_of(hub, channel, 1))
  if channel.id == 0 then
    call('DEL', channel.hash)
    return
  end
  call('HDEL', channel.hash, 'made', 'used', 'count0', 'count1', 'bytes0', 'bytes1', 'held', 'ended')
  for kind = 0, 1 do
    if lost[kind + 1] > 0 then
      call('HSET', channel.hash, LOST[kind], text(lost[kind + 1]) .. ' ' .. text(channel.id) .. ' age')
    end
  end
  call('PEXPIRE', channel.hash, DAY_MS)
  note_freed(hub, last_seq(channel))
end

-- Lets go of a channel's old messages, frees it if nobody has used it for long (WIRE C5), or has it looked at again.
local function look_at_channel(hub, name)
  local channel = channel_named(hub, name)
  if not channel then
    return
  end
  lose_old(hub, channel)
  save(channel)
  local idle = idle_at(hub, channel)
  if idle and idle <= hub.now then
    free(hub, channel)
  else
    remind_channel(hub, channel)
  end
end

-- Clients and subscriptions

-- The client of that name, here or departed.
local function client_named(hub, id)
  local hash = hub.prefix .. 'client:' .. id
  local found = call('HMGET', hash, 'created', 'position', 'resumes', 'forgotten', 'departed', 'key')
  if not found[1] then
    return nil
  end
  return {
    id = id,
    hash = hash,
    subscriptions = hub.prefix .. 'subscriptions:' .. id,
    ended = hub.prefix .. 'ended:' .. id,
    created = tonumber(found[1]),
    position = tonumber(found[2]),
    resumes = found[3] == '1',
    forgotten = tonumber(found[4]),
    -- Until when it may come back; nil if it is here.
    departed = tonumber(found[5]),
    key = found[6],
  }
end

-- Of a client that is not here: nil, or that it may come yet.
local function absent(hub)
  local wiped = call('HGET', hub.key, 'wiped')
  return wiped and hub.now < number(wiped) + RESTORING_MS and RESTORING or false
end

-- The same if it is here. Nil and the error if not.
local function here(hub, id)
  local client = client_named(hub, id)
  if client and not client.departed then
    return client
  end
  return nil, not client and absent(hub) or UNKNOWN_CLIENT
end

-- Calls `visit` with the name, the seq at which it was made and the one at which it begins, of each subscription.
local function each_subscription(client, visit)
  local found = call('HGETALL', client.subscriptions)
  for at = 1, #found, 2 do
    local made, begin = found[at + 1]:match('^(%d+) (%d+)$')
    visit(found[at], tonumber(made), tonumber(begin))
  end
end

-- The ended subscriptions, the oldest first.
local function ended_of(client)
  local found, ends = call('HGETALL', client.ended), {}
  for at = 1, #found, 2 do
    local made, begin, till, newest0, newest1, stale, channel =
      found[at + 1]:match('^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
    ends[#ends + 1] = {
      number = tonumber(found[at]),
      wire = { channel, made, begin, till, newest0, newest1, stale },
      channel = channel,
      newest = math.max(tonumber(newest0), tonumber(newest1)),
      stale = tonumber(stale),
    }
  end
  table.sort(ends, function(a, b)
    return a.number < b.number
  end)
  return ends
end

-- Somebody has left a channel, or what was kept of it: `kept` is the field that counted it, if it did.
local function unlink(hub, channel, kept)
  if kept then
    call('HINCRBY', channel.hash, kept, -1)
  end
  call('HSET', channel.hash, 'used', hub.now)
  remind_channel(hub, channel)
end

-- A subscription that was made and begins there, as texts.
local function seat(hub, client, channel, made, begin)
  local wire = made .. ' ' .. begin
  call('HSET', client.subscriptions, channel.name, wire)
  call('SADD', hub.prefix .. 'members:' .. channel.name, client.id)
  tell(hub, client.id, 'subscribed', wire, channel.name)
end

-- Begins a subscription: behind all that was published so far, or at an earlier seq.
local function link(hub, client, channel, since)
  -- A number of its own, so that every position of before is before it.
  local made = since and call('HINCRBY', hub.key, 'seq', 1) or position_of(hub)
  seat(hub, client, channel, text(made), text(math.min(since or made, made)))
end

-- Takes a client's seat among the channel's members away.
local function leave_seat(hub, client, channel)
  call('SREM', hub.prefix .. 'members:' .. channel.name, client.id)
  call('HSET', channel.hash, 'used', hub.now)
end

-- Keeps what may still be read of a subscription that has ended: "MADE BEGIN UNTIL NEWEST0 NEWEST1 STALE CHANNEL".
local function keep_end(hub, client, channel, wire)
  call('HSET', client.ended, next_made(hub), wire)
  call('HINCRBY', channel.hash, 'ended', 1)
  tell(hub, client.id, 'ended', wire)
end

-- Ends a subscription of a client that is here. What it has not read of it stays for the resume protocol.
local function end_subscription(hub, client, channel, found)
  local made, begin = found:match('^(%d+) (%d+)$')
  leave_seat(hub, client, channel)
  call('HDEL', client.subscriptions, channel.name)
  -- A page of the original's protocol is where the client is; others may have had nothing yet.
  local is_behind = client.resumes or client.position < tonumber(made)
  local read = is_behind and tonumber(begin) or client.position
  local till = text(position_of(hub))
  if last_seq(channel) > read then
    local stale = text(later(hub.now, channel.policy.age))
    local wire = table.concat({ made, begin, till, text(channel.newest0), text(channel.newest1), stale, channel.name }, ' ')
    keep_end(hub, client, channel, wire)
  else
    unlink(hub, channel)
    tell(hub, client.id, 'unsubscribed', till, channel.name)
  end
end

local function forget_end(hub, client, ended)
  if client.resumes and ended.newest > client.forgotten then
    client.forgotten = ended.newest
    call('HSET', client.hash, 'forgotten', ended.newest)
  end
  call('HDEL', client.ended, ended.number)
  unlink(hub, channel_of(hub, ended.channel), 'ended')
end

-- Whether of an ended subscription everything has been read, and no page finds anything of it any more.
local function is_read(hub, client, newest, stale)
  return newest <= client.position and (stale <= hub.now or not client.resumes)
end

-- Forgets the ended subscriptions of which that is so.
local function forget_read(hub, client)
  for _, ended in ipairs(ended_of(client)) do
    if is_read(hub, client, ended.newest, ended.stale) then
      forget_end(hub, client, ended)
    end
  end
end

-- Forgets an ended subscription that was read, before its time, to make room for another. False if there is none.
local function forget_one_read(hub, client)
  for _, ended in ipairs(ended_of(client)) do
    if ended.newest <= client.position then
      forget_end(hub, client, ended)
      return true
    end
  end
  return false
end

-- A position as a node tells it: EPOCH-SEQ as pages have it, or the number alone. Of another epoch it is nothing: who tells it has
-- not heard yet that all was lost.
local function seq_of(hub, position)
  local epoch, seq = position:match('^(%x+)%-(%d+)$')
  if not epoch then
    return number(position)
  end
  return epoch == hub.epoch and tonumber(seq) or 0
end

-- It has had everything up to `position`. True if that is news.
local function acknowledge(hub, client, position)
  if position <= client.position then
    return false
  end
  -- Nobody has had what is still to come. Of several clients nothing comes between one and the next.
  hub.newest = hub.newest or position_of(hub)
  position = math.min(position, hub.newest)
  if position <= client.position then
    return false
  end
  call('HSET', client.hash, 'position', position)
  client.position = position
  forget_read(hub, client)
  return true
end

-- Lifetimes

-- Says of a client that is here when it was last seen.
local function see(hub, id, at)
  call('ZADD', hub.prefix .. 'seen', at, id)
end

-- When a new client counts as seen that nobody has seen for long: it has its time to come.
local function grace(hub, created)
  return later(created, hub.limits.min_alive) - hub.limits.max_idle
end

-- When a client was last seen. One that has departed has not been since.
local function last_seen(hub, client)
  local seen = tonumber(call('ZSCORE', hub.prefix .. 'seen', client.id))
  if not seen or seen == grace(hub, client.created) then
    return tonumber(call('HGET', client.hash, 'seen')) or seen or 0
  end
  return seen
end

-- Whether a client counts as present (WIRE L1), which was last seen at `seen`, or is new. Who has a poll parked is said to be seen
-- until its node says so again.
local function is_active(hub, id, seen)
  return hub.now <= later(seen, hub.limits.max_idle)
    or hub.now <= later(number(call('HGET', hub.prefix .. 'client:' .. id, 'created')), hub.limits.min_alive)
end

-- The sweep at which a client is collected that was last seen at `seen`.
local function sweep_after(hub, seen)
  local interval = math.max(hub.limits.sweep_interval, 1)
  return math.ceil((later(seen, hub.limits.max_idle) + 1) / interval) * interval
end

-- Takes the client away, with all that is kept of it.
local function remove_client(hub, client)
  call('DEL', client.hash, client.subscriptions, client.ended)
  call('ZREM', hub.prefix .. 'clients', client.id)
  call('ZREM', hub.prefix .. 'seen', client.id)
  call('ZREM', hub.prefix .. 'departed', client.id)
end

-- Forgets a departed client for good: its next poll gets a 404.
local function forget(hub, client)
  each_subscription(client, function(name)
    unlink(hub, channel_of(hub, name), 'held')
  end)
  for _, ended in ipairs(ended_of(client)) do
    unlink(hub, channel_of(hub, ended.channel), 'ended')
  end
  remove_client(hub, client)
end

-- Forgets who departed first. False if nobody has.
local function forget_oldest(hub)
  local oldest = call('ZRANGE', hub.prefix .. 'departed', 0, 0)[1]
  local client = oldest and client_named(hub, oldest)
  if client then
    forget(hub, client)
  elseif oldest then
    call('ZREM', hub.prefix .. 'departed', oldest)
  end
  return oldest ~= nil
end

-- Collects a client: it leaves its channels and may come back (WIRE L2, L3).
local function depart(hub, client)
  local till = later(hub.now, hub.limits.departed_age)
  tell(hub, client.id, 'departed')
  call('HSET', client.hash, 'departed', till, 'seen', last_seen(hub, client))
  call('HDEL', client.hash, 'holder')
  call('ZREM', hub.prefix .. 'clients', client.id)
  call('ZREM', hub.prefix .. 'seen', client.id)
  call('ZADD', hub.prefix .. 'departed', till, client.id)
  each_subscription(client, function(name)
    local channel = channel_of(hub, name)
    leave_seat(hub, client, channel)
    call('HINCRBY', channel.hash, 'held', 1)
    say(hub, client, channel, 'expired')
  end)
end

-- Has a departed client back, with its subscriptions and its position (WIRE L3).
local function come_back(hub, client)
  tell(hub, client.id, 'returned')
  client.departed = nil
  call('HDEL', client.hash, 'departed')
  call('ZREM', hub.prefix .. 'departed', client.id)
  call('ZADD', hub.prefix .. 'clients', next_made(hub), client.id)
  see(hub, client.id, hub.now)
  each_subscription(client, function(name)
    local channel = channel_of(hub, name)
    call('SADD', hub.prefix .. 'members:' .. name, client.id)
    call('HINCRBY', channel.hash, 'held', -1)
    say(hub, client, channel, 'returned')
  end)
end

-- Collects a client that was last seen at `seen`, long ago, unless it is new. Gives the number of its subscriptions: that is what
-- it costs.
local function look_at_client(hub, id, seen)
  local client = client_named(hub, id)
  if not client then
    call('ZREM', hub.prefix .. 'seen', id)
    return 0
  end
  local counted = grace(hub, client.created)
  if sweep_after(hub, counted) > hub.now then
    call('HSET', client.hash, 'seen', seen)
    see(hub, id, counted)
    return 0
  end
  local channels = call('HLEN', client.subscriptions)
  depart(hub, client)
  return channels
end

-- Forgets who has departed for too long. The number of its subscriptions is what that costs.
local function look_at_departed(hub, id)
  local client = client_named(hub, id)
  if not client then
    call('ZREM', hub.prefix .. 'departed', id)
    return 0
  end
  local channels = call('HLEN', client.subscriptions)
  forget(hub, client)
  return channels
end

-- Healing: a failover may have lost what was done last, and nodes still know of it. They put it back, before anything new is done.

-- Another process has the data. The nodes that were there shortly before are waited for.
local function begin_healing(hub)
  local nodes = call('ZRANGEBYSCORE', hub.prefix .. 'nodes', '-inf', '+inf', 'WITHSCORES')
  local alive = number(nodes[#nodes])
  call('DEL', hub.prefix .. 'awaited')
  for at = 1, #nodes, 2 do
    if number(nodes[at + 1]) >= alive - SILENT_MS then
      call('SADD', hub.prefix .. 'awaited', nodes[at])
    end
  end
  -- Up to there nothing is missing: neither messages nor what happened before that time.
  call('HSET', hub.key, 'healing', text(hub.now + HEALING_MS), 'whole', position_of(hub), 'alive', text(alive))
end

-- Nodes that have ended are not kept for ever.
local function forget_silent(hub)
  for _, host in ipairs(call('ZRANGEBYSCORE', hub.prefix .. 'nodes', '-inf', hub.now - FORGOTTEN_MS, 'LIMIT', 0, 100)) do
    call('ZREM', hub.prefix .. 'nodes', host)
  end
end

-- How long it is to be waited for nodes that have not put back what they have.
local function wait_of(hub)
  local left, waits = hub.healing - hub.now, 0
  if call('SCARD', hub.prefix .. 'awaited') == 0 then
    return waits
  elseif left > 0 then
    return left
  elseif left <= HEALING_MS - HEALING_MOST_MS then
    return waits
  end
  local before = number(call('HGET', hub.key, 'alive'))
  for _, host in ipairs(call('SMEMBERS', hub.prefix .. 'awaited')) do
    local heard = number(call('ZSCORE', hub.prefix .. 'nodes', host))
    if heard > before then
      waits = math.max(waits, heard + HEALING_MS - hub.now)
    end
  end
  return waits
end

local function end_healing(hub)
  call('HDEL', hub.key, 'healing')
  call('DEL', hub.prefix .. 'awaited')
end

-- How many messages are put back in one go.
local HEALED_MAX = 200

-- Puts the messages back that nodes have of a channel, so many at most. Gives how many these were.
local function put_back(hub, name, most)
  local kept = hub.prefix .. 'heal:' .. name
  local channel, seqs, done = channel_of(hub, name), call('HKEYS', kept), 0
  table.sort(seqs, function(a, b)
    return tonumber(a) < tonumber(b)
  end)
  for _, seq in ipairs(seqs) do
    if done >= most then
      return done
    end
    local id, at, word, expires, excluded, once, lost0, lost1, from, words = call('HGET', kept, seq)
      :match('^(%d+)\n(%d+)\n(%w+)\n(%d+)\n([^\n]*)\n([^\n]*)\n(%d+)\n(%d+)\n([^\n]*)\n(.*)$')
    if tonumber(seq) > last_seq(channel) then
      for kind, lost in pairs({ [0] = lost0, lost1 }) do
        if tonumber(lost) > last_seq(channel) then
          -- No node has it any more.
          note_lost(channel, kind, tonumber(lost), text(tonumber(id) - 1), 'restart')
        end
      end
      put(hub, channel, {
        word = word, seq = seq, id = id, at = at, from = from, text = words, expires = expires ~= '0' and expires or nil,
        excluded = excluded ~= '' and excluded or nil, once = once,
      })
      if once ~= '' then
        call('SET', hub.prefix .. 'once:' .. cjson.decode('[' .. once .. ']')[1], id .. ' ' .. seq, 'PX', ONCE_MS)
      end
      done = done + 1
    end
    call('HDEL', kept, seq)
  end
  call('ZREM', hub.prefix .. 'healing', name)
  return done
end

-- Questions

-- What a node that takes a client over has to know, and up to which seq it has heard everything then: to the newest, if nothing is
-- said.
local function record_of(hub, client, position)
  local subscriptions, ends = {}, {}
  each_subscription(client, function(name, made, begin)
    subscriptions[#subscriptions + 1] = { name, text(made), text(begin) }
  end)
  for at, ended in ipairs(ended_of(client)) do
    ends[at] = ended.wire
  end
  return {
    client.key,
    text(client.created),
    text(client.position),
    client.resumes and '1' or '0',
    text(client.forgotten),
    client.departed and text(client.departed) or '',
    text(hub.now),
    hub.epoch,
    text(position or position_of(hub)),
    subscriptions,
    ends,
  }
end

-- The ids of those that are active, less those with the mark anywhere in them (WIRE M9).
local function listed_of(hub, ids, mark)
  local asked, listed = {}, {}
  for _, id in ipairs(ids) do
    if id ~= '' and (mark == '' or not id:find(mark, 1, true)) then
      asked[#asked + 1] = id
    end
  end
  local seen = #asked > 0 and call('ZMSCORE', hub.prefix .. 'seen', unpack(asked)) or {}
  for at, id in ipairs(asked) do
    if is_active(hub, id, number(seen[at])) then
      listed[#listed + 1] = id
    end
  end
  return listed
end

-- A page of a list: names that begin with the prefix, behind a number, and the number to go on behind.
local function page(hub, list, prefix, after, limit, looks)
  local found =
    call('ZRANGEBYSCORE', hub.prefix .. list, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, looks)
  local names = { #found < 2 * tonumber(looks) and '' or found[#found] }
  for at = 1, #found, 2 do
    if found[at]:sub(1, #prefix) == prefix then
      names[#names + 1] = found[at]
      if #names > tonumber(limit) then
        names[1] = found[at + 1]
        break
      end
    end
  end
  return names
end

-- What nodes call

-- Numbers go on from far behind those that may have been given: another process has the data, which may lack the last of what was
-- said, or that numbers have been skipped before. The generation is the age of the model in seconds, so that what one life of the
-- data skips to is not what another has skipped to before; and it grows by one at least.
local function skip_ahead(hub, least)
  local age = math.floor((hub.now - number(call('HGET', hub.key, 'began'))) / 1000)
  local generation = math.max(least, age)
  call('HINCRBY', hub.key, 'seq', text(SEQS_SKIPPED * (generation - hub.generation)))
  call('HSET', hub.key, 'generation', text(generation))
end

-- hello(node, run_id or '', candidate_epoch, limits, epoch_seen or '', seq_seen, server_seen, generation_seen) -> [epoch, seq, time,
-- generation, server, up to which seq nothing is missing while it heals or ''].
-- What it has seen is what the last hello of the node said.
local function hello(key, arguments)
  local node, run_id, candidate, limits, epoch_seen, seq_seen, server_seen, generation_seen = unpack(arguments)
  if run_id == '' then
    incarnation = incarnation or candidate
    run_id = incarnation
  end
  local is_good, problem = pcall(decode_limits, limits)
  if not is_good then
    return { err = 'ERR these limits are not understood: ' .. tostring(problem) }
  end
  local format, epoch, server = unpack(call('HMGET', key, 'format', 'epoch', 'server'))
  if format and format ~= FORMAT then
    return { err = 'FORMAT ' .. format }
  elseif not epoch then
    epoch, server = candidate, run_id
    begin_hub(key, epoch, server, limits)
  end
  limits_sent[key] = limits
  call('HSET', key, 'node', node, 'limits', limits, 'digest', redis.sha1hex(limits))
  local hub = open_hub(key)
  if server ~= run_id then
    call('HSET', key, 'server', run_id)
    begin_healing(hub)
    skip_ahead(hub, hub.generation + 1)
    hub = open_hub(key)
  end
  forget_silent(hub)
  if epoch_seen == epoch and server_seen ~= run_id and number(generation_seen) >= hub.generation then
    -- Another life of the data than this has skipped as often: its numbers are not to be given again.
    skip_ahead(hub, number(generation_seen) + 1)
    hub = open_hub(key)
  end
  if epoch_seen == epoch and number(seq_seen) > position_of(hub) then
    call('HSET', key, 'seq', text(number(seq_seen)))
  end
  if epoch_seen ~= '' and epoch_seen ~= epoch then
    call('HSET', key, 'wiped', text(hub.now))
  end
  local whole = hub.healing and call('HGET', key, 'whole') or ''
  return { epoch, text(position_of(hub)), text(hub.now), text(hub.generation), run_id, whole }
end

-- seq() -> [epoch, seq, time]
local function seq(hub)
  return { hub.epoch, text(position_of(hub)), text(hub.now) }
end

-- create_client(id, key) -> its key: that of a client that is here, or has departed and comes back (WIRE M1, L6)
local function create_client(hub, id, key)
  local client = client_named(hub, id)
  if client then
    if client.departed then
      come_back(hub, client)
      -- Its page is only about to load: it has the grace of a new client.
      client.created = hub.now
      call('HSET', client.hash, 'created', hub.now)
    end
    return client.key
  end
  local clients = call('ZCARD', hub.prefix .. 'clients') + call('ZCARD', hub.prefix .. 'departed')
  -- Who may come back makes room for who comes.
  if clients >= hub.limits.clients_max and not forget_oldest(hub) then
    return full('clients', hub.limits.clients_max)
  end
  call(
    'HSET', hub.prefix .. 'client:' .. id, 'key', key, 'created', hub.now, 'position', 0, 'resumes', 0, 'forgotten', 0
  )
  call('ZADD', hub.prefix .. 'clients', next_made(hub), id)
  see(hub, id, hub.now)
  return key
end

-- rotate_key(id, key) -> the key
local function rotate_key(hub, id, key)
  local client, problem = here(hub, id)
  if not client then
    return problem
  end
  call('HSET', client.hash, 'key', key)
  tell(hub, id, 'key', key)
  return key
end

-- subscribe(id, channel, since or '') -> OK (WIRE M2, C1, C2)
local function subscribe(hub, id, name, since)
  local client, channel, problem
  client, problem = here(hub, id)
  if not client then
    return problem
  end
  local is_subscribed = call('HEXISTS', client.subscriptions, name) == 1
  local most = hub.limits.subscriptions_max
  if
    not is_subscribed
    and call('HLEN', client.subscriptions) + call('HLEN', client.ended) >= most
    and not forget_one_read(hub, client)
  then
    return full('subscriptions', most)
  end
  channel, problem = open_channel(hub, name)
  if not channel then
    return problem
  end
  if not is_subscribed then
    link(hub, client, channel, tonumber(since))
  end
  say(hub, client, channel, 'subscribed')
  return OK
end

-- unsubscribe(id, channel) -> OK (WIRE M3)
local function unsubscribe(hub, id, name)
  local client, channel, problem
  client, problem = here(hub, id)
  if not client then
    return problem
  end
  channel, problem = open_channel(hub, name)
  if not channel then
    return problem
  end
  local found = call('HGET', client.subscriptions, name)
  if found then
    end_subscription(hub, client, channel, found)
  end
  say(hub, client, channel, 'unsubscribed')
  return OK
end

-- kill_client(id) -> OK (WIRE M11)
local function kill_client(hub, id)
  local client, problem = here(hub, id)
  if not client then
    return problem
  end
  tell(hub, id, 'killed')
  each_subscription(client, function(name)
    local channel = channel_of(hub, name)
    leave_seat(hub, client, channel)
    unlink(hub, channel)
    say(hub, client, channel, 'killed')
  end)
  for _, ended in ipairs(ended_of(client)) do
    unlink(hub, channel_of(hub, ended.channel), 'ended')
  end
  remove_client(hub, client)
  return OK
end

-- publish(channel, from_json, text_json, ttl_ms or '', excluded json or '', once or '') -> [id, seq] (WIRE M7)
local function publish(hub, name, from, words, ttl, excluded, once)
  local note = once ~= '' and hub.prefix .. 'once:' .. once
  local placed = note and call('GET', note)
  if placed then
    return { placed:match('^(%d+) (%d+)$') }
  end
  local channel, problem = open_channel(hub, name)
  if not channel then
    return problem
  end
  local expires = ttl ~= '' and later(hub.now, tonumber(ttl)) or nil
  local id, seq_text = append(hub, channel, 'app', from, words, expires, excluded ~= '' and excluded or nil, note and json_string(once))
  if note then
    call('SET', note, id .. ' ' .. seq_text, 'PX', ONCE_MS)
  end
  return { id, seq_text }
end

-- each(id, channel, id, channel, ...) -> [how many were done, the error of the next or '']: one after the other (WIRE M4, M5)
local function each(verb)
  return function(hub, ...)
    local pairs_given = { ... }
    for at = 1, #pairs_given, 2 do
      local done = verb(hub, pairs_given[at], pairs_given[at + 1], '')
      if type(done) == 'table' and done.err then
        return { text((at - 1) / 2), done.err }
      end
    end
    return { text(#pairs_given / 2), '' }
  end
end

-- broadcast(from_json, text_json, ttl_ms or '', excluded json or '', once or '', channel...) -> [id, seq, id, seq, ...]: the same in
-- each channel; the key of idempotency is followed by the channel's name
local function broadcast(hub, from, text_json, ttl, excluded, once, ...)
  local places = {}
  for _, name in ipairs({ ... }) do
    local place = publish(hub, name, from, text_json, ttl, excluded, once ~= '' and once .. name or '')
    if place.err then
      return place
    end
    places[#places + 1], places[#places + 2] = place[1], place[2]
  end
  return places
end

-- restore(id, key, channel...) -> OK: a client that a node still has when all was lost is made again, with its subscriptions
local function restore(hub, id, key, ...)
  if client_named(hub, id) then
    return redis.status_reply('OK')
  end
  call('HSET', hub.key, 'wiped', text(hub.now))
  local made = create_client(hub, id, key)
  if type(made) == 'table' and made.err then
    return made
  end
  for _, channel in ipairs({ ... }) do
    local done = subscribe(hub, id, channel, '')
    if type(done) == 'table' and done.err then
      return done
    end
  end
  return redis.status_reply('OK')
end

-- look(epoch, id) -> nil, or what is known of a client
local function look(hub, id)
  local client = client_named(hub, id)
  return client and record_of(hub, client) or absent(hub)
end

-- revive(epoch, id) -> the same, and it is here: it comes back if it had departed. What its channels are told of that comes to the
-- caller after the reply (as of Redis 7.2), so the seq is the one of before.
local function revive(hub, id)
  local client, position = client_named(hub, id), position_of(hub)
  if not client then
    return absent(hub)
  end
  if client.departed then
    come_back(hub, client)
  else
    see(hub, id, hub.now)
  end
  return record_of(hub, client, position)
end

-- follow(channel, after, most or none) -> nil, or what is known of a channel and its messages after a seq, in order, so many
-- at most
local function follow(hub, name, after, most)
  local channel = channel_named(hub, name)
  if not channel then
    return false
  end
  local messages = {}
  for ring = 0, 1 do
    local entries
    local from = '(' .. after .. '-0'
    if most then
      entries = call('XRANGE', stream_of(hub, channel, ring), from, '+', 'COUNT', most)
    else
      entries = call('XRANGE', stream_of(hub, channel, ring), from, '+')
    end
    for _, entry in ipairs(entries) do
      messages[#messages + 1] = message_of(entry)
    end
  end
  table.sort(messages, function(a, b)
    return a.seq < b.seq
  end)
  for at, message in ipairs(messages) do
    if most and at > tonumber(most) then
      messages[at] = nil
    else
      local expires = message.expires and text(message.expires) or '0'
      messages[at] = {
        text(message.seq), message.id, text(message.at), message.word, expires, message.excluded or '', message.from,
        message.text,
      }
    end
  end
  local lost0, lost1, used = unpack(call('HMGET', channel.hash, 'lost0', 'lost1', 'used'))
  return {
    text(channel.id), text(channel.newest0), text(channel.newest1), lost0 or '', lost1 or '', used, text(hub.now), hub.epoch,
    text(position_of(hub)), messages,
  }
end

-- touch(epoch, span, id...) -> the ids that are not here: each was seen so many ms from now. Who waits will be seen until it is said again;
-- of who does not the span is less than 0, and who was seen later elsewhere stays so
local function touch(hub, span, ...)
  local told, ids, unknown, key = {}, { ... }, {}, hub.prefix .. 'seen'
  local seen = text(hub.now + span)
  for at = 1, #ids do
    told[2 * at - 1], told[2 * at] = seen, ids[at]
  end
  local changed
  if tonumber(span) < 0 then
    changed = call('ZADD', key, 'XX', 'CH', 'GT', unpack(told))
  else
    changed = call('ZADD', key, 'XX', 'CH', unpack(told))
  end
  if changed < #ids then
    -- Some are not here, or were seen just then.
    for at, score in ipairs(call('ZMSCORE', key, unpack(ids))) do
      if not score then
        unknown[#unknown + 1] = ids[at]
      end
    end
  end
  return unknown
end

-- acknowledge_each(epoch, id, position, resumes, id, position, resumes, ...) -> the ids that are not here: what each has had; `resumes`
-- is 1 if one of its pages speaks the resume protocol
local function acknowledge_each(hub, ...)
  local arguments, unknown = { ... }, {}
  for at = 1, #arguments, 3 do
    local id, position, resumes = unpack(arguments, at, at + 2)
    local client = here(hub, id)
    if client then
      if resumes == '1' and not client.resumes then
        client.resumes = true
        call('HSET', client.hash, 'resumes', 1)
      end
      if acknowledge(hub, client, seq_of(hub, position)) then
        tell(hub, id, 'position', text(client.position))
      end
    else
      unknown[#unknown + 1] = id
    end
  end
  return unknown
end

-- alive(node, ttl) -> epoch: for so many ms this node's leases are good
local function alive(hub, node, ttl)
  call('SET', hub.prefix .. 'node:' .. node, text(hub.now), 'PX', ttl)
  call('ZADD', hub.prefix .. 'nodes', hub.now, host_of(node))
  return hub.epoch
end

-- heal(channel, seq, id, at, kind, expires or 0, excluded or '', once in JSON or '', lost0, lost1, from, text, ...) -> 1, or 0 if it is
-- too late: messages that a node has and a failover may have lost; before each, of either kind, the newest that it has not any more
local function heal(hub, name, ...)
  if not hub.healing then
    return '0'
  end
  local arguments, kept = { ... }, hub.prefix .. 'heal:' .. name
  for at = 1, #arguments, 11 do
    if call('HEXISTS', kept, arguments[at]) == 0 then
      call('HSET', kept, arguments[at], table.concat(arguments, '\n', at + 1, at + 10))
    end
  end
  call('ZADD', hub.prefix .. 'healing', 0, name)
  return '1'
end

-- heal_client(id, whole, key, created, position, resumes, forgotten, channel, made, begin, until, newest0, newest1, stale, ...) -> 1 if it
-- was gone, or 0: a client as a node knows it that has heard of everything up to the seq `whole`. If that is more than this Redis has, the node is
-- right. What has ended has its end, as in `ended:ID`.
local function heal_client(hub, id, whole, key, created, position, resumes, forgotten, ...)
  local own, alive_at = unpack(call('HMGET', hub.key, 'whole', 'alive'))
  if not hub.healing or tonumber(whole) < number(own) then
    return '0'
  end
  local client = client_named(hub, id)
  local is_new = not client
  if is_new then
    if tonumber(created) <= number(alive_at) then
      -- It was here, and is gone.
      return '0'
    end
    local made = create_client(hub, id, key)
    if type(made) == 'table' then
      return made
    end
    client = client_named(hub, id)
    call('HSET', client.hash, 'created', created, 'resumes', resumes, 'forgotten', forgotten)
    client.resumes = resumes == '1'
  end
  -- Of several nodes the one that has heard most.
  local mark = text(hub.generation) .. ' '
  local by = (call('HGET', client.hash, 'healed') or ''):match('^' .. mark .. '(%d+)$')
  if by and tonumber(by) >= tonumber(whole) then
    return '0'
  end
  call('HSET', client.hash, 'healed', mark .. whole)
  if client.key ~= key then
    call('HSET', client.hash, 'key', key)
    tell(hub, id, 'key', key)
  end
  if resumes == '1' and not client.resumes then
    client.resumes = true
    call('HSET', client.hash, 'resumes', 1)
  end
  acknowledge(hub, client, tonumber(position))
  local arguments, live, ended = { ... }, {}, {}
  for _, one in ipairs(ended_of(client)) do
    ended[one.wire[2] .. ' ' .. one.channel] = true
  end
  for at = 1, #arguments, 7 do
    local name, made, begin, till, newest0, newest1, stale = unpack(arguments, at, at + 6)
    if till ~= '' then
      local found = call('HGET', client.subscriptions, name)
      local was_live = found and found:match('^%d+') == made
      if was_live then
        leave_seat(hub, client, channel_of(hub, name))
        call('HDEL', client.subscriptions, name)
      end
      local newest = math.max(tonumber(newest0), tonumber(newest1))
      if not ended[made .. ' ' .. name] and not is_read(hub, client, newest, tonumber(stale)) then
        local wire = table.concat({ made, begin, till, newest0, newest1, stale, name }, ' ')
        keep_end(hub, client, channel_of(hub, name), wire)
      elseif was_live then
        unlink(hub, channel_of(hub, name))
        tell(hub, id, 'unsubscribed', made, name)
      end
    else
      live[name] = { made, begin }
    end
  end
  each_subscription(client, function(name, made)
    if made <= tonumber(whole) and not (live[name] and tonumber(live[name][1]) == made) then
      -- It has ended there, and nothing of it is left.
      local channel = channel_of(hub, name)
      leave_seat(hub, client, channel)
      call('HDEL', client.subscriptions, name)
      unlink(hub, channel)
      tell(hub, id, 'unsubscribed', text(made), name)
    end
  end)
  -- Last, as one of the same channel may have been before it.
  for name, wire in pairs(live) do
    if call('HEXISTS', client.subscriptions, name) == 0 then
      seat(hub, client, channel_of(hub, name), unpack(wire))
    end
  end
  return is_new and '1' or '0'
end

-- healed(node) -> 0 when nothing more is put back, or for how many ms it is waited for the others: a node has put back what it has
local function healed(hub, node)
  if not hub.healing then
    return '0'
  end
  call('SREM', hub.prefix .. 'awaited', host_of(node))
  local wait = wait_of(hub)
  if wait > 0 then
    return text(wait)
  end
  local left = HEALED_MAX
  while left > 0 do
    local name = call('ZRANGE', hub.prefix .. 'healing', 0, 0)[1]
    if not name then
      end_healing(hub)
      return '0'
    end
    local done = put_back(hub, name, left)
    left = left - done - 1
  end
  return '1'
end

-- leave(node) -> OK: what it has the right to has nobody from now on
local function leave(hub, node)
  call('DEL', hub.prefix .. 'node:' .. node)
  -- Nobody waits for it to put anything back.
  call('ZREM', hub.prefix .. 'nodes', host_of(node))
  call('SREM', hub.prefix .. 'awaited', host_of(node))
  return OK
end

-- take(node, id...) -> [1 or 0, position...]: the right to answer the original's polls of all of them, or of none. A node has it
-- as long as it says that it is alive.
local function take(hub, node, ...)
  local clients, result = {}, { '1' }
  for at, id in ipairs({ ... }) do
    local client, problem = here(hub, id)
    if not client then
      return problem
    end
    local holder = call('HGET', client.hash, 'holder')
    if holder and holder ~= node and call('EXISTS', hub.prefix .. 'node:' .. holder) == 1 then
      result[1] = '0'
      tell(hub, id, 'wanted', node)
    end
    clients[at] = client
    result[at + 1] = text(client.position)
  end
  if result[1] == '1' then
    for _, client in ipairs(clients) do
      call('HSET', client.hash, 'holder', node)
    end
  end
  return result
end

-- What has left a node in an answer of the original's protocol has been had. Gives the client, whether the node has the right
-- to it, and whether the position is news.
local function hand_over(hub, node, id, position)
  local client, problem = here(hub, id)
  if not client then
    return nil, problem
  end
  local has_moved = acknowledge(hub, client, seq_of(hub, position))
  return client, call('HGET', client.hash, 'holder') == node, has_moved
end

-- release(node, id, position) -> 1 if it had the right to it until now, or 0
local function release(hub, node, id, position)
  local client, is_holder, has_moved = hand_over(hub, node, id, position)
  if not client then
    return is_holder
  end
  if is_holder then
    call('HDEL', client.hash, 'holder')
    tell(hub, id, 'free', text(client.position))
  elseif has_moved then
    tell(hub, id, 'position', text(client.position))
  end
  return is_holder and '1' or '0'
end

-- give(node, id, position) -> 1 if it keeps the right to it, or 0
local function give(hub, node, id, position)
  local client, is_holder, has_moved = hand_over(hub, node, id, position)
  if not client then
    return is_holder
  end
  if has_moved then
    tell(hub, id, 'position', text(client.position))
  end
  return is_holder and '1' or '0'
end

-- members(channel, mark, cursor, count) -> [next cursor or '', id...]: who is active there, bit by bit (WIRE M9)
local function members(hub, name, mark, cursor, count)
  local found = call('SSCAN', hub.prefix .. 'members:' .. name, cursor, 'COUNT', count)
  return { found[1] ~= '0' and found[1] or '', unpack(listed_of(hub, found[2], mark)) }
end

-- unsubscribe_some(channel, mark, cursor, count, spared id...) -> [next cursor or '', how many] (WIRE M6)
local function unsubscribe_some(hub, name, mark, cursor, count, ...)
  local spared, channel, done = {}, channel_named(hub, name), 0
  if not channel then
    return { '', '0' }
  end
  for _, id in ipairs({ ... }) do
    spared[id] = true
  end
  local found = call('SSCAN', hub.prefix .. 'members:' .. name, cursor, 'COUNT', count)
  for _, id in ipairs(listed_of(hub, found[2], mark)) do
    local client = not spared[id] and client_named(hub, id)
    local subscription = client and call('HGET', client.subscriptions, name)
    if subscription then
      end_subscription(hub, client, channel, subscription)
      say(hub, client, channel, 'unsubscribed')
      done = done + 1
    end
  end
  return { found[1] ~= '0' and found[1] or '', text(done) }
end

-- channels_of(id) -> the names (WIRE M10)
local function channels_of(hub, id)
  local client, problem = here(hub, id)
  return client and call('HKEYS', client.subscriptions) or problem
end

-- list_channels(prefix, after, limit, looks) -> [next or '', name...]
local function list_channels(hub, ...)
  return page(hub, 'channels', ...)
end

-- list_clients(prefix, after, limit, looks) -> [next or '', id...]
local function list_clients(hub, ...)
  return page(hub, 'clients', ...)
end

-- channel_info(channel) -> [subscribers, active, messages, bytes, next_id, seq]
local function channel_info(hub, name)
  local channel = channel_named(hub, name)
  if not channel then
    return UNKNOWN_CHANNEL
  end
  local active = call('SCARD', hub.prefix .. 'members:' .. name)
  local subscribers = active + number(call('HGET', channel.hash, 'held'))
  local messages, bytes = channel.count0 + channel.count1, channel.bytes0 + channel.bytes1
  return { text(subscribers), text(active), text(messages), text(bytes), text(channel.id + 1), text(position_of(hub)) }
end

-- client_info(id) -> [here, idle_ms, position, subscriptions]
local function client_info(hub, id)
  local client = client_named(hub, id)
  if not client then
    return absent(hub) or UNKNOWN_CLIENT
  end
  local idle = math.max(hub.now - last_seen(hub, client), 0)
  local subscriptions = call('HLEN', client.subscriptions)
  return { client.departed and '0' or '1', text(idle), text(client.position), text(subscriptions) }
end

-- The next of a sorted set by a time that is over, and their times.
local function overdue(hub, list, time, count)
  return call('ZRANGEBYSCORE', hub.prefix .. list, '-inf', time, 'WITHSCORES', 'LIMIT', 0, count)
end

-- When the first of a sorted set is due; never if it is empty.
local function first_due(hub, list)
  return tonumber(call('ZRANGE', hub.prefix .. list, 0, 0, 'WITHSCORES')[2])
end

-- sweep(count) -> [how many were looked at, time of the next due or '']
local function sweep(hub, count)
  count = tonumber(count)
  local looked, interval = 0, math.max(hub.limits.sweep_interval, 1)
  local stale = math.floor(hub.now / interval) * interval - hub.limits.max_idle - 1
  -- Each has a name, a time by which it is due, and says how much more than one look it took.
  local function look(list, time, visit)
    local found = looked < count and overdue(hub, list, time, count - looked) or {}
    for at = 1, #found, 2 do
      if looked >= count then
        break
      end
      looked = looked + 1 + visit(hub, found[at], tonumber(found[at + 1]))
    end
  end
  look('seen', stale, look_at_client)
  look('departed', hub.now, look_at_departed)
  look('due', hub.now, function(_, name)
    call('ZREM', hub.prefix .. 'due', name)
    look_at_channel(hub, name)
    return 0
  end)
  while looked < count and call('ZCARD', hub.prefix .. 'departed') > hub.limits.departed_max do
    forget_oldest(hub)
    looked = looked + 1
  end
  local seen = first_due(hub, 'seen')
  local collects = seen and sweep_after(hub, seen) or NEVER
  local soonest = math.min(collects, first_due(hub, 'departed') or NEVER, first_due(hub, 'due') or NEVER)
  return { text(looked), soonest < NEVER and text(soonest) or '' }
end

-- stats() -> [clients, departed, channels, seq]
local function stats(hub)
  local size = function(list)
    return text(call('ZCARD', hub.prefix .. list))
  end
  return { size('clients'), size('departed'), size('channels'), text(position_of(hub)) }
end

-- Each is called with the hub and the arguments. What changes the model waits until what was lost is put back; what does not has
-- the flag no-writes or is what nodes need to come back.
local function register(name, callback, ...)
  local flags, is_reading, heals = { ... }, ... == 'no-writes', ... == 'heals'
  redis.register_function({
    function_name = 'shaveet1_' .. name,
    callback = function(keys, arguments)
      local hub, problem = open_hub(keys[1], is_reading)
      if hub and hub.healing and not is_reading and not heals then
        return HEALING
      end
      return hub and callback(hub, unpack(arguments)) or problem or false
    end,
    flags = is_reading and flags or {},
  })
end

-- What says of clients that they are not here. The caller says first of which epoch it speaks, or '' for any: since it has heard of
-- that all may have been lost, and its clients are to be made again, not given up.
local function of_epoch(callback)
  return function(hub, epoch, ...)
    if epoch ~= '' and epoch ~= hub.epoch then
      return ANOTHER_HUB
    end
    return callback(hub, ...)
  end
end

redis.register_function({
  function_name = 'shaveet1_revision',
  callback = function()
    return REVISION
  end,
  flags = { 'no-writes' },
})
redis.register_function({
  function_name = 'shaveet1_life',
  callback = function()
    return incarnation or ''
  end,
  flags = { 'no-writes' },
})
redis.register_function('shaveet1_hello', function(keys, arguments)
  return hello(keys[1], arguments)
end)
register('seq', seq, 'no-writes')
register('create_client', create_client)
register('rotate_key', rotate_key)
register('kill_client', kill_client)
register('subscribe', subscribe)
register('unsubscribe', unsubscribe)
register('unsubscribe_some', unsubscribe_some)
register('publish', publish)
register('broadcast', broadcast)
register('subscribe_each', each(subscribe))
register('unsubscribe_each', each(unsubscribe))
register('revive', of_epoch(revive))
register('look', of_epoch(look), 'no-writes')
register('follow', follow, 'no-writes')
register('restore', restore)
register('heal', heal, 'heals')
register('heal_client', heal_client, 'heals')
register('healed', healed, 'heals')
register('touch', of_epoch(touch), 'heals')
register('acknowledge_each', of_epoch(acknowledge_each), 'heals')
register('alive', alive, 'heals')
register('leave', leave, 'heals')
register('take', take, 'heals')
register('release', release, 'heals')
register('give', give, 'heals')
register('members', members, 'no-writes')
register('channels_of', channels_of, 'no-writes')
register('list_channels', list_channels, 'no-writes')
register('list_clients', list_clients, 'no-writes')
register('channel_info', channel_info, 'no-writes')
register('client_info', client_info, 'no-writes')
register('sweep', sweep)
register('stats', stats, 'no-writes')
