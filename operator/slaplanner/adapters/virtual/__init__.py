"""Where decisions are published: etcd under the keys of Dynamo's planner, or the policy's own status.

`channel` is what both have in common, asynchronous and unaware of planning; `etcd_gateway` and
`etcd_channel` speak to etcd, `kubernetes_channel` to the API server, `policy_document` says how a
policy carries decisions (pure). `policy_store` and `connector` are the planner's side: a `Connector`
like that for deployments, which remembers in the policy's status what must survive a restart.
"""
