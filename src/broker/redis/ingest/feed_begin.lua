-- Feeds the first entries of the ingest stream to the script that stores messages, which stands between the two parts of this one.
-- It answers {number of entries fed, error code}.
--
-- The last two KEYS are the stream and the one for dead letters. The last ARGV are the ID of each entry and the reason why it cannot
-- be read, or nothing if it is the next message of the batch; then how many entries there are.
--
-- An entry leaves the stream when it is fed. So what is in the stream has not been fed, whichever node does it, and only the
-- beginning of the stream can be fed.

local all, stream, dead = ARGV, KEYS[#KEYS - 1], KEYS[#KEYS]
local first = #all - 2 * tonumber(all[#all])
local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not head or head[1] ~= all[first] then
  return {0, ''}
end
local ARGV = {}
for i = 1, first - 1 do
  ARGV[i] = all[i]
end
local function store()
