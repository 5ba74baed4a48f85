-- The cells that changed since a version, as one region sees them. The other spelling of GlobalCell::seen_from.
-- KEYS: the list of changes, its epoch and version.
-- ARGV: region, the epoch and version pulled last, how many at most, what a cell's key begins with.
local changes, meta = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', meta, 'epoch') or '0'
local version = ARGV[3]
if epoch ~= ARGV[2] then
  version = '0'
end
local found = redis.call('ZRANGEBYSCORE', changes, '(' .. version, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local answer = {epoch, version}
for at = 1, #found, 2 do
  local own, foreign = '0', 0
  -- In the slot of the other keys, by its hash tag.
  local cell = redis.call('HGETALL', ARGV[5] .. found[at])
  for field = 1, #cell, 2 do
    if cell[field] == ARGV[1] then
      own = cell[field + 1]
    else
      foreign = foreign + tonumber(cell[field + 1])
    end
  end
  answer[2] = found[at + 1]
  table.insert(answer, found[at])
  table.insert(answer, own)
  table.insert(answer, string.format('%.0f', foreign))
end
return answer
