local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
-- Any new value asks for a plan.
obj.metadata.annotations["slaplanner.io/plan-requested-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
