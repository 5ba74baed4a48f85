-- Merges a region's count of a cell by maximum, and notes that the cell changed. The other spelling of
-- Global::publish.
-- KEYS: the list of changes, its epoch and version, the cell.
-- ARGV: region, count, the cell's name in the list, the oldest window that matters, an epoch if there is none, how
-- long to keep it all (ms).
local changes, meta, cell = KEYS[1], KEYS[2], KEYS[3]
redis.call('HSETNX', meta, 'epoch', ARGV[5])
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', cell, ARGV[1]) or 0) then
  redis.call('HSET', cell, ARGV[1], ARGV[2])
  redis.call('ZADD', changes, redis.call('HINCRBY', meta, 'version', 1), ARGV[3])
end
-- What is over leaves the list, a few at a time, and what is no cell's name.
for _, name in ipairs(redis.call('ZRANGE', changes, 0, 3)) do
  if tonumber(string.match(name, ':(%d+)$') or '0') < tonumber(ARGV[4]) then
    redis.call('ZREM', changes, name)
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[6])
end
return 1
