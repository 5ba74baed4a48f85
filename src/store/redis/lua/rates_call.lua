-- One key's counts under all quotas of a limiter, in one step: all or nothing. The other spelling of `rule`.
--
-- KEYS[1]  a hash: a field for each rule and window, `e` when it may expire, `m` the moment of a booking no more than five
--          seconds or one window before the last, `r` units that were given back
-- KEYS[2]  of a message that may be repeated: which one of each sender came last, as (sender, number), the newest at the
--          end; it lives for as long as KEYS[1] would when the last message came
-- ARGV     to decide: the units, at least 1, under every quota; the moment (none or '' for this server's own); where
--          chance decides, a random number below 2^32
--          else: operation (ask, book, give back), the moment, 0. To ask and to book: units under each quota; then of a
--          message its sender, its number, and 1 if it may have been heard before. To give back: the same three words, or
--          none of them; then for each booking what had been given back on the key before it, its moment, and for each
--          quota units and the two words of its mark. Or, of what was booked last at a moment: '', the moment, and units
--          for each quota
-- The quotas stand in the script, so that they are not sent each time. One quota of the usual rules stands behind this as
-- FIELD, A, B, C, D, with a short way to decide (`rates_bucket.lua` and its like); all stand before `rates_rules.lua`, as
-- QUOTAS, how many, and WORDS, six for each: rule, field, and what the rule needs to know.
--
-- Every number is an integer below 2^53, and every division exact. Times are microseconds since 2020; a token bucket
-- counts in sixteenths of a nanosecond, of which it keeps the part below a microsecond in a number of its own. Behind its
-- TAT it keeps the interval under which that is counted, and since when, as the limit is in no name.
-- The answer: whether it was booked, the moment, `r`, then the state of each quota as it was before. The short ways pack
-- it, which takes this server and its caller less time than an array.

local KEY = KEYS[1]
local SINCE_1970 = 1577836800
local TICKS = 16000 -- in a microsecond
local NEVER, NEVER_TICKS = 1152921504606846, 15615 -- 64 bits of ticks: later moments, in 2056, are not told apart
local SLACK = 5000 -- milliseconds for which `e` is later than the counts need, so that not every booking sets it
local LIVES = SLACK + 10 -- and the key itself, whose time began to run when the script did

local call, pack, unpack_numbers, ceil = redis.call, struct.pack, struct.unpack, math.ceil

local cost, now = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = (time[1] - SINCE_1970) * 1000000 + time[2]
  if now < 0 then now = 0 end
end
