-- One question of a holder about a key, behind `rates_clock.lua`. The other spelling of Ledger::exchange.
--
-- ARGV     'lease', the moment, for how many milliseconds a repetition may arrive, then the holder, the number of the question, the last one that was heard, what callers
--          need, the least that helps one, and for each quota what is given back, owed, and welcome
-- The hash has a field for each holder, `h` and its name: number and second of its last question, and for each quota what
-- was granted then, told as given and owed, what may still come back, and two words that say where that was booked.
-- The answer: 0 to an old question; else 1, the moment, each quota's state before anything was granted, and what was.

local number, heard, need, least = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local MOST = 4294967295
local REPEATS = tonumber(ARGV[3])
local FORGOTTEN = max(600, 2 * REPEATS / 1000) -- seconds after which a holder's record may go
local RECORDS = 64 -- fewer than these are never looked through

local quotas, fields = {}, {}
for place = 1, QUOTAS do
  local at, told = 6 * place - 5, 6 + 3 * place
  fields[place] = WORDS[at + 1]
  quotas[place] = {
    WORDS[at + 2], WORDS[at + 3], WORDS[at + 4], WORDS[at + 5],
    rule = rules[WORDS[at]], bucket = WORDS[at] == 'g',
    give = tonumber(ARGV[told]), owe = tonumber(ARGV[told + 1]), spare = tonumber(ARGV[told + 2]),
  }
end
local OWN = 'h' .. ARGV[4]
fields[QUOTAS + 1], fields[QUOTAS + 2], fields[QUOTAS + 3] = 'e', OWN, 'm'
local states = redis.call('HMGET', KEY, unpack(fields))
local expires, record = states[QUOTAS + 1], states[QUOTAS + 2]
local last = max(now, tonumber(states[QUOTAS + 3] or 0))
local behind = set_right(quotas, states, last)
if behind then last, expires = now, earlier(expires, behind) end

local unheard, elsewhere = false, false
if record then
  local before, second = unpack_numbers('>dd', record)
  if number <= before then return { 0 } end
  unheard = before > heard
  -- By a clock that was put back since: what this holder had is in no window that can be found.
  elsewhere = second * 1000000 > now + SLACK * 1000
elseif redis.call('HLEN', KEY) > RECORDS then
  local all, gone = redis.call('HGETALL', KEY), {}
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, 1) == 'h' then
      local _, second = unpack_numbers('>dd', all[at + 1])
      if second + FORGOTTEN < floor(now / 1000000) and #gone < 1000 then gone[#gone + 1] = all[at] end
    end
  end
  if #gone > 0 then redis.call('HDEL', KEY, unpack(gone)) end
end

local lives = 0
local function book(place, units)
  local quota = quotas[place]
  local state, counts = quota.rule.book(quota, states[place], units, quota.rule)
  states[place] = state
  lives = max(lives, counts)
end

local lines = {}
-- So many units were booked: what was held before may still come back where it is in the same window, or adjoins in the
-- bucket.
local function hold(place, units, adjoins)
  local line, bucket = lines[place], quotas[place].bucket
  local first, second = unpack_numbers('>dd', states[place])
  if not bucket then second = 0 end
  local kept = bucket and adjoins or not bucket and line[1] == first
  line[1], line[2], line.held = first, second, min(MOST, units + (kept and line.held or 0))
end

local function take_back(place, units)
  local quota, line, state = quotas[place], lines[place], states[place]
  units = min(units, line.held)
  if units == 0 or not state then return end
  if not quota.bucket then
    states[place] = quota.rule.give_back(quota, state, units, nil, line[1])
  else
    local tw, tr = unpack_numbers('>dd', state)
    -- Only from the end, so that nobody else's units change their place.
    if tw == line[1] and tr == line[2] then
      states[place] = quota.rule.undo(quota, state, units, now)
      line[1], line[2] = unpack_numbers('>dd', states[place])
    end
  end
  line.held = line.held - units
end

for place, quota in ipairs(quotas) do
  local line = { 0, 0, granted = 0, gave = 0, owed = 0, held = 0 }
  if record then
    line.granted, line.gave, line.owed, line.held, line[1], line[2] = unpack_numbers('>dddddd', record, 48 * place - 31)
    if elsewhere then line.held = 0 end
  end
  lines[place] = line
  local give, owe = quota.give, quota.owe
  if unheard then
    take_back(place, line.granted)
    give = quota.bucket and 0 or max(0, give - line.gave)
    -- What was owed then, and turned out not to be.
    take_back(place, max(0, line.owed - owe))
    owe = max(0, owe - line.owed)
  end
  take_back(place, give)
  quota.owed = owe > 0
  if owe > 0 then
    book(place, min(owe, MOST))
    hold(place, min(owe, MOST), false)
  end
end

-- What was counted under another limit, when what goes back has gone back where it was booked.
for place, quota in ipairs(quotas) do
  if quota.rule.go_over and states[place] then
    local state, counts = quota.rule.go_over(quota, states[place])
    if state then states[place], lives = state, max(lives, counts) end
  end
end

local answer = { 1, now }
for place, quota in ipairs(quotas) do
  local a, b, c = quota.rule.state(quota, states[place], 0)
  answer[#answer + 1], answer[#answer + 2] = a, b
  if c then answer[#answer + 1] = c end
end

local function room(place, most)
  local quota, low, high = quotas[place], 0, most
  while low < high do
    local middle = high - floor((high - low) / 2)
    if quota.rule.fits(quota, states[place], middle, quota.rule) then low = middle else high = middle - 1 end
  end
  return low
end

local rooms, base = {}, need
for place, quota in ipairs(quotas) do
  rooms[place] = room(place, min(MOST, need + min(MOST, 4 * quota.spare)))
  base = min(base, rooms[place])
end
if base < least then base = 0 end
-- Of what is welcome, up to a quarter of the rest, under all that lack something.
local spares = base == need
for place, quota in ipairs(quotas) do
  quota.granted = min(quota.spare, floor((rooms[place] - base) / 4))
  spares = spares and (quota.granted > 0 or quota.spare == 0)
end

local kept, writes = pack('>dd', number, floor(now / 1000000)), {}
for place, quota in ipairs(quotas) do
  local line, granted = lines[place], base + (spares and quota.granted or 0)
  if granted > 0 then
    book(place, granted)
    -- What was owed is right before it.
    hold(place, granted, quota.owed)
  end
  answer[#answer + 1] = granted
  kept = kept .. pack('>dddddd', granted, quota.give, quota.owe, line.held, line[1], line[2])
  if states[place] then writes[#writes + 1], writes[#writes + 2] = fields[place], states[place] end
end
-- What is booked counts for `lives`, and what holders had of it can come back for no longer; a record without it only
-- tells repetitions.
local ends = floor(now / 1000) + max(math.ceil(lives / 1000), REPEATS)
local later = ends > tonumber(expires or 0)
if later then expires = string.format('%.0f', ends + SLACK) end
redis.call('HSET', KEY, OWN, kept, 'e', expires, 'm', string.format('%.0f', last), unpack(writes))
if later then redis.call('PEXPIRE', KEY, ends - floor(now / 1000) + LIVES) end
return answer
