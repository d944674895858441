local annotations = obj.metadata.annotations
if annotations ~= nil then
  annotations["slaplanner.io/paused"] = nil
  -- An empty table would come back as a list.
  if next(annotations) == nil then
    obj.metadata.annotations = nil
  end
end
return obj
