if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["slaplanner.io/paused"] = "scale-in"
return obj
