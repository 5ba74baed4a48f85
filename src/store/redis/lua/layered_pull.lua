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

-- What the region and what the others have published of a cell; none if it is somebody else's key.
local function seen(name)
  -- In the slot of the other keys, by its hash tag.
  local cell = redis.pcall('HGETALL', ARGV[6] .. name)
  if cell.err then return nil end
  local own, foreign = 0, 0
  for field = 1, #cell, 2 do
    local count = tonumber(cell[field + 1])
    if not count then return nil end
    if cell[field] == ARGV[1] then
      own = count
    else
      foreign = foreign + count
    end
  end
  return own, foreign
end

local found = redis.call('ZRANGEBYSCORE', changes, '(' .. version, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
local answer = {epoch, server, found[#found] or version, #found / 2}
for at = 1, #found, 2 do
  local own, foreign = seen(found[at])
  if own then
    table.insert(answer, found[at])
    table.insert(answer, string.format('%.0f', own))
    table.insert(answer, string.format('%.0f', foreign))
  end
end
return answer
