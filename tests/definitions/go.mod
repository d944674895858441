// Custom resource definitions of others' operators, as their modules carry them. Nothing is compiled from these.
module slaplanner.io/tests/definitions

go 1.24

require (
	github.com/argoproj/argo-rollouts v1.8.3
	github.com/kedacore/keda/v2 v2.18.0
	github.com/prometheus-operator/prometheus-operator v0.92.1
	sigs.k8s.io/kueue v0.17.0
)
