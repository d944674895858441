"""The imperative shell: observes, asks the core, acts and reports.

Only this package knows kopf, and only `handlers` registers with it. A heartbeat per policy
(`heartbeat`) decides whether a plan is due (`schedule`), runs it in a straight line (`reconcile`)
through the world's adapters (`world`), and tells users what happened through the status
(`report`), events (`events`), conditions on the deployment and metrics (`metrics`).
"""
