-- The cells that changed since a version, as one region sees them. The other spelling of Global::pull.
-- KEYS: the list of changes, its epoch and version.
-- ARGV: region, the epoch, server and version pulled last, how many at most, what a cell's key begins with.
local changes, meta = KEYS[1], KEYS[2]
local stands = redis.call('HMGET', meta, 'epoch', 'version')
local epoch, server = stands[1] or '0', string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
-- As many digits as a number of 64 bits has.
server = string.sub(server or string.rep('0', 16), 1, 16)
local version = ARGV[4]
-- A store that lost everything, or one that may know less than it did.
if epoch ~= ARGV[2] or server ~= ARGV[3] or tonumber(stands[2] or 0) < tonumber(version) then
  version = '0'
end
local found = redis.call('ZRANGEBYSCORE', changes, '(' .. version, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
local answer = {epoch, server, version}
for at = 1, #found, 2 do
  local own, foreign = '0', 0
  -- In the slot of the other keys, by its hash tag.
  local cell = redis.call('HGETALL', ARGV[6] .. found[at])
  for field = 1, #cell, 2 do
    if cell[field] == ARGV[1] then
      own = cell[field + 1]
    else
      foreign = foreign + tonumber(cell[field + 1])
    end
  end
  answer[3] = found[at + 1]
  table.insert(answer, found[at])
  table.insert(answer, own)
  table.insert(answer, string.format('%.0f', foreign))
end
return answer
