-- Publishes a batch in which some messages are stored or have an idempotency key. Like the script of plain batches it publishes
-- only what is not too late by Redis's own clock. It answers {seconds, microseconds, error code, status, outcomes}.
--
-- Status: 0 executed; 1 executed earlier, these are the outcomes; 2 nobody knows whether it was executed earlier.
-- Outcomes, one for each message, separated by spaces: - too late, . published, ! refused, EPOCH-OFFSET stored there,
-- =EPOCH-OFFSET or = already published under its idempotency key.
--
-- KEYS: the store, the last batch of the node, then the head and the messages of each channel, then idempotency keys.
-- ARGV: number of the batch, 1 if it was sent before, a random number in hexadecimal, how many messages are stored, how many
--   channels there are; messages, bytes and milliseconds that each channel keeps; then the messages. A message is its topic,
--   deadline, payload and place of its idempotency key in KEYS. The place is -1 for a plain message and 0 for none; otherwise
--   the place of a second key (0: none) and the number of its channels follow, and for each of these its place above, and which of
--   the dispatch's channels it is. The payload of such a message lacks its final brace.
--
-- The store: "ID NUMBER". A head: "STORE EPOCH OFFSET NUMBER BYTES DUE_AT DUE_BYTES" and marks, each " OFFSET AT BYTES": what was
-- stored before a mark is removed as a whole, so that no message needs to be read to know what is too old or too much.

local STORE_TTL, HEAD_TTL, KEY_TTL, BATCH_TTL = 2764800, 2592000, 300, 3600
local MARKS = 8
local format, match = string.format, string.match

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = math.floor(now / 1000)
local batch, seed, count, channel_count = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local code = ''

local function answer(status, outcomes)
  return {tonumber(time[1]), tonumber(time[2]), code, status, outcomes}
end

local function failed(reply)
  local err = type(reply) == 'table' and reply.err
  if err and code == '' then
    code = match(err, '^%-?(%S*)')
  end
  return err
end

if ARGV[2] == '1' then
  local last = redis.call('GET', KEYS[2])
  if not last then
    return answer(2, '')
  end
  local number, outcomes = match(last, '^(%d+) (.*)$')
  if number == batch then
    return answer(1, outcomes)
  end
end

-- The numbers of all messages are reserved first: Redis refuses the first write of a script or none.
local store, number, reserved, is_unavailable
if count > 0 then
  local state = redis.pcall('GET', KEYS[1])
  if failed(state) then
    is_unavailable = true
  else
    store, number = match(state or '', '^(%x+) (%d+)$')
    store, number = store or seed, tonumber(number or 0)
    reserved = number + count
    is_unavailable = failed(redis.pcall('SET', KEYS[1], format('%s %d', store, reserved), 'EX', STORE_TTL))
  end
end

-- Starts a new epoch: what is there does not continue. Answers whether there was something.
local function reset(channel)
  local deleted = redis.pcall('DEL', channel.messages)
  channel.resets = channel.resets + 1
  local epoch = redis.sha1hex(seed .. channel.resets .. channel.head)
  channel.epoch = match(epoch, '^0*(%x+)', 1):sub(1, 15)
  channel.offset, channel.bytes = 0, 0
  channel.due_at, channel.due_bytes, channel.floor, channel.marks = 0, 0, 0, ''
  return deleted == 1
end

local channels = {}
local function load(place)
  local channel = channels[place]
  if channel then
    return channel
  end
  local limits = 3 + 3 * place
  channel = {
    head = KEYS[1 + 2 * place], messages = KEYS[2 + 2 * place], resets = 0,
    max_messages = tonumber(ARGV[limits]), max_bytes = tonumber(ARGV[limits + 1]), age = tonumber(ARGV[limits + 2]),
  }
  local head = redis.pcall('GET', channel.head)
  local of, epoch, offset, last, bytes, due_at, due_bytes, floor, marks
  if not failed(head) and head then
    of, epoch, offset, last, bytes, due_at, due_bytes, floor, marks =
      match(head, '^(%x+) (%x+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)(.*)$')
  end
  if of == store then
    channel.epoch, channel.marks = epoch, marks
    channel.offset, channel.last, channel.bytes = tonumber(offset), tonumber(last), tonumber(bytes)
    channel.due_at, channel.due_bytes, channel.floor = tonumber(due_at), tonumber(due_bytes), tonumber(floor)
  else
    -- Messages without a head have lost it: the last of them may have been the previous one.
    channel.last = reset(channel) and not of and number - 1 or 0
  end
  channels[place] = channel
  return channel
end

-- Sets a mark before the next message, and forgets the marks before which everything is too old or too much.
local function mark(channel, size)
  local marks, first = {}, 1
  for offset, at, bytes in string.gmatch(channel.marks, ' (%d+) (%d+) (%d+)') do
    marks[#marks + 1] = {offset, tonumber(at), tonumber(bytes)}
  end
  marks[#marks + 1] = {format('%d', channel.offset), ms, channel.bytes}
  local least = channel.bytes + size - channel.max_bytes * (MARKS - 1) / MARKS
  while marks[first + 1] and (marks[first + 1][2] < ms - channel.age or marks[first][3] < least) do
    first = first + 1
  end
  local texts = {}
  for i = first, #marks do
    texts[#texts + 1] = format(' %s %d %d', marks[i][1], marks[i][2], marks[i][3])
  end
  channel.marks, channel.floor = table.concat(texts), tonumber(marks[first][1])
  channel.due_at = ms + math.ceil(channel.age / MARKS)
  channel.due_bytes = channel.bytes + math.ceil(channel.max_bytes / MARKS)
end

-- Adds the next message of a channel.
local function append(channel, payload)
  local size, is_due = #payload, ms >= channel.due_at or channel.bytes >= channel.due_bytes
  if is_due then
    mark(channel, size)
  end
  channel.bytes = channel.bytes + size
  local from = math.max(channel.floor, channel.offset - channel.max_messages + 1)
  local id, added = format('%d-0', channel.offset)
  if from > 1 then
    added = redis.pcall('XADD', channel.messages, 'MINID', '~', format('%d-0', from), id, 'payload', payload)
  else
    added = redis.pcall('XADD', channel.messages, id, 'payload', payload)
  end
  if failed(added) then
    return false
  end
  channel.last = number
  if is_due then
    redis.pcall('PEXPIRE', channel.messages, math.ceil(channel.age * (MARKS + 1) / MARKS) + 1000)
  end
  return true
end

-- Stores and publishes a message. `at` is the place of its first channel in ARGV. Answers its outcome.
local function publish(topic, payload, key, alias, at, places)
  local first = key > 0 and redis.pcall('GET', KEYS[key])
  if not first and alias > 0 then
    first = redis.pcall('GET', KEYS[alias])
  end
  if failed(first) then
    return '!'
  elseif first then
    return '=' .. first
  end
  local retained, texts, position = {}, {}, ''
  if places > 0 then
    if is_unavailable then
      return '!'
    end
    number = number + 1
    for i = 1, places do
      local channel = load(tonumber(ARGV[at]))
      channel.offset = channel.offset + 1
      local here = format('%s-%d', channel.epoch, channel.offset)
      position = i == 1 and here or position
      texts[i] = format(' %s:%s:%d', ARGV[at + 1], here, channel.last)
      retained[i] = channel
      at = at + 2
    end
    payload = format('%s,"stored":"%s %d %d%s"}', payload, store, number, ms, table.concat(texts))
  else
    payload = payload .. '}'
  end
  local is_remembered = key == 0 or not failed(redis.pcall('SET', KEYS[key], position, 'EX', KEY_TTL))
  if is_remembered and alias > 0 and failed(redis.pcall('SET', KEYS[alias], position, 'EX', KEY_TTL)) then
    is_remembered = false
    redis.pcall('DEL', KEYS[key])
  end
  if not is_remembered then
    number = places > 0 and number - 1 or number
    for i = 1, places do
      retained[i].offset = retained[i].offset - 1
    end
    return '!'
  end
  local is_ok = true
  for i = 1, places do
    is_ok = is_ok and append(retained[i], payload)
  end
  if is_ok and not failed(redis.pcall('PUBLISH', topic, payload)) then
    return places > 0 and position or '.'
  end
  -- All or nothing. Its offsets and its number must not be missing.
  if key > 0 then
    redis.pcall('DEL', KEYS[key])
  end
  if alias > 0 then
    redis.pcall('DEL', KEYS[alias])
  end
  number = places > 0 and number - 1 or number
  for i = 1, places do
    reset(retained[i])
    retained[i].last = math.min(retained[i].last, number)
  end
  return '!'
end

local outcomes, at, last = {}, 6 + 3 * channel_count, #ARGV
while at <= last do
  local key, alias, places, outcome = tonumber(ARGV[at + 3]), 0, 0, '-'
  local after = at + 4
  if key >= 0 then
    alias, places = tonumber(ARGV[after]), tonumber(ARGV[after + 1])
    after = after + 2
  end
  if now <= tonumber(ARGV[at + 1]) then
    if key >= 0 then
      outcome = publish(ARGV[at], ARGV[at + 2], key, alias, after, places)
    else
      outcome = failed(redis.pcall('PUBLISH', ARGV[at], ARGV[at + 2])) and '!' or '.'
    end
  end
  outcomes[#outcomes + 1] = outcome
  at = after + 2 * places
end

for _, channel in pairs(channels) do
  local head = format('%s %s %d %d %d %d %d %d%s', store, channel.epoch, channel.offset, channel.last, channel.bytes,
    channel.due_at, channel.due_bytes, channel.floor, channel.marks)
  if failed(redis.pcall('SET', channel.head, head, 'EX', HEAD_TTL)) then
    redis.pcall('DEL', channel.messages)
  end
end
if reserved and not is_unavailable and number < reserved then
  failed(redis.pcall('SET', KEYS[1], format('%s %d', store, number), 'EX', STORE_TTL))
end
local text = table.concat(outcomes, ' ')
failed(redis.pcall('SET', KEYS[2], batch .. ' ' .. text, 'EX', BATCH_TTL))
return answer(0, text)
