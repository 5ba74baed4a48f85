-- The short way of one token bucket: A and B its interval, C and D its tolerance, both as (microseconds, ticks).
if cost then
  local states = call('HMGET', KEY, FIELD, 'e', 'r')
  local state, iw, ir, since = states[1], A, B, 0
  local tw, tr, w, r = 0, 0, 0, 0
  if state then
    if #state > 16 then
      tw, tr, iw, ir, since = unpack_numbers('>ddddd', state)
    else
      tw, tr = unpack_numbers('>dd', state)
    end
    if tw >= now then w, r = tw - now, tr end
  end
  -- Counted under another limit: see behind.
  if iw == A and ir == B then
    local ticks = cost * B + r
    r = ticks % TICKS
    w = cost * A + w + (ticks - r) / TICKS
    if w > C or (w == C and r > D) then
      -- No bucket takes longer, unless it is in debt or the clock was put back: see behind.
      if (states[2] or 0) - ceil((now + C) / 1000) <= 2 * SLACK then
        return pack('>ddddd', 0, now, states[3] or 0, tw, tr)
      end
    elseif now + w < NEVER then
      local lives = ceil((w + 1) / 1000)
      local ends = ceil(now / 1000) + lives
      if ends > (states[2] or 0) + 0 then
        call('HSET', KEY, FIELD, pack('>ddddd', now + w, r, A, B, since), 'e', ends + SLACK, 'm', now)
        call('PEXPIRE', KEY, lives + LIVES)
      else
        call('HSET', KEY, FIELD, pack('>ddddd', now + w, r, A, B, since))
      end
      return pack('>ddddd', 1, now, states[3] or 0, tw, tr)
    end
  end
end
