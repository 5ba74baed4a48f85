-- The state of a key: how it is read and written. Prepended to both scripts.
--
-- One hash. '@' holds the epoch's numbers, '$' the settings' canonical line, '%' what the estimator remembers,
-- 'o' .. name the newest accepted incarnation of a name, and every incarnation its record. Identities are compared as
-- text and never calculated with: they do not fit a double. Everything else stays below 2^53.

local KEY = KEYS[1]

local NUMBERS = {
  'time', 'slack', 'learning_until', 'revision', 'generation', 'stamp', 'version', 'limit', 'plan', 'nodes',
  'hungry', 'token', 'token_ends', 'committed', 'plan_due', 'rest_ends', 'dirty', 'in_a_row', 'due',
  'window', 'latency', 'baseline', 'used', 'drops', 'longest', 'inherited', 'settings_plan',
}
local FIELDS = {
  'life', 'closing', 'deadline', 'ends', 'share', 'in_flight', 'enforced', 'low', 'high', 'safe_high', 'starved',
  'sequence', 'born', 'generation', 'safe', 'target', 'mark', 'since',
}
local LIVE, QUARANTINED, REFUSED, LAPSED, LEFT = 0, 1, 2, 3, 4
local MAX_PLANS_IN_A_ROW = 3
local NEVER = 2 ^ 53

-- tostring() would write large numbers with an exponent.
local function text(number) return string.format('%d', number) end

local function server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or 'unknown'
end

-- Reading a line with one pattern, and writing it with one format, is several times faster than word by word.
local STATE_LINE = '^(%S+) (%S+)' .. string.rep(' (%d+)', #NUMBERS) .. '$'
local STATE_FORMAT = '%s %s' .. string.rep(' %d', #NUMBERS)
local RECORD_LINE = '^' .. string.rep('(%d+) ', #FIELDS) .. '(%S+) (.*)$'
local RECORD_FORMAT = string.rep('%d ', #FIELDS) .. '%s %s'
-- What a record occupies, and until when.
local OCCUPIED = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) '

local function read_state()
  local line = redis.call('HGET', KEY, '@')
  if not line then return nil end
  local list = { string.match(line, STATE_LINE) }
  local state = { epoch = list[1], server = list[2] }
  for index, name in ipairs(NUMBERS) do state[name] = tonumber(list[index + 2]) end
  state.settings = redis.call('HGET', KEY, '$')
  return state
end

local function write_state(state)
  local list = {}
  for index, name in ipairs(NUMBERS) do list[index] = state[name] end
  redis.call('HSET', KEY, '@', string.format(STATE_FORMAT, state.epoch, state.server, unpack(list)))
end

local function parse_record(line)
  local list = { string.match(line, RECORD_LINE) }
  local record = { report = list[#FIELDS + 1], name = list[#FIELDS + 2] }
  for index, name in ipairs(FIELDS) do record[name] = tonumber(list[index]) end
  return record
end

local function read_record(incarnation)
  local line = redis.call('HGET', KEY, incarnation)
  return line and parse_record(line) or nil
end

local function record_line(record)
  local list = {}
  for index, name in ipairs(FIELDS) do list[index] = record[name] end
  list[#FIELDS + 1], list[#FIELDS + 2] = record.report, record.name
  return string.format(RECORD_FORMAT, unpack(list))
end

local function write_record(incarnation, record)
  redis.call('HSET', KEY, incarnation, record_line(record))
end

-- Calls `visit` with the incarnation and the line of every record.
local function each_record(visit)
  local all = redis.call('HGETALL', KEY)
  for index = 1, #all, 2 do
    local first = string.byte(all[index])
    if first >= 48 and first <= 57 then visit(all[index], all[index + 1]) end
  end
end

local function next_generation(state)
  state.generation = state.generation + 1
  return state.generation
end

local function hold(record)
  return math.max(record.enforced, record.low, record.high, record.in_flight)
end

local function reserved(record)
  return math.max(hold(record), record.share), math.max(record.in_flight, record.share)
end

local function withdraw(state, record)
  record.generation, record.share, record.safe, record.target = next_generation(state), 0, 0, 0
end

local function refuse(state, incarnation, record)
  record.life = REFUSED
  withdraw(state, record)
  write_record(incarnation, record)
end

-- Records whose time is over end here and nowhere else. `state.due` is when the next one may be.
local function evict(state)
  local over = {}
  state.due = NEVER
  each_record(function(incarnation, line)
    local life, _, deadline, ends, _, _, _, _, _, safe_high = string.match(line, OCCUPIED)
    life, deadline, ends = tonumber(life), tonumber(deadline), tonumber(ends)
    local lingers = life == LAPSED or (life ~= LEFT and safe_high ~= '0')
    local next_due = deadline
    if state.time >= deadline then
      over[#over + 1] = incarnation
      next_due = lingers and ends or NEVER
    end
    if state.time < next_due then state.due = math.min(state.due, next_due) end
  end)
  -- In the order of the incarnations, because generations are numbered on the way.
  table.sort(over, function(a, b) if #a ~= #b then return #a < #b end return a < b end)
  for _, incarnation in ipairs(over) do
    local record = read_record(incarnation)
    local lingers = record.life == LAPSED or (record.life ~= LEFT and record.safe_high > 0)
    if lingers and state.time < record.ends then
      if record.life == LIVE then
        record.life = LAPSED
        record.share = math.min(record.safe_high, record.share)
        record.generation, record.safe, record.target = next_generation(state), record.share, record.share
      end
      record.enforced, record.low, record.high, record.in_flight = record.safe_high, 0, record.share, 0
      record.starved = 0
      write_record(incarnation, record)
    else
      redis.call('HDEL', KEY, incarnation)
      if redis.call('HGET', KEY, 'o' .. record.name) == incarnation then
        redis.call('HDEL', KEY, 'o' .. record.name)
      end
    end
  end
end

-- The whole hash goes along: telling the records from the rest is less work for the planner than for the server.
local function issue_ticket(state, token_life)
  if state.time >= state.due then evict(state) end
  state.token = state.token + 1
  state.token_ends = state.time + math.max(token_life, math.floor(state.slack / 4))
  state.dirty = 0
  return {
    text(state.token), text(state.version), text(state.time), text(state.limit), text(state.plan), state.settings,
    redis.call('HGETALL', KEY),
  }
end
