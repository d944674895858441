-- How healthy a policy is, from its status. What was planned for an older spec says nothing of this one.
local hs = {}
local status = obj.status or {}

local function condition(kind)
  for _, entry in ipairs(status.conditions or {}) do
    if entry.type == kind then
      return entry
    end
  end
  return { status = "Unknown", message = "" }
end

if status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to plan generation " .. tostring(obj.metadata.generation)
  return hs
end

local ready = condition("Ready")
if ready.status == "Unknown" then
  hs.status = "Progressing"
  hs.message = "Waiting for the first plan"
  return hs
end
-- A fault is shown also while the policy is paused.
if ready.status ~= "True" then
  hs.status = "Degraded"
  hs.message = ready.message
  return hs
end

for _, check in ipairs({ { "Paused", "Suspended" }, { "Progressing", "Progressing" } }) do
  local found = condition(check[1])
  if found.status == "True" then
    hs.status = check[2]
    hs.message = found.message
    return hs
  end
end

hs.status = "Healthy"
hs.message = (status.lastDecision or {}).message or ready.message
-- The planner does its part, and the user should still know what is out of its reach.
if condition("SLAAttainable").status == "False" then
  hs.message = "The SLA is out of reach: " .. condition("SLAAttainable").message
elseif condition("BudgetLimited").status == "True" then
  hs.message = "The budget limits: " .. condition("BudgetLimited").message
end
return hs
