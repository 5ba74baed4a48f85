-- One report-and-renew. The other spelling of `KeyState::beat`; see there for what each step is for.

local name, incarnation, sequence = ARGV[1], ARGV[2], tonumber(ARGV[3])
local epoch, fresh_epoch, told = ARGV[4], ARGV[5], tonumber(ARGV[6])
local echo, generation, share, in_flight = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local closing, starved = ARGV[11] == '2', tonumber(ARGV[12])
local limit, plan, report = tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[15]
local revision, settings = tonumber(ARGV[16]), ARGV[17]
local reclaim, linger, slack = tonumber(ARGV[18]), tonumber(ARGV[19]), tonumber(ARGV[20])
local trust, token_life, keep = ARGV[21] == '1', tonumber(ARGV[22]), tonumber(ARGV[23])
local waits = math.max(reclaim + linger + slack, tonumber(ARGV[24]))

local function told_longest(state)
  if state.time < state.learning_until then return math.max(state.longest, state.inherited) end
  return state.longest
end

local function begin(lost, run_id)
  local trusted = not lost and trust and epoch == ''
  local inherited = math.max(lost and told_longest(lost) or 0, waits)
  redis.call('DEL', KEY)
  local state = {
    epoch = fresh_epoch, server = run_id, time = 0, slack = slack,
    learning_until = trusted and 0 or inherited, longest = 0, inherited = inherited,
    settings_plan = lost and lost.plan or 0,
    revision = lost and lost.revision or revision, settings = lost and lost.settings or settings,
    generation = 0, stamp = 0, version = 0, limit = lost and lost.limit or 0, plan = lost and lost.plan or 0,
    nodes = 0, hungry = 0, token = 0, token_ends = 0, committed = 0, plan_due = 0, rest_ends = 0, dirty = 0,
    in_a_row = 0, due = NEVER, window = 0, latency = 0, baseline = 0, used = 0, drops = 0,
  }
  redis.call('HSET', KEY, '$', state.settings)
  redis.call('PEXPIRE', KEY, math.max(keep, math.ceil(inherited / 500)))
  return state
end

local run_id = server()
local state = read_state()
local unheard_of = state and epoch == state.epoch and (generation > state.generation or echo > state.stamp)
local lost = state and (state.server ~= run_id or unheard_of)
if not state or lost then state = begin(state, run_id) end
local same_epoch = epoch == state.epoch

local function tell_time()
  state.slack = math.max(state.slack, slack)
  if same_epoch and told then
    state.time = math.max(state.time, math.min(told, state.time + state.slack))
  end
end

local function is_learning() return state.time < state.learning_until end

local function renew_lease(record)
  record.deadline = state.time + reclaim + state.slack
  record.ends = record.deadline + linger
  state.due = math.min(state.due, record.deadline)
end

local function join()
  local older = not closing and redis.call('HGET', KEY, 'o' .. name)
  if not closing then redis.call('HSET', KEY, 'o' .. name, incarnation) end
  local predecessor = older and read_record(older)
  if predecessor and (predecessor.life == LIVE or predecessor.life == LAPSED) then
    predecessor.life = QUARANTINED
    withdraw(state, predecessor)
    write_record(older, predecessor)
  end
  local number = next_generation(state)
  local claimed = same_epoch and 0 or share
  if state.limit > 0 then claimed = math.min(claimed, state.limit) end
  if not is_learning() or closing then claimed = 0 end
  if share > 0 or in_flight > 0 then state.version = state.version + 1 end
  local record = {
    name = name, life = LIVE, closing = closing and 1 or 0, starved = starved, sequence = sequence,
    born = state.stamp, generation = number, share = claimed, safe = 0, target = claimed, in_flight = in_flight,
    enforced = share, low = 0, high = 0, mark = number, safe_high = 0, since = state.time,
    report = report,
  }
  renew_lease(record)
  return record
end

local function wake(record)
  if record.life == LIVE or record.life == REFUSED or record.life == LEFT then return end
  if record.life == QUARANTINED then
    if closing then return end
    local rival = redis.call('HGET', KEY, 'o' .. name)
    local rival_record = rival and rival ~= incarnation and read_record(rival)
    if rival_record and rival_record.life ~= LEFT then
      if rival_record.born < record.born then return refuse(state, incarnation, record) end
      if not same_epoch or echo <= rival_record.born then return end
      refuse(state, rival, rival_record)
    end
    redis.call('HSET', KEY, 'o' .. name, incarnation)
  end
  state.version = state.version + 1
  record.life = LIVE
end

local function acknowledge(record)
  record.enforced = share
  if generation == record.generation then
    record.low, record.high, record.mark = 0, 0, generation
    record.safe_high = record.safe
    record.share = math.min(record.share, share)
  elseif generation >= record.mark then
    record.low, record.high, record.mark = record.high, 0, record.generation
  end
end

local function renew(record)
  wake(record)
  renew_lease(record)
  local before, before_in_flight = reserved(record)
  local known = hold(record)
  if in_flight > known or (not same_epoch and share > known) then state.version = state.version + 1 end
  record.sequence, record.in_flight, record.report, record.starved = sequence, in_flight, report, starved
  if same_epoch then acknowledge(record) else record.enforced = math.max(record.enforced, share) end
  local news = closing and record.closing == 0
  if closing then record.closing = 1 end
  if record.closing == 1 then
    record.share = 0
    if record.in_flight == 0 then
      record.life = LEFT
      record.enforced, record.low, record.high, record.safe_high = 0, 0, 0, 0
    end
  end
  local after, after_in_flight = reserved(record)
  local freed = after < before or after_in_flight < before_in_flight
  return news or record.starved == 1 or record.life == LEFT or (freed and state.hungry == 1)
end

local WELCOME = { [LIVE] = 'member', [LAPSED] = 'member', [QUARANTINED] = 'member', [REFUSED] = 'duplicate', [LEFT] = 'gone' }

local function answer(welcome, material, record)
  local ticket = false
  local may_plan = welcome == 'member' or (welcome == 'gone' and (material or state.dirty == 1))
  if is_learning() or not may_plan then
    if material then state.dirty = 1 end
  else
    local rested = state.time >= state.rest_ends
    local due = state.time >= state.plan_due or ((material or state.dirty == 1) and rested)
    if due and state.time >= state.token_ends then
      ticket = issue_ticket(state, token_life)
      record = record and read_record(incarnation)
    elseif material then
      state.dirty = 1
    end
  end
  local again = state.dirty == 1 and state.time >= state.token_ends and not is_learning()
  local again_in = again and math.max(state.rest_ends - state.time, 0) or -1
  write_state(state)
  record = record or { generation = 0, share = 0, safe = 0, target = 0 }
  return {
    welcome, state.epoch, text(state.stamp), text(state.time), text(record.generation), text(record.share),
    text(record.safe), text(record.target), text(state.limit), text(state.plan), text(state.nodes),
    text(state.window), text(state.latency), text(state.baseline), text(state.used), text(state.drops),
    text(math.max(state.learning_until - state.time, 0)), text(again_in), text(told_longest(state)),
    state.settings, ticket,
  }
end

local knows_more = is_learning() and plan > state.settings_plan
local record = read_record(incarnation)
if revision > state.revision or (revision == state.revision and knows_more) then
  state.revision, state.settings, state.settings_plan = revision, settings, plan
  redis.call('HSET', KEY, '$', settings)
elseif settings ~= state.settings and (revision == state.revision or (epoch == '' and not record)) then
  return answer('other', false, record)
end
tell_time()
state.stamp = state.stamp + 1
state.longest = math.max(state.longest, reclaim + linger + state.slack)
if is_learning() then
  state.inherited = math.max(state.inherited, waits)
  state.learning_until = math.max(state.learning_until, waits)
  if plan > state.plan then state.plan, state.limit = plan, limit end
end
if not record then
  if closing and in_flight == 0 then return answer('gone', false, nil) end
  record = join()
  write_record(incarnation, record)
  return answer('member', true, record)
end
if sequence <= record.sequence or record.life == LEFT then return answer(WELCOME[record.life], false, record) end
local material = renew(record)
write_record(incarnation, record)
return answer(WELCOME[record.life], material, record)
