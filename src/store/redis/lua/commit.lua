-- Writes a plan, if nothing came between. The other spelling of `KeyState::commit`; see there.

local planner, epoch, token, version = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, nodes, hungry = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local acknowledged, round, rest = ARGV[8] == '1', tonumber(ARGV[9]), tonumber(ARGV[10])
local token_life, keep, channel = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]
-- From here on, four words a change: incarnation, share, safe, target.
local FIRST = 14

local state = read_state()
if not state or state.epoch ~= epoch or state.server ~= server() then
  return { 'epoch', state and state.epoch or '0', '0', '0', '0', '0', '0', '0', '0', false }
end

-- Whether the plan would reserve more than the limit, beyond what is occupied already (I1, I2, I3).
local function is_unsound()
  local changes = {}
  for index = FIRST, #ARGV, 4 do changes[ARGV[index]] = tonumber(ARGV[index + 1]) end
  local before, after, shares, fixed = 0, 0, 0, 0
  for incarnation, record in pairs(read_records()) do
    local occupied = acknowledged and hold(record) or record.in_flight
    local open = is_open(record)
    local share = open and changes[incarnation] or record.share
    before = before + occupied
    after = after + math.max(occupied, share)
    shares = shares + share
    if not open then fixed = fixed + share end
  end
  return after > math.max(before, limit) or shares > math.max(fixed, limit)
end

local function apply()
  state.committed, state.limit, state.plan = token, limit, state.plan + 1
  state.nodes, state.hungry = nodes, hungry
  state.plan_due, state.rest_ends = state.time + round, state.time + rest
  for index = FIRST, #ARGV, 4 do
    local incarnation, share = ARGV[index], tonumber(ARGV[index + 1])
    local safe, target = tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
    local record = read_record(incarnation)
    if record and is_open(record) then
      record.target = target
      if share ~= record.share or safe ~= record.safe then
        record.generation, record.share, record.safe = next_generation(state), share, safe
        record.high, record.safe_high = math.max(record.high, share), math.max(record.safe_high, safe)
        redis.call('PUBLISH', channel .. incarnation, table.concat(
          { state.epoch, text(record.generation), text(share), text(safe), text(target) }, ' '))
      end
      write_record(incarnation, record)
    end
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
