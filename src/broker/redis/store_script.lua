-- Publishes a batch in which some messages are stored or have an idempotency key. Like the script of plain batches it publishes
-- only what is not too late by Redis's own clock. It answers {microseconds, outcomes, error code}. There are no outcomes if nobody
-- knows whether the batch was executed earlier.
--
-- A run is one message, or several that follow each other, are stored on the same channels and travel as one. Outcomes, one for each
-- run, separated by spaces: - too late, . published, ! refused, EPOCH-OFFSET stored there, =EPOCH-OFFSET or = already published under
-- its idempotency key. For a run of several messages "*" and their number follow, and the offset is that of the first. If the batch is
-- IN_ORDER, the first error ends it, and the runs after that have no outcome.
--
-- KEYS: the store, the last batch of the node, then the head and the messages of each channel, then idempotency keys.
-- ARGV: what BATCH describes, and for each run its topic, what RUN describes, and its payload. The payload of what is not only
-- published lacks its final brace. Redis takes longer over an argument than over a field of a binary one.
--   BATCH: its number; whether it was SENT_BEFORE, or its outcome can be FORGOTTEN, also because it is executed IN_ORDER; the identity
--     of the store as the node knows it; how many messages are stored.
--   RUN: its deadline; whether it is ONLY_PUBLISHED or HAS_KEYS; how many messages it has; on how many channels they are stored. Then
--     for each of these the place of its head in KEYS, and which of the dispatch's channels it is (CHANNEL); how many messages, bytes and
--     milliseconds are kept (LIMITS). And if it has keys, the places in KEYS of its idempotency keys, 0 for none (KEYED).
--
-- The store is a hash of one field: its identity, and the number of the last message plus one. A head: see HEAD, then the least
-- offset that is kept, when the life of the head is to be extended, and marks. A mark is an offset, a time and bytes: what was stored
-- before it is removed as a whole, so that no message needs to be read to know what is too old or too much.
--
-- Each execution pays for every table, function and conversion of a number, so that this script avoids them.

local STORE_TTL, HEAD_TTL, KEY_TTL, BATCH_TTL, DAY = '2764800', '2592000', '300', '3600', 86400000
local BATCH, RUN, CHANNEL, LIMITS, KEYED = '>c8Bc16I4', '>dBHH', '>I4H', '>ddd', '>I4I4'
local LIMITS_AT, CHANNEL_BYTES = 6, 30
local IN_ORDER, FORGOTTEN, SENT_BEFORE, ONLY_PUBLISHED, HAS_KEYS = 0, 1, 3, 0, 2
local HEAD, TAIL, TAIL_AT, MARK, MARK_AT, MARK_BYTES = '>c16c15ddddd', '>dd', 72, '>ddd', 88, 24
local MARKS, TRIM_EVERY = 8, 32
local call, format, pack, unpack = redis.pcall, string.format, struct.pack, struct.unpack

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = (now - now % 1000) / 1000
local batch, sending, store, count = unpack(BATCH, ARGV[1])
local code, number, reserved
local resets = 0

local function failed(reply)
  local err = type(reply) == 'table' and reply.err
  if err then
    -- Redis before version 7 puts the place in the script before the error.
    code = code or string.match(string.gsub(err, '^@user_script: ?%d+: ', ''), '^%-?(%S*)')
  end
  return err
end

-- What no other store or epoch was called. Positions do not begin with a zero.
local function identity(length, name)
  resets = resets + 1
  local text = string.sub(redis.sha1hex(KEYS[2] .. format('%d %d', now, resets) .. name), 1, length)
  return string.byte(text) == 48 and 'f' .. string.sub(text, 2) or text
end

if sending == SENT_BEFORE then
  local last = redis.call('GET', KEYS[2])
  if not last then
    return {now, false}
  end
  if string.sub(last, 1, 8) == batch then
    return {now, string.sub(last, 9)}
  end
end

-- The numbers of all messages are reserved first: Redis refuses the first write of a script or none.
if count > 0 then
  local added = count == 1 and '1' or format('%d', count)
  reserved = call('HINCRBY', KEYS[1], store, added)
  if type(reserved) == 'number' and reserved - count == 0 then
    -- The node does not know the store, or there is none.
    call('HDEL', KEYS[1], store)
    store = call('HKEYS', KEYS[1])[1]
    if not store then
      store = identity(16, '')
      call('HSET', KEYS[1], store, '1')
      call('EXPIRE', KEYS[1], STORE_TTL)
    end
    reserved = call('HINCRBY', KEYS[1], store, added)
  end
  if failed(reserved) then
    reserved = nil
  else
    reserved = reserved - 1
    number = reserved - count
  end
end

-- Starts a new epoch: what is there does not continue.
local function reset(channel)
  channel.of, channel.epoch, channel.offset, channel.bytes = 'reset', identity(15, KEYS[channel.key]), 0, 0
  channel.due_at, channel.due_bytes = 0, 0
  channel.head = string.rep(' ', 71) .. struct.pack('>dd', 0, 0)
  return redis.pcall('DEL', KEYS[channel.key + 1])
end

local channels, outcomes = {}, ''
for at = 2, #ARGV, 3 do
  local topic, run, payload, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2], nil
  local deadline, form, size, places, first = unpack(RUN, run)
  local is_late = now > deadline
  if form == ONLY_PUBLISHED then
    outcome = is_late and '-' or failed(call('PUBLISH', topic, payload)) and '!' or '.'
  else
    local after, key, alias = first + places * CHANNEL_BYTES, nil, nil
    if form == HAS_KEYS then
      key, alias = unpack(KEYED, run, after)
      key, alias = KEYS[key], KEYS[alias]
    end
    if is_late then
      outcome = '-'
    elseif places > 0 and not reserved then
      outcome = '!'
    end
    if key and not outcome then
      local earlier = call('GET', key)
      if not earlier and alias then
        earlier = call('GET', alias)
      end
      outcome = failed(earlier) and '!' or earlier and '=' .. earlier
    end
    if not outcome then
      local text, position, offset
      for place = first, after - 1, CHANNEL_BYTES do
        local i, index = unpack(CHANNEL, run, place)
        local channel = channels[i]
        if not channel then
          local head = call('GET', KEYS[i])
          if type(head) == 'string' and #head >= MARK_AT - 1 then
            local of, epoch, before, last, bytes, due_at, due_bytes = unpack(HEAD, head)
            channel = {of = of, epoch = epoch, offset = before, last = last, bytes = bytes, due_at = due_at,
              due_bytes = due_bytes, head = head, key = i}
          else
            channel = {key = i}
          end
          if channel.of ~= store then
            -- Messages without a head have lost it: the last of them may have been the previous one.
            local is_lost = not channel.of and not failed(head)
            channel.last = reset(channel) == 1 and is_lost and number or 0
          end
          channels[i] = channel
        end
        offset = format('%d', channel.offset + 1)
        local here = channel.epoch .. '-' .. offset
        if position then
          text = format('%s %d:%s:%d', text, index, here, channel.last)
        else
          position, text = here, format('%d:%s:%d', index, here, channel.last)
        end
      end
      if position then
        payload = format('%s,"stored":"%s %d %d %s"}', payload, store, number + 1, ms, text)
      else
        payload = payload .. '}'
      end
      local is_ok, place = true, first
      if key then
        is_ok = not failed(call('SET', key, position or '', 'EX', KEY_TTL))
          and not (alias and failed(call('SET', alias, position or '', 'EX', KEY_TTL)))
      end
      while is_ok and place < after do
        local channel, added = channels[(unpack(CHANNEL, run, place))], nil
        local before, bytes = channel.offset, channel.bytes
        local is_due = ms >= channel.due_at or bytes >= channel.due_bytes
        local id = size == 1 and places == 1 and offset or format('%d', before + size)
        local messages = KEYS[channel.key + 1]
        if is_due or before % TRIM_EVERY + size >= TRIM_EVERY then
          -- Redis removes whole nodes of a stream, so that it need not look each time.
          local max_messages, max_bytes, age = unpack(LIMITS, run, place + LIMITS_AT)
          local head = channel.head
          local floor, renew_at = unpack(TAIL, head, TAIL_AT)
          if is_due then
            -- Sets a mark before the next message, and forgets the marks before which everything is too old or too much.
            local marks, from = string.sub(head, MARK_AT) .. pack(MARK, before, ms, channel.bytes), 1
            local least = channel.bytes + #payload - max_bytes * (MARKS - 1) / MARKS
            local of, _, bytes = unpack(MARK, marks)
            while #marks > from + MARK_BYTES do
              local next_of, next_at, next_bytes = unpack(MARK, marks, from + MARK_BYTES)
              if next_at >= ms - age and bytes >= least then
                break
              end
              of, bytes, from = next_of, next_bytes, from + MARK_BYTES
            end
            floor = of
            if ms >= renew_at then
              renew_at, channel.of = ms + DAY, 'reset'
            elseif channel.of == store then
              channel.of = 'due'
            end
            channel.due_at = ms + math.ceil(age / MARKS)
            channel.due_bytes = channel.bytes + math.ceil(max_bytes / MARKS)
            channel.head = string.rep(' ', 71) .. pack(TAIL, floor, renew_at) .. string.sub(marks, from)
          end
          local from = math.max(floor, before + size - max_messages + 1)
          added = call('XADD', messages, 'MINID', '~', format('%d', from), id, 'payload', payload)
          if is_due and not failed(added) then
            call('PEXPIRE', messages, format('%d', math.ceil(age * (MARKS + 1) / MARKS) + 1000))
          end
        else
          added = call('XADD', messages, id, 'payload', payload)
        end
        is_ok = not failed(added)
        channel.offset, channel.bytes = before + size, bytes + #payload
        place = place + CHANNEL_BYTES
      end
      if is_ok and not failed(call('PUBLISH', topic, payload)) then
        outcome = position or '.'
        if position then
          number = number + size
          for place = first, after - 1, CHANNEL_BYTES do
            channels[(unpack(CHANNEL, run, place))].last = number
          end
        end
      else
        -- All or nothing. Its offsets and its number must not be missing.
        outcome = '!'
        if key then
          call('DEL', key)
        end
        if alias then
          call('DEL', alias)
        end
        for place = first, place - 1, CHANNEL_BYTES do
          reset(channels[(unpack(CHANNEL, run, place))])
        end
      end
    end
    if size ~= 1 then
      outcome = outcome .. '*' .. size
    end
  end
  outcomes = outcomes == '' and outcome or outcomes .. ' ' .. outcome
  if code and sending == IN_ORDER then
    break
  end
end

for _, channel in pairs(channels) do
  local key, written = KEYS[channel.key], nil
  if channel.of == store then
    written = call('SETRANGE', key, '31', pack('>ddd', channel.offset, channel.last, channel.bytes))
  else
    local head = pack(HEAD, store, channel.epoch, channel.offset, channel.last, channel.bytes, channel.due_at,
      channel.due_bytes) .. string.sub(channel.head, TAIL_AT)
    if channel.of == 'due' then
      written = call('SET', key, head, 'KEEPTTL')
    else
      written = call('SET', key, head, 'EX', HEAD_TTL)
      -- The store outlives every head.
      call('EXPIRE', KEYS[1], STORE_TTL)
    end
  end
  if failed(written) then
    call('DEL', KEYS[channel.key + 1])
  end
end
if reserved and number < reserved then
  failed(call('HINCRBY', KEYS[1], store, format('%d', number - reserved)))
end
if sending > FORGOTTEN then
  local record = batch .. outcomes
  -- This costs half of setting the key to expire. What expires too early makes an outcome unknown, not wrong.
  local written = call('SET', KEYS[2], record, 'XX', 'KEEPTTL')
  failed(written or call('SET', KEYS[2], record, 'EX', BATCH_TTL))
end
return {now, outcomes, code}
