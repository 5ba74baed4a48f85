-- The short way of one fixed window: A its length, B its limit.
if cost then
  local states = call('HMGET', KEY, FIELD, 'e', 'r')
  local sequence, count, here, used = 0, 0, (now - now % A) / A, cost
  if states[1] then
    sequence, count = unpack_numbers('>dd', states[1])
    -- A clock that was read earlier opens no window that is over.
    if sequence >= here then here, used = sequence, count + cost end
  end
  if used <= B then
    local ends = ceil((here + 1) * A / 1000)
    if ends > (states[2] or 0) + 0 then
      call('HSET', KEY, FIELD, pack('>dd', here, used), 'e', ends + SLACK, 'm', now)
      call('PEXPIRE', KEY, ends - ceil(now / 1000) + LIVES)
    else
      call('HSET', KEY, FIELD, pack('>dd', here, used))
    end
    return pack('>ddddd', 1, now, states[3] or 0, sequence, count)
  end
  -- No window takes longer, unless the clock was put back: see behind.
  if (states[2] or 0) - ceil((now + A) / 1000) <= 2 * SLACK then
    return pack('>ddddd', 0, now, states[3] or 0, sequence, count)
  end
end
