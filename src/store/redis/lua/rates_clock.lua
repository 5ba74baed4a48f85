-- A clock of this server that was put back, behind `rates_rules.lua`: what was booked before would come back by so much
-- later, and keep out whoever asks. What is behind by more than a window counts from now on as if it had been booked by the
-- clock as it is, and with it all else of the key. What is not keeps nobody for longer than one more window.
--
-- `last` is the moment of the last booking, or this one. Answers how far it is ahead, if `states` were set right; `expires`
-- goes with them, and what was booked before can be given back no more.
local function set_right(quotas, states, last)
  local behind = last - now
  if behind <= SLACK * 1000 then return nil end
  local late = false
  for place, quota in ipairs(quotas) do
    late = late or states[place] and behind > quota.rule.steps(quota) + SLACK * 1000
  end
  if not late then return nil end
  for place, quota in ipairs(quotas) do
    if states[place] then states[place] = quota.rule.put_back(quota, states[place], behind) end
  end
  return behind
end

local function earlier(expires, behind) return string.format('%.0f', tonumber(expires or 0) - floor(behind / 1000)) end
