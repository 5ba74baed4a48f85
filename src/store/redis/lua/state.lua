-- The state of a key: how it is read and written. Prepended to both scripts.
--
-- One hash. '@' holds the epoch's numbers, '$' the settings' canonical line, 'o' .. name the newest accepted
-- incarnation of a name, and every incarnation its record. Identities are compared as text and never calculated
-- with: they do not fit a double. Everything else stays below 2^53.

local KEY = KEYS[1]

local NUMBERS = {
  'time', 'slack', 'learning_until', 'revision', 'generation', 'stamp', 'version', 'limit', 'plan', 'nodes',
  'hungry', 'token', 'token_ends', 'committed', 'plan_due', 'rest_ends', 'dirty', 'in_a_row',
}
local FIELDS = {
  'life', 'closing', 'starved', 'sequence', 'born', 'deadline', 'ends', 'generation', 'share', 'safe', 'target',
  'in_flight', 'enforced', 'low', 'high', 'mark', 'safe_high',
}
local LIVE, QUARANTINED, REFUSED, LAPSED, LEFT = 0, 1, 2, 3, 4
local MAX_PLANS_IN_A_ROW = 3

-- tostring() would write large numbers with an exponent.
local function text(number) return string.format('%.0f', number) end

local function words(line)
  local list = {}
  for word in string.gmatch(line, '%S+') do list[#list + 1] = word end
  return list
end

local function server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or 'unknown'
end

local function read_state()
  local line = redis.call('HGET', KEY, '@')
  if not line then return nil end
  local list = words(line)
  local state = { epoch = list[1], server = list[2] }
  for index, name in ipairs(NUMBERS) do state[name] = tonumber(list[index + 2]) end
  state.settings = redis.call('HGET', KEY, '$')
  return state
end

local function write_state(state)
  local list = { state.epoch, state.server }
  for _, name in ipairs(NUMBERS) do list[#list + 1] = text(state[name]) end
  redis.call('HSET', KEY, '@', table.concat(list, ' '))
end

local function parse_record(line)
  local list = {}
  local rest = 1
  for index, name in ipairs(FIELDS) do
    local from, to = string.find(line, ' ', rest, true)
    list[name] = tonumber(string.sub(line, rest, from - 1))
    rest = to + 1
  end
  local from, to = string.find(line, ' ', rest, true)
  list.report = string.sub(line, rest, from - 1)
  list.name = string.sub(line, to + 1)
  return list
end

local function read_record(incarnation)
  local line = redis.call('HGET', KEY, incarnation)
  return line and parse_record(line) or nil
end

local function record_line(record)
  local list = {}
  for _, name in ipairs(FIELDS) do list[#list + 1] = text(record[name]) end
  list[#list + 1] = record.report
  list[#list + 1] = record.name
  return table.concat(list, ' ')
end

local function write_record(incarnation, record)
  redis.call('HSET', KEY, incarnation, record_line(record))
end

-- Every record of the key, by incarnation.
local function read_records()
  local all = redis.call('HGETALL', KEY)
  local records = {}
  for index = 1, #all, 2 do
    if string.match(all[index], '^%d') then records[all[index]] = parse_record(all[index + 1]) end
  end
  return records
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

local function is_open(record)
  return record.life == LIVE and record.closing == 0
end

local function withdraw(state, record)
  record.generation, record.share, record.safe, record.target = next_generation(state), 0, 0, 0
end

-- Records whose time is over end here and nowhere else. Answers what is left.
local function evict(state)
  local records = read_records()
  local left = {}
  -- In the order of the incarnations, because generations are numbered on the way.
  local order = {}
  for incarnation in pairs(records) do order[#order + 1] = incarnation end
  table.sort(order, function(a, b) if #a ~= #b then return #a < #b end return a < b end)
  for _, incarnation in ipairs(order) do
    local record = records[incarnation]
    local lingers = (record.life == LIVE and record.safe_high > 0) or record.life == LAPSED
    if state.time >= (lingers and record.ends or record.deadline) then
      redis.call('HDEL', KEY, incarnation)
      if redis.call('HGET', KEY, 'o' .. record.name) == incarnation then
        redis.call('HDEL', KEY, 'o' .. record.name)
      end
    else
      if record.life == LIVE and state.time >= record.deadline then
        record.life = LAPSED
        record.share = math.min(record.safe_high, record.share)
        record.generation, record.safe, record.target = next_generation(state), record.share, record.share
        record.enforced, record.low, record.high, record.in_flight = record.safe_high, 0, 0, 0
        record.starved = 0
        write_record(incarnation, record)
      end
      left[#left + 1] = incarnation
      left[#left + 1] = record_line(record)
    end
  end
  return left
end

local function issue_ticket(state, token_life)
  local records = evict(state)
  state.token = state.token + 1
  state.token_ends = state.time + token_life
  state.dirty = 0
  return {
    text(state.token), text(state.version), text(state.time), text(state.limit), text(state.plan), state.settings,
    records,
  }
end
