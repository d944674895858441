local paused = (obj.metadata.annotations or {})["slaplanner.io/paused"] or ""
local runs = paused == "" or paused == "false"

local actions = {}
actions["pause"] = { ["disabled"] = paused == "true", ["displayName"] = "Pause" }
actions["pause-scale-in"] = { ["disabled"] = paused == "scale-in", ["displayName"] = "Pause scale-in" }
actions["resume"] = { ["disabled"] = runs, ["displayName"] = "Resume" }
actions["plan-now"] = { ["disabled"] = false, ["displayName"] = "Plan now" }
return actions
