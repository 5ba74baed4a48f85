-- The short way of one sliding window: A its length, B its limit.
if cost then
  local states = call('HMGET', KEY, FIELD, 'e', 'r')
  local sequence, current, previous = 0, 0, 0
  if states[1] then sequence, current, previous = unpack_numbers('>ddd', states[1]) end
  local elapsed = now % A
  local here, spent, before = (now - elapsed) / A, 0, 0
  if sequence >= here then
    -- A clock that was read earlier opens no window that is over.
    if sequence > here then here, elapsed = sequence, 0 end
    spent, before = current, previous
  elseif sequence + 1 == here then
    before = current
  end
  local part = before * (A - elapsed)
  -- A larger product is divided digit by digit, by the machinery below.
  if part < 9007199254740992 then
    spent = spent + cost
    if spent + (part - part % A) / A <= B then
      local ends = ceil((here + 2) * A / 1000)
      if ends > (states[2] or 0) + 0 then
        call('HSET', KEY, FIELD, pack('>ddd', here, spent, before), 'e', ends + SLACK, 'm', now)
        call('PEXPIRE', KEY, ends - ceil(now / 1000) + LIVES)
      else
        call('HSET', KEY, FIELD, pack('>ddd', here, spent, before))
      end
      return pack('>dddddd', 1, now, states[3] or 0, sequence, current, previous)
    end
    -- Two windows are the longest, unless the clock was put back: see behind.
    if (states[2] or 0) - ceil((now + 2 * A) / 1000) <= 2 * SLACK then
      return pack('>dddddd', 0, now, states[3] or 0, sequence, current, previous)
    end
  end
end
