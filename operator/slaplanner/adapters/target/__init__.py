"""What a policy scales: the `Connector` protocol, and the DynamoGraphDeployment behind it.

`connector` is all that the planner knows. `graph`, `args`, `containers`, `roles` and `fleet_state`
read a deployment of either version (pure); `writes` and `ownership` say what to send (pure);
`client` is the one door to the API server; `kubernetes` joins them.
"""
