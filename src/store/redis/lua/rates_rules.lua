-- The rules, behind `rates_call.lua`. Only what is used is made: to make all the functions takes longer than to decide.
local HOUR = 3600000000
local floor, fmod, max, min = math.floor, math.fmod, math.max, math.min
local operation, random = cost and 'decide' or ARGV[1], tonumber(ARGV[3])

local uses = {}
for place = 1, QUOTAS do uses[WORDS[6 * place - 5]] = true end
local settles = operation ~= 'decide' and operation ~= 'ask'

local function div(a, b) return (a - fmod(a, b)) / b end

-- Each rule: `state` for the answer; `fits`; `book`, which gives the state to write and for how long it counts;
-- `give_back`, by the booking's mark; `undo`, of what was booked last at some moment; `put_back`, the state of a clock that
-- was put back by so much and more than `steps`, as it counts now. Where a count depends on the limit, `go_over`: a state
-- of another limit under this one, and for how long it counts; nothing if it stays as it is.
local rules = {}

-- floor(a * b / c) for b <= c, all below 2^49: where the product is too large, digit by digit to base 8.
local part = (uses.g or uses.s or uses.p) and function(a, b, c)
  if a * b < 9007199254740992 then return div(a * b, c) end
  local digits, quotient, rest = {}, 0, 0
  while a > 0 do
    digits[#digits + 1] = fmod(a, 8)
    a = div(a, 8)
  end
  for place = #digits, 1, -1 do
    local sum = rest * 8 + digits[place] * b
    quotient, rest = quotient * 8 + div(sum, c), fmod(sum, c)
  end
  return quotient
end

if uses.g then
  -- A difference of (microseconds, ticks) down to zero.
  local function less(aw, ar, bw, br)
    if aw < bw or (aw == bw and ar <= br) then return 0, 0 end
    if ar < br then return aw - bw - 1, ar - br + TICKS end
    return aw - bw, ar - br
  end

  local function above(aw, ar, bw, br) return aw > bw or (aw == bw and ar > br) end

  -- `units` times (w, r), added to (bw, br).
  local function times(units, w, r, bw, br)
    local ticks = units * r + br
    return units * w + bw + div(ticks, TICKS), fmod(ticks, TICKS)
  end

  local MANY = 4294967296 -- more units than a burst has

  -- The TAT, the interval under which it is counted, and since when. Written by a version that did not keep the interval,
  -- or where none was known: this one.
  local function read(q, state)
    if not state then return 0, 0, q[1], q[2], 0 end
    local tw, tr, iw, ir, since = 0, 0, 0, 0, 0
    if #state > 16 then
      tw, tr, iw, ir, since = unpack_numbers('>ddddd', state)
    else
      tw, tr = unpack_numbers('>dd', state)
    end
    if iw == 0 and ir == 0 then iw, ir = q[1], q[2] end
    return tw, tr, iw, ir, since
  end

  local function is_own(q, iw, ir) return iw == q[1] and ir == q[2] end

  local function burst(q) return floor((q[3] * TICKS + q[4]) / (q[1] * TICKS + q[2]) + 0.5) end

  -- (w, r) as whole units of (iw, ir), below MANY, and the rest. The quotient of rounded numbers may be one off.
  local function units_of(w, r, iw, ir)
    local units = floor((w * TICKS + r) / (iw * TICKS + ir))
    if units >= MANY then return units end
    local uw, ur = times(units, iw, ir, 0, 0)
    if above(uw, ur, w, r) then
      units = units - 1
      uw, ur = times(units, iw, ir, 0, 0)
    end
    local rw, rr = less(w, r, uw, ur)
    if above(iw, ir, rw, rr) then return units, rw, rr end
    return units + 1, less(rw, rr, iw, ir)
  end

  -- The part of a unit that (rw, rr) is of (iw, ir), of an interval of `q`: rounded up, and no more than one.
  local function part_of_unit(q, rw, rr, iw)
    if rw == 0 and rr == 0 then return 0, 0 end
    local micros, own = rw + (rr > 0 and 1 or 0), q[1] + (q[2] > 0 and 1 or 0)
    if micros >= iw then return q[1], q[2] end
    local w = part(own, micros, iw) + 1
    if above(w, 0, q[1], q[2]) then return q[1], q[2] end
    return w, 0
  end

  -- Token bucket: interval and tolerance, both as (microseconds, ticks).
  --
  -- Its state is time, which another limit counts in units of another length: the state says which. As many units are
  -- spent under a new limit as under the one before. What is more than a full burst of the new one comes back at the old
  -- pace until it is not, and nothing is booked before: so nobody waits for long windows of a small limit what a large one
  -- has spent, and processes that do not agree on the limit yet cannot make units vanish.
  rules.g = {
    go_over = function(q, state)
      local tw, tr, iw, ir = read(q, state)
      if is_own(q, iw, ir) or is_own(q, 0, 0) then return nil end
      local w, r = less(tw, tr, now, 0)
      local units, rw, rr = units_of(w, r, iw, ir)
      if above(q[1], q[2], iw, ir) then
        local most = burst(q)
        if units > most or units == most and (rw > 0 or rr > 0) then return nil end
      end
      -- Of so many the time that they took is more than they would take.
      if units < MANY then w, r = times(units, q[1], q[2], part_of_unit(q, rw, rr, iw)) end
      return pack('>ddddd', now + w, r, q[1], q[2], now), w + 1
    end,
    -- Under another limit: a full burst of this one, and what is more at the other's pace.
    state = function(q, state)
      local tw, tr, iw, ir = read(q, state)
      if is_own(q, iw, ir) or is_own(q, 0, 0) then return tw, tr end
      local w, r = less(tw, tr, now, 0)
      w, r = less(w, r, times(burst(q), iw, ir, 0, 0))
      w, r = times(1, q[3], q[4], w, r)
      return now + w, r
    end,
    after = function(q, state, units)
      local w, r, iw, ir, since = read(q, state)
      w, r = less(w, r, now, 0)
      w, r = times(units, iw, ir, w, r)
      return w, r, iw, ir, since
    end,
    fits = function(q, state, units)
      local w, r, iw, ir = rules.g.after(q, state, units)
      return is_own(q, iw, ir) and not above(w, r, q[3], q[4])
    end,
    book = function(q, state, units)
      local w, r, iw, ir, since = rules.g.after(q, state, units)
      if above(now + w, r, NEVER, NEVER_TICKS) then w, r = NEVER - now, NEVER_TICKS end
      return pack('>ddddd', now + w, r, iw, ir, since), w + 1
    end,
    steps = function(q) return q[3] end,
    put_back = function(q, state, behind)
      local w, r, iw, ir, since = read(q, state)
      w, r = less(w, r, behind, 0)
      return pack('>ddddd', w, r, iw, ir, min(since, now))
    end,
  }
  if settles then
    local function take(q, state, w, r)
      local tw, tr, iw, ir, since = read(q, state)
      tw, tr = less(tw, tr, w, r)
      return pack('>ddddd', tw, tr, iw, ir, since)
    end
    rules.g.give_back = function(q, state, units, refund, mw, mr)
      local _, _, iw, ir, since = read(q, state)
      -- The mark is in another limit's time: what was booked before the limit changed stays booked.
      if refund.booked < since or not is_own(q, iw, ir) then return state end
      local bw, br = times(units, iw, ir, 0, 0)
      local ow, o_rest = times(refund.others, iw, ir, 0, 0)
      local lw, lr = less(mw, mr, ow, o_rest)
      lw, lr = less(lw, lr, now, 0)
      local sw, sr = less(bw, br, max(0, now - refund.booked), 0)
      if above(sw, sr, lw, lr) then lw, lr = sw, sr end
      if above(lw, lr, bw, br) then lw, lr = bw, br end
      return take(q, state, lw, lr)
    end
    rules.g.undo = function(q, state, units, booked)
      local _, _, iw, ir = read(q, state)
      local bw, br = times(units, iw, ir, 0, 0)
      return take(q, state, less(bw, br, max(0, now - booked), 0))
    end
  end
end

if uses.f or uses.c then
  -- A count in its window, or in this one where that is later.
  local function counted(state, sequence)
    if not state then return { sequence, 0 } end
    local its, count = unpack_numbers('>dd', state)
    if its >= sequence then return { its, count } end
    return { sequence, 0 }
  end

  local function count_state(state)
    if not state then return 0, 0 end
    local sequence, count = unpack_numbers('>dd', state)
    return sequence, count
  end

  -- Fixed window: its length and limit.
  rules.f = {
    state = function(_, state) return count_state(state) end,
    here = function(q, state) return counted(state, div(now, q[1])) end,
    ends = function(q, sequence) return (sequence + 1) * q[1] - now end,
    fits = function(q, state, units, rule) return rule.here(q, state)[2] + units <= q[2] end,
    book = function(q, state, units, rule)
      local here = rule.here(q, state)
      return pack('>dd', here[1], here[2] + units), rule.ends(q, here[1])
    end,
    steps = function(q) return q[1] end,
    put_back = function(q, state)
      local sequence, count = unpack_numbers('>dd', state)
      return pack('>dd', min(sequence, div(now, q[1])), count)
    end,
  }
  -- `units` less, of a window no earlier than `first` and no later than `last`.
  local count_less = settles and function(state, units, first, last)
    local sequence, count = unpack_numbers('>dd', state)
    if sequence < first or sequence > last then return state end
    return pack('>dd', sequence, max(0, count - units))
  end
  if settles then
    rules.f.give_back = function(_, state, units, _, mark) return count_less(state, units, mark, mark) end
    rules.f.undo = function(q, state, units, booked) return count_less(state, units, 0, div(booked, q[1])) end
  end

  if uses.c then
    -- Hinnant, "chrono-compatible low-level date algorithms": months from January of the year 0.
    local function month_of(day)
      day = day + 719468
      local era = floor(day / 146097)
      day = day - era * 146097
      local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
      day = day - (365 * year + floor(year / 4) - floor(year / 100))
      return (era * 400 + year) * 12 + floor((5 * day + 2) / 153) + 2
    end

    local function period_of(period, offset, moment)
      local hour = max(0, div(moment + SINCE_1970 * 1000000 + offset, HOUR))
      if period == 1 then return hour end
      local day = floor(hour / 24)
      if period == 2 then return day end
      return month_of(day)
    end

    -- Calendar: minutes from UTC in microseconds, the limit, and 1 for hours, 2 for days, 3 for months.
    rules.c = {
      state = rules.f.state, fits = rules.f.fits, book = rules.f.book,
      here = function(q, state)
        local period = period_of(q[3], q[1], now)
        local sequence, count = count_state(state)
        -- A clock that was far ahead.
        if sequence > period + 1 then return { period, count } end
        return counted(state, period)
      end,
      -- The longest: a month may be the next one's clock's.
      ends = function(q) return 2 * (q[3] == 1 and HOUR or q[3] == 2 and 24 * HOUR or 744 * HOUR) end,
      steps = function(q) return rules.c.ends(q) / 2 end,
      put_back = function(q, state)
        local sequence, count = count_state(state)
        return pack('>dd', min(sequence, period_of(q[3], q[1], now)), count)
      end,
    }
    rules.c.give_back = rules.f.give_back
    rules.c.undo = settles and function(q, state, units, booked)
      return count_less(state, units, 0, period_of(q[3], q[1], booked))
    end
  end
end

if uses.s or uses.p then
  local function cell_state(state)
    if not state then return 0, 0, 0 end
    local sequence, current, previous = unpack_numbers('>ddd', state)
    return sequence, current, previous
  end

  -- The cells as they count now, and how much that is.
  local function cells_at(state, window)
    local here = div(now, window)
    local sequence, current, previous = cell_state(state)
    if sequence < here then
      previous = sequence + 1 == here and current or 0
      sequence, current = here, 0
    end
    local elapsed = max(0, now - sequence * window)
    return sequence, current, previous, current + part(previous, window - elapsed, window)
  end

  -- Sliding window: its length and limit.
  rules.s = {
    state = function(_, state) return cell_state(state) end,
    fits = function(q, state, units)
      local _, _, _, used = cells_at(state, q[1])
      return used + units <= q[2]
    end,
    book = function(q, state, units)
      local sequence, current, previous = cells_at(state, q[1])
      return pack('>ddd', sequence, current + units, previous), (sequence + 2) * q[1] - now
    end,
    steps = function(q) return q[1] end,
    put_back = function(q, state)
      local sequence, current, previous = cell_state(state)
      return pack('>ddd', min(sequence, div(now, q[1])), current, previous)
    end,
  }
  if settles then
    rules.s.give_back = function(_, state, units, _, mark)
      local sequence, current, previous = cell_state(state)
      if sequence == mark then
        current = max(0, current - units)
      elseif sequence - 1 == mark then
        previous = max(0, previous - units)
      end
      return pack('>ddd', sequence, current, previous)
    end
    rules.s.undo = function(q, state, units, booked)
      local sequence, current, previous = cell_state(state)
      local here = div(booked, q[1])
      if sequence <= here then
        current = max(0, current - units)
      elseif sequence - 1 == here then
        previous = max(0, previous - units)
      end
      return pack('>ddd', sequence, current, previous)
    end
  end
  -- Soft limit: the window's length, the limit and the soft limit.
  rules.p = {
    state = rules.s.state, book = rules.s.book, steps = rules.s.steps, put_back = rules.s.put_back,
    fits = function(q, state, units)
      local _, _, _, used = cells_at(state, q[1])
      local wanted = used + units
      if wanted <= q[3] then return true end
      if wanted > q[2] then return false end
      return random < part(q[2] + 1 - wanted, 4294967296, q[2] - q[3] + 1)
    end,
  }
  rules.p.give_back, rules.p.undo = rules.s.give_back, rules.s.undo
end

if uses.l then
  -- A log: units in all, then pairs of a moment and how many units come back at it, from the oldest to the newest.
  local function entry(log, place)
    local moment, units = unpack_numbers('>dd', log, 16 * place - 7)
    return moment, units
  end

  local function entries(log) return (#log - 8) / 16 end

  local function newest(log)
    local last = entries(log)
    if last == 0 then return 0 end
    local moment = entry(log, last)
    return moment
  end

  -- What is not back yet: the place of the oldest, and how many units.
  local function alive(log)
    local used, place, last = unpack_numbers('>d', log), 1, entries(log)
    while place <= last do
      local moment, units = entry(log, place)
      if moment > now then break end
      used, place = used - units, place + 1
    end
    return place, used
  end

  -- When so many of the units from `place` on are back.
  local function moment_of(log, place, units)
    while true do
      local moment, here = entry(log, place)
      units = units - here
      if units <= 0 then return moment end
      place = place + 1
    end
  end

  local NO_LOG = pack('>d', 0)

  -- Sliding log: the window's length and the limit.
  rules.l = {
    -- Units that are not back, the moment at which enough are for `units`, and the newest moment.
    state = function(q, state, units)
      local log = state or NO_LOG
      local place, used = alive(log)
      local missing = used + units - q[2]
      return used, missing > 0 and used >= missing and moment_of(log, place, missing) or 0, newest(log)
    end,
    fits = function(q, state, units)
      local _, used = alive(state or NO_LOG)
      return used + units <= q[2]
    end,
    book = function(q, state, units)
      local log = state or NO_LOG
      local place, used = alive(log)
      units = min(units, q[2])
      -- Beyond the limit the oldest make room.
      local over = used + units - q[2]
      used = used + units
      local rest = {}
      while over > 0 do
        local moment, here = entry(log, place)
        place = place + 1
        local goes = min(over, here)
        used, over = used - goes, over - goes
        if here > goes then rest[1] = pack('>dd', moment, here - goes) end
      end
      local moment = max(now + q[1], newest(log))
      rest[#rest + 1] = string.sub(log, 16 * place - 7)
      if units > 0 then rest[#rest + 1] = pack('>dd', moment, units) end
      return pack('>d', used) .. table.concat(rest), moment - now
    end,
    steps = function(q) return q[1] end,
    put_back = function(_, state, behind)
      local log = { string.sub(state, 1, 8) }
      for place = 1, entries(state) do
        local moment, units = entry(state, place)
        log[#log + 1] = pack('>dd', max(0, moment - behind), units)
      end
      return table.concat(log)
    end,
  }
  if settles then
    rules.l.give_back = function(_, state, units, _, mark)
      local out, total = {}, 0
      for place = 1, entries(state) do
        local moment, here = entry(state, place)
        if moment == mark then
          local goes = min(units, here)
          units, here = units - goes, here - goes
        end
        if here > 0 then out[#out + 1] = pack('>dd', moment, here) end
        total = total + here
      end
      return pack('>d', total) .. table.concat(out)
    end
    rules.l.undo = function(q, state, units, booked)
      local out, total = {}, 0
      for place = entries(state), 1, -1 do
        local moment, here = entry(state, place)
        if moment > now and moment <= booked + q[1] then
          local goes = min(units, here)
          units, here = units - goes, here - goes
        end
        out[place], total = here > 0 and pack('>dd', moment, here) or '', total + here
      end
      return pack('>d', total) .. table.concat(out)
    end
  end
end

