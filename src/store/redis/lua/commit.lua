-- Writes a plan, if nothing came between. The other spelling of `KeyState::commit`; see there.

local planner, epoch, token, version = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, nodes, hungry = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local acknowledged, round, rest = ARGV[8] == '1', tonumber(ARGV[9]), tonumber(ARGV[10])
local token_life, keep, channel, memory = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13], ARGV[14]
local window, latency, baseline = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17])
local used, drops = tonumber(ARGV[18]), tonumber(ARGV[19])
-- From here on, four words a change: incarnation, share, safe, target.
local FIRST = 20

-- As it is written in a line.
local OPEN = text(LIVE)

local state = read_state()
if not state or state.epoch ~= epoch or state.server ~= server() then
  return { 'epoch', state and state.epoch or '0', '0', '0', '0', '0', '0', '0', '0', false }
end

-- The lines of the records that change.
local changed = {}

-- Whether the plan would reserve more than the limit, beyond what is occupied already (I1, I2, I3).
local function is_unsound()
  local changes = {}
  for index = FIRST, #ARGV, 4 do changes[ARGV[index]] = tonumber(ARGV[index + 1]) end
  local before, after, shares, fixed = 0, 0, 0, 0
  each_record(function(incarnation, line)
    local life, closing, _, _, present, in_flight, enforced, low, high = string.match(line, OCCUPIED)
    local occupied = tonumber(in_flight)
    if acknowledged then occupied = math.max(occupied, enforced, low, high) end
    local share = tonumber(present)
    if life ~= OPEN or closing ~= '0' then
      fixed = fixed + share
    elseif changes[incarnation] then
      share = changes[incarnation]
      changed[incarnation] = line
    end
    before = before + occupied
    after = after + math.max(occupied, share)
    shares = shares + share
  end)
  return after > math.max(before, limit) or shares > math.max(fixed, limit)
end

local function apply()
  state.committed, state.limit, state.plan = token, limit, state.plan + 1
  state.nodes, state.hungry = nodes, hungry
  state.window, state.latency, state.baseline, state.used, state.drops = window, latency, baseline, used, drops
  state.plan_due, state.rest_ends = state.time + round, state.time + rest
  local written = {}
  for index = FIRST, #ARGV, 4 do
    local incarnation, share = ARGV[index], tonumber(ARGV[index + 1])
    local safe, target = tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
    local line = changed[incarnation]
    if line then
      local record = parse_record(line)
      record.target = target
      if (share > 0) ~= (record.share > 0) then record.since = state.time end
      if share ~= record.share or safe ~= record.safe then
        record.generation, record.share, record.safe = next_generation(state), share, safe
        record.high, record.safe_high = math.max(record.high, share), math.max(record.safe_high, safe)
        local push = string.format('%s %d %d %d %d', state.epoch, record.generation, share, safe, target)
        redis.call('PUBLISH', channel .. incarnation, push)
      end
      written[#written + 1] = incarnation
      written[#written + 1] = record_line(record)
    end
  end
  redis.call('HSET', KEY, '%', memory)
  -- As many at once as the stack takes for certain.
  for index = 1, #written, 1000 do
    redis.call('HSET', KEY, unpack(written, index, math.min(index + 999, #written)))
  end
  -- A key that nobody uses goes away; one that comes back after that learns like any lost one.
  redis.call('PEXPIRE', KEY, keep)
end

local outcome
if token == state.committed and token ~= 0 then
  outcome = 'repeated'
elseif token ~= state.token or state.token_ends == 0 then
  outcome = 'token'
else
  state.token_ends = 0
  if version ~= state.version then
    state.dirty = 1
    outcome = 'version'
  elseif is_unsound() then
    outcome = 'unsound'
  else
    apply()
    outcome = 'applied'
  end
end

local ticket = false
local spent = outcome == 'applied' or outcome == 'version'
if spent and state.dirty == 1 and state.in_a_row < MAX_PLANS_IN_A_ROW then
  state.in_a_row = state.in_a_row + 1
  ticket = issue_ticket(state, token_life)
else
  state.in_a_row = 0
end
write_state(state)
local record = read_record(planner) or { generation = 0, share = 0, safe = 0, target = 0 }
return {
  outcome, state.epoch, text(record.generation), text(record.share), text(record.safe), text(record.target),
  text(state.limit), text(state.plan), text(state.nodes), ticket,
}
