end

local STREAM_TTL, DEAD_TTL, MAX_DEAD = 86400, 604800, 1000
local reply = store()
local code, outcomes, outcome, left, fed = reply[3], string.gmatch(reply[2], '%S+'), nil, 0, {}
for i = first, #all - 1, 2 do
  local id, reason = all[i], all[i + 1]
  if reason == '' then
    if left == 0 then
      -- None follows the first error.
      outcome = outcomes() or '!'
      left = tonumber(string.match(outcome, '%*(%d+)$') or 1)
    end
    left = left - 1
    if string.sub(outcome, 1, 1) == '!' then
      break
    end
  else
    local entry = redis.call('XRANGE', stream, id, id)[1]
    local payload = ''
    for field = 1, #(entry and entry[2] or {}), 2 do
      if entry[2][field] == 'payload' then
        payload = entry[2][field + 1]
      end
    end
    local added =
      redis.pcall('XADD', dead, 'MAXLEN', '~', MAX_DEAD, '*', 'reason', reason, 'entry', id, 'payload', payload)
    if error_of(added) then
      code = code or error_of(added)
      break
    end
    redis.call('EXPIRE', dead, DEAD_TTL)
  end
  fed[#fed + 1] = id
end
if #fed > 0 then
  redis.call('XDEL', stream, unpack(fed))
  redis.call('EXPIRE', stream, STREAM_TTL)
end
return {#fed, code or ''}
