-- The step under all quotas, behind `rates_clock.lua`.
local PUT_BACK = 35184372088832 -- units given back that no counts here reach: a booking before them is of another clock
-- By how much, in microseconds, a caller's notion of this server's clock may be ahead of it: as `OUT_OF_ORDER`.
local AHEAD = 65000000
local quotas, fields = {}, {}
for place = 1, QUOTAS do
  local at = 6 * place - 5
  fields[place] = WORDS[at + 1]
  quotas[place] = {
    WORDS[at + 2], WORDS[at + 3], WORDS[at + 4], WORDS[at + 5],
    rule = rules[WORDS[at]], units = cost or operation ~= 'give back' and tonumber(ARGV[3 + place]) or 0,
  }
end
fields[QUOTAS + 1], fields[QUOTAS + 2], fields[QUOTAS + 3] = 'e', 'r', 'm'
local states = redis.call('HMGET', KEY, unpack(fields))
local given_back = tonumber(states[QUOTAS + 2] or 0)

local last = max(now, tonumber(states[QUOTAS + 3] or 0))
local behind = set_right(quotas, states, last)
if behind then
  last, given_back = now, given_back + PUT_BACK
  states[QUOTAS + 1] = earlier(states[QUOTAS + 1], behind)
  local writes = {}
  for place in ipairs(quotas) do
    if states[place] then writes[#writes + 1], writes[#writes + 2] = fields[place], states[place] end
  end
  redis.call('HSET', KEY, 'm', string.format('%.0f', now), 'e', states[QUOTAS + 1],
    'r', string.format('%.0f', given_back), unpack(writes))
end

local writes, lives = {}, 0
local function write(place, state, counts)
  writes[#writes + 1], writes[#writes + 2] = fields[place], state
  lives = max(lives, counts or 0)
end

-- What was counted under another limit. What goes back does so where it was booked.
local gone_over = {}
for place, quota in ipairs(quotas) do
  if quota.rule.go_over and states[place] and operation ~= 'give back' then
    local state, counts = quota.rule.go_over(quota, states[place])
    if state then states[place], gone_over[place] = state, counts end
  end
end

local answer = { 1, now, given_back }
for place, quota in ipairs(quotas) do
  local a, b, c = quota.rule.state(quota, states[place], quota.units)
  answer[#answer + 1], answer[#answer + 2] = a, b
  if c then answer[#answer + 1] = c end
end

-- With when it may expire.
local function write_all()
  if #writes == 0 then return end
  local ends = floor(now / 1000) + math.ceil(lives / 1000)
  local expires = ends > tonumber(states[QUOTAS + 1] or 0)
  if expires then
    writes[#writes + 1], writes[#writes + 2] = 'e', string.format('%.0f', ends + SLACK)
  end
  redis.call('HSET', KEY, 'm', string.format('%.0f', last), unpack(writes))
  if expires then redis.call('PEXPIRE', KEY, math.ceil(lives / 1000) + LIVES) end
end

local function book()
  for place, quota in ipairs(quotas) do
    if quota.units > 0 then write(place, quota.rule.book(quota, states[place], quota.units, quota.rule)) end
  end
  write_all()
end

-- What goes back, one after the other: what one gives back is told to the next.
local function give_back()
  local at, changed = 7, {}
  while ARGV[at] do
    local newest, most = ARGV[at] == '', 0
    local others = newest and 0 or max(0, given_back - tonumber(ARGV[at]))
    local refund = { others = others, booked = tonumber(ARGV[at + 1]) }
    -- By a clock that was put back since: whose units those would be now nobody knows.
    local lost = others >= PUT_BACK or newest and refund.booked > now + AHEAD
    at = at + 2
    for place, quota in ipairs(quotas) do
      local units, state = tonumber(ARGV[at]), states[place]
      if state and units > 0 and not lost then
        if newest then
          states[place] = quota.rule.undo(quota, state, units, refund.booked)
        else
          local mark, rest = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
          states[place] = quota.rule.give_back(quota, state, units, refund, mark, rest)
        end
        changed[place], most = true, max(most, units)
      end
      at = at + (newest and 1 or 3)
    end
    given_back = given_back + most
  end
  for place in pairs(changed) do write(place, states[place]) end
  if #writes > 0 then redis.call('HSET', KEY, 'r', string.format('%.0f', given_back), unpack(writes)) end
end

-- Whether the message was heard before; and if not, what is to be remembered of it. A sender is forgotten after so many
-- others on the key: then nobody knows any more, and what would be given back twice is not given back.
local SENDERS = 64
local function heard(id)
  local sender, number, again = tonumber(ARGV[id]), tonumber(ARGV[id + 1]), ARGV[id + 2] == '1'
  local marks = redis.call('GET', KEYS[2]) or ''
  local full, known = #marks >= 16 * SENDERS, false
  for at = 1, #marks, 16 do
    local other, last = unpack_numbers('>dd', marks, at)
    if other == sender then
      if last >= number then return true end
      known, marks = true, string.sub(marks, 1, at - 1) .. string.sub(marks, at + 16)
      break
    end
  end
  if operation == 'give back' and again and full and not known then return true end
  return false, string.sub(marks, -16 * (SENDERS - 1)) .. pack('>dd', sender, number)
end

if KEYS[2] then
  local gives = operation == 'give back'
  local before, marks = heard(gives and 4 or 4 + QUOTAS)
  if not before then
    if gives then give_back() else book() end
    local lives = redis.call('PTTL', KEY)
    if lives > 0 then redis.call('SET', KEYS[2], marks, 'PX', lives) end
  end
elseif operation == 'decide' then
  for place, quota in ipairs(quotas) do
    if quota.units == 0 or not quota.rule.fits(quota, states[place], quota.units, quota.rule) then
      answer[1] = 0
      break
    end
  end
  if answer[1] == 1 then
    book()
  else
    -- So that it comes back at the pace of the limit that says how long to wait.
    for place, counts in pairs(gone_over) do write(place, states[place], counts) end
    write_all()
  end
elseif operation == 'ask' then
  answer[1] = 0
elseif operation == 'book' then
  book()
else
  give_back()
end
return answer
