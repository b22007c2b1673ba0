-- Feeds the first entries of the ingest stream to the script that stores messages, which stands between the two parts of this one.
-- It answers {number of entries fed, error code}.
--
-- The last two KEYS are the stream and the one for dead letters. The last ARGV are the ID of each entry and the reason why it cannot
-- be read, or nothing if it is the next message of the batch; then how many entries there are.
--
-- An entry leaves the stream when it is fed. So what is in the stream has not been fed, whichever node does it, and only the
-- beginning of the stream can be fed.
--
-- Nothing may be published that cannot leave the stream. Redis refuses the first write of a script or none, so that a write comes
-- before the first message. If the first entry is stored, that is the reservation of its number. It must be the first write, because
-- Redis also refuses it for want of memory, and would store the message after any other one. A batch that begins with another entry
-- stores nothing, and begins with a write that changes nothing.

local all, stream, dead = ARGV, KEYS[#KEYS - 1], KEYS[#KEYS]

local function error_of(reply)
  local err = type(reply) == 'table' and reply.err
  -- Redis before version 7 puts the place in the script before the error.
  return err and string.match(string.gsub(err, '^@user_script: ?%d+: ', ''), '^%-?(%S*)')
end

local first = #all - 2 * tonumber(all[#all])
local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not head or head[1] ~= all[first] then
  return {0, ''}
end
local _, _, _, stored = struct.unpack('>c8Bc16I4', all[1])
local refused = stored == 0 and error_of(redis.pcall('XDEL', stream, '0-0'))
if refused then
  return {0, refused}
end
local ARGV = {}
for i = 1, first - 1 do
  ARGV[i] = all[i]
end
local function store()
