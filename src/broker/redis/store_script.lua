-- Publishes a batch in which some messages are stored or have an idempotency key. Like the script of plain batches it publishes
-- only what is not too late by Redis's own clock. It answers {microseconds, outcomes, error code}. There are no outcomes if nobody
-- knows whether the batch was executed earlier.
--
-- A run is one message, or several that follow each other, are stored on the same channels and travel as one. Outcomes, one for each
-- run, separated by spaces: - too late, . published, ! refused, EPOCH-OFFSET stored there, =EPOCH-OFFSET or = already published under
-- its idempotency key. For a run of several messages "*" and their number follow, and the offset is that of the first.
--
-- KEYS: the store, the last batch of the node, then the head and the messages of each channel, then idempotency keys.
-- ARGV: the batch's number, after "!" if it was sent before, or nothing if its outcome need not be remembered; how many messages are
--   stored; the identity of the store as the node knows it; then the runs. A run is its topic, deadline and payload, and then
--   * nothing, for a message that is only published;
--   * or how many messages it has, and the channel on which they are stored: the place of its head in KEYS, which of the dispatch's
--     channels it is, and what is kept: "MESSAGES BYTES MILLISECONDS";
--   * or "several", how many messages it has, how many channels, and each of them as above;
--   * or "keyed", 1, how many channels, each of them as above, and the places in KEYS of two idempotency keys, 0 for none.
--   The payload of what is not only published lacks its final brace.
--
-- The store is a hash of one field: its identity, and the number of the last message plus one. A head: see HEAD, then the least
-- offset that is kept, when the life of the head is to be extended, and marks. A mark is an offset, a time and bytes: what was stored
-- before it is removed as a whole, so that no message needs to be read to know what is too old or too much.
--
-- Each execution pays for every table, function and conversion of a number, so that this script avoids them.

local STORE_TTL, HEAD_TTL, KEY_TTL, BATCH_TTL, DAY = '2764800', '2592000', '300', '3600', 86400000
local HEAD, TAIL, TAIL_AT, MARK, MARK_AT, MARK_BYTES = '>c16c15ddddd', '>dd', 72, '>ddd', 88, 24
local OF, EPOCH, OFFSET, LAST, BYTES, DUE_AT, DUE_BYTES, TEXT, KEY = 1, 2, 3, 4, 5, 6, 7, 8, 9
local MARKS, TRIM_EVERY, EMPTY = 8, 32, string.rep(' ', 71)
local call, format, pack, unpack = redis.pcall, string.format, struct.pack, struct.unpack

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = (now - now % 1000) / 1000
local batch, count, store = ARGV[1], ARGV[2], ARGV[3]
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

-- "!" begins the number of a batch that was sent before.
if string.byte(batch) == 33 then
  batch = string.sub(batch, 2)
  local last = redis.call('GET', KEYS[2])
  if not last then
    return {now, false}
  end
  local of, outcomes = string.match(last, '^(%d+) (.*)$')
  if of == batch then
    return {now, outcomes}
  end
end

-- The numbers of all messages are reserved first: Redis refuses the first write of a script or none.
if count ~= '0' then
  reserved = call('HINCRBY', KEYS[1], store, count)
  if type(reserved) == 'number' and reserved - count == 0 then
    -- The node does not know the store, or there is none.
    call('HDEL', KEYS[1], store)
    store = call('HKEYS', KEYS[1])[1]
    if not store then
      store = identity(16, '')
      call('HSET', KEYS[1], store, '1')
      call('EXPIRE', KEYS[1], STORE_TTL)
    end
    reserved = call('HINCRBY', KEYS[1], store, count)
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
  local i = channel[KEY]
  channel[OF], channel[EPOCH], channel[OFFSET], channel[BYTES] = 'reset', identity(15, KEYS[i]), 0, 0
  channel[DUE_AT], channel[DUE_BYTES], channel[TEXT] = 0, 0, EMPTY .. pack(TAIL, 0, 0)
  return call('DEL', KEYS[i + 1])
end

local channels, outcomes, at, last = {}, '', 4, #ARGV
while at <= last do
  local topic, payload, size, outcome = ARGV[at], ARGV[at + 2], ARGV[at + 3], nil
  local is_late = now > ARGV[at + 1] + 0
  if size == '' then
    outcome = is_late and '-' or failed(call('PUBLISH', topic, payload)) and '!' or '.'
    at = at + 4
  else
    local first, after, key, alias = at + 4, at + 7, nil, nil
    if size == 'several' or size == 'keyed' then
      first, after = at + 6, at + 6 + 3 * ARGV[at + 5]
      if size == 'keyed' then
        key, alias = KEYS[ARGV[after] + 0], KEYS[ARGV[after + 1] + 0]
      end
      size = ARGV[at + 4]
    end
    at = key and after + 2 or after
    if is_late then
      outcome = '-'
    elseif first < after and not reserved then
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
      local text, position
      for place = first, after - 1, 3 do
        local name = ARGV[place]
        local channel = channels[name]
        if not channel then
          local i = name + 0
          local head = call('GET', KEYS[i])
          if type(head) == 'string' and #head >= MARK_AT - 1 then
            channel = {unpack(HEAD, head)}
          else
            channel = {0, 0, 0, 0, 0, 0, 0, 0}
          end
          channel[TEXT], channel[KEY] = head, i
          if channel[OF] ~= store then
            -- Messages without a head have lost it: the last of them may have been the previous one.
            local is_lost = channel[OF] == 0 and not failed(head)
            channel[LAST] = reset(channel) == 1 and is_lost and number or 0
          end
          channels[name] = channel
        end
        local here = format('%s-%d', channel[EPOCH], channel[OFFSET] + 1)
        if position then
          text = format('%s %s:%s:%d', text, ARGV[place + 1], here, channel[LAST])
        else
          position, text = here, format('%s:%s:%d', ARGV[place + 1], here, channel[LAST])
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
        local channel, added = channels[ARGV[place]], nil
        local i, before = channel[KEY], channel[OFFSET]
        local offset, is_due = before + size, ms >= channel[DUE_AT] or channel[BYTES] >= channel[DUE_BYTES]
        local id = format('%d', offset)
        if is_due or before % TRIM_EVERY + size >= TRIM_EVERY then
          -- Redis removes whole nodes of a stream, so that it need not look each time.
          local max_messages, max_bytes, age = string.match(ARGV[place + 2], '^(%d+) (%d+) (%d+)$')
          local head = channel[TEXT]
          local floor, renew_at = unpack(TAIL, head, TAIL_AT)
          if is_due then
            -- Sets a mark before the next message, and forgets the marks before which everything is too old or too much.
            local marks, from = string.sub(head, MARK_AT) .. pack(MARK, before, ms, channel[BYTES]), 1
            local least = channel[BYTES] + #payload - max_bytes * (MARKS - 1) / MARKS
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
              renew_at, channel[OF] = ms + DAY, 'reset'
            elseif channel[OF] == store then
              channel[OF] = 'due'
            end
            channel[DUE_AT] = ms + math.ceil(age / MARKS)
            channel[DUE_BYTES] = channel[BYTES] + math.ceil(max_bytes / MARKS)
            channel[TEXT] = EMPTY .. pack(TAIL, floor, renew_at) .. string.sub(marks, from)
          end
          local from = math.max(floor, offset - max_messages + 1)
          added = call('XADD', KEYS[i + 1], 'MINID', '~', format('%d', from), id, 'payload', payload)
          if is_due and not failed(added) then
            call('PEXPIRE', KEYS[i + 1], format('%d', math.ceil(age * (MARKS + 1) / MARKS) + 1000))
          end
        else
          added = call('XADD', KEYS[i + 1], id, 'payload', payload)
        end
        is_ok = not failed(added)
        channel[OFFSET], channel[BYTES] = offset, channel[BYTES] + #payload
        place = place + 3
      end
      if is_ok and not failed(call('PUBLISH', topic, payload)) then
        outcome = position or '.'
        if position then
          number = number + size
          for place = first, after - 1, 3 do
            channels[ARGV[place]][LAST] = number
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
        for place = first, place - 1, 3 do
          reset(channels[ARGV[place]])
        end
      end
    end
    if size ~= '1' then
      outcome = outcome .. '*' .. size
    end
  end
  outcomes = outcomes == '' and outcome or outcomes .. ' ' .. outcome
end

for _, channel in pairs(channels) do
  local i, written = channel[KEY], nil
  if channel[OF] == store then
    written = call('SETRANGE', KEYS[i], '31', pack('>ddd', channel[OFFSET], channel[LAST], channel[BYTES]))
  else
    local head = pack(HEAD, store, channel[EPOCH], channel[OFFSET], channel[LAST], channel[BYTES], channel[DUE_AT],
      channel[DUE_BYTES]) .. string.sub(channel[TEXT], TAIL_AT)
    if channel[OF] == 'due' then
      written = call('SET', KEYS[i], head, 'KEEPTTL')
    else
      written = call('SET', KEYS[i], head, 'EX', HEAD_TTL)
      -- The store outlives every head.
      call('EXPIRE', KEYS[1], STORE_TTL)
    end
  end
  if failed(written) then
    call('DEL', KEYS[i + 1])
  end
end
if reserved and number < reserved then
  failed(call('HINCRBY', KEYS[1], store, format('%d', number - reserved)))
end
if batch ~= '' then
  local record = batch .. ' ' .. outcomes
  -- This costs half of setting the key to expire. What expires too early makes an outcome unknown, not wrong.
  local written = call('SET', KEYS[2], record, 'XX', 'KEEPTTL')
  failed(written or call('SET', KEYS[2], record, 'EX', BATCH_TTL))
end
return {now, outcomes, code}
