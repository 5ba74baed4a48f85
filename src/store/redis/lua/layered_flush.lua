-- Counts what a holder tells of a cell, once. The other spelling of OriginCell::tell.
-- KEYS: the cell; '#' is its total, '+' the sum of what its holders told.
-- ARGV: holder, accepted, acknowledged, known, how long to keep the cell (ms).
local cell, holder = KEYS[1], ARGV[1]
local accepted, acknowledged, known = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local fields = redis.call('HMGET', cell, '#', '+', holder)
local total, sum, before = tonumber(fields[1] or 0), tonumber(fields[2] or 0), tonumber(fields[3] or 0)
if accepted >= before then
  total = math.max(total, known) + accepted - math.max(before, acknowledged)
  sum = sum + accepted - before
  total = math.max(total, sum)
  redis.call('HSET', cell, '#', string.format('%.0f', total), '+', string.format('%.0f', sum), holder, ARGV[2])
  redis.call('PEXPIRE', cell, ARGV[5])
end
return string.format('%.0f', total)
