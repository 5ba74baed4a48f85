-- One key's counts under all quotas of a limiter, in one step: all or nothing. The other spelling of `rule`.
--
-- KEYS[1]  a hash: a field for each rule and window, `e` when it may expire, `r` units that were given back
-- ARGV     operation (decide, ask, book, undo, give back), the moment ('' for this server's own), a random number below
--          2^32, units under each quota, and when giving back: what had been given back at the booking, its moment, and
--          two words of its mark for each quota
-- The quotas stand in front of this, so that they are not sent each time: QUOTAS, how many, and WORDS, six for each:
-- rule, field, and what the rule needs to know.
--
-- Every number is an integer below 2^53, and every division exact. Times are microseconds since 2020; a token bucket
-- counts in sixteenths of a nanosecond, of which it keeps the part below a microsecond in a number of its own.
-- The answer: whether it was booked, the moment, `r`, then the state of each quota as it was before.

local KEY = KEYS[1]
local SINCE_1970 = 1577836800
local TICKS = 16000 -- in a microsecond
local HOUR = 3600000000
local NEVER, NEVER_TICKS = 1152921504606846, 15615 -- 64 bits of ticks: later moments, in 2056, are not told apart
local SLACK = 5000 -- milliseconds for which a key outlives its counts, so that not every booking sets its end

local floor, fmod, max, min = math.floor, math.fmod, math.max, math.min
local pack, unpack_numbers = struct.pack, struct.unpack

local operation, now, random = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = max(0, (time[1] - SINCE_1970) * 1000000 + time[2])
end

-- The most usual limiter, one token bucket, without the machinery below.
if QUOTAS == 1 and WORDS[1] == 'g' and operation == 'decide' then
  local states = redis.call('HMGET', KEY, WORDS[2], 'e', 'r')
  local given_back, units = tonumber(states[3] or 0), tonumber(ARGV[4])
  local tw, tr, w, r = 0, 0, 0, 0
  if states[1] then
    tw, tr = unpack_numbers('>dd', states[1])
    if tw >= now then w, r = tw - now, tr end
  end
  local ticks = units * WORDS[4] + r
  r = fmod(ticks, TICKS)
  w = units * WORDS[3] + w + (ticks - r) / TICKS
  if w > WORDS[5] or (w == WORDS[5] and r > WORDS[6]) then return { 0, now, given_back, tw, tr } end
  if now + w < NEVER then
    local lives = math.ceil((w + 1) / 1000)
    local ends = floor(now / 1000) + lives
    if ends > tonumber(states[2] or 0) then
      redis.call('HSET', KEY, WORDS[2], pack('>dd', now + w, r), 'e', string.format('%.0f', ends + SLACK))
      redis.call('PEXPIRE', KEY, lives + SLACK)
    else
      redis.call('HSET', KEY, WORDS[2], pack('>dd', now + w, r))
    end
    return { 1, now, given_back, tw, tr }
  end
end

